"""Estimates without labels, on data whose truth is known: what they are, and whether their intervals hold."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.estimates import (
    FEWEST_PAST,
    FEWEST_ROWS,
    Estimate,
    add_expected,
    learn_calibration,
    learn_losses,
    margin,
)
from ml_assets.core.evaluation import measure, row_losses
from ml_assets.core.performance import Measured, performance_sql, read_performance

JANUARY = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC
KINDS = {"area": "number", 'the "town"': "category", "empty": "number", "said": "text"}
TOWN = 'the "town"'
CLASSES = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c")}


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def flats(rows: int, seed: int, *, bad: float = 0.2) -> tuple[pl.DataFrame, Any, Any]:
    """Flats, what was said of their price and what it was: four times as wrong in one town, of a share of them."""
    draw = np.random.default_rng(seed)
    town = np.where(draw.random(rows) < bad, "it's bad", np.where(draw.random(rows) < 0.5, "good", "fine"))
    area = draw.uniform(40, 160, rows)
    actual = 5000 * area
    predicted = actual * (1 + draw.normal(0, np.where(town == "it's bad", 0.2, 0.05)))
    frame = pl.DataFrame({"area": area, TOWN: town, "empty": [None] * rows, "said": ["x"] * rows}, strict=False)
    odd = pl.int_range(pl.len()) % 7
    frame = frame.with_columns(
        pl.when(odd == 0).then(float("inf")).when(odd == 1).then(None).otherwise("area").alias("area"),
        pl.when(odd == 2).then(None).otherwise(TOWN).alias(TOWN),
        pl.col("empty").cast(pl.Float64),
    )
    return frame, actual, predicted


def counted(
    database: duckdb.DuckDBPyConnection,
    rows: pl.DataFrame,
    labels: Any,
    said: Any,
    learnt: Any,
    task: Any = "regression",
) -> Measured:
    """What the statement counts of rows, all of one partition and version."""
    keys = {"_partition": pl.lit(JANUARY), "_source": pl.lit("f"), "_row": pl.int_range(pl.len())}
    features = rows.with_columns(**keys, y=pl.Series(labels, strict=False))
    predictions = features.select(*keys, version=pl.lit(1), in_sample=pl.lit(False), hindsight=pl.lit(False))
    if task == "multiclass":
        likeliest = pl.Series([CLASSES[task][place] for place in said.argmax(axis=1)])
        predictions = predictions.with_columns(predicted_class=likeliest, probabilities=pl.Series(said.tolist()))
        said = said.max(axis=1)
    predictions = predictions.with_columns(prediction=pl.Series(said))
    cursor = database.cursor().register("p", predictions).register("f", features)
    classes = {1: CLASSES[task]} if task in CLASSES else {}
    sql = performance_sql("FROM p", "FROM f", "y", task=task, classes=classes, learnt={1: learnt})
    return read_performance(cursor.execute(sql).fetchall(), task, {1: learnt})[JANUARY, 1]


@pytest.mark.parametrize("metric", ["mape", "mae", "mse", "rmse"])
def test_on_the_rows_that_it_was_learnt_from_the_estimate_is_the_metric_itself(
    database: duckdb.DuckDBPyConnection, metric: str
) -> None:
    # Means of leaves, weighed by their rows, are the mean: so the statement finds the leaf that the tree finds, also
    # where a number is missing or infinite, or a category is.
    rows, actual, predicted = flats(2_000, 1)
    learnt = learn_losses(rows, KINDS, predicted, row_losses(metric, actual, predicted), metric=metric)
    assert learnt is not None
    assert json.loads(json.dumps(learnt)) == learnt, "it is kept as JSON"

    found = counted(database, rows, actual, predicted, learnt)

    assert found.expected.keys() == {metric}
    assert found.expected[metric].value == pytest.approx(found.metrics[metric])


def test_rows_that_have_moved_to_where_the_version_is_worse_are_expected_to_be_worse(
    database: duckdb.DuckDBPyConnection,
) -> None:
    rows, actual, predicted = flats(4_000, 1)
    learnt = learn_losses(rows, KINDS, predicted, row_losses("mape", actual, predicted), metric="mape")
    before = measure("regression", actual, predicted)["mape"]
    moved, actual, predicted = flats(4_000, 2, bad=0.8)
    real = measure("regression", actual, predicted)["mape"]

    found = counted(database, moved, [None] * len(actual), predicted, learnt)

    assert (found.rows, found.scored, found.metrics) == (0, 4_000, {})
    assert found.expected["mape"].value == pytest.approx(real, rel=0.2)
    assert found.expected["mape"].value > 1.5 * before


@pytest.mark.parametrize("rows", [0, FEWEST_ROWS - 1])
def test_too_few_rows_teach_nothing(rows: int) -> None:
    frame, actual, predicted = flats(rows, 1)

    assert learn_losses(frame, KINDS, predicted, row_losses("mae", actual, predicted), metric="mae") is None
    assert learn_calibration("binary", np.ones(rows), np.full(rows, 0.5)) is None


def test_one_class_and_losses_without_a_value_teach_nothing() -> None:
    frame, _, predicted = flats(100, 1)

    assert learn_calibration("binary", np.ones(100), np.full(100, 0.5)) is None
    assert learn_losses(frame, KINDS, predicted, np.full(100, np.inf), metric="mae") is None


def classified(task: str, rows: int, seed: int, *, hard: float = 1.0) -> tuple[Any, Any]:
    """Labels, and probabilities that are twice as sure as they may be. Where `hard` is small, rows are harder."""
    draw = np.random.default_rng(seed)
    classes = len(CLASSES[task])
    logits = hard * draw.normal(0, 1.5, (rows, classes))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    actual = (honest.cumsum(axis=1) < draw.random((rows, 1))).sum(axis=1)
    sure = honest**2 / (honest**2).sum(axis=1, keepdims=True)
    return actual, sure[:, 1] if task == "binary" else sure


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_classifier_that_is_too_sure_is_read_as_it_deserves(database: duckdb.DuckDBPyConnection, task: Any) -> None:
    actual, said = classified(task, 4_000, 1)
    learnt = learn_calibration(task, actual.astype(float), said)
    assert learnt is not None
    assert learnt["slope"] == pytest.approx(0.5, abs=0.05)

    later, of_later = classified(task, 4_000, 2, hard=0.3)
    real = measure(task, later.astype(float), of_later)
    labels = [CLASSES[task][place] for place in later]
    found = counted(database, pl.DataFrame({"x": later}), labels, of_later, learnt, task)

    names = {"log_loss", "brier", "error_rate", "accuracy"} - ({"brier"} if task == "multiclass" else set())
    assert found.expected.keys() == names
    for name, one in found.expected.items():
        assert abs(real[name] - one.value) < 3.5 * one.noise, name
        assert found.metrics[name] == pytest.approx(real[name])


def test_noise_is_the_spread_that_chance_gives_a_metric(database: duckdb.DuckDBPyConnection) -> None:
    actual, said = classified("binary", 4_000, 1)
    learnt = learn_calibration("binary", actual.astype(float), said)
    found = counted(database, pl.DataFrame({"x": actual}), ["no"] * 4_000, said, learnt, "binary")
    draw = np.random.default_rng(3)
    honest = 1 / (1 + (1 / said - 1) ** 0.5)
    played = [measure("binary", (draw.random(len(said)) < honest).astype(float), said)["log_loss"] for _ in range(150)]

    assert found.expected["log_loss"].noise == pytest.approx(np.std(played), rel=0.2)


# The interval


@pytest.mark.parametrize(("bias", "spread"), [(0.0, 1.0), (0.0, 3.0), (1.5, 1.0)])
def test_an_interval_of_95_percent_holds_95_of_100_metrics_of_partitions_of_any_size(
    bias: float, spread: float
) -> None:
    draw = np.random.default_rng(5)
    held = []
    for _ in range(400):
        noises = draw.uniform(0.002, 0.02, 9)
        errors = noises * (bias + spread * draw.normal(size=9))
        past = [(0.1 + error, Estimate(0.1, noise)) for error, noise in zip(errors[:8], noises[:8], strict=True)]
        half = margin(past, noises[8])
        assert half is not None
        held.append(abs(errors[8]) <= half)

    # Bias is not taken out, only counted as error: then the interval is too wide rather than too narrow.
    assert 0.92 <= np.mean(held) <= (0.98 if not bias else 1.0)


def test_an_interval_on_a_simulated_stream_is_honest(database: duckdb.DuckDBPyConnection) -> None:
    # Partitions of different sizes and mixes of towns, one version, labels that come two partitions late.
    rows, actual, predicted = flats(1_500, 1)
    learnt = learn_losses(rows, KINDS, predicted, row_losses("mape", actual, predicted), metric="mape")
    draw = np.random.default_rng(7)
    past, held, errors = [], [], []
    for number in range(90):
        rows, actual, predicted = flats(int(draw.integers(150, 600)), 100 + number, bad=float(draw.uniform(0.1, 0.7)))
        found = counted(database, rows, actual, predicted, learnt)
        one, real = found.expected["mape"], found.metrics["mape"]
        half = margin(past[:-1], one.noise)
        if half is not None:
            held.append(abs(real - one.value) <= half)
            errors.append(half / one.value)
        past.append((real, one))

    assert np.mean(held) == pytest.approx(0.95, abs=0.05)
    assert np.median(errors) < 0.35, "an interval that says nothing is honest too"


def test_an_error_is_not_known_before_some_estimates_have_met_their_labels() -> None:
    past = [(0.1, Estimate(0.11, 0.01))] * FEWEST_PAST

    assert margin(past[1:], 0.01) is None
    assert margin(past, 0.01) == pytest.approx(0.0318, abs=1e-4)
    assert margin([(0.1, Estimate(0.1, 0.0))] * FEWEST_PAST, 0.01) is None, "without noise nothing can be compared"


def test_what_became_of_old_estimates_is_forgotten() -> None:
    bad, good = (0.5, Estimate(0.1, 0.01)), (0.11, Estimate(0.1, 0.01))

    assert margin([bad] * 5 + [good] * 12, 0.01) == margin([good] * 12, 0.01)


# Every row that was scored is accounted for


@given(
    labels=st.lists(st.one_of(st.none(), st.floats(1, 9), st.just(float("nan"))), min_size=1, max_size=40),
    kinds=st.lists(st.sampled_from(["counts", "in_sample", "hindsight"]), min_size=40, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_labelled_and_unlabelled_rows_are_all_that_were_scored_and_not_learnt_from(
    database: duckdb.DuckDBPyConnection, labels: list[float | None], kinds: list[str]
) -> None:
    frame, actual, predicted = flats(200, 1)
    learnt = learn_losses(frame, KINDS, predicted, row_losses("mae", actual, predicted), metric="mae")
    keys = ["_partition", "_source", "_row"]
    place, kind = pl.int_range(pl.len()), pl.Series(kinds[: len(labels)])
    rows = frame.head(len(labels)).with_columns(
        _partition=pl.lit(JANUARY), _source=pl.lit("f"), _row=place, version=1, kind=kind,
        y=pl.Series(labels, dtype=pl.Float64), prediction=pl.Series(predicted[: len(labels)]),
        in_sample=kind == "in_sample", hindsight=kind == "hindsight",
    )  # fmt: skip
    cursor = database.cursor().register("p", rows.select(*keys, "version", "prediction", "in_sample", "hindsight"))
    cursor.register("f", rows.select(*keys, *frame.columns, "y"))
    sql = performance_sql("FROM p", "FROM f", "y", learnt={1: learnt or {}})
    result = read_performance(cursor.execute(sql).fetchall(), "regression", {1: learnt or {}})
    found = result.get((JANUARY, 1), Measured())

    counting = rows.filter(rows["kind"] == "counts")
    labelled = counting["y"].is_finite().fill_null(value=False).sum()
    assert (found.scored, found.rows) == (counting.height, labelled)
    assert bool(found.metrics) == (labelled > 0)
    assert bool(found.expected) == (counting.height > 0)


@given(
    st.lists(st.tuples(st.dictionaries(st.integers(0, 3), st.integers(1, 9)), st.floats(0, 1)), min_size=2, max_size=2)
)
def test_sums_of_two_groups_add_up_whatever_is_missing(two: list[tuple[dict[int, int], float]]) -> None:
    (one, a), (other, b) = two
    added = add_expected([one, a, None], [other, b, 2.0])

    assert added[1:] == [a + b, 2.0]
    assert sum(added[0].values()) == sum(one.values()) + sum(other.values())
