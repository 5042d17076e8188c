"""Dagster's daemons by fork: what a daemon imports takes seconds, and a test that kills fifty has none to spare.

For each line on its input it forks a daemon, on the arguments that it was given, and prints the daemon's process id.
"""

from __future__ import annotations

import os
import signal
import sys

from dagster._daemon.cli import run_command


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            # As every process of its own has it: those that a daemon starts are waited for.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(sys.stderr.fileno(), 1)
            os.close(0)
            run_command.main(args=sys.argv[1:], standalone_mode=False)
            return
        print(child, flush=True)  # noqa: T201 - for whoever asked


if __name__ == "__main__":
    main()
