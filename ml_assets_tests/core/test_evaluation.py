from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_assets.core.evaluation import (
    EPSILON,
    SIGNIFICANCE,
    binary_metrics,
    check_gate,
    compare,
    measure,
    multiclass_metrics,
    regression_metrics,
    row_losses,
)
from ml_assets.core.tasks import METRICS

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


@pytest.mark.parametrize(
    ("at_most", "at_least", "ends", "value", "passed"),
    [
        (0.12, None, (0.08, 0.12), 0.12, True),
        (0.12, None, (0.08, 0.13), 0.13, False),
        (None, 0.7, (0.7, 0.9), 0.7, True),
        (None, 0.7, (0.6, 0.9), 0.6, False),
        (0.9, 0.7, (0.6, 0.8), 0.6, False),
        (0.9, 0.7, (0.75, 0.95), 0.95, False),
        (0.9, 0.7, (0.71, 0.8), 0.71, True),
    ],
)
def test_a_gate_with_confidence_is_passed_by_the_worse_end(
    *, at_most: float | None, at_least: float | None, ends: tuple[float, float], value: float, passed: bool
) -> None:
    result = check_gate("r2", at_most, at_least, {"r2": 0.1}, where="town = EAST", ends={"r2": ends})

    assert (result.value, result.passed) == (value, passed)
    assert result.demand.endswith(" where town = EAST, with confidence")
    assert not check_gate("r2", at_most, at_least, {"r2": 0.1}, ends={"mse": ends}).passed


# Champion and challenger


def models(rows: int, seed: int, *, better_by: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actual values, and the predictions of a challenger and of a champion that err independently."""
    random = np.random.default_rng(seed)
    actual = random.uniform(50, 150, rows)
    return actual, actual + random.normal(0, 10 - better_by, rows), actual + random.normal(0, 10, rows)


@pytest.mark.parametrize("metric", ["mse", "rmse", "mae", "mape"])
@pytest.mark.parametrize("better_by", [0.0, 1.0, 5.0])
def test_the_comparison_is_a_paired_one_sided_t_test_over_groups_of_neighbours(metric: str, better_by: float) -> None:
    actual, challenger, champion = models(140, 1, better_by=better_by)
    result = compare(metric, actual, challenger, champion)

    losses = [row_losses(metric, actual, predicted) for predicted in (champion, challenger)]
    means = [one.reshape(14, 10).mean(axis=1) for one in losses]
    expected = stats.ttest_rel(*means, alternative="greater").pvalue
    assert result.p_value == pytest.approx(expected)
    assert result.better == (expected < SIGNIFICANCE)
    assert result.challenger == pytest.approx(regression_metrics(actual, challenger)[metric])
    assert result.champion == pytest.approx(regression_metrics(actual, champion)[metric])
    assert (result.metric, result.rows, result.groups) == (metric, 140, 14)


@pytest.mark.parametrize("metric", ["mse", "rmse", "mae"])
def test_a_gain_below_the_smallest_that_counts_does_not_count(metric: str) -> None:
    actual, challenger, champion = models(4000, 1, better_by=1)
    found = compare(metric, actual, challenger, champion)
    gain = 1 - found.challenger / found.champion

    assert found.better
    assert compare(metric, actual, challenger, champion, minimum_gain=gain / 4).better
    assert not compare(metric, actual, challenger, champion, minimum_gain=gain).better
    assert compare(metric, actual, challenger, champion, minimum_gain=gain).p_value == pytest.approx(0.5)


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
    assert [type(value) for value in stored.values()] == [str, int, float, float, float, bool, int, float]


# Classification

chances = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))
judged = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), chances), min_size=1, max_size=20)


@given(rows=judged)
@settings(max_examples=80, deadline=None)
def test_binary_metrics_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    from sklearn import metrics

    actual, predicted = np.array(rows).T
    said = predicted > 0.5
    expected = {
        "log_loss": metrics.log_loss(actual, predicted, labels=[0, 1]),
        "brier": metrics.brier_score_loss(actual, predicted, pos_label=1),
        "error_rate": metrics.zero_one_loss(actual, said),
        "accuracy": metrics.accuracy_score(actual, said),
    }
    if said.any():
        expected["precision"] = metrics.precision_score(actual, said, zero_division=0)
    if actual.any():
        expected["recall"] = metrics.recall_score(actual, said)
        expected["pr_auc"] = metrics.average_precision_score(actual, predicted)
    if actual.any() or said.any():
        expected["f1"] = metrics.f1_score(actual, said)
    if len(set(actual)) == 2:
        expected["roc_auc"] = metrics.roc_auc_score(actual, predicted)
    found = binary_metrics(actual, predicted)

    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert all(type(value) is float for value in found.values())


def probabilities(rows: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows)


@pytest.mark.parametrize("present", [[0, 1, 2], [0, 2], [1]])
def test_multiclass_metrics_are_those_of_scikit_learn(present: list[int]) -> None:
    from sklearn import metrics

    predicted = probabilities(60)
    actual = np.random.default_rng(1).choice(present, 60).astype(float)
    said = predicted.argmax(axis=1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(actual, said, average="macro", zero_division=0)

    assert multiclass_metrics(actual, predicted) == pytest.approx(
        {
            "log_loss": metrics.log_loss(actual, predicted, labels=[0, 1, 2]),
            "error_rate": metrics.zero_one_loss(actual, said),
            "accuracy": metrics.accuracy_score(actual, said),
            "precision_macro": precision,
            "recall_macro": recall,
            "f1_macro": f1,
        }
    )


@pytest.mark.parametrize("said", [0.0, 0.2, 0.9, 1.0])
def test_a_label_that_is_neither_of_two_is_wrong_whatever_is_said(said: float) -> None:
    actual, predicted = np.array([1.0, 0.0, -1.0]), np.array([1.0, 0.0, said])

    found = binary_metrics(actual, predicted)

    assert (found["unseen_rows"], found["error_rate"], found["recall"]) == (1, pytest.approx(1 / 3), 1)
    assert found["brier"] == pytest.approx(1 / 3)
    assert found["log_loss"] == pytest.approx(-math.log(EPSILON) / 3)
    assert found["precision"] == (0.5 if said > 0.5 else 1.0)


def test_a_class_that_the_model_has_never_seen_is_wrong_and_had_no_probability() -> None:
    from sklearn import metrics

    predicted = probabilities(40)
    actual = np.array([*[0.0, 1.0, 2.0] * 12, *[-1.0] * 4])
    found = multiclass_metrics(actual, predicted)

    # To scikit-learn: a fourth class, whose probability is always 0.
    fourth = np.column_stack([predicted, np.zeros(40)])
    known = np.where(actual < 0, 3, actual)
    assert found["unseen_rows"] == 4
    assert found["log_loss"] == pytest.approx(metrics.log_loss(known, fourth))
    assert found["accuracy"] == metrics.accuracy_score(known, fourth.argmax(axis=1))
    macro = metrics.f1_score(known, predicted.argmax(axis=1), labels=[0, 1, 2], average="macro")
    assert found["f1_macro"] == pytest.approx(macro)


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_a_task_is_measured_by_its_metrics(task: str) -> None:
    actual = np.array([1.0, 0.0, 1.0, 1.0]) + (task == "regression")
    predicted = probabilities(4, 2) if task == "multiclass" else np.array([0.9, 0.2, 0.4, 0.8])

    assert measure(task, actual, predicted).keys() == METRICS[task].keys()  # type: ignore[arg-type,index]


def test_what_is_watched_is_a_mean_over_rows() -> None:
    actual, predicted = np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.4, 0.3])
    for task, said in (("binary", predicted), ("multiclass", np.column_stack([1 - predicted, predicted]))):
        found = measure(task, actual, said)  # type: ignore[arg-type]
        for name, metric in METRICS[task].items():  # type: ignore[index]
            if metric.watched:
                assert row_losses(name, actual, said).mean() == pytest.approx(found[name])


def test_a_certain_and_wrong_prediction_costs_what_it_costs_in_scikit_learn() -> None:
    assert row_losses("log_loss", np.array([1.0]), np.array([0.0])).tolist() == [-math.log(EPSILON)]


@pytest.mark.parametrize("metric", ["log_loss", "brier", "error_rate"])
def test_a_classifier_is_better_by_its_loss_row_by_row(metric: str) -> None:
    actual = np.array([0.0, 1.0] * 50)
    good, bad = np.where(actual == 1, 0.8, 0.2), np.where(np.arange(100) % 3, 0.6, 0.4)

    assert compare(metric, actual, good, bad).better
    assert not compare(metric, actual, bad, good).better
    assert not compare(metric, actual, good, good).better
