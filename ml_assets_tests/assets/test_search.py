"""A declared search within the asset `model`: what it sees, what is kept of it, and that it goes on where it was."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import polars as pl
import pytest
from small_market import NAME, PREPARING, Market, RunFailed, open_market, sales

from ml_assets.assets.provenance import modules_hash
from ml_assets.assets.rows import learnt_from
from ml_assets.registry.searches import ABANDONED_DAYS, Journal

MONTHS = [f"2024-{month:02}" for month in range(1, 9)]
# Each row has a number of its own, which tells its month.
FEATURES = """\
SELECT _partition, _source, _row, month, town, area, price, 1000 * month(month) + _row AS number FROM validated
"""
SEARCH = {"kind": "random", "space": {"times": {"low": 0.9, "high": 1.1}}, "trials": 4, "folds": 2, "workers": 2}


def opened(folder: Path, features: str = FEATURES, **training: Any) -> Market:
    market = open_market(folder, features=features, training=training)
    for month in MONTHS:
        market.write(month, sales(month, rows=30))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    return market


@pytest.fixture(scope="module")
def spied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Market, list[dict[str, Any]]]:
    """Train on January to May, test on June, hold back July and August; by an estimator that tells what it saw."""
    folder = tmp_path_factory.mktemp("spied")
    told = folder / "told.jsonl"
    market = opened(
        folder, estimator="own_estimators.Spy", parameters={"file": str(told)}, allowed=["own_estimators"],
        preprocessing="own_estimators:only_numbers", window=8, test=1, split={"holdout": 2}, search=SEARCH,
    )  # fmt: skip
    market.rerun("training_set", "model")
    return market, [json.loads(line) for line in told.read_text().splitlines()]


def months(seen: list[dict[str, Any]]) -> set[int]:
    return {number // 1000 for one in seen for number in one["rows"]}


def test_tuning_sees_neither_test_nor_holdout(spied: tuple[Market, list[dict[str, Any]]]) -> None:
    _, told = spied
    tuning = [one for one in told if one["process"] != os.getpid()]

    assert len(tuning) == 2 * 4 * 2  # fit and predict, four trials, two folds
    assert months(tuning) == {1, 2, 3, 4, 5}
    # Two processes work side by side: each fits and judges in turn, and what they tell is mixed.
    for process in {one["process"] for one in tuning}:
        own = [one for one in tuning if one["process"] == process]
        for fitted, judged in zip(own[::2], own[1::2], strict=True):
            assert (fitted["what"], judged["what"]) == ("fit", "predict")
            assert max(fitted["rows"]) < min(judged["rows"])


def test_the_holdout_is_looked_at_once_when_the_version_is_made(spied: tuple[Market, list[dict[str, Any]]]) -> None:
    market, told = spied
    (fitted, *predicted) = [one for one in told if one["process"] == os.getpid()]
    version = market.registry.version(NAME, 1)

    assert (fitted["what"], months([fitted])) == ("fit", {1, 2, 3, 4, 5})
    assert [months([one]) for one in predicted if months([one]) & {7, 8}] == [{7, 8}]
    assert version.training_set.holdout == ("2024-07", "2024-08")
    assert version.training_set.through == "2024-08"
    assert version.holdout["rows"] == 60
    assert version.holdout["metrics"]["mape"] == market.metadata("model")["holdout_mape"]
    # Neither test nor holdout were learnt from.
    with market.settings():
        rows = market.table("features")
        learnt = learnt_from(market.lake, market.project, version, rows)
    assert set(rows.filter(learnt)["number"] // 1000) == {1, 2, 3, 4, 5}


def test_a_version_keeps_the_trials_and_is_trained_with_the_best(spied: tuple[Market, list[dict[str, Any]]]) -> None:
    market, _ = spied
    version = market.registry.version(NAME, 1)
    kept = version.search

    assert (kept["kind"], kept["metric"], kept["folds"]) == ("random", "mape", 2)
    assert [one["number"] for one in kept["trials"]] == [1, 2, 3, 4]
    assert all(len(one["values"]) == 2 and one["seconds"] >= 0 for one in kept["trials"])
    best = min(kept["trials"], key=lambda one: one["value"])
    assert kept["best"] == best["number"]
    assert version.parameters["times"] == best["parameters"]["times"]
    # They are in the record now: the journal is gone.
    assert list((market.registry.folder / NAME / "searches").iterdir()) == []


def test_the_ui_shows_a_table_and_a_picture_of_the_search(spied: tuple[Market, list[dict[str, Any]]]) -> None:
    market, _ = spied
    metadata = market.metadata("model")

    assert metadata["picture_search"].startswith("![The trials of the search](data:image/png;base64,")
    best = market.registry.version(NAME, 1).search["best"]
    assert metadata["search"].splitlines()[2].startswith(f"| {best} | ")
    assert metadata["search_trials"] == 4


TREE: dict[str, Any] = {
    "estimator": "sklearn.tree.DecisionTreeRegressor", "window": 8, "test": 1,
    "search": {"kind": "grid", "space": {"max_depth": [1, 4]}, "folds": 2, "workers": 1},
}  # fmt: skip


def test_a_search_that_was_stopped_goes_on_and_two_of_one_record_make_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = opened(tmp_path, **TREE)
    append, written = Journal.append, []

    def stop_after_three(journal: Journal, line: Any) -> None:
        append(journal, line)
        written.append(line)
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(Journal, "append", stop_after_three)
        with pytest.raises(RunFailed, match="KeyboardInterrupt"):
            market.rerun("training_set", "model")
    (folder,) = (market.registry.folder / NAME / "searches").iterdir()
    assert (folder / "attempts.jsonl").read_text().count("\n") == 3
    # As a kill leaves it: half a line.
    with (folder / "attempts.jsonl").open("a") as file:
        file.write('{"trial": 2, "fo')
    run_id = market.rerun("training_set", "model")
    market.rerun("training_set", "model")

    messages = [one.user_message for one in market.instance.all_logs(run_id)]
    assert "going on with a search of which 3 fits are done" in messages
    assert sum(message.startswith("trial ") for message in messages) == 1
    resumed, again = (market.registry.version(NAME, number) for number in (1, 2))
    assert [one["values"] for one in resumed.search["trials"]] == [one["values"] for one in again.search["trials"]]
    assert resumed.parameters == again.parameters
    rows = market.table("features")
    assert market.registry.predict(resumed, rows).tobytes() == market.registry.predict(again, rows).tobytes()


def test_of_two_searches_of_a_project_the_second_waits(tmp_path: Path) -> None:
    ours, theirs = (Journal(tmp_path / "searches" / name) for name in ("ours", "theirs"))
    told: Queue[str] = Queue()

    def second() -> None:
        with theirs.alone(told.put):
            told.put("begun")

    with ours.alone(told.put):
        thread = Thread(target=second)
        thread.start()
        assert told.get(timeout=30) == "another search of this project is under way: waiting for its end"
        assert told.empty()
    assert told.get(timeout=30) == "begun"
    thread.join()


def test_a_journal_that_was_abandoned_goes_with_the_next_search_and_a_young_one_stays(tmp_path: Path) -> None:
    ours, old, young, resumed = (Journal(tmp_path / "searches" / name) for name in ("ours", "old", "young", "resumed"))
    ago = time.time() - (ABANDONED_DAYS + 1) * 86_400
    for journal in (ours, old, young, resumed):
        journal.append({"trial": 1})
        if journal is not young:
            os.utime(journal.file, (ago, ago))
            os.utime(journal.folder, (ago, ago))
    resumed.append({"trial": 2})
    (tmp_path / "searches" / "a note.txt").write_text("no search")
    with ours.alone(print):
        left = {folder.name for folder in ours.folder.parent.iterdir()}

    assert left == {"ours", "young", "resumed", "a note.txt"}


def test_other_code_of_the_project_is_another_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "the_shop"
    package.mkdir()
    for name in ("__init__", "estimators", "helpers"):
        (package / f"{name}.py").write_text("FACTOR = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = modules_hash(["the_shop.estimators"])
    assert before == modules_hash(["the_shop", "no_such_module"])
    (package / "helpers.py").write_text("FACTOR = 2\n")

    assert modules_hash(["the_shop.estimators"]) != before
    assert modules_hash(["own_estimators"]) != modules_hash([])


def test_a_validation_without_a_search_is_measured_and_then_learnt_from(tmp_path: Path) -> None:
    market = opened(tmp_path, **{**TREE, "search": None, "split": {"validation": 2}})
    market.rerun("training_set", "model")
    version = market.registry.version(NAME, 1)

    assert version.training_set.validation == ("2024-06", "2024-07")
    assert version.training_set.train == tuple(MONTHS[:7])
    assert market.metadata("training_set")["rows_validation"] == 60
    (one,) = version.search["trials"]
    assert market.metadata("model")["validation_mape"] == one["value"]
    assert market.metadata("model")["rows_trained"] == 210


@pytest.mark.parametrize("chosen_with_validation", [True, False])
def test_trials_are_judged_as_the_training_set_was_parted_whatever_is_declared_by_now(
    tmp_path: Path, *, chosen_with_validation: bool
) -> None:
    before, after = (2, 0) if chosen_with_validation else (0, 2)
    market = opened(tmp_path, **{**TREE, "split": {"validation": before}})
    market.rerun("training_set")
    # Another instance: the run finds the training set in the registry.
    today = open_market(tmp_path, features=FEATURES, training={**TREE, "split": {"validation": after}})
    today.rerun("model")
    search = today.registry.version(NAME, 1).search

    assert search["folds"] == (1 if chosen_with_validation else 2)
    assert all(one["value"] is not None for one in search["trials"])


# Rows that are parted by lot


def sides_of(market: Market) -> pl.DataFrame:
    from ml_assets.assets.rows import sides

    version = market.registry.version(NAME, 1)
    rows = market.table("features").sort("_partition", "_source", "_row")
    return rows.with_columns(sides(market.project, rows, version.training_set).alias("side"))


def test_strata_keep_their_shares_and_the_version_has_learnt_from_train_and_validation(tmp_path: Path) -> None:
    split = {"kind": "stratified", "by": "town", "validation": 0.2, "holdout": 0.1}
    market = opened(tmp_path, **{**TREE, "split": split, "test_share": 0.25})
    market.rerun("training_set", "model")
    version, rows = market.registry.version(NAME, 1), sides_of(market)

    assert version.training_set.train == version.training_set.test == tuple(MONTHS)
    counts = rows.group_by("town", "side").len()
    for (town,), of_town in counts.group_by("town"):
        total = of_town["len"].sum()
        shares = {side: count / total for _, side, count in of_town.iter_rows()}
        expected = {"train": 0.45, "validation": 0.2, "test": 0.25, "holdout": 0.1}
        assert shares == pytest.approx(expected, abs=1.1 / total), town
    assert version.holdout["rows"] == (rows["side"] == "holdout").sum()
    with market.settings():
        learnt = learnt_from(market.lake, market.project, version, rows)
    assert learnt.to_list() == rows["side"].is_in(["train", "validation"]).to_list()


def test_no_group_is_on_two_sides_nor_a_feature_and_the_newest_partitions_are_held_back(tmp_path: Path) -> None:
    features = FEATURES.replace(" AS number", " AS number, 'block ' || _row % 10 AS block")
    split = {"kind": "grouped", "by": "block", "holdout": 2}
    market = opened(tmp_path, features, **{**TREE, "split": split, "test_share": 0.3})
    market.rerun("training_set", "model", "evaluation")
    version, rows = market.registry.version(NAME, 1), sides_of(market)

    assert "block" not in version.features
    newest = rows["_partition"] >= market.project.start_of("2024-07")
    assert (rows["side"] == "holdout").to_list() == newest.to_list()
    dealt = rows.filter(~newest)
    assert set(dealt["side"]) == {"train", "test"}
    assert dealt.group_by("block").agg(pl.col("side").n_unique())["side"].to_list() == [1] * 10
    evaluation = market.registry.evaluation(NAME, 1)
    assert evaluation is not None
