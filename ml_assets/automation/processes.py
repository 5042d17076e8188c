"""Run a few long-lived programs together so that none of them is left behind, however it ends.

Each program leads a process group of its own, with a guard beside it (see `guard`) that ends the group when this
process is gone. So Ctrl-C in a terminal reaches only the supervisor, which stops its children in order; and `kill -9`
of the supervisor, or of a guard, ends them all the same. Groups are enough because nothing in Dagster leaves its
group: its code servers, run workers and step processes all stay in that of the web server or the daemon.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ml_assets.automation import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType, TracebackType

POLL_SECONDS = 0.2
PROGRESS_SECONDS = 5.0
LOG_TAIL_BYTES = 4_000
LOG_TAIL_LINES = 20
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessError(RuntimeError):
    """A child process ended by itself, lost its guard, or did not become ready in time."""


class StopSignal(SystemExit):
    """A signal asked the supervisor to stop; left alone, it ends the program with the shell's code, 128 + signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@dataclass(frozen=True)
class Child:
    """A started program: leader of the process group `process.pid`, its output in `log`, its guard on the lifeline."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    lifeline: socket.socket

    def trouble(self) -> str | None:
        """What is wrong with the child, or None while it runs under its guard."""
        code = self.process.poll()
        if code is not None:
            return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if select.select([self.lifeline], [], [], 0)[0]:  # the other end is closed
            return "lost its guard process, which somebody killed"
        return None

    def log_tail(self) -> str:
        """The last lines of the log, indented, under its path."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"The end of {self.log}:", *(f"    {line}" for line in lines or ["(empty)"])])


class Supervisor:
    """Starts programs, watches them, and stops all of them, last started first, when the `with` block is left.

    Inside the block SIGINT, SIGTERM and SIGHUP raise `StopSignal`; a second one, while stopping, kills without grace.
    It has to be used in the main thread, where Python delivers signals.

    Args:
        say: Receives one message at a time for the person who started it.
        grace: Seconds that a child's processes have between SIGTERM and SIGKILL.
    """

    def __init__(self, *, say: Callable[[str], object] = print, grace: float = 15.0) -> None:
        self._say_raw = say
        self._grace = grace
        self._children: dict[str, Child] = {}
        self._stack = contextlib.ExitStack()
        self._handlers: dict[int, object] = {}
        self._stopping = False
        self._hurry = False

    def __enter__(self) -> Self:
        for signum in STOP_SIGNALS:
            handler = signal.getsignal(signum)
            if signum == signal.SIGHUP and handler is signal.SIG_IGN:
                continue  # under nohup the closing of the terminal is meant to be ignored
            self._handlers[signum] = handler
            signal.signal(signum, self._on_signal)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            for signum, handler in self._handlers.items():
                signal.signal(signum, handler)  # type: ignore[arg-type]  # as getsignal gave it

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Child:
        """Start a program under a guard; the log of its last run is kept as `NAME.log.1`.

        Args:
            name: What messages call it.
            command: Program and arguments.
            env: Variables added to this process's environment.
            log: Where its output and that of its children goes.

        Returns:
            The running child; it is not ready for work yet.
        """
        if name in self._children:
            raise ValueError(f"a child called {name!r} runs already: give this one another name")
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        lifeline, far_end = socket.socketpair()
        guarded = [sys.executable, "-I", "-S", guard.__file__, str(far_end.fileno()), str(self._grace), *command]
        # A signal between the start and the note of it would leave a child that only its guard knows.
        with _blocked(STOP_SIGNALS), far_end, log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - a list, no shell
                guarded,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[far_end.fileno()],
                start_new_session=True,
            )
            child = self._children[name] = Child(name, process, log, lifeline)
            self._stack.callback(self._end, child)
        return child

    def wait_until(self, name: str, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until a child is ready, and say now and then that it is being waited for.

        Args:
            name: The child's name.
            ready: Whether it is; called a few times a second, so it has to be quick.
            timeout: Seconds.

        Raises:
            ProcessError: A child (this or another one) is in trouble, or the time is over.
        """
        started = said = time.monotonic()
        while not ready():
            self._check()
            now = time.monotonic()
            if now - started > timeout:
                tail = self._children[name].log_tail()
                raise ProcessError(f"{name} was not ready within {timeout:.0f} s.\n{tail}")
            if now - said > PROGRESS_SECONDS:
                said = now
                self._say(f"waiting for {name} ({now - started:.0f} s)")
            time.sleep(POLL_SECONDS)

    def watch(self) -> int:
        """Block until a signal arrives or a child is in trouble, then stop everything.

        Returns:
            The exit code for the program: 128 + signal, or 1 when a child ended.
        """
        try:
            while True:
                self._check()
                time.sleep(POLL_SECONDS)
        except StopSignal as stop:
            self._say(f"{signal.Signals(stop.signum).name}: stopping (once more to kill)")
            code = 128 + stop.signum
        except ProcessError as error:
            self._say(str(error))
            code = 1
        self.stop()
        return code

    def stop(self) -> None:
        """Stop all children, last started first; when it returns, none of their processes is alive."""
        self._stopping = True
        self._stack.close()
        self._children.clear()

    def _check(self) -> None:
        for child in self._children.values():
            if trouble := child.trouble():
                raise ProcessError(f"{child.name} {trouble}.\n{child.log_tail()}")

    def _end(self, child: Child) -> None:
        self._say(f"stopping {child.name}")
        deadline = time.monotonic() + self._grace
        guard.end_group(child.process.pid, patient=lambda: time.monotonic() < deadline and not self._hurry)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(guard.KILLED_SECONDS)
        with contextlib.suppress(OSError), child.lifeline as lifeline:
            lifeline.settimeout(guard.KILLED_SECONDS)
            lifeline.send(b".")  # nothing is left to do for the guard ...
            lifeline.recv(1)  # ... and it has gone

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            raise StopSignal(signum)
        self._hurry = True

    def _say(self, message: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be closed; that must not keep anything from stopping
            self._say_raw(message)


@contextlib.contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
