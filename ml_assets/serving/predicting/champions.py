"""The versions that are served: each project's champion, as the ledger has it, and a few others that were asked for.

A promotion or rollback is an entry of the ledger. It is looked for once in half a second, by the time of the
catalogue's last write; a new champion is loaded and tried on real rows beside the old one and then takes its place at
once. Requests that are being answered keep the version that they began with. What cannot be loaded leaves the old one
serving, and is told.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.registry.export import is_installed
from ml_assets.registry.ledger import current_champion, newest_id, read_entries
from ml_assets.registry.models import RegistryError
from ml_assets.serving.predicting.background import Background
from ml_assets.serving.predicting.features import fingerprint
from ml_assets.serving.predicting.pinned import AGAIN, Failure, NotNowError, Pinned
from ml_assets.serving.predicting.scorer import exported
from ml_assets.serving.predicting.served import Served
from ml_assets.serving.queries import reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry
    from ml_assets.serving.predicting.metrics import Metrics

LOG = logging.getLogger(__name__)
SECONDS = 0.5
# The ONNX file of a champion is made when it has been promoted: while another serves it is waited for so many seconds,
# then the pipeline serves until it is there.
GRACE = 2.5


class Champions:
    """What is served. Its thread is the only one that changes it, but for pinned versions.

    Args:
        projects: by name.
        lake, registry: where versions and rows are.
        metrics: counts what happens.
    """

    def __init__(self, projects: Mapping[str, Project], lake: Lake, registry: Registry, metrics: Metrics) -> None:
        self._projects, self._lake, self._registry, self._metrics = projects, lake, registry, metrics
        self._served: dict[str, Served] = {}
        self._wanted: dict[str, int] = {}
        self._failures: dict[str, Failure] = {}
        self._pinned = Pinned(self._loaded)
        self._looking = threading.Lock()
        self._stamp: Any = None
        self._ledger, self._loads = -1, 0
        self._looked = False
        self._following = Background("champions", SECONDS, self._follow)

    def start(self) -> None:
        """Follow the ledger in a thread, from now on. To start twice does nothing."""
        self._following.start()

    def stop(self) -> None:
        """Stop following; whatever is being loaded is finished first."""
        self._following.stop()

    def current(self, project: str) -> Served | None:
        """The champion of a project, loaded; None while there is none."""
        return self._served.get(project)

    def pinned(self, project: str, number: int) -> Future[Served | Failure]:
        """A version that was asked for by its number, once it is loaded; or why it cannot be served.

        Raises:
            NotNowError: if too many others are being loaded.
        """
        champion = self._served.get(project)
        if champion is None or champion.number != number:
            return self._pinned.ask(project, number)
        found: Future[Served | Failure] = Future()
        found.set_result(champion)
        return found

    async def wait_for_pinned(self, project: str, number: int) -> Served | Failure:
        """The same, for whoever waits in the loop: no thread of those that answer requests waits."""
        # Others may wait for the same: who gives up takes it from none of them.
        return await asyncio.shield(asyncio.wrap_future(self.pinned(project, number)))

    def told(self, error: Exception) -> str:
        """An error as strangers may read it: without the folder of this home. The log has all of it."""
        home = str(self._registry.folder.parent)
        return f"{type(error).__name__}: {error}".replace(home, "the home folder")

    def state(self) -> dict[str, dict[str, Any]]:
        """Of each project that has a champion: the version and engine that serve, and what could not be loaded."""
        found: dict[str, dict[str, Any]] = {}
        for name, wanted in self._wanted.items():
            served, failure = self._served.get(name), self._failures.get(name)
            found[name] = {"champion": wanted, "serves": served.number if served else None}
            if served:
                found[name] |= {"engine": served.scorer.engine}
                found[name] |= {"why_not_onnx": served.scorer.why} if served.scorer.why else {}
            if failure:
                found[name] |= {"failed": {"version": failure.version, "reason": failure.reason}}
        return found

    @property
    def has_looked(self) -> bool:
        """Whether the ledger has been read."""
        return self._looked

    @property
    def is_ready(self) -> bool:
        """Whether the ledger has been read, and every project that has a champion serves a version."""
        return self._looked and self._wanted.keys() <= self._served.keys()

    def look(self) -> None:
        """Do now what the thread does every half second: read what the ledger says, and load what is new."""
        with self._looking:
            self._look()

    def look_first(self) -> None:
        """Read what the ledger says, if it has not been read yet.

        Raises:
            NotNowError: if it cannot be read.
        """
        if self._looked:
            return
        try:
            self.look()
        except Exception as error:
            LOG.exception("the ledger could not be read")
            self._metrics.failed_looks.inc()
            raise NotNowError(f"the lake cannot be read now: {type(error).__name__}. Remedy: ask again") from error

    def _follow(self) -> None:
        try:
            self.look()
        except Exception:
            # The lake may be away for a moment: what serves goes on serving.
            LOG.exception("the ledger could not be read")
            self._metrics.failed_looks.inc()

    def _look(self) -> None:
        stamp = self._stamp_now()
        now = time.monotonic()
        due = [name for name, failure in self._failures.items() if now - failure.at > AGAIN]
        faster = {name for name, served in self._served.items() if served.can_be_faster}
        if stamp == self._stamp and not due and not faster:
            return
        with reading(self._lake) as cursor:
            if cursor is None:
                self._looked = True
                return
            newest = newest_id(cursor)
            if newest != self._ledger or due:
                entries = {name: read_entries(cursor, name) for name in self._projects}
                self._entries = entries
                champions = {name: current_champion(of) for name, of in entries.items()}
                self._wanted = {name: number for name, number in champions.items() if number is not None}
            same = {name for name, served in self._served.items() if _reads_the_same(cursor, served)}
            for one in self._pinned.loaded():
                if not _reads_the_same(cursor, one):
                    self._pinned.drop(one.project.name, one.number)
        waits = False
        for name, number in self._wanted.items():
            served, failure = self._served.get(name), self._failures.get(name)
            is_same = served is not None and served.number == number
            if is_same and name in same and name not in faster:
                self._failures.pop(name, None)
            elif failure is not None and failure.version == number and name not in due and newest == self._ledger:
                continue
            elif served is not None and not is_same and self._is_being_exported(name, number):
                waits = True
            else:
                self._load(name, number)
        self._stamp, self._ledger, self._looked = None if waits else stamp, newest, True

    def _is_being_exported(self, name: str, number: int) -> bool:
        """Whether a version was promoted a moment ago, and its ONNX file is not there yet."""
        promoted = next(one for one in reversed(self._entries[name]) if one.kind == "promoted")
        if datetime.now(UTC) - datetime.fromisoformat(promoted.at) > timedelta(seconds=GRACE) or not is_installed():
            return False
        try:
            return exported(self._registry, self._registry.version(name, number))[1] is None
        except RegistryError:
            return False  # that is told when it is loaded

    def _load(self, name: str, number: int) -> None:
        before, started = self._served.get(name), time.perf_counter()
        loaded = self._tried(name, number, self._entries[name])
        if isinstance(loaded, Failure):
            self._failures[name] = loaded
            self._metrics.failed_loads.labels(name).inc()
            return
        self._served[name] = loaded
        self._failures.pop(name, None)
        self._pinned.drop(name, number)
        self._metrics.champion.labels(name).set(number)
        if before is not None and before.number != number:
            self._metrics.swaps.labels(name).inc()
        LOG.info("%s: version %d serves by %s, loaded in %.2f s", name, number, loaded.scorer.engine,
                 time.perf_counter() - started)  # fmt: skip

    def _loaded(self, name: str, number: int) -> Served | Failure:
        """A version that was asked for by its number."""
        try:
            with self._lake.reader() as cursor:
                entries = read_entries(cursor, name)
        except Exception as error:
            LOG.exception("%s: the ledger could not be read", name)
            return Failure(number, self.told(error), time.monotonic())
        found = self._tried(name, number, entries)
        # What was written while it was loaded is found at the next look.
        self._loads += 1
        return found

    def _tried(self, name: str, number: int, entries: Sequence[Entry]) -> Served | Failure:
        try:
            return Served(self._projects[name], self._lake, self._registry, number, entries)
        except Exception as error:
            LOG.exception("%s: version %d cannot be served", name, number)
            return Failure(number, self.told(error), time.monotonic())

    def _stamp_now(self) -> tuple[Any, ...]:
        """Size and time of the catalogue's files, others after every commit; and how often a version was pinned."""
        found: list[Any] = [self._loads]
        for suffix in ("", "-wal"):
            try:
                state = self._lake.catalogue.with_name(self._lake.catalogue.name + suffix).stat()
            except FileNotFoundError:
                found.append(None)
            else:
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        return tuple(found)


def _reads_the_same(cursor: duckdb.DuckDBPyConnection, served: Served) -> bool:
    """Whether the tables that a version has read are still the same; one that is gone is told when it is loaded."""
    features = served.features
    try:
        return fingerprint(cursor, served.project, row_wise=features.inputs.row_wise) == features.fingerprint
    except duckdb.Error:
        return False
