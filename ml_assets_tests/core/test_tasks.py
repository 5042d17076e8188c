from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.tasks import (
    BY_NAME,
    METRICS,
    LabelError,
    align,
    as_actual,
    as_number,
    classes_of,
    title_of,
    watched_metrics,
)


def labels(values: list[object], dtype: type[pl.DataType] | None = None) -> pl.Series:
    return pl.Series("answer", values, dtype=dtype, strict=False)


# Metrics


def test_what_is_watched_is_an_error_and_the_first_is_the_default() -> None:
    assert watched_metrics("regression") == ["mape", "mse", "rmse", "mae"]
    assert watched_metrics("binary") == ["log_loss", "brier", "error_rate"]
    assert watched_metrics("multiclass") == ["log_loss", "error_rate"]
    assert not any(metric.watched and metric.larger_is_better for metric in BY_NAME.values())


def test_a_metric_means_the_same_in_every_task() -> None:
    for metrics in METRICS.values():
        assert all(BY_NAME[name] == metric for name, metric in metrics.items())


def test_a_metric_has_a_name_for_people() -> None:
    assert (title_of("mape"), title_of("log_loss"), title_of("own")) == ("MAPE", "Log loss", "own")


# Classes


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([True, False, True], ("false", "true")),
        ([1, 0], ("0", "1")),
        (["yes", "no"], ("no", "yes")),
        (["N", "Y"], ("N", "Y")),
        (["True", "False"], ("False", "True")),
    ],
)
def test_the_label_that_says_yes_is_positive(values: list[object], classes: tuple[str, str]) -> None:
    assert classes_of(labels(values), "binary", None) == classes


def test_a_declared_label_is_positive_whatever_it_says() -> None:
    assert classes_of(labels(["yes", "no"]), "binary", "no") == ("yes", "no")
    assert classes_of(labels([2, 1]), "binary", "2") == ("1", "2")


def test_many_classes_stand_in_the_order_of_their_text() -> None:
    assert classes_of(labels([10, 9, 2, 9]), "multiclass", None) == ("10", "2", "9")
    assert classes_of(labels([True, False]), "multiclass", None) == ("false", "true")


def test_a_regression_has_no_classes() -> None:
    assert classes_of(labels([1.0, 2.0]), "regression", None) == ()


@pytest.mark.parametrize(
    ("values", "positive", "message"),
    [
        (["ham", "spam"], None, r"which label of 'answer' counts as positive: 'ham', 'spam'\? .*`positive: spam`"),
        (["1", "yes"], None, "which label of 'answer' counts as positive"),
        (["ham", "spam"], "eggs", "positive: 'eggs' is no label of 'answer'. They are 'ham', 'spam'"),
        (["a", "b", "c"], "a", r"'answer' has 3 labels \('a', 'b', 'c'\) and the task is binary.*task: multiclass"),
        (["a", "a"], "a", "'answer' is 'a' in all 2 training rows: there is nothing to tell apart"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(values: list[object], positive: str | None, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        classes_of(labels(values), "binary", positive)


# Labels as numbers


def test_labels_become_numbers() -> None:
    assert as_actual(labels([1, 2]), "regression", ()).tolist() == [1.0, 2.0]
    assert as_actual(labels([True, False]), "binary", ("false", "true")).tolist() == [1.0, 0.0]
    assert as_actual(labels(["b", "a", "new"]), "multiclass", ("a", "b")).tolist() == [1.0, 0.0, -1.0]
    assert as_actual(labels(["spam", "ham", "new"]), "binary", ("ham", "spam")).tolist() == [1.0, 0.0, -1.0]


def test_a_missing_label_is_an_error() -> None:
    with pytest.raises(LabelError, match="1 of 2 rows have no 'answer'"):
        as_actual(labels(["a", None]), "multiclass", ("a", "b"))


@given(values=st.lists(st.text(max_size=3), min_size=2, max_size=20).filter(lambda some: len(set(some)) > 1))
@settings(max_examples=50, deadline=None)
def test_a_code_leads_back_to_its_label(values: list[str]) -> None:
    column = labels(list(values), pl.String)
    classes = classes_of(column, "multiclass", None)

    assert [classes[int(code)] for code in as_actual(column, "multiclass", classes)] == values


def test_probabilities_find_the_columns_of_other_classes() -> None:
    found = align(np.array([[0.25, 0.75]]), ["c", "a"], ["a", "b", "c"])

    assert found.tolist() == [[0.75, 0.0, 0.25]]


def test_the_number_of_a_prediction_is_itself_or_its_greatest_probability() -> None:
    assert as_number(np.array([0.1, 0.9])).tolist() == [0.1, 0.9]
    assert as_number(np.array([[0.1, 0.9], [0.6, 0.4]])).tolist() == [0.9, 0.6]
