"""A run exists once and begins once: what two daemons at once may try."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster._core.errors import DagsterRunAlreadyExists
from dagster._core.events import DagsterEvent
from dagster._core.test_utils import create_run_for_test

from ml_assets.automation.instance import instance_environment, write_instance
from ml_assets.automation.run_store import AlreadyStartedError, OnceSqliteRunStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYED = {"dagster/run_key": "flats-decision-7-1", "dagster/sensor_name": "flats_retraining"}
AT_ONCE = 8


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in instance_environment(write_instance(tmp_path / "home")).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


def at_once(do: Callable[[], object]) -> list[type[Exception] | None]:
    """What it raises, each time of several at once."""

    def tried(_: int) -> type[Exception] | None:
        try:
            do()
        except (DagsterRunAlreadyExists, AlreadyStartedError) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(tried, range(AT_ONCE)))


def start(instance: dg.DagsterInstance, run_id: str, kind: str = "PIPELINE_STARTING") -> None:
    instance.report_dagster_event(DagsterEvent(event_type_value=kind, job_name="job"), run_id=run_id)


def test_the_instance_that_we_write_has_it(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_storage, OnceSqliteRunStorage)


def test_of_one_run_key_one_run_is_made(instance: dg.DagsterInstance) -> None:
    found = at_once(lambda: create_run_for_test(instance, "job", tags=KEYED))

    assert sorted(map(str, found)) == sorted([*[str(DagsterRunAlreadyExists)] * (AT_ONCE - 1), "None"])
    assert instance.get_runs_count() == 1


def test_other_keys_other_sensors_and_none_are_other_runs(instance: dg.DagsterInstance) -> None:
    for tags in (KEYED, KEYED | {"dagster/run_key": "b"}, KEYED | {"dagster/sensor_name": "b"}, {}, {}):
        create_run_for_test(instance, "job", tags=tags)

    assert instance.get_runs_count() == 5


def test_a_run_that_is_executed_again_carries_the_key_of_its_parent(instance: dg.DagsterInstance) -> None:
    parent = create_run_for_test(instance, "job", tags=KEYED)
    again = create_run_for_test(instance, "job", tags=KEYED, parent_run_id=parent.run_id, root_run_id=parent.run_id)

    assert instance.get_run_by_id(again.run_id) is not None


def test_a_run_is_started_once(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, "job", tags=KEYED, status=dg.DagsterRunStatus.NOT_STARTED)
    found = at_once(lambda: start(instance, run.run_id))

    assert found.count(None) == 1
    assert set(found) == {None, AlreadyStartedError}
    with pytest.raises(AlreadyStartedError, match=r"is STARTING: another daemon has started it.*Remedy: stop one"):
        start(instance, run.run_id)


def test_a_run_that_was_started_does_not_return_to_the_queue(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, "job", status=dg.DagsterRunStatus.NOT_STARTED)

    def status() -> str:
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status.value

    start(instance, run.run_id)
    start(instance, run.run_id, "PIPELINE_ENQUEUED")
    assert status() == "STARTING"
    start(instance, run.run_id, "PIPELINE_START")
    start(instance, run.run_id, "PIPELINE_SUCCESS")
    assert status() == "SUCCESS"
