from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._utils.tags import TagConcurrencyLimitsCounter

from ml_assets.assets.common import RETRAINING_TAG
from ml_assets.automation.event_store import BatchedSqliteEventLogStorage
from ml_assets.automation.instance import instance_environment, write_instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def _instance(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance as Dagster's own processes get it: from the environment."""
    for name, value in instance_environment(write_instance(home)).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    with _instance(tmp_path / "home", monkeypatch) as instance:
        yield instance


def test_everything_is_stored_below_the_home(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage)
    assert isinstance(instance.run_storage, SqliteRunStorage)
    assert isinstance(instance.schedule_storage, SqliteScheduleStorage)
    assert isinstance(instance.compute_log_manager, LocalComputeLogManager)

    home = tmp_path / "home"
    for file in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        assert (home / file).is_file()
    assert instance.compute_log_manager.get_captured_local_path(["log"], "out").startswith(str(home))


def test_the_stock_instance_finds_what_ours_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    with _instance(home, monkeypatch) as instance:
        dg.materialize([_rows], instance=instance)

    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as stock:
        assert type(stock.event_log_storage) is not BatchedSqliteEventLogStorage
        assert len(stock.get_runs()) == 1
        assert stock.get_latest_materialization_event(dg.AssetKey("_rows"))


@dg.asset
def _rows() -> int:
    return 3


def test_a_run_succeeds_and_its_event_and_log_are_there(instance: dg.DagsterInstance) -> None:
    result = dg.materialize([_rows], instance=instance)

    assert result.success
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert instance.get_latest_materialization_event(dg.AssetKey("_rows"))


def test_nothing_is_reported_home(instance: dg.DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert os.environ["DO_NOT_TRACK"] == os.environ["DAGSTER_DISABLE_TELEMETRY"] == "1"


def test_one_retraining_of_a_project_runs_at_a_time_and_other_runs_go_on(instance: dg.DagsterInstance) -> None:
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    assert coordinator.dequeue_interval_seconds == 1
    queue = instance.get_concurrency_config().run_queue_config
    assert queue
    assert queue.max_concurrent_runs == 4

    def retraining(project: str) -> dg.DagsterRun:
        return dg.DagsterRun(job_name=f"{project}_retrain", tags={RETRAINING_TAG: project})

    counter = TagConcurrencyLimitsCounter(queue.tag_concurrency_limits, [retraining("housing")])
    assert counter.is_blocked(retraining("housing"))
    assert not counter.is_blocked(retraining("taxis"))
    assert not counter.is_blocked(dg.DagsterRun(job_name="housing_refresh"))


def test_a_run_that_hangs_or_dies_is_ended_and_a_dead_process_is_tried_again(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_start_timeout_seconds == 300
    assert instance.run_monitoring_max_runtime_seconds == 6 * 3600
    assert instance.run_monitoring_poll_interval_seconds == 30
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 1
    assert instance.run_retries_retry_on_asset_or_op_failure is False


def test_sensors_and_schedules_run_side_by_side_and_forget_idle_ticks(instance: dg.DagsterInstance) -> None:
    assert instance.get_settings("sensors") == {"use_threads": True, "num_workers": 4}
    assert instance.get_settings("schedules") == {"use_threads": True, "num_workers": 4}
    kept = instance.get_tick_retention_settings(InstigatorType.SENSOR)
    assert kept[TickStatus.SKIPPED] == 1
    assert kept[TickStatus.SUCCESS] == kept[TickStatus.FAILURE] == 90


def test_a_code_location_may_take_long_to_load(instance: dg.DagsterInstance) -> None:
    assert instance.code_server_process_startup_timeout == 300
    assert instance.code_server_reload_timeout == 300


def test_the_environment_makes_batches_in_that_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_instance(tmp_path.relative_to(tmp_path) / "home") == tmp_path / "home"
    environment = instance_environment(tmp_path.relative_to(tmp_path) / "home")
    assert environment["DAGSTER_HOME"] == str(tmp_path / "home")
    assert environment["DAGSTER_EVENT_BATCH_SIZE"] == "500"


def test_the_file_is_written_once(tmp_path: Path) -> None:
    file = write_instance(tmp_path / "home") / "dagster.yaml"
    written = file.stat()

    write_instance(tmp_path / "home")

    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
    assert [path.name for path in file.parent.iterdir()] == ["dagster.yaml"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("max_concurrent_runs: 4", "max_concurrent_runs: 16"),
        lambda text: text + "# our note\n",
        lambda text: text.partition("\n")[2],
        lambda _: "",
    ],
    ids=["a changed value", "a comment", "the header removed", "emptied"],
)
def test_what_a_user_changed_is_left_as_it_is(tmp_path: Path, edit: Callable[[str], str]) -> None:
    file = write_instance(tmp_path) / "dagster.yaml"
    edited = edit(file.read_text())
    assert edited != file.read_text()
    file.write_text(edited)

    write_instance(tmp_path)

    assert file.read_text() == edited


def test_an_unchanged_file_follows_its_home_when_that_moves(tmp_path: Path) -> None:
    write_instance(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")

    file = write_instance(tmp_path / "after") / "dagster.yaml"

    settings = yaml.safe_load(file.read_text())
    assert settings["event_log_storage"]["config"]["base_dir"] == str(tmp_path / "after" / "history" / "runs")
    assert "before" not in file.read_text()
