from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_assets.core.evaluation import SIGNIFICANCE, check_gate, compare, regression_metrics, row_losses

values = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
pairs = st.lists(st.tuples(values, values), min_size=1, max_size=20)


@given(pairs=pairs)
@settings(max_examples=100, deadline=None)
def test_metrics_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    from sklearn import metrics

    actual, predicted = np.array(pairs).T
    found = regression_metrics(actual, predicted)

    expected = {
        "mse": metrics.mean_squared_error(actual, predicted),
        "rmse": metrics.root_mean_squared_error(actual, predicted),
        "mae": metrics.mean_absolute_error(actual, predicted),
    }
    if (actual != 0).all():
        expected["mape"] = metrics.mean_absolute_percentage_error(actual, predicted)
    if len(set(actual)) > 1:
        expected["r2"] = metrics.r2_score(actual, predicted)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert all(type(value) is float for value in found.values())


def test_mape_is_left_out_where_an_actual_value_is_zero() -> None:
    assert set(regression_metrics(np.array([0.0, 1.0]), np.array([1.0, 1.0]))) == {"mse", "rmse", "mae", "r2"}


@pytest.mark.parametrize("actual", [[0.1] * 3, [0.1] * 10, [5.0], [1e-200, 2e-200]])
def test_r2_is_left_out_where_the_actual_values_do_not_differ(actual: list[float]) -> None:
    assert "r2" not in regression_metrics(np.array(actual), np.array(actual) + 1)


def test_a_perfect_prediction_has_no_error() -> None:
    actual = np.array([1.0, 2.0])

    assert regression_metrics(actual, actual) == {"mse": 0, "rmse": 0, "mae": 0, "mape": 0, "r2": 1}


UNUSABLE = [
    ([], []),
    ([1.0], [1.0, 2.0]),
    ([math.nan, 1.0], [1.0, 1.0]),
    ([1.0, 1.0], [math.inf, 1.0]),
    ([1.0, 1.0], [math.nan, 1.0]),
]


@pytest.mark.parametrize(("actual", "predicted"), UNUSABLE)
def test_values_without_a_metric_are_refused(actual: list[float], predicted: list[float]) -> None:
    with pytest.raises(ValueError, match="metrics need"):
        regression_metrics(np.array(actual), np.array(predicted))
    good = np.ones(len(actual))
    for models in ((np.array(predicted), good), (good, np.array(predicted))):
        with pytest.raises(ValueError, match="metrics need"):
            compare("mae", np.array(actual), *models)


@given(pairs=pairs)
@settings(max_examples=40, deadline=None)
def test_a_metric_is_the_mean_of_the_losses_of_rows(pairs: list[tuple[float, float]]) -> None:
    actual, predicted = np.array(pairs).T
    metrics = regression_metrics(actual, predicted)

    for name in metrics.keys() - {"r2", "rmse"}:
        assert row_losses(name, actual, predicted).mean() == pytest.approx(metrics[name])
    assert math.sqrt(row_losses("rmse", actual, predicted).mean()) == pytest.approx(metrics["rmse"])


def test_a_metric_that_is_no_mean_over_rows_compares_nothing() -> None:
    with pytest.raises(ValueError, match="'r2' is no mean over rows"):
        compare("r2", *np.ones((3, 4)))


def test_mape_compares_nothing_where_an_actual_value_is_zero() -> None:
    with pytest.raises(ValueError, match="mape is undefined where an actual value is zero"):
        compare("mape", np.array([0.0, 1.0]), np.ones(2), np.ones(2))


# Gates


@pytest.mark.parametrize(
    ("at_most", "at_least", "value", "passed", "demand"),
    [
        (0.12, None, 0.12, True, "mape <= 0.12"),
        (0.12, None, 0.1200001, False, "mape <= 0.12"),
        (None, 0.7, 0.7, True, "mape >= 0.7"),
        (None, 0.7, 0.6999999, False, "mape >= 0.7"),
        (2, 1, 1.5, True, "mape <= 2 and mape >= 1"),
        (2, 1, 2.5, False, "mape <= 2 and mape >= 1"),
        (2, 1, 0.5, False, "mape <= 2 and mape >= 1"),
        (0.0, None, 0.0, True, "mape <= 0"),
        (2, None, math.inf, False, "mape <= 2"),
    ],
)
def test_a_gate_is_passed_up_to_its_limit(
    *, at_most: float | None, at_least: float | None, value: float, passed: bool, demand: str
) -> None:
    result = check_gate("mape", at_most, at_least, {"mape": value, "mae": 0.0})

    assert (result.metric, result.value, result.passed, result.demand) == ("mape", value, passed, demand)


@pytest.mark.parametrize("metrics", [{}, {"mae": 0.0}, {"mape": math.nan}])
@pytest.mark.parametrize("limits", [(1.0, None), (None, -1.0), (1.0, -1.0)])
def test_an_undefined_metric_passes_no_gate(metrics: dict[str, float], limits: tuple[float, float]) -> None:
    result = check_gate("mape", *limits, metrics)

    assert (result.value, result.passed) == (None, False)
    assert json.loads(json.dumps(asdict(result), allow_nan=False))["value"] is None


# Champion and challenger


def models(rows: int, seed: int, *, better_by: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actual values, and the predictions of a challenger and of a champion that err independently."""
    random = np.random.default_rng(seed)
    actual = random.uniform(50, 150, rows)
    return actual, actual + random.normal(0, 10 - better_by, rows), actual + random.normal(0, 10, rows)


@pytest.mark.parametrize("metric", ["mse", "rmse", "mae", "mape"])
@pytest.mark.parametrize("better_by", [0.0, 1.0, 5.0])
def test_the_comparison_is_a_paired_one_sided_t_test(metric: str, better_by: float) -> None:
    actual, challenger, champion = models(80, 1, better_by=better_by)
    result = compare(metric, actual, challenger, champion)

    losses = [row_losses(metric, actual, predicted) for predicted in (champion, challenger)]
    expected = stats.ttest_rel(*losses, alternative="greater").pvalue
    assert result.p_value == pytest.approx(expected)
    assert result.better == (expected < SIGNIFICANCE)
    assert result.challenger == pytest.approx(regression_metrics(actual, challenger)[metric])
    assert result.champion == pytest.approx(regression_metrics(actual, champion)[metric])
    assert (result.metric, result.rows) == (metric, 80)


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape"])
def test_noise_promotes_no_more_often_than_the_level_says(metric: str) -> None:
    trials = 1000
    promoted = sum(compare(metric, *models(60, seed)).better for seed in range(trials))

    # The level is 5 %; four standard deviations of the count, 0.7 % each.
    assert 0.02 < promoted / trials < 0.078


def test_a_much_better_challenger_is_found() -> None:
    assert all(compare("mae", *models(60, seed, better_by=6)).better for seed in range(20))


def test_a_worse_challenger_is_never_better() -> None:
    actual, challenger, champion = models(200, 3, better_by=6)

    result = compare("mae", actual, champion, challenger)

    assert not result.better
    assert result.p_value > 0.99


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_a_challenger_that_predicts_the_same_is_not_better(rows: int) -> None:
    actual, challenger, _ = models(rows, 5)
    result = compare("mae", actual, challenger, challenger)

    assert (result.p_value, result.better) == (1.0, False)


def test_one_row_shows_nothing() -> None:
    result = compare("mae", np.array([1.0]), np.array([1.0]), np.array([9.0]))

    assert (result.challenger, result.champion, result.p_value, result.better) == (0.0, 8.0, 1.0, False)


@pytest.mark.parametrize("rows", [1, 30])
def test_a_comparison_can_be_stored_as_json(rows: int) -> None:
    stored = asdict(compare("rmse", *models(rows, 2, better_by=5)))

    assert json.loads(json.dumps(stored, allow_nan=False)) == stored
    assert [type(value) for value in stored.values()] == [str, int, float, float, float, bool]
