"""Start one program so that it cannot outlive the process that asked for it.

A supervisor that is killed with -9 cleans nothing up, so somebody else has to. This program makes itself the leader of
a new process group, leaves a small watcher behind, outside that group, and then *becomes* the program it was asked to
start. The watcher holds one end of a socket pair, the supervisor the other: when the supervisor is gone, in whatever
way, the kernel closes its end and the watcher ends the whole group. Standard library only, and started by its path
(`python -I -S guard.py …`), so that it costs a few hundredths of a second and depends on no installation; importing
pathlib would double that.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL_SECONDS = 0.05
"""How often a group that was asked to end is looked at."""

KILLED_SECONDS = 2.0
"""How long processes may take to vanish after SIGKILL; one that waits for a broken disk can take for ever."""

# SIGINT: a script's `program &` starts it with SIGINT ignored, which Dagster's processes then copy to SIGTERM.
# SIGPIPE and SIGXFSZ: Python ignores them in this very process, and ignored signals outlive `exec`.
RESET_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)


def send(group: int, signum: int) -> bool:
    """Send a signal to a process group; 0 only asks whether the group has members.

    Args:
        group: Process group id.
        signum: Signal number, or 0.

    Returns:
        Whether there was anybody to receive it.
    """
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):  # macOS says "not permitted" of a group of zombies
        return False
    return True


def has_members(group: int) -> bool:
    """Whether a process of the group still runs.

    The dead that nobody has collected yet do not count: in a container they may stay for as long as it runs. Linux
    lists them as members, so there /proc has to be asked; macOS does not.

    Args:
        group: Process group id.
    """
    if not send(group, 0):
        return False
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - no pathlib here
    except FileNotFoundError:
        return True
    return any(_runs_in(group, process) for process in processes)


def end_group(group: int, *, patient: Callable[[], bool]) -> None:
    """End every process of a group: SIGTERM first, SIGKILL for those that are left when patience ends.

    Args:
        group: Process group id.
        patient: Called before each look at the group; SIGKILL follows once it answers False.
    """
    send(group, signal.SIGTERM)
    while patient() and has_members(group):
        time.sleep(POLL_SECONDS)
    # Repeated, because a process may have forked while the group was being killed.
    deadline = time.monotonic() + KILLED_SECONDS
    while send(group, signal.SIGKILL) and has_members(group) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def watch(lifeline: int, group: int, grace: float) -> None:
    """Wait until the other end of the lifeline is closed, then end the group; a byte means that this has been done.

    Args:
        lifeline: File descriptor of this side's end.
        group: Process group id.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    os.setpgid(0, 0)
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # it is the last to leave, whoever else is told to
    if os.read(lifeline, 1):
        return
    deadline = time.monotonic() + grace
    end_group(group, patient=lambda: time.monotonic() < deadline)


def main(arguments: Sequence[str]) -> None:
    """Leave a watcher behind and become the program; the caller has made this process a group leader.

    Args:
        arguments: File descriptor of the lifeline, grace in seconds, and the program's command line.
    """
    lifeline, grace, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for signum in RESET_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    group = os.getpid()
    if os.fork() == 0:
        watch(lifeline, group, grace)
        return
    os.close(lifeline)
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


def _runs_in(group: int, process: str) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:  # noqa: PTH123 - no pathlib here
            state, _parent, its_group = stat.read().rpartition(b")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(its_group) == group and state not in (b"Z", b"X")


if __name__ == "__main__":
    main(sys.argv[1:])
