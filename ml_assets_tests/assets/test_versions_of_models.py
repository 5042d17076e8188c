"""Training, judging and promoting: which rows a version saw, what it is worth, and why it serves or does not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_market import NAME, PREPARING, TRAINING, Market, RunFailed, entry, open_market, sales

from ml_assets.assets import promotion
from ml_assets.assets.promotion import _some_rows, _unless_overtaken, from_now_on
from ml_assets.assets.rows import content_hash
from ml_assets.project import digest
from ml_assets.registry.ledger import Draft, stages

if TYPE_CHECKING:
    import polars as pl
    from conftest import Story

    from ml_assets.registry.ledger import Entry


def test_a_training_set_is_a_snapshot_a_window_and_a_split_not_a_copy(story: Story) -> None:
    market = story.market
    training_set = market.registry.version(NAME, 1).training_set

    assert (training_set.train, training_set.test, training_set.through) == (("2024-04",), ("2024-05",), "2024-05")
    assert training_set.rows == 120
    assert "training_set" not in market.tables()


def test_the_rows_of_every_training_set_can_be_read_again_and_have_its_hash(story: Story) -> None:
    market = story.market
    for number in (1, 2, 3):
        training_set = market.registry.version(NAME, number).training_set
        window = market.project.window(training_set.train[0], training_set.test[-1])
        with market.lake.reader() as cursor:
            table = market.project.table("features").at(training_set.snapshot)
            sql = f"FROM {table} WHERE {window.condition()} ORDER BY _partition, _source, _row"
            rows = cursor.execute(sql).pl()
        assert rows.height == training_set.rows
        assert content_hash(rows) == training_set.content_hash
    assert market.metadata("training_set")["content_hash"] == training_set.content_hash
    assert market.metadata("training_set")["snapshot"] == training_set.snapshot


def test_a_training_set_goes_through_the_partition_that_it_was_asked_for(story: Story) -> None:
    training_set = story.market.registry.version(NAME, 3).training_set

    assert (training_set.train, training_set.test, training_set.through) == (("2024-08",), ("2024-09",), "2024-09")


def test_a_version_records_what_it_was_made_of(story: Story) -> None:
    market = story.market
    version = market.registry.version(NAME, 3)

    assert version.estimator == "sklearn.linear_model.LinearRegression"
    assert version.features == {"town": "category", "area": "number"}
    assert (version.target, version.seed, version.parent) == ("price", 7, 1)
    assert version.hashes["sql"] == digest(market.project.clean_sql, market.project.features_sql)
    assert version.hashes["declaration"] == market.project.declaration_hash
    assert len(version.hashes["schema"]) == len(version.artefact) == 64
    assert version.training_set.decision == market.asked("2024-09")
    assert version.packages.keys() >= {"scikit-learn", "numpy", "skops"}
    (registered,) = [entry for entry in market.ledger("registered") if entry.version == 3]
    assert registered.run_id == version.run_id == version.training_set.run_id
    assert registered.facts == {
        "decision": version.training_set.decision,
        "artefact": version.artefact,
        "record": market.registry.record_hash(NAME, 3),
        "by": "somebody in Dagster's UI",
    }


def test_the_metrics_are_those_of_the_predictions_on_the_rows_of_each_split(story: Story) -> None:
    market = story.market
    version = market.registry.version(NAME, 1)
    evaluation = market.registry.evaluation(NAME, 1)
    assert evaluation is not None
    for split, month in (("train", "2024-04"), ("test", "2024-05")):
        rows = market.table("features", month)
        actual, predicted = rows["price"].to_numpy(), market.registry.predict(version, rows)
        error = predicted - actual
        expected = {
            "mse": np.mean(error**2),
            "rmse": math.sqrt(np.mean(error**2)),
            "mae": np.mean(np.abs(error)),
            "mape": np.mean(np.abs(error) / actual),
            "r2": 1 - np.sum(error**2) / np.sum((actual - actual.mean()) ** 2),
        }
        assert evaluation["metrics"][split] == pytest.approx(expected)
    assert evaluation["metrics"]["train"] != evaluation["metrics"]["test"]


def test_the_evaluation_shows_the_test_metrics_and_a_table_of_both(story: Story) -> None:
    metadata = story.market.metadata("evaluation")
    stored = story.market.registry.evaluation(NAME, 3)
    assert stored is not None

    assert {name[5:]: value for name, value in metadata.items() if name.startswith("test_")} == stored["metrics"][
        "test"
    ]
    for name in ("mse", "rmse", "mae", "mape", "r2"):
        assert f"| {name} |" in metadata["metrics"]


def test_the_gates_are_checks_of_the_evaluation(story: Story) -> None:
    market = story.market
    run = market.registry.version(NAME, 2).run_id

    assert [market.check(name, run).passed for name in ("gate__mape_0", "gate__r2_1")] == [False, False]
    last = market.registry.version(NAME, 3).run_id
    assert [market.check(name, last).passed for name in ("gate__mape_0", "gate__r2_1")] == [True, True]


def test_the_first_version_that_passes_the_gates_serves_from_the_next_partition(story: Story) -> None:
    first = story.market.ledger("promoted")[0]

    assert (first.version, first.partition) == (1, "2024-06")
    assert "the first version that passes the gates" in first.reason


def test_a_version_that_fails_a_gate_is_rejected_with_the_gate_and_what_it_reached(story: Story) -> None:
    (rejected,) = story.market.ledger("rejected")

    assert rejected.version == 2
    assert rejected.facts["decision"] == story.market.asked("2024-07")
    assert "gate mape <= 0.2: it reached 0.4" in rejected.reason
    assert "gate r2 >= 0.5" in rejected.reason


def test_a_challenger_takes_over_when_it_is_better_on_rows_that_neither_has_learnt_from(story: Story) -> None:
    entry = story.market.ledger("promoted")[1]
    comparison = entry.facts["comparison"]

    assert (entry.version, entry.partition) == (3, "2024-10")
    assert comparison["rows"] == 60
    assert comparison["challenger"] < 0.05
    assert comparison["champion"] > 0.4
    assert comparison["p_value"] < 0.05
    assert "60 rows of 2024-09 … 2024-09 that neither has learnt from" in entry.reason


def test_the_champion_asset_says_who_serves_and_why(story: Story) -> None:
    metadata = story.market.metadata("champion")

    assert (metadata["challenger"], metadata["verdict"], metadata["champion"]) == (3, "promoted", 3)
    assert metadata["reason"] == story.market.ledger("promoted")[1].reason
    assert stages(story.market.ledger()) == {1: "retired", 2: "rejected", 3: "champion"}


# -------------------------------------------------------------------------- a market whose champion is challenged


@pytest.fixture(scope="module")
def challenged(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Four months and a champion trained on the third."""
    market = open_market(tmp_path_factory.mktemp("challenged"))
    for month in ("2024-01", "2024-02", "2024-03", "2024-04"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-04")
    market.retrain()
    return market


def last(market: Market) -> tuple[str, int, str]:
    entry = market.ledger("promoted", "rejected")[-1]
    return entry.kind, entry.version, entry.reason


def test_a_challenger_that_is_no_better_is_rejected_and_the_champion_stays(challenged: Market) -> None:
    challenged.retrain()

    kind, version, reason = last(challenged)
    assert (kind, version) == ("rejected", challenged.registry.numbers(NAME)[-1])
    assert reason.startswith("not better by more than noise: MAPE ")
    assert stages(challenged.ledger())[1] == "champion"
    assert challenged.metadata("champion")["champion"] == 1


def test_the_same_rows_and_seed_make_a_version_that_predicts_the_same_bit_for_bit(challenged: Market) -> None:
    challenged.retrain()

    rows = challenged.table("features")
    first, again = (challenged.registry.version(NAME, challenged.registry.numbers(NAME)[place]) for place in (0, -1))
    assert first.number != again.number
    assert first.training_set.content_hash == again.training_set.content_hash
    predicted = [challenged.registry.predict(version, rows).tobytes() for version in (first, again)]
    assert predicted[0] == predicted[1]


def test_a_challenger_whose_test_rows_the_champion_has_learnt_from_is_rejected(challenged: Market) -> None:
    challenged.retrain(through="2024-03")

    kind, _, reason = last(challenged)
    assert kind == "rejected"
    assert "no rows that neither it nor version 1 has learnt from" in reason


def test_judging_a_version_again_changes_nothing(challenged: Market) -> None:
    before = challenged.ledger()
    challenged.rerun("evaluation", "champion")

    assert challenged.ledger() == before
    assert challenged.metadata("champion")["verdict"] == before[-1].kind


def test_training_through_a_partition_before_any_rows_says_what_is_missing(challenged: Market) -> None:
    with pytest.raises(RunFailed, match="none is left to learn from") as failure:
        challenged.retrain(through="2024-01")

    assert challenged.steps(failure.value.run_id) == [f"{NAME}__training_set"]


def test_a_training_set_whose_rows_have_changed_under_it_is_refused(challenged: Market) -> None:
    challenged.retrain()
    number = challenged.registry.numbers(NAME)[-1]
    file = challenged.registry.folder / NAME / "training_sets" / "latest.json"
    file.write_text(file.read_text().replace('"content_hash": "', '"content_hash": "0'))
    with pytest.raises(RunFailed, match=r"TrainingDataError.* other rows than were recorded.*Remedy"):
        challenged.rerun("model")

    assert challenged.registry.numbers(NAME)[-1] == number


@pytest.fixture(scope="module")
def taken_over(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Prices double in April; version 2, trained on it, takes over from version 1 in June."""
    market = open_market(tmp_path_factory.mktemp("taken over"))
    for month in ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05"):
        market.write(month, sales(month, level=2 if month > "2024-03" else 1))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain(through="2024-02")
    market.retrain(through="2024-05")
    assert stages(market.ledger()) == {1: "retired", 2: "champion"}
    return market


def test_judging_the_champion_itself_again_changes_nothing(taken_over: Market) -> None:
    before = taken_over.ledger()
    taken_over.rerun("champion")

    assert taken_over.ledger() == before
    assert (taken_over.metadata("champion")["verdict"], taken_over.metadata("champion")["champion"]) == ("promoted", 2)


def test_a_challenger_is_held_against_the_version_that_serves_now(taken_over: Market) -> None:
    taken_over.retrain(through="2024-05")

    kind, version, reason = last(taken_over)
    assert (kind, version) == ("rejected", 3), reason
    assert "of version 2 on" in reason
    assert taken_over.registry.version(NAME, 3).parent == 2


def test_a_version_for_the_past_does_not_take_over_from_one_that_knows_more(taken_over: Market) -> None:
    taken_over.retrain(through="2024-03")

    kind, _, reason = last(taken_over)
    assert kind == "rejected", reason
    assert "no rows that neither it nor version 2 has learnt from" in reason
    assert stages(taken_over.ledger())[2] == "champion"


def test_retraining_is_these_four_steps_in_this_order(story: Story) -> None:
    run = story.market.registry.version(NAME, 3).run_id

    assert story.market.steps(run) == [f"{NAME}__{name}" for name in TRAINING]


def test_costs_are_measured_on_some_rows_of_the_test_and_the_others_are_not_read(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = story.market
    chosen = market.registry.version(NAME, 1).training_set

    def rows() -> pl.DataFrame:
        return _some_rows(market.lake, market.project, chosen)

    assert {market.project.key_of(start) for start in rows()["_partition"].unique()} == set(chosen.test)
    assert rows().height == market.table("features", *chosen.test).height
    monkeypatch.setattr(promotion, "BULK", 7)
    assert rows().height == 7


# ------------------------------------------------------------------------------- verdicts, told of a ledger only


def test_a_promotion_serves_from_the_partition_after_its_rows_and_after_all_that_was_decided(story: Story) -> None:
    market = story.market
    version = market.registry.version(NAME, 1)
    promoted = Draft(NAME, "promoted", "better", {}, version=1)

    def serves_from(*decided: str, predicted: str = "2024-01") -> str:
        entries = [entry(number, month) for number, month in enumerate(decided, 1)]
        newest = market.project.start_of(predicted)
        return from_now_on(market.project, version, promoted, entries, newest).partition

    assert version.training_set.through == "2024-05"
    assert serves_from() == "2024-06"
    assert serves_from("2024-03", "2024-04") == "2024-06"
    assert serves_from("2024-07", "2024-06") == "2024-08", "what was decided on keeps its champion"
    assert serves_from("2024-06", predicted="2024-07") == "2024-08", "what another version has scored keeps it too"


def test_a_verdict_that_was_overtaken_is_not_written(story: Story) -> None:
    market = story.market
    version = market.registry.version(NAME, 2)
    promoted = Draft(NAME, "promoted", "better", {}, version=2)
    champion = entry(1, "2024-01", kind="promoted")
    other, itself = replace(champion, version=3), replace(champion, version=2, kind="rejected")
    registered = replace(champion, version=2, kind="registered")

    def written(*entries: Entry) -> list[Draft]:
        return _unless_overtaken(
            [registered, *entries], project=market.project, lake=market.lake, version=version, draft=promoted,
            champion=1,
        )  # fmt: skip

    assert [draft.version for draft in written(champion)] == [2]
    assert written(champion, other) == [], "another has been promoted meanwhile"
    assert written(champion, itself) == [], "it has been judged meanwhile"
