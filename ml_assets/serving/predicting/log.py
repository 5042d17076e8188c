"""The request log: a sample of what was asked and answered, written to the lake while others are answered."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import getsizeof
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.lake.connection import LakeError
from ml_assets.registry.requests import Logged, hashed, salt_of, write_requests
from ml_assets.serving.predicting.background import Background

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ml_assets.lake.connection import Lake
    from ml_assets.serving.predicting.metrics import Metrics
    from ml_assets.serving.predicting.served import Answer, Served

LOG = logging.getLogger(__name__)
# A transaction every so many seconds holds what has come since; the lake is written by others too.
SECONDS = 5.0
# Rows that wait at most, and bytes of their values: while the lake cannot be written, later ones are counted and not
# kept.
WAITING, HELD = 20_000, 64 * 2**20
# Characters of a text that are kept.
LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row that was answered; `size` in bytes, as far as its values have one."""

    at: datetime
    served: Served
    row: Mapping[str, Any]
    answer: Answer
    size: int


class RequestLog:
    """Keeps requests. `note` costs some microseconds a row and waits for no lake.

    Args:
        lake: where they go.
        home: holds the salt of hashed columns.
        metrics: count what was kept, and what was not.
    """

    def __init__(self, lake: Lake, home: Path, metrics: Metrics) -> None:
        self._lake, self._home, self._metrics = lake, home, metrics
        # Rows stay here until they are written; whoever changes it, or the bytes that it holds, has the lock.
        self._waiting: deque[_Waiting] = deque()
        self._held, self._lock = 0, threading.Lock()
        self._draw = random.Random()  # noqa: S311 - a sample, no secret
        self._writing = Background("request log", SECONDS, self._write)

    def start(self) -> None:
        """Write what is noted, from now on."""
        self._writing.start()

    def stop(self) -> None:
        """Write what waits, and stop; what cannot be written now is lost, and counted."""
        if self._writing.is_running:
            self._writing.stop()
            self.flush()
            for one in self._take(list(self._waiting), keep=[]):
                self._metrics.unlogged.labels(one.served.project.name).inc()

    def note(self, served: Served, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
        """Keep a request, if the lot falls on it and there is room."""
        if not self._writing.is_running or self._draw.random() >= served.project.serving.log:
            return
        now, kept = datetime.now(UTC).replace(tzinfo=None), 0
        with self._lock:
            for row, answer in zip(rows, answers, strict=False):
                size = sum(map(getsizeof, row.values())) + sum(map(getsizeof, answer.features.values()))
                if len(self._waiting) >= WAITING or self._held + size > HELD:
                    break
                self._waiting.append(_Waiting(now, served, row, answer, size))
                self._held += size
                kept += 1
        if kept < len(rows):
            self._metrics.unlogged.labels(served.project.name).inc(len(rows) - kept)

    def flush(self) -> None:
        """Write what waits, a transaction for each project; where the lake does not take it, it waits on."""
        with self._lock:
            taken = list(self._waiting)
        by_project: dict[str, list[_Waiting]] = {}
        for one in taken:
            by_project.setdefault(one.served.project.name, []).append(one)
        left = [one for name, found in by_project.items() if not self._is_done_with(name, found) for one in found]
        self._take(taken, keep=left)

    def _is_done_with(self, name: str, found: Sequence[_Waiting]) -> bool:
        """Write rows of one project; False if they are to wait."""
        project = found[0].served.project
        try:
            salt = salt_of(self._home) if project.serving.personal else b""
            write_requests(self._lake, project.table("requests"), [_logged(one, salt) for one in found])
        except (LakeError, duckdb.Error, OSError):
            # Answers do not hang on it, and the next time it may succeed.
            LOG.exception("%s: %d rows of requests cannot be kept now: they wait", name, len(found))
            return False
        except Exception:
            # Of the rows themselves: waiting would help nothing, and take the room of others.
            LOG.exception("%s: %d rows of requests could not be kept", name, len(found))
            self._metrics.unlogged.labels(name).inc(len(found))
        else:
            self._metrics.logged.labels(name).inc(len(found))
        return True

    def _take(self, taken: Sequence[_Waiting], *, keep: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Take the oldest rows from the queue, but for some of them."""
        with self._lock:
            for _ in taken:
                self._waiting.popleft()
            self._waiting.extendleft(reversed(keep))
            self._held = sum(one.size for one in self._waiting)
        return taken

    def _write(self) -> None:
        started = time.perf_counter()
        try:
            self.flush()
        except Exception:
            # Whatever it was: requests go on to be kept, and the queue ends at its limits.
            LOG.exception("the request log could not be written")
        LOG.debug("wrote the request log in %.2f s", time.perf_counter() - started)


def _logged(one: _Waiting, salt: bytes) -> Logged:
    served, personal = one.served, one.served.project.serving.personal
    seen = {**one.row, **served.features.filled}
    long = {name for name, value in seen.items() if isinstance(value, str) and len(value) > LONGEST}
    kept = {
        name: hashed(salt, value) if name in personal else f"{value[:LONGEST]}…" if name in long else value
        for name, value in seen.items()
        if personal.get(name) != "drop"
    }
    # A feature made of a personal column tells of it; one made of a text that was cut could not be made again.
    features = {
        name: value
        for name, value in one.answer.features.items()
        if served.features.inputs.sources[name].isdisjoint(personal.keys() | long)
    }
    version, snapshot = served.scorer.version, served.features.snapshot
    return Logged(one.at, version.number, served.scorer.engine, snapshot, kept, features, one.answer.predicted)
