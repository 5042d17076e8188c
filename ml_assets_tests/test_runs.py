"""Runs in this process: one daemon for a home, and nothing that a killed process leaves holds a place in the queue."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from ml_assets.runs import OWNER_TAG, fail_orphaned_runs, open_instance, sole_daemon


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


def test_a_run_that_a_daemon_launched_is_left_alone_until_its_daemon_is_known_to_be_gone(home: Path) -> None:
    instance = open_instance()
    run = started(instance)
    assert status(open_instance(), run) == dg.DagsterRunStatus.STARTED
    with sole_daemon(home):
        fail_orphaned_runs(instance)
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE
