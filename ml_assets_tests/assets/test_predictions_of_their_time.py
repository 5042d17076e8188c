"""Every row is scored once, by the champion of its time, and says whether that champion had learnt from it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from small_market import FEATURES, JUDGED, NAME, PREPARING, Market, Row, RunFailed, open_market, sales

from ml_assets.assets.acts import Person, promote
from ml_assets.core.evaluation import regression_metrics
from ml_assets.lake.connection import Commit
from ml_assets.registry.ledger import champion_at
from ml_assets.serving.queries import read_state

if TYPE_CHECKING:
    import polars as pl
    from conftest import Story

SCORED_BY = {f"2024-{number:02}": 1 for number in range(1, 10)} | {"2024-10": 3}


def test_every_row_of_features_is_scored_once_by_the_champion_of_its_time(story: Story) -> None:
    market = story.market
    for month, version in SCORED_BY.items():
        scored, features = market.table("predictions", month), market.table("features", month)
        rows = scored.select("_source", "_row").sort("_row")
        assert rows.equals(features.select("_source", "_row").sort("_row"))
        assert scored["version"].unique().to_list() == [version], month
        assert market.metadata("predictions", month)["version"] == version


def test_a_prediction_is_what_the_registered_version_says_about_the_row(story: Story) -> None:
    market = story.market
    features = market.table("features", "2024-10").sort("_row")
    scored = market.table("predictions", "2024-10").sort("_row")

    predicted = market.registry.predict(market.registry.version(NAME, 3), features)
    assert scored["prediction"].to_list() == predicted.tolist()


def test_in_sample_are_exactly_the_rows_that_training_saw(story: Story) -> None:
    market = story.market
    share = {month: market.table("predictions", month)["in_sample"].mean() for month in SCORED_BY}

    assert share == dict.fromkeys(SCORED_BY, 0.0) | {"2024-04": 1.0}


def test_predictions_of_a_time_before_all_that_a_version_has_learnt_from_are_hindsight(story: Story) -> None:
    market = story.market
    share = {month: market.table("predictions", month)["hindsight"].mean() for month in SCORED_BY}

    assert share == dict.fromkeys(SCORED_BY, 0.0) | dict.fromkeys(("2024-01", "2024-02", "2024-03"), 1.0)


def test_an_old_partition_that_is_made_again_still_has_the_champion_of_its_time(story: Story) -> None:
    market = story.market

    assert market.metadata("predictions", "2024-07")["snapshot"] > story.snapshot_of_july
    assert market.table("predictions", "2024-07").equals(story.predictions_of_july)


def test_without_a_champion_nothing_is_predicted_and_the_decision_is_to_hold(shared: Market, month: str) -> None:
    shared.write(month, sales(month))
    shared.refresh(month)

    for name in ("predictions", "drift", "performance"):
        assert shared.table(name, month).height == 0
        assert shared.metadata(name, month)["dagster/partition_row_count"] == 0
    assert "no champion yet" in shared.metadata("predictions", month)["version"]
    decision = shared.decision(month)
    assert (decision.action, decision.version, decision.reason) == ("hold", 0, "there is no champion yet")


def test_a_promotion_between_predictions_and_decision_leaves_ledger_and_lake_of_one_mind(market: Market) -> None:
    for month in ("2024-04", "2024-05", "2024-06"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-06")
    market.retrain(through="2024-03")
    market.retrain(through="2024-04")
    market.materialize(["predictions"], "2024-05")
    with market.settings():
        act = promote(market.project, market.lake, 2, Person("Anna", "it knows more", "anna"))
    market.materialize(["drift", "performance", "decision"], "2024-05")

    assert (act.partition, market.decision("2024-05").version) == ("2024-06", 1)
    assert champion_at(market.ledger(), "2024-05") == 1
    assert market.table("predictions", "2024-05")["version"].unique().to_list() == [1]
    market.materialize(["predictions"], "2024-06")
    assert market.table("predictions", "2024-06")["version"].unique().to_list() == [2]


def test_the_pages_tell_hindsight_from_rows_that_were_learnt_from(story: Story) -> None:
    market = story.market
    with market.lake.reader() as cursor:
        partitions = read_state(cursor, market.registry, market.project).partitions
    assert {one.key for one in partitions if one.hindsight} == {"2024-01", "2024-02", "2024-03"}
    assert "2024-04" in {one.key for one in partitions if one.in_sample}


def test_performance_is_measured_on_rows_that_are_neither_in_sample_nor_hindsight(story: Story) -> None:
    market = story.market
    measured = market.table("performance")

    assert set(measured["_partition"].dt.strftime("%Y-%m")) == {f"2024-{number:02}" for number in range(5, 11)}
    for month in ("2024-05", "2024-09", "2024-10"):
        scored, labels = (market.table(name, month).sort("_row") for name in ("predictions", "features"))
        expected = regression_metrics(labels["price"].to_numpy(), scored["prediction"].to_numpy())
        found = dict(market.table("performance", month).select("metric", "value").iter_rows())
        assert (found.pop("rows"), found.pop("scored")) == (60, 60)
        assert found == pytest.approx(expected)
    assert market.table("performance", "2024-10")["version"].unique().to_list() == [3]


# ------------------------------------------------------------------- what happens to a month that training has seen


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A champion that has learnt from February."""
    market = open_market(tmp_path_factory.mktemp("trained"), retraining={"minimum_rows": 1})
    for month in ("2024-01", "2024-02", "2024-03"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-03")
    market.retrain()
    return market


def scored(market: Market, rows: list[Row]) -> pl.DataFrame:
    """February with these rows: its predictions, each with its contract."""
    market.write("2024-02", rows)
    market.materialize((*JUDGED, "features", "predictions", "performance"), "2024-02")
    contracts = market.table("validated", "2024-02").select("_source", "_row", "contract")
    return market.table("predictions", "2024-02").join(contracts, on=["_source", "_row"])


def unseen(predictions: pl.DataFrame) -> list[str]:
    return sorted(predictions.filter(~predictions["in_sample"])["contract"])


LATE = {"nr": "61", "contract": "late", "month": "2024-02", "town": "EAST", "area": "100", "price": "600000"}


def test_all_rows_of_the_training_month_are_in_sample_and_measure_nothing(trained: Market) -> None:
    assert unseen(scored(trained, sales("2024-02"))) == []
    assert trained.table("performance", "2024-02").height == 0


def test_a_late_row_in_a_training_month_is_not_in_sample_and_is_all_that_measures(trained: Market) -> None:
    predictions = scored(trained, [*sales("2024-02"), LATE])

    assert unseen(predictions) == ["late"]
    measured = dict(trained.table("performance", "2024-02").select("metric", "value").iter_rows())
    (predicted,) = predictions.filter(predictions["contract"] == "late")["prediction"]
    assert measured["rows"] == 1
    assert measured["mae"] == pytest.approx(abs(predicted - 600000))


def test_a_late_row_that_moves_the_others_down_is_still_the_only_one_that_is_new(trained: Market) -> None:
    rows = sales("2024-02")

    assert unseen(scored(trained, [*rows[:5], LATE, *rows[5:]])) == ["late"]


def test_a_row_that_moved_up_because_another_was_withdrawn_is_still_in_sample(trained: Market) -> None:
    rows = sales("2024-02")

    assert unseen(scored(trained, [*rows[:5], *rows[6:], LATE])) == ["late"]


def test_a_corrected_row_was_seen_as_it_was_before(trained: Market) -> None:
    rows = sales("2024-02")
    rows[5]["price"] = "1"

    assert unseen(scored(trained, rows)) == []


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A champion that has learnt from February and March, both of one file."""
    source = {"files": "sales/all.csv", "time": "month || '-01'"}
    market = open_market(
        tmp_path_factory.mktemp("one"), source=source, training={"window": 3, "test": 1}, retraining={"minimum_rows": 1}
    )
    market.write("all", [row for month in ("2024-02", "2024-03", "2024-04") for row in sales(month)])
    market.materialize(PREPARING, "2024-02", "2024-04")
    market.retrain()
    return market


@pytest.mark.parametrize(("first", "last"), [("2024-02", "2024-05"), ("2024-03", "2024-05"), ("2024-04", "2024-05")])
def test_a_file_in_another_order_changes_nothing_of_what_was_seen(one_file: Market, first: str, last: str) -> None:
    rows = [row for month in ("2024-02", "2024-03", "2024-04", "2024-05") for row in sales(month)]
    random.Random(0).shuffle(rows)
    one_file.write("all", rows)
    one_file.materialize((*PREPARING, "predictions"), first, last)

    seen = {
        month: set(one_file.table("predictions", month)["in_sample"]) for month in ("2024-03", "2024-04", "2024-05")
    }
    assert (seen["2024-04"], seen["2024-05"]) == ({False}, {False})
    assert first == "2024-04" or seen["2024-03"] == {True}


def test_a_late_row_with_the_values_of_one_that_was_seen_is_a_row_of_its_own(trained: Market) -> None:
    rows = sales("2024-02")

    assert len(unseen(scored(trained, [*rows, {**rows[5], "contract": "late"}]))) == 1


def test_a_champion_whose_feature_is_gone_says_which(trained: Market) -> None:
    trained.write("2024-03", sales("2024-03"))
    changed = open_market(trained.folder, features=FEATURES.replace("town, area", "town, area / 10 AS rooms"))
    changed.materialize((*JUDGED, "features"), "2024-03")
    trained_on_area = r"version 1 of flats needs the feature 'area', which features\.sql no longer returns"
    with changed.lake.transaction(Commit(NAME, "test")) as transaction:
        transaction.cursor.execute(f"ALTER TABLE {changed.project.table('features').path} DROP COLUMN area")

    with pytest.raises(RunFailed, match=trained_on_area):
        changed.materialize(["predictions"], "2024-03")
