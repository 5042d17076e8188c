from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_assets.core.evaluation import measure, row_losses
from ml_assets.core.intervals import (
    FEWEST_CLUSTERS,
    MOST_UNITS,
    Resamples,
    intervals,
    mean_above_zero,
    resample,
    resampled,
    resampled_means,
)
from ml_assets.core.tasks import METRICS, Task

if TYPE_CHECKING:
    from collections.abc import Callable


def rows_of(task: Task, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    if task == "regression":
        actual = random.uniform(50, 150, rows)
        return actual, actual + random.normal(0, 10, rows)
    if task == "binary":
        actual = (random.random(rows) < 0.4).astype(float)
        # Rounded: equal probabilities are the hard part of an area under a curve.
        return actual, np.round(np.clip(random.normal(0.3 + 0.3 * actual, 0.25), 0.01, 0.99), 1)
    return random.integers(3, size=rows).astype(float), random.dirichlet(np.ones(3), size=rows)


@given(task=st.sampled_from(sorted(METRICS)), rows=st.integers(2, 40), seed=st.integers(0, 99), halved=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_metric_of_a_resample_is_the_metric_of_its_rows(task: Task, rows: int, seed: int, *, halved: bool) -> None:
    actual, predicted = rows_of(task, rows, seed)
    if task != "regression":
        actual[-1] = -1  # a class that the model has never seen
    resamples = resample(rows, draws=4, seed=seed)
    mask = np.arange(rows) < max(rows // 2, 1) if halved else np.ones(rows, dtype=bool)

    found = resampled(task, actual, predicted, resamples, rows=mask if halved else None)

    assert found.keys() == METRICS[task].keys()
    for draw, counts in enumerate(resamples.counts):
        repeated = np.repeat(np.flatnonzero(mask), counts[mask].astype(int))
        if not len(repeated):
            continue
        expected = measure(task, actual[repeated], predicted[repeated])
        expected.pop("unseen_rows", None)
        here = {name: values[draw] for name, values in found.items() if not np.isnan(values[draw])}
        assert here == pytest.approx(expected, rel=1e-9, abs=1e-9)


def f1(actual: np.ndarray, predicted: np.ndarray) -> float:
    said = predicted > 0.5
    return float(2 * (said & (actual == 1)).sum() / (said.sum() + actual.sum()))


@pytest.mark.parametrize(
    ("task", "metric", "statistic"),
    [
        ("regression", "rmse", lambda actual, predicted: np.sqrt(np.mean((actual - predicted) ** 2))),
        ("regression", "r2", lambda actual, predicted: 1 - np.mean((actual - predicted) ** 2) / actual.var()),
        ("binary", "f1", f1),
        ("multiclass", "accuracy", lambda actual, predicted: np.mean(predicted.argmax(axis=1) == actual)),
    ],
)
def test_intervals_are_those_of_scipy_but_for_the_luck_of_the_draw(
    task: Task, metric: str, statistic: Callable[..., float]
) -> None:
    actual, predicted = rows_of(task, 300, 5)
    found = intervals(task, actual, predicted, resample(300, draws=4000, seed=1))[metric]

    expected = stats.bootstrap(
        (np.arange(300),), lambda picked: statistic(actual[picked], predicted[picked]),
        method="BCa", n_resamples=4000, vectorized=False, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.07 * width)
    assert found.high == pytest.approx(expected.high, abs=0.07 * width)


@pytest.mark.parametrize("rows", [80, MOST_UNITS + 500])
def test_nineteen_of_twenty_intervals_hold_the_truth(rows: int) -> None:
    trials, held = 200, 0
    for seed in range(trials):
        actual = np.zeros(rows)
        predicted = np.random.default_rng(seed).normal(0, 1, rows)
        (found,) = intervals("regression", actual, predicted, resample(rows, draws=200), names=["mse"]).values()
        held += found.low <= 1 <= found.high

    # 95 %, less what an interval lacks of a skewed mean of 80; four standard deviations are 6 %.
    assert 0.89 <= held / trials < 0.99


def test_clusters_of_rows_that_are_alike_make_the_interval_as_wide_as_it_must_be() -> None:
    trials, clusters, each = 200, 40, 25
    held = {"clusters": 0, "rows": 0}
    for seed in range(trials):
        random = np.random.default_rng(seed)
        predicted = np.repeat(random.normal(0, 1, clusters), each) + random.normal(0, 1, clusters * each)
        code = np.repeat(np.arange(clusters), each)
        for name, given_clusters in (("clusters", code), ("rows", None)):
            draws = resample(clusters * each, clusters=given_clusters, draws=300)
            means = resampled_means(predicted[:, None], draws)[:, 0]
            held[name] += np.quantile(means, 0.025) <= 0 <= np.quantile(means, 0.975)

    assert held["clusters"] / trials > 0.88
    assert held["rows"] / trials < 0.6


def test_few_clusters_are_not_drawn() -> None:
    few, enough = (np.arange(60) % clusters for clusters in (FEWEST_CLUSTERS - 1, FEWEST_CLUSTERS))

    assert (resample(60, clusters=few).drawn, resample(60, clusters=few).units) == ("rows", 60)
    assert (resample(60, clusters=enough).drawn, resample(60, clusters=enough).units) == ("clusters", FEWEST_CLUSTERS)


def test_many_rows_are_drawn_in_bundles_of_about_as_many() -> None:
    many = resample(3 * MOST_UNITS + 1, draws=2)

    assert (many.drawn, many.units) == ("bundles", MOST_UNITS)
    assert set(np.bincount(many.unit)) == {3, 4}
    assert (many.counts.sum(axis=1) == MOST_UNITS).all()


def test_the_same_seed_draws_the_same() -> None:
    np.testing.assert_array_equal(resample(50, seed=3).counts, resample(50, seed=3).counts)
    assert (resample(50, seed=3).counts != resample(50, seed=4).counts).any()


def test_what_most_resamples_leave_undefined_has_no_interval() -> None:
    actual = np.array([1.0, *[0.0] * 19])
    found = intervals("binary", actual, np.linspace(0, 0.4, 20), resample(20))

    # Nothing is predicted positive, and the one positive row is missing from a third of the resamples.
    assert found.keys() == {"log_loss", "brier", "error_rate", "accuracy"}


@given(rows=st.integers(2, 400), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_mean_above_zero_is_found_as_by_the_t_test(rows: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.1, 1, rows)
    found = mean_above_zero(values, resample(rows, draws=20_000 if rows < 30 else 4000))

    expected = stats.ttest_1samp(values, 0, alternative="greater").pvalue
    assert found.mean == pytest.approx(values.mean())
    assert found.p_value == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0]])
def test_rows_that_do_not_differ_show_nothing(values: list[float]) -> None:
    assert mean_above_zero(np.array(values), resample(len(values))).p_value == 1.0


def test_a_mean_of_a_slice_leaves_out_what_is_not_there() -> None:
    values = np.array([[1.0, np.nan], [3.0, 4.0]])
    found = resampled_means(values, Resamples(np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([0, 1]), "rows"))

    np.testing.assert_array_equal(found, [[2.0, 4.0], [1.0, np.nan]])


def test_losses_of_rows_are_what_the_means_are_taken_of() -> None:
    actual, predicted = rows_of("binary", 50, 1)
    means = resampled_means(row_losses("log_loss", actual, predicted)[:, None], resample(50, seed=9))[:, 0]

    np.testing.assert_allclose(means, resampled("binary", actual, predicted, resample(50, seed=9))["log_loss"])
