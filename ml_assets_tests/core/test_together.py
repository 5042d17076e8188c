"""All numbers of a partition together: what each says a little of, and no one enough."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr, ndtri

from ml_assets.core.alarms import TOGETHER, Place, calibrate, judge
from ml_assets.core.profiles import Counts
from ml_assets.core.together import FEWEST, LARGEST, Together, learn, mean_square

EDGES = ndtri(np.linspace(0, 1, 101)[1:-1])
BUDGET = 1 / 24


def log_ps(z: np.ndarray) -> np.ndarray:
    """Logarithms of two-sided p-values of z."""
    return math.log(2) + log_ndtr(-np.abs(z))


@given(st.lists(st.floats(-20, 20), min_size=FEWEST, max_size=30))
def test_it_is_the_mean_of_squares_none_of_which_counts_for_more_than_the_largest(z: list[float]) -> None:
    expected = np.minimum(np.square(z), LARGEST).mean()

    assert mean_square(log_ps(np.array([z])))[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_columns_that_lack_do_not_count_and_of_few_nothing_is_said() -> None:
    z = np.array([[2.0, np.nan, 2.0, 2.0, 2.0, 2.0], [2.0, np.nan, np.nan, 2.0, 2.0, 2.0]])

    assert mean_square(log_ps(z))[0] == pytest.approx(4)
    assert np.isnan(mean_square(log_ps(z))[1])


@pytest.mark.parametrize(("columns", "common"), [(5, 0.0), (20, 0.0), (20, 0.7)])
def test_p_values_are_what_they_say_whether_columns_depend_on_each_other_or_not(columns: int, common: float) -> None:
    random = np.random.default_rng(0)

    def values(partitions: int) -> np.ndarray:
        shared = random.normal(size=(partitions, 1))
        own = random.normal(size=(partitions, columns))
        return mean_square(log_ps(math.sqrt(1 - common) * own + math.sqrt(common) * shared))

    learnt = learn(values(500), columns, prior=8)
    found = np.exp([learnt.log_p(value) for value in values(20_000)])

    assert 0.5 * 0.02 < (found < 0.02).mean() < 1.5 * 0.02


def test_little_history_leaves_it_at_theory_and_calm_history_does_not_sharpen_it() -> None:
    assert learn(np.array([]), 20, prior=8) == Together(1.0, 0.1)
    assert learn(np.full(100, 0.9), 20, prior=8) == Together(1.0, 0.1)


def partition(random: np.random.Generator, position: int, shifts: dict[int, float], columns: int = 20) -> Place:
    profile = {}
    for index in range(columns):
        chances = np.diff(np.concatenate([[0], ndtr(EDGES - shifts.get(index, 0.0)), [1]]))
        drawn = random.multinomial(500, chances)
        held = {str(place): int(count) for place, count in enumerate(drawn) if count}
        profile[f"n{index}"] = Counts(f"n{index}", "number", 0, 0.0, held)
    return Place(position, profile)


def test_many_columns_that_move_a_little_alarm_together_where_most_do_not_alone() -> None:
    random = np.random.default_rng(1)
    history = [partition(random, index, {}) for index in range(24)]
    watch = calibrate(history, history, budget=BUDGET)
    shifts = dict.fromkeys(range(10), 0.09)

    judged = [judge(watch, partition(random, 24, shifts)) for _ in range(40)]

    together = [any(one.alarm for one in found if one.name == TOGETHER) for found in judged]
    alone = [any(one.alarm for one in found if one.name != TOGETHER) for found in judged]
    assert np.mean(together) > 0.75
    assert np.mean(alone) < 0.7
    # It is told of the column that has moved most.
    named = [one.column for found in judged for one in found if one.name == TOGETHER]
    assert np.mean([name in {f"n{index}" for index in shifts} for name in named]) > 0.9


def test_one_column_that_has_moved_far_is_told_alone() -> None:
    random = np.random.default_rng(2)
    history = [partition(random, index, {}) for index in range(24)]
    watch = calibrate(history, history, budget=BUDGET)

    judged = [judge(watch, partition(random, 24, {3: 1.0})) for _ in range(20)]

    assert all(("n3", "location") in {(one.column, one.name) for one in found if one.alarm} for found in judged)
    assert np.mean([any(one.alarm for one in found if one.name == TOGETHER) for found in judged]) < 0.2


def test_four_numbers_share_their_budget_among_themselves() -> None:
    random = np.random.default_rng(3)
    history = [partition(random, index, {}, columns=FEWEST - 1) for index in range(24)]

    found = judge(calibrate(history, history, budget=BUDGET), partition(random, 24, {}, columns=FEWEST - 1))

    assert TOGETHER not in {one.name for one in found}
