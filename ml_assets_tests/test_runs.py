"""Runs in this process: one daemon for a home, and nothing that a killed process leaves holds a place in the queue."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from ml_assets.assets.common import REFRESH_TAG
from ml_assets.automation.alerts import build_failure_sensor
from ml_assets.errors import RunFailedError
from ml_assets.registry.alerts import KEPT, Alert, add_alert, alerts_file, read_alerts
from ml_assets.runs import OWNER_TAG, fail_orphaned_runs, open_instance, run_job, sole_daemon
from ml_assets.sources.placing import SourceError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", "DAGSTER_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def started(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def idle() -> None:
        nothing()

    run = instance.create_run_for_job(idle, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    instance.report_engine_event("started", run)
    instance.report_dagster_event(
        dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name), run_id=run.run_id
    )
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    record = instance.get_run_by_id(run.run_id)
    assert record is not None
    return record.status


def test_only_one_process_at_a_time_may_start_the_daemon_of_a_home(home: Path) -> None:
    with sole_daemon(home) as first, sole_daemon(home) as second:
        assert first
        assert not second
    with sole_daemon(home) as again:
        assert again


def test_a_run_whose_process_is_gone_is_failed_when_the_instance_is_opened(home: Path) -> None:
    owner = "00000000-0000-4000-8000-000000000000"
    run = started(open_instance(), **{OWNER_TAG: owner})
    (home / "runs").mkdir(exist_ok=True)
    assert status(open_instance(), run) == dg.DagsterRunStatus.FAILURE
    open_instance()
    (alert,) = read_alerts()
    assert (alert.run_id, alert.message) == (run.run_id, "the process that executed this run was killed")


def test_a_run_that_a_daemon_launched_is_left_alone_until_its_daemon_is_known_to_be_gone(home: Path) -> None:
    instance = open_instance()
    run = started(instance)
    assert status(open_instance(), run) == dg.DagsterRunStatus.STARTED
    with sole_daemon(home):
        fail_orphaned_runs(instance)
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


@dg.op
def failing() -> None:
    raise SourceError("sales/2024-01.csv: there is no such file. Remedy: put it there") from FileNotFoundError(2)


@dg.job(tags={REFRESH_TAG: "flats"})
def flats_refresh() -> None:
    failing()


@dg.job
def lake_compact() -> None:
    failing()


DEFS = dg.Definitions(jobs=[flats_refresh, lake_compact])
REASON = "sales/2024-01.csv: there is no such file. Remedy: put it there"


@pytest.mark.usefixtures("home")
def test_a_run_of_the_command_line_that_fails_leaves_one_alert_in_the_words_of_its_error() -> None:
    with pytest.raises(RunFailedError, match=f"failed in failing: {REASON}$"):
        run_job(open_instance(), DEFS, "flats_refresh")
    open_instance()
    (alert,) = read_alerts("flats")
    assert (alert.job, alert.projects, alert.message) == ("flats_refresh", ("flats",), REASON)


@pytest.mark.usefixtures("home")
def test_the_alert_of_the_upkeep_is_no_projects() -> None:
    with pytest.raises(RunFailedError):
        run_job(open_instance(), DEFS, "lake_compact")
    (alert,) = read_alerts()
    assert alert.projects == ()
    assert read_alerts("lake") == ()


@pytest.mark.usefixtures("home")
def test_the_sensor_tells_the_error_of_the_step_and_not_the_list_of_steps() -> None:
    instance = open_instance()
    result = flats_refresh.execute_in_process(instance=instance, raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE"]
    context = dg.build_run_status_sensor_context(
        "failure_alerts", failed, instance, instance.get_run_by_id(result.run_id)
    ).for_run_failure()
    build_failure_sensor()(context)
    build_failure_sensor()(context)
    (alert,) = read_alerts("flats")
    assert (alert.run_id, alert.message) == (result.run_id, REASON)


@pytest.mark.usefixtures("home")
def test_only_the_newest_alerts_are_kept_and_a_half_written_line_is_no_alert() -> None:
    def alert(number: int) -> Alert:
        return Alert("2024-01-01T00:00:00+00:00", str(number), "flats_refresh", ("flats",), "", REASON)

    add_alert(alert(0))
    line = alerts_file().read_text(encoding="utf-8")
    lines = [line.replace('"0"', f'"{number}"') for number in range(KEPT)]
    alerts_file().write_text("".join(lines) + line[:20], encoding="utf-8")
    add_alert(alert(KEPT))
    runs = [one.split('"run_id": "')[1].split('"')[0] for one in alerts_file().read_text().splitlines()]
    assert runs == [str(number) for number in range(1, KEPT + 1)]
    assert read_alerts()[0].run_id == str(KEPT)
