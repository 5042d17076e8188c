"""Dagster's SQLite event store, with one transaction for a batch of events instead of three for each.

A range of a year is hundreds of materializations of each asset, and Dagster's own store opens, compiles and commits for
every one of them: that, and not our work, was nearly all of a backfill. The events are still written by the stock
`store_event`, one after the other, so that what is stored cannot differ; only its connections are joined. See ADR 0004.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import QueuePool, create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dagster import AssetKey
    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy.engine import Connection, Engine


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """SQLite event log storage that writes a batch of events in one transaction per database.

    Dagster makes batches only where the environment variable `DAGSTER_EVENT_BATCH_SIZE` is above zero. When a batch
    fails nothing of it is stored, and Dagster stores its events one by one.

    Args:
        base_dir: Folder of the databases: `index.db`, and one per run.
        inst_data: How Dagster names this class and its configuration to other processes.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._tables: set[str] = set()
        self._current = _Current()
        self._engines: dict[tuple[int, str], Engine] = {}
        super().__init__(base_dir, inst_data)
        # A batch holds two connections at a time, which the stock lock does not let one thread do.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the store from `dagster.yaml`; the stock method names its own class, and would build that.

        Args:
            inst_data: How Dagster names this class and its configuration to other processes.
            config_value: The `config` of `event_log_storage`.

        Returns:
            A store of this class.
        """
        return cls(inst_data=inst_data, **config_value)

    def has_table(self, table_name: str) -> bool:
        """Say whether the index has a table, asking the database until the answer is yes.

        Dagster asks for every event, each time on a new connection. Only a yes is kept: a migration adds tables.

        Args:
            table_name: A table of Dagster's event log.

        Returns:
            Whether it exists.
        """
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; one that goes to two databases is a batch of its own, with one transaction on each.

        Args:
            event: The event.
        """
        both = event.is_dagster_event and event.dagster_event_type in (ASSET_EVENTS | ASSET_CHECK_EVENTS)
        if both and self._current.batch is None:
            self.store_event_batch([event])
        else:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction on each run's database and one on the index.

        The index commits first: if it fails, the runs' databases roll back too, and Dagster's storing of the events one
        by one starts from nothing. The other way round, it would double the run's log.

        Args:
            events: The events, of one run as Dagster batches them.
        """
        run_ids = dict.fromkeys(event.run_id for event in events)
        with ExitStack() as transactions:  # unwound backwards, so the one opened last commits first
            batch = _Batch(
                {shard: transactions.enter_context(self._connect(shard)) for shard in (*run_ids, INDEX_SHARD_NAME)}
            )
            self._current.batch = batch
            try:
                for event in events:
                    self.store_event(event)
            finally:
                self._current.batch = None
            for latest in batch.latest.values():
                for event, event_id in latest.values():
                    self._store_asset_event(batch.connections[INDEX_SHARD_NAME], event, event_id)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Yield the connection that this thread's batch has open, else one of its own, committed at the end."""
        if self._current.batch is not None:
            yield self._current.batch.connections[shard]
        else:
            with self._db_lock, self._engine(shard).begin() as connection:
                yield connection

    def _engine(self, shard: str) -> Engine:
        """The engine of the index, or of the run that was written last, with its one connection open.

        The stock store makes one for each event: that compiles every statement anew, and whoever closes the last
        connection to a database has SQLite move its log into it, which waits for the disk twice.
        """
        place = os.getpid(), shard  # a forked child must not use its parent's
        if place not in self._engines:
            self._forget(but=INDEX_SHARD_NAME)
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._engines[place] = engine
        return self._engines[place]

    def _forget(self, but: str = "") -> None:
        for place in [each for each in self._engines if each[0] == os.getpid() and each[1] != but]:
            self._engines.pop(place).dispose()

    def wipe(self) -> None:
        """Remove all events; with their files the connections to them go."""
        with self._db_lock:
            self._forget()
        super().wipe()

    def dispose(self) -> None:
        """Let go of the databases."""
        with self._db_lock:
            self._forget()
        super().dispose()

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        """Update the asset's row, which holds only its latest event of each type: in a batch, once and at its end."""
        if self._current.batch is not None:
            self._current.batch.keep_latest(event, event_id)
        else:
            super()._store_asset_event(conn, event, event_id)


@dataclass(frozen=True)
class _Batch:
    """A batch being stored: its open connections, and for each asset the latest event of each type, oldest first."""

    connections: Mapping[str, Connection]
    latest: dict[AssetKey | None, dict[str, tuple[EventLogEntry, int]]] = field(default_factory=dict)

    def keep_latest(self, event: EventLogEntry, event_id: int) -> None:
        of_asset = self.latest.setdefault(event.get_dagster_event().asset_key, {})
        of_asset.pop(event.get_dagster_event().event_type_value, None)  # so that it goes to the end
        of_asset[event.get_dagster_event().event_type_value] = (event, event_id)


class _Current(threading.local):
    """The batch that the current thread is storing: other threads wait for the lock, and open their own connections."""

    batch: _Batch | None = None
