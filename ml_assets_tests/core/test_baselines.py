from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.baselines import Past, as_targets, dummies, past_of, repeat
from ml_assets.core.evaluation import binary_metrics

START = datetime.fromisoformat("2024-01-01")


def frame(moments: list[int], entities: list[str] | None = None) -> pl.DataFrame:
    entities = entities or [""] * len(moments)
    times = [START + timedelta(days=moment) for moment in moments]
    return pl.DataFrame({"moment": times, "entity": entities}, schema={"moment": pl.Datetime, "entity": pl.String})


def test_the_dummies_are_those_of_scikit_learn() -> None:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    values, labels, blank = np.array([1.0, 2.0, 9.0]), np.array([0.0, 1.0, 1.0, 2.0]), np.zeros((4, 1))
    found = dummies("regression", values, 2, 0)
    for strategy in ("mean", "median"):
        expected = DummyRegressor(strategy=strategy).fit(np.zeros((3, 1)), values).predict(np.zeros((2, 1)))
        np.testing.assert_allclose(found[strategy], expected)
    prior = DummyClassifier(strategy="prior").fit(blank, labels).predict_proba(blank[:2])
    np.testing.assert_allclose(dummies("multiclass", labels, 2, 3)["prior"], prior)
    np.testing.assert_allclose(dummies("binary", np.array([0.0, 1.0, 1.0]), 2, 2)["prior"], [2 / 3] * 2)


@given(
    known=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.integers(-5, 5)), min_size=1, max_size=30),
    asked=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc")), min_size=1, max_size=10),
    before=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_only_the_newest_moment_that_was_known_then_is_used(
    known: list[tuple[int, str, int]], asked: list[tuple[int, str]], *, before: bool
) -> None:
    targets = np.array([[float(value)] for *_, value in known])
    history = frame([moment for moment, *_ in known], [entity for _, entity, _ in known])
    found = past_of(history, targets, frame(*map(list, zip(*asked, strict=True))), before=before)

    for place, (moment, entity) in enumerate(asked):
        older = [each for each in known if each[1] == entity and (each[0] < moment if before else each[0] <= moment)]
        newest = max((each[0] for each in older), default=None)
        values = [value for time, _, value in older if time == newest]
        assert (found.sums[place, 0], found.rows[place]) == (sum(values), len(values))


def test_a_value_is_repeated_and_where_none_was_known_the_mean_is_told() -> None:
    past = Past(np.array([[30.0], [0.0]]), np.array([2.0, 0.0]))

    assert repeat("regression", np.array([1.0, 3.0]), past, past, 0).tolist() == [15.0, 2.0]


def played(stays: float, rows: int = 4000, seed: int = 0) -> np.ndarray:
    """Labels that stay what they were with some chance."""
    changes = np.random.default_rng(seed).random(rows) > stays
    return (np.cumsum(changes) % 2).astype(float)


@pytest.mark.parametrize("stays", [0.95, 0.85, 0.5])
def test_a_label_is_told_with_the_chance_with_which_it_stayed(stays: float) -> None:
    labels, times = played(stays), frame(list(range(4000)))
    past = past_of(times, as_targets("binary", labels, 2), times, before=True)
    learnt, judged = slice(0, 3000), slice(3000, 4000)

    def part(rows: slice) -> Past:
        return Past(past.sums[rows], past.rows[rows])

    found = repeat("binary", labels[learnt], part(learnt), part(judged), 2)
    metrics = binary_metrics(labels[judged], found)

    assert metrics["log_loss"] == pytest.approx(-stays * np.log(stays) - (1 - stays) * np.log(1 - stays), abs=0.06)
    if stays > 0.5:
        assert metrics["accuracy"] == pytest.approx((labels[judged] == labels[2999:3999]).mean())


def test_many_classes_share_what_is_left() -> None:
    labels = np.repeat([0.0, 1.0, 2.0], 20)
    times = frame(list(range(60)))
    past = past_of(times, as_targets("multiclass", labels, 3), times, before=True)
    found = repeat("multiclass", labels, past, past, 3)

    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1)[1:] == labels[:-1]).all()
    np.testing.assert_allclose(found[0], [1 / 3] * 3)


def test_where_nothing_was_ever_known_the_shares_are_told() -> None:
    nothing = Past(np.zeros((3, 1)), np.zeros(3))

    np.testing.assert_allclose(repeat("binary", np.array([0.0, 1.0, 1.0]), nothing, nothing, 2), [2 / 3] * 3)
