"""Dagster's SQLite run store, in which a run exists once and begins once, also while two daemons are at work.

Dagster looks whether a run key has been used and then makes the run, and looks whether a run is in the queue and then
starts it: of two daemons both can look before either acts. Here the second is refused, under one lock. See ADR 0015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from dagster import DagsterEventType, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterRunAlreadyExists
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from dagster import DagsterEvent, DagsterRun
    from dagster._serdes import ConfigurableClassData

# What a run may be when it is put into the queue, and when it is taken out to be started.
BEFORE = {
    DagsterEventType.PIPELINE_ENQUEUED: {DagsterRunStatus.NOT_STARTED},
    DagsterEventType.PIPELINE_STARTING: {DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED},
}


class AlreadyStartedError(Exception):
    """Another daemon has started this run."""


class OnceSqliteRunStorage(SqliteRunStorage):
    """SQLite run storage that refuses what would make a run double."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the store from `dagster.yaml`; the stock method names its own class, and would build that."""
        return cls.from_local(inst_data=inst_data, **config_value)

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        """Keep a new run.

        Raises:
            DagsterRunAlreadyExists: if its sensor has made another of the same run key. The daemon's next tick finds
                that one, and is content.
        """
        tags = dagster_run.tags
        # A run that is executed again carries the key of its parent.
        if RUN_KEY_TAG not in tags or dagster_run.parent_run_id:
            return super().add_run(dagster_run)
        same = {name: tags[name] for name in (RUN_KEY_TAG, SENSOR_NAME_TAG) if name in tags}
        with self._lock():
            if self.get_run_ids(RunsFilter(tags=same), limit=1):
                raise DagsterRunAlreadyExists(f"a run of the key {tags[RUN_KEY_TAG]} exists: another daemon made it")
            return super().add_run(dagster_run)

    def handle_run_event(self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        """Let an event change a run's status.

        Raises:
            AlreadyStartedError: if the run is to be started and has been: whoever asks goes on to the next.
        """
        allowed = BEFORE.get(event.event_type)
        if allowed is None:
            super().handle_run_event(run_id, event, update_timestamp)
            return
        with self._lock():
            run = self._get_run_by_id(run_id)
            if run is None or run.status in allowed:
                super().handle_run_event(run_id, event, update_timestamp)
            elif event.event_type is DagsterEventType.PIPELINE_STARTING:
                raise AlreadyStartedError(
                    f"run {run_id} is {run.status.value}: another daemon has started it. Two daemons work on this "
                    "instance. Remedy: stop one"
                )

    def _lock(self) -> FileLock:
        # One each: a lock belongs to a thread.
        return FileLock(f"{self._conn_string.removeprefix('sqlite:///')}.lock")
