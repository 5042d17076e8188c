"""Where the seconds of a process go: its main thread, looked at every few milliseconds, by what it was busy with."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

INTERVAL = 0.005
# What a frame's file says about the work; of a stack the first that matches, from the innermost frame outwards.
KINDS = (
    ("importlib._bootstrap", "imports"),
    ("/sklearn/", "scikit-learn"),
    ("/skops/", "skops"),
    ("/pandera/", "pandera"),
    ("/ml_assets/lake/", "DuckDB and the lake"),
    ("/ml_assets/", "our own Python"),
    ("/dagster/", "Dagster: steps and events"),
    ("/dagster_shared/", "Dagster: steps and events"),
)


@contextmanager
def sampled() -> Iterator[dict[str, float]]:
    """Sample the calling thread within the block; afterwards the mapping holds seconds per kind of work."""
    seconds: dict[str, float] = {}
    counts: Counter[str] = Counter()
    done = threading.Event()
    watched = threading.get_ident()

    def watch() -> None:
        while not done.wait(INTERVAL):
            counts[kind_of(sys._current_frames().get(watched))] += 1  # noqa: SLF001 - the documented way to look

    began = time.perf_counter()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seconds
    finally:
        done.set()
        watcher.join()
        elapsed = time.perf_counter() - began
        total = max(counts.total(), 1)
        seconds |= {kind: round(elapsed * count / total, 2) for kind, count in counts.most_common()}


def kind_of(frame: FrameType | None) -> str:
    """What a stack is busy with: an import anywhere on it wins, then the innermost known file."""
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    if any("importlib._bootstrap" in file for file in files):
        return "imports"
    return next((kind for file in files for part, kind in KINDS if part in file), "other")
