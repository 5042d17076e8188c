"""The retraining sensor, tick by tick, on an instance whose events and runs are reported to it by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from small_market import NAME, Market, open_market

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Story

START = json.dumps({"after": 0, "open": {}})


class Watch:
    """A sensor with its cursor, as the daemon keeps it."""

    def __init__(self, market: Market, cursor: str | None) -> None:
        self.market, self.cursor = market, cursor

    def tick(self, *, keep: bool = True) -> list[dg.RunRequest]:
        sensor = next(one for one in self.market.defs.sensors or () if one.name == f"{NAME}_retraining")
        with (
            self.market.settings(),
            dg.build_sensor_context(self.market.instance, cursor=self.cursor, definitions=self.market.defs) as context,
        ):
            result: Any = sensor(context)
        self.cursor = result.cursor if keep else self.cursor
        assert bool(result.run_requests) != bool(result.skip_reason)
        return list(result.run_requests or [])

    def keys(self, *, keep: bool = True) -> list[str | None]:
        return [request.run_key for request in self.tick(keep=keep)]

    def launch(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        create_run_for_test(self.market.instance, f"{NAME}_retrain", status=status, tags=dict(request.tags))


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(tmp_path_factory.mktemp("sensor"))


@pytest.fixture
def watch(declared: Market) -> Iterator[Watch]:
    declared.instance.wipe()
    return Watch(declared, START)


def decided(watch: Watch, month: str, acting: int, acting_month: str | None = None) -> None:
    """A decision is made on a month; the newest that asks for a retraining is `acting`, 0 for none."""
    acting_on = {"acting_decision": acting, "acting_partition": (acting_month or month) if acting else ""}
    event = dg.AssetMaterialization([NAME, "decision"], partition=month, metadata=acting_on)
    watch.market.instance.report_runless_asset_event(event)


def test_without_a_cursor_it_starts_from_now_and_replays_no_history(watch: Watch) -> None:
    decided(watch, "2024-01", 3)
    watch.cursor = None

    assert watch.keys() == []
    assert watch.keys() == []
    decided(watch, "2024-02", 5)
    assert watch.keys() == ["flats-decision-5-1"]


def test_without_any_decision_it_starts_too(watch: Watch) -> None:
    watch.cursor = None

    assert watch.keys() == []
    decided(watch, "2024-01", 3)
    assert watch.keys() == ["flats-decision-3-1"]


def test_a_decision_to_retrain_is_requested_once_with_its_partition_and_its_ledger_id(watch: Watch) -> None:
    decided(watch, "2024-01", 7)
    (request,) = watch.tick()

    assert request.run_key == "flats-decision-7-1"
    assert request.tags == {
        "ml_assets/decision": "7",
        "ml_assets/retraining": NAME,
        "ml_assets/attempt": "1",
        "ml_assets/through": "2024-01",
        "dagster/max_retries": "0",
    }
    assert request.run_config == {"ops": {"flats__training_set": {"config": {"through": "2024-01"}}}}
    assert dg.validate_run_config(watch.market.defs.resolve_job_def("flats_retrain"), request.run_config)
    assert watch.keys() == []


def test_a_decision_that_a_later_partition_tells_of_is_requested_for_its_own(watch: Watch) -> None:
    decided(watch, "2024-02", 7, acting_month="2024-01")
    (request,) = watch.tick()

    assert (request.run_key, request.tags["ml_assets/through"]) == ("flats-decision-7-1", "2024-01")


@pytest.mark.parametrize("status", ["SUCCESS", "CANCELED"])
def test_a_retraining_that_is_over_is_not_requested_again(watch: Watch, status: str) -> None:
    decided(watch, "2024-01", 7)
    (request,) = watch.tick()
    watch.launch(request, dg.DagsterRunStatus[status])

    assert watch.keys() == watch.keys() == []
    assert json.loads(str(watch.cursor))["open"] == {}


@pytest.mark.parametrize("status", ["STARTING", "STARTED"])
def test_a_retraining_on_its_way_is_waited_for(watch: Watch, status: str) -> None:
    decided(watch, "2024-01", 7)
    (request,) = watch.tick()
    watch.launch(request, dg.DagsterRunStatus[status])

    assert watch.keys() == watch.keys() == []
    assert json.loads(str(watch.cursor))["open"] == {"7": 1}


def test_a_retraining_that_failed_is_requested_three_times_in_all(watch: Watch) -> None:
    decided(watch, "2024-01", 7)
    keys = []
    for _ in range(3):
        (request,) = watch.tick()
        keys.append(request.run_key)
        assert request.tags["ml_assets/through"] == "2024-01"
        assert request.run_config == {"ops": {"flats__training_set": {"config": {"through": "2024-01"}}}}
        watch.launch(request, dg.DagsterRunStatus.FAILURE)

    assert keys == ["flats-decision-7-1", "flats-decision-7-2", "flats-decision-7-3"]
    assert watch.keys() == watch.keys() == []
    assert json.loads(str(watch.cursor))["open"] == {}


def test_a_retraining_that_succeeds_at_the_second_attempt_is_over(watch: Watch) -> None:
    decided(watch, "2024-01", 7)
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS):
        (request,) = watch.tick()
        watch.launch(request, status)

    assert watch.keys() == watch.keys() == []


def test_a_tick_that_is_repeated_with_its_old_cursor_asks_for_the_same_run_keys(watch: Watch) -> None:
    decided(watch, "2024-01", 7)
    first = watch.keys(keep=False)
    assert first == watch.keys(keep=False) == ["flats-decision-7-1"]

    (request,) = watch.tick()
    watch.launch(request, dg.DagsterRunStatus.FAILURE)
    assert watch.keys(keep=False) == watch.keys(keep=False) == ["flats-decision-7-2"]


def test_a_decision_that_is_materialized_again_asks_for_no_second_run(watch: Watch) -> None:
    decided(watch, "2024-01", 7)
    decided(watch, "2024-01", 7)
    assert watch.keys() == ["flats-decision-7-1"]

    decided(watch, "2024-01", 7)
    assert watch.keys() == [], "while it is open"


def test_a_range_that_asks_for_nothing_requests_nothing_and_is_not_read_twice(watch: Watch) -> None:
    for month in range(1, 13):
        decided(watch, f"2024-{month:02}", 0)
    assert watch.keys() == []

    after = json.loads(str(watch.cursor))["after"]
    newest = watch.market.instance.fetch_materializations(dg.AssetKey([NAME, "decision"]), limit=1).records[0]
    assert after == newest.storage_id


def test_every_decision_is_seen_also_when_there_are_more_than_a_page(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.automation.sensors.PAGE", 2)
    for number in range(1, 6):
        decided(watch, f"2024-{number:02}", number if number % 2 else 0)

    assert watch.keys() == [f"flats-decision-{number}-1" for number in (1, 3, 5)]


def test_a_materialization_that_no_decision_run_made_is_passed_over(watch: Watch) -> None:
    watch.market.instance.report_runless_asset_event(dg.AssetMaterialization([NAME, "decision"], partition="2024-01"))
    decided(watch, "2024-02", 7)

    assert watch.keys() == ["flats-decision-7-1"]


def test_another_projects_decisions_are_not_its_own(watch: Watch) -> None:
    event = dg.AssetMaterialization(
        ["other", "decision"], partition="2024-01", metadata={"acting_decision": 4, "acting_partition": "2024-01"}
    )
    watch.market.instance.report_runless_asset_event(event)

    assert watch.keys() == []


def test_of_a_history_that_was_played_only_the_live_decisions_were_asked_for(story: Story) -> None:
    watch = Watch(story.market, START)
    requests = watch.tick()

    expected = [(month, story.market.asked(month)) for month in ("2024-07", "2024-09")]
    assert [(request.tags["ml_assets/through"], request.run_key) for request in requests] == [
        (month, f"flats-decision-{number}-1") for month, number in expected
    ]
    assert watch.keys() == [], "their runs succeeded"
    assert json.loads(str(watch.cursor))["open"] == {}
