"""The request log: a sample of what was asked and answered, written to the lake while others are answered."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_assets.registry.requests import Logged, hashed, salt_of, write_requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ml_assets.lake.connection import Lake
    from ml_assets.serving.predicting.metrics import Metrics
    from ml_assets.serving.predicting.served import Answer, Served

LOG = logging.getLogger(__name__)
# A transaction every so many seconds holds what has come since; the lake is written by others too.
SECONDS = 5.0
# Rows that wait at most: while the lake cannot be written, later ones are counted and not kept.
WAITING = 20_000


class RequestLog:
    """Keeps requests. `note` costs a microsecond and never waits.

    Args:
        lake: where they go.
        home: holds the salt of hashed columns.
        metrics: count what was kept, and what was not.
    """

    def __init__(self, lake: Lake, home: Path, metrics: Metrics) -> None:
        self._lake, self._home, self._metrics = lake, home, metrics
        self._waiting: deque[tuple[datetime, Served, Mapping[str, Any], Answer]] = deque()
        self._draw = random.Random()  # noqa: S311 - a sample, no secret
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write what is noted, from now on."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._write, name="request log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.flush()

    def note(self, served: Served, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
        """Keep a request, if the lot falls on it and there is room."""
        if self._thread is None or self._draw.random() >= served.project.serving.log:
            return
        room = WAITING - len(self._waiting)
        now = datetime.now(UTC).replace(tzinfo=None)
        self._waiting.extend((now, served, row, answer) for row, answer in zip(rows[:room], answers, strict=False))
        if len(rows) > room:
            self._metrics.unlogged.labels(served.project.name).inc(len(rows) - room)

    def flush(self) -> None:
        """Write what waits, a transaction for each project."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        salt = salt_of(self._home) if any(one[1].project.serving.personal for one in taken) else b""
        by_project: dict[str, list[tuple[Served, Logged]]] = {}
        for at, served, row, answer in taken:
            by_project.setdefault(served.project.name, []).append((served, _logged(at, served, row, answer, salt)))
        for name, found in by_project.items():
            try:
                write_requests(self._lake, found[0][0].project.table("requests"), [one for _, one in found])
            except Exception:
                # Answers do not hang on it: it is told, and counted.
                LOG.exception("%s: %d rows of requests could not be kept", name, len(found))
                self._metrics.unlogged.labels(name).inc(len(found))
            else:
                self._metrics.logged.labels(name).inc(len(found))

    def _write(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(SECONDS)
            started = time.perf_counter()
            self.flush()
            LOG.debug("wrote the request log in %.2f s", time.perf_counter() - started)


def _logged(at: datetime, served: Served, row: Mapping[str, Any], answer: Answer, salt: bytes) -> Logged:
    personal = served.project.serving.personal
    seen = {**row, **served.features.filled}
    kept = {
        name: hashed(salt, value) if name in personal else value
        for name, value in seen.items()
        if personal.get(name) != "drop"
    }
    # A feature made of a personal column tells of it.
    features = {
        name: value
        for name, value in answer.features.items()
        if not served.features.inputs.sources[name] & personal.keys()
    }
    version = served.scorer.version
    snapshot = served.features.snapshot
    return Logged(at, version.number, served.scorer.engine, snapshot, kept, features, answer.predicted)
