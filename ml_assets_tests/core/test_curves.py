from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_assets.core.curves import (
    UNSEEN,
    against_actual,
    calibration,
    calibration_error,
    cheapest_threshold,
    confusion,
    cost_of_labels,
    cost_of_values,
    residuals,
    wilson,
)
from ml_assets.core.evaluation import binary_metrics

chances = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda twentieths: twentieths / 20)), min_size=1, max_size=40
)


@given(pairs=chances)
@settings(max_examples=60, deadline=None)
def test_the_confusion_matrix_is_that_of_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    from sklearn import metrics

    actual, predicted = np.array(pairs, dtype=float).T
    found = confusion("binary", actual, predicted, ("no", "yes"))

    assert found.rows == tuple(map(tuple, metrics.confusion_matrix(actual, predicted > 0.5, labels=[0, 1]).tolist()))


def test_a_class_that_was_never_seen_has_a_row_and_is_never_predicted() -> None:
    found = confusion("multiclass", np.array([0.0, 2.0, -1.0]), np.eye(3), ("a", "b", "c"))

    assert found.classes == ("a", "b", "c", UNSEEN)
    assert found.rows == ((1, 0, 0, 0), (0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0))


def test_the_calibration_curve_is_that_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(1)
    predicted = random.random(500)
    actual = (random.random(500) < predicted**2).astype(float)
    found = calibration(actual, predicted)

    shares, means = calibration_curve(actual, predicted, n_bins=10, strategy="quantile")
    assert [each.actual for each in found] == pytest.approx(shares)
    assert [each.predicted for each in found] == pytest.approx(means)
    assert [each.rows for each in found] == [50] * 10
    assert calibration_error(found) == pytest.approx(np.abs(shares - means).mean())


def test_a_label_that_is_neither_of_two_is_not_the_positive_one() -> None:
    actual, predicted = np.array([1.0, 1.0, -1.0, -1.0]), np.full(4, 0.7)

    (found,) = calibration(actual, predicted)
    assert (found.rows, found.actual) == (4, 0.5)
    assert cost_of_labels(actual, predicted, 0.5, 3, 8).tolist() == [0, 0, 3, 3]
    assert confusion("binary", actual, predicted, ("no", "yes")).rows[2] == (0, 2, 0)


def test_of_many_classes_the_likeliest_is_judged() -> None:
    (found,) = calibration(np.array([0.0, 1.0, 2.0, 2.0]), np.tile([0.1, 0.2, 0.7], (4, 1)))

    assert (found.rows, found.predicted, found.actual) == (4, pytest.approx(0.7), 0.5)


@given(rows=st.integers(1, 200), hits=st.data())
@settings(max_examples=40, deadline=None)
def test_the_interval_of_a_share_is_that_of_scipy(rows: int, hits: st.DataObject) -> None:
    count = hits.draw(st.integers(0, rows))
    expected = stats.binomtest(count, rows).proportion_ci(method="wilson")

    assert wilson(count / rows, rows) == pytest.approx((expected.low, expected.high), abs=1e-6)


@given(values=st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_every_row_stands_in_one_bin(values: list[tuple[float, float]]) -> None:
    actual, predicted = np.array(values).T
    by_prediction, errors = against_actual(actual, predicted), residuals(actual, predicted)

    assert sum(each.rows for each in by_prediction) == sum(errors.rows) == len(values)
    assert [each.predicted for each in by_prediction] == sorted(each.predicted for each in by_prediction)
    assert errors.mean == pytest.approx((predicted - actual).mean(), abs=1e-6)
    assert len(errors.edges) == len(errors.rows) + 1


@given(pairs=chances, false_positive=st.integers(1, 9), false_negative=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_no_other_threshold_costs_less(
    pairs: list[tuple[int, float]], false_positive: int, false_negative: int
) -> None:
    actual, predicted = np.array(pairs, dtype=float).T
    found = cheapest_threshold(actual, predicted, false_positive, false_negative)

    def cost(threshold: float) -> float:
        return float(cost_of_labels(actual, predicted, threshold, false_positive, false_negative).mean())

    assert cost(found.value) == pytest.approx(found.cost)
    assert found.cost_of_half == cost(0.5)
    assert found.cost <= min(cost(each / 40) for each in range(-1, 41)) + 1e-12


def test_a_label_is_said_above_a_threshold_for_its_cost_as_for_its_metrics() -> None:
    actual, predicted = np.array([1.0, 0.0]), np.array([0.5, 0.5])

    assert binary_metrics(actual, predicted)["recall"] == 0
    assert cost_of_labels(actual, predicted, 0.5, 3, 8).tolist() == [8, 0]


def test_the_threshold_of_a_calibrated_model_follows_from_the_costs() -> None:
    random = np.random.default_rng(4)
    predicted = random.random(40_000)
    actual = (random.random(40_000) < predicted).astype(float)

    assert cheapest_threshold(actual, predicted, 1, 4).value == pytest.approx(0.2, abs=0.05)
    assert cheapest_threshold(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 1, 4).value == 0.2


def test_the_cost_of_values_is_least_at_the_quantile_of_the_costs() -> None:
    actual = np.random.default_rng(5).normal(0, 1, 5000)
    costs = {
        share: cost_of_values(actual, np.full(5000, np.quantile(actual, share)), 1, 3).mean()
        for share in (0.25, 0.5, 0.7, 0.75, 0.8, 0.9)
    }

    assert min(costs, key=lambda share: costs[share]) == 0.75
    assert cost_of_values(np.array([1.0, 1.0]), np.array([2.0, -1.0]), 1, 3).tolist() == [1.0, 6.0]
