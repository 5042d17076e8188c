"""The retraining sensor, tick by tick, on a ledger that is written by hand and an instance whose runs are told of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from small_market import NAME, Market, open_market

from ml_assets.assets.common import KILLED_TAG
from ml_assets.lake.connection import Commit
from ml_assets.registry.ledger import Draft, newest_id

if TYPE_CHECKING:
    from conftest import Story

    from ml_assets.registry.ledger import Entry


class Watch:
    """A sensor with its cursor, as the daemon keeps it."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.cursor: str | None = json.dumps({"ledger": self.newest, "open": {}})

    @property
    def newest(self) -> int:
        with self.market.lake.reader() as cursor:
            return newest_id(cursor)

    @property
    def open(self) -> dict[str, Any]:
        return dict(json.loads(str(self.cursor))["open"])

    def tick(self, *, keep: bool = True) -> list[dg.RunRequest]:
        sensor = next(one for one in self.market.defs.sensors or () if one.name == f"{NAME}_retraining")
        with (
            self.market.settings(),
            dg.build_sensor_context(
                self.market.instance,
                cursor=self.cursor,
                definitions=self.market.defs,
                resources=dict(self.market.defs.resources or {}),
            ) as context,
        ):
            result: Any = sensor(context)
        self.cursor = result.cursor if keep else self.cursor
        assert bool(result.run_requests) != bool(result.skip_reason)
        return list(result.run_requests or [])

    def keys(self, *, keep: bool = True) -> list[str | None]:
        return [request.run_key for request in self.tick(keep=keep)]

    def launch(self, request: dg.RunRequest, status: str, **tags: str) -> None:
        of = dg.DagsterRunStatus[status]
        create_run_for_test(self.market.instance, f"{NAME}_retrain", status=of, tags={**request.tags, **tags})

    def write(self, *drafts: Draft) -> int:
        """The number of the last of some entries."""
        return self.market.book().append(Commit(NAME, "test"), lambda _: drafts)[-1].id

    def decide(self, month: str, action: str = "retrain", standing: str = "live", project: str = NAME) -> int:
        return self.write(Draft(project, "decision", "why", {}, month, 1, action, standing))

    def answer(self, decision: int, said: str, month: str) -> int:
        return self.write(Draft(NAME, "answered", "why", {"decision": decision}, month, 1, said))


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Market:
    market = open_market(tmp_path_factory.mktemp("sensor"))
    market.book().append(Commit(NAME, "test"), lambda _: [Draft(NAME, "replayed", "it begins", {})])
    return market


@pytest.fixture
def watch(declared: Market) -> Watch:
    declared.instance.wipe()
    return Watch(declared)


# By the end of its daemon, and in the moment before it began.
KILLED = ({KILLED_TAG: "true"}, {"dagster/failure_reason": "START_TIMEOUT"})


def key(decision: int, attempt: int = 1) -> str:
    return f"{NAME}-decision-{decision}-{attempt}"


def test_without_a_cursor_it_starts_from_now_and_replays_no_history(watch: Watch) -> None:
    watch.decide("2024-01")
    watch.cursor = None

    assert watch.keys() == []
    assert watch.keys() == []
    assert watch.keys() == []
    asked = watch.decide("2024-02")
    assert watch.keys() == [key(asked)]


def test_without_a_lake_it_waits_for_one_and_makes_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    market = open_market(tmp_path_factory.mktemp("nothing"))
    watch = Watch(market)
    home = market.folder / "home"
    for file in sorted((home / "lake").iterdir()):
        file.unlink(missing_ok=True)
    watch.cursor = None

    assert watch.keys() == []
    assert not list((home / "lake").iterdir())


def test_a_cursor_from_before_it_read_the_ledger_loses_nothing_that_is_open(watch: Watch) -> None:
    first, second = watch.decide("2024-01"), watch.decide("2024-02")
    watch.cursor = json.dumps({"after": 12_345, "open": {str(first): 1}})

    assert watch.keys() == [key(first), key(second)]


def test_a_decision_to_retrain_is_requested_once_with_its_partition_and_its_ledger_id(watch: Watch) -> None:
    asked = watch.decide("2024-01")
    (request,) = watch.tick()

    assert request.run_key == key(asked)
    assert request.tags == {
        "ml_assets/decision": str(asked),
        "ml_assets/retraining": NAME,
        "ml_assets/attempt": "1",
        "ml_assets/through": "2024-01",
        "dagster/max_retries": "0",
    }
    assert request.run_config == {"ops": {"flats__training_set": {"config": {"through": "2024-01"}}}}
    assert dg.validate_run_config(watch.market.defs.resolve_job_def("flats_retrain"), request.run_config)
    watch.launch(request, "STARTING")
    assert watch.keys() == []


def test_a_run_that_was_asked_for_and_never_made_is_asked_for_under_the_same_key(watch: Watch) -> None:
    asked = watch.decide("2024-01")
    assert watch.keys() == watch.keys() == watch.keys() == [key(asked)]

    (request,) = watch.tick()
    watch.launch(request, "NOT_STARTED")
    assert watch.keys() == []


@pytest.mark.parametrize("status", ["SUCCESS", "CANCELED"])
def test_a_retraining_that_is_over_is_not_requested_again(watch: Watch, status: str) -> None:
    watch.decide("2024-01")
    (request,) = watch.tick()
    watch.launch(request, status)

    assert watch.keys() == watch.keys() == []
    assert watch.open == {}


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_retraining_on_its_way_is_waited_for(watch: Watch, status: str) -> None:
    asked = watch.decide("2024-01")
    (request,) = watch.tick()
    watch.launch(request, status)

    assert watch.keys() == watch.keys() == []
    assert watch.open == {str(asked): [1, "2024-01"]}


def test_a_retraining_that_failed_is_requested_three_times_in_all(watch: Watch) -> None:
    asked = watch.decide("2024-01")
    keys = []
    for _ in range(3):
        (request,) = watch.tick()
        keys.append(request.run_key)
        assert request.tags["ml_assets/through"] == "2024-01"
        assert request.run_config == {"ops": {"flats__training_set": {"config": {"through": "2024-01"}}}}
        watch.launch(request, "FAILURE")

    assert keys == [key(asked, attempt) for attempt in (1, 2, 3)]
    assert watch.keys() == watch.keys() == []
    assert watch.open == {}


def test_attempts_that_were_killed_with_their_daemon_are_not_counted(watch: Watch) -> None:
    asked = watch.decide("2024-01")
    keys = []
    for number in range(1, 9):
        (request,) = watch.tick()
        keys.append(request.run_key)
        watch.launch(request, "FAILURE", **({} if number in {2, 5, 8} else KILLED[number % 2]))

    assert keys == [key(asked, attempt) for attempt in range(1, 9)]
    assert watch.keys() == [], "three have failed by themselves"


def test_a_retraining_that_came_to_a_verdict_and_was_killed_then_is_over(watch: Watch) -> None:
    asked = watch.decide("2024-01")
    (request,) = watch.tick()
    watch.write(Draft(NAME, "rejected", "no better", {"decision": asked}, version=2))
    watch.launch(request, "FAILURE", **{KILLED_TAG: "true"})

    assert watch.keys() == []
    assert watch.open == {}


def test_a_retraining_that_succeeds_at_the_second_attempt_is_over(watch: Watch) -> None:
    watch.decide("2024-01")
    for status in ("FAILURE", "SUCCESS"):
        (request,) = watch.tick()
        watch.launch(request, status)

    assert watch.keys() == watch.keys() == []


def test_a_tick_that_is_repeated_with_its_old_cursor_asks_for_the_same_run_keys(watch: Watch) -> None:
    asked = watch.decide("2024-01")
    first = watch.keys(keep=False)
    assert first == watch.keys(keep=False) == [key(asked)]

    (request,) = watch.tick()
    watch.launch(request, "FAILURE")
    assert watch.keys(keep=False) == watch.keys(keep=False) == [key(asked, 2)]


def test_only_live_decisions_to_retrain_are_acted_on(watch: Watch) -> None:
    watch.decide("2024-01", "hold")
    watch.decide("2024-02", "retrain", "backfill")
    watch.decide("2024-03", "retrain", "again")
    watch.decide("2024-04", "ask")
    watch.decide("2024-05", project="other")
    assert watch.keys() == []

    read = json.loads(str(watch.cursor))["ledger"]
    assert read == watch.newest - 1, "of its own project; the rest is read again, and is nothing"


def test_every_decision_is_seen_in_its_order(watch: Watch) -> None:
    made = [
        watch.decide(f"2024-{number:02}", action) for number, action in enumerate(["retrain", "hold", "retrain"], 1)
    ]

    assert watch.keys() == [key(made[0]), key(made[2])]


def test_a_yes_is_launched_as_the_decision_that_asked_on_the_rows_known_by_then(watch: Watch) -> None:
    asked = watch.decide("2024-01", "ask")
    watch.decide("2024-02", "hold")
    assert watch.keys() == []
    watch.answer(asked, "yes", "2024-02")
    (request,) = watch.tick()

    assert request.run_key == key(asked)
    assert request.tags["ml_assets/through"] == "2024-02"


@pytest.mark.parametrize("said", ["no", "expire"])
def test_a_no_launches_nothing(watch: Watch, said: str) -> None:
    asked = watch.decide("2024-01", "ask")
    watch.answer(asked, said, "2024-01")

    assert watch.keys() == []


def test_of_a_history_that_was_played_only_the_live_decisions_were_asked_for(story: Story) -> None:
    watch = Watch(story.market)
    watch.cursor = json.dumps({"ledger": 0, "open": {}})

    # Their verdicts stand in the ledger.
    assert watch.keys() == []
    assert watch.open == {}
    runs = [
        story.market.instance.get_runs(dg.RunsFilter(tags={"ml_assets/decision": str(story.market.asked(month))}))
        for month in ("2024-07", "2024-09")
    ]
    assert [len(one) for one in runs] == [1, 1]


def test_training_for_a_decision_that_has_its_verdict_is_refused(story: Story) -> None:
    market, asked = story.market, story.market.asked("2024-07")
    before: list[Entry] = market.ledger()
    from small_market import RunFailed

    with pytest.raises(RunFailed, match=rf"decision {asked} has its verdict: version 2 was rejected"):
        market.retrain(through="2024-07", decision=asked)
    assert market.ledger() == before
