"""What one process costs: wall-clock time, CPU time and peak memory, as the operating system counted them.

Every side of a row runs in a process of its own, so that imports and memory count. The figures come from `wait4`, which
is exact and costs nothing; only the peak of several processes at once has to be sampled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, KiB on Linux
SAMPLE_SECONDS = 0.02


class ProcessFailedError(RuntimeError):
    """A measured command did not exit with 0, so its figures mean nothing."""


@dataclass(frozen=True)
class Measured:
    """What one process cost.

    Attributes:
        seconds: Wall-clock time from start to exit.
        cpu_seconds: User and system time of the process and of the children it waited for.
        peak_rss_bytes: Peak resident memory; of the largest single process, or of all at once for a whole tree.
        output: What the process printed.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    output: str

    def report(self) -> dict[str, Any]:
        """Return the JSON object on the last line that the process printed.

        Raises:
            ProcessFailedError: The last line is not a JSON object.
        """
        last = self.output.strip().rpartition("\n")[2]
        try:
            report = json.loads(last)
        except json.JSONDecodeError:
            report = None
        if not isinstance(report, dict):
            raise ProcessFailedError(f"expected one line of JSON as the last line printed, got {last[:200]!r}")
        return report


def timed_process(command: Sequence[str], env: Mapping[str, str], *, whole_tree: bool = False) -> Measured:
    """Run a command to its end and return what it cost.

    Args:
        command: Program and arguments; no shell.
        env: The whole environment of the process.
        whole_tree: Count the memory of the process and its descendants together, sampled every 20 ms, where a command
            works in several processes. Pages that they share count once for each.

    Returns:
        The figures. On Linux `peak_rss_bytes` cannot be less than what this process itself holds at the start, since a
        child inherits the mark: so the harness imports nothing heavy.

    Raises:
        ProcessFailedError: The command did not exit with 0; the message holds the end of its error output.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            begun = time.perf_counter()
            process = subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
            sampler = _PeakSampler(process.pid) if whole_tree else None
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)  # else Popen would wait for it again
        sampled = sampler.stop() if sampler else 0
        if process.returncode:
            tail = err.read_text(errors="replace")[-2000:]
            raise ProcessFailedError(f"{' '.join(command)} exited with {process.returncode}:\n{tail}")
        return Measured(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_rss_bytes=max(usage.ru_maxrss * RSS_UNIT, sampled),
            output=out.read_text(),
        )


class _PeakSampler:
    """Samples the resident memory of a process and its descendants in a thread, until stopped."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._stopped = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop sampling and return the peak in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self._peak = max(self._peak, sum(_resident(process) for process in processes))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # it ended between the listing and this line
        return 0
