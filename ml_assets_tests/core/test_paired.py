"""How often a challenger that is no better takes over: by the level, also where rows are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_assets.core.evaluation import compare
from ml_assets.core.paired import GROUPS, chance_of_no_gain, groups_of, worst_mean

if TYPE_CHECKING:
    from collections.abc import Callable

TRIALS = 600
# Four standard deviations of a share of 5 % over so many trials.
MOST = 0.05 + 4 * (0.05 * 0.95 / TRIALS) ** 0.5

Errors = tuple[np.ndarray, np.ndarray, np.ndarray]


def independent(random: np.random.Generator) -> Errors:
    return random.normal(size=100), random.normal(size=100), np.zeros(100, dtype=int)


def heavy_tails(random: np.random.Generator) -> Errors:
    one, other = random.standard_t(2.2, size=(2, 200))
    return one, other, np.zeros(200, dtype=int)


def like_their_neighbours(random: np.random.Generator) -> Errors:
    noise = random.normal(size=(2, 600))
    for row in range(1, 600):
        noise[:, row] = 0.9 * noise[:, row - 1] + 0.19**0.5 * noise[:, row]
    return noise[0], noise[1], np.zeros(600, dtype=int)


def alike_within_partitions(random: np.random.Generator, partitions: int = 12) -> Errors:
    code = np.repeat(np.arange(partitions), 60)
    one, other = np.abs(random.normal(size=(2, len(code)))) + np.abs(0.5 * random.normal(size=(2, partitions)))[:, code]
    return one, other, code


def lucky(make: Callable[[np.random.Generator], Errors]) -> tuple[float, float]:
    """The share of trials in which a challenger that is no better wins: here, and by a t-test over single rows."""
    won = by_rows = 0
    for seed in range(TRIALS):
        challenger, champion, partitions = make(np.random.default_rng(seed))
        won += compare("mae", np.zeros(len(champion)), challenger, champion, partitions=partitions).better
        by_rows += stats.ttest_rel(np.abs(champion), np.abs(challenger), alternative="greater").pvalue < 0.05
    return won / TRIALS, by_rows / TRIALS


@pytest.mark.parametrize("make", [independent, heavy_tails])
def test_luck_promotes_no_more_often_than_the_level_says(make: Callable[[np.random.Generator], Errors]) -> None:
    assert lucky(make)[0] < MOST


@pytest.mark.parametrize("make", [like_their_neighbours, alike_within_partitions])
def test_rows_that_resemble_each_other_are_not_taken_for_as_many_witnesses(
    make: Callable[[np.random.Generator], Errors],
) -> None:
    here, by_rows = lucky(make)

    assert here < MOST
    assert by_rows > 0.2, "these rows would deceive a test over single rows, or this test shows nothing"


def test_a_few_partitions_must_all_agree() -> None:
    # Groups within partitions cannot see how partitions differ; three that agree by luck are one in eight.
    here, by_rows = lucky(lambda random: alike_within_partitions(random, 3))

    assert here < 1 / 8 + 4 * (1 / 8 * 7 / 8 / TRIALS) ** 0.5 < by_rows


def test_whoever_tries_often_enough_on_fifty_rows_wins_by_luck_so_rows_are_demanded() -> None:
    random = np.random.default_rng(7)
    chances = [compare("mae", np.zeros(50), *random.normal(size=(2, 50))).p_value for _ in range(200)]

    # Why `promotion.minimum_rows` exists.
    assert min(chances) < 0.01


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_groups_are_runs_of_neighbours_and_at_most_fourteen(counts: list[int]) -> None:
    partitions = np.repeat(np.arange(len(counts)), counts)
    groups = groups_of(partitions)

    assert len(groups) == len(partitions)
    assert (np.diff(groups) >= 0).all()
    assert len(set(groups)) <= GROUPS
    if len(counts) >= 6:
        assert all(len(set(groups[partitions == one])) == 1 for one in set(partitions))
        assert len(set(groups)) == min(len(counts), GROUPS)
    else:
        assert all(len(set(partitions[groups == one])) == 1 for one in set(groups))


def test_over_groups_of_equal_size_it_is_students_t_test_on_their_means() -> None:
    gains = np.random.default_rng(1).normal(0.1, 1, 120)
    expected = stats.ttest_1samp(gains.reshape(12, 10).mean(axis=1), 0, alternative="greater").pvalue

    assert chance_of_no_gain(gains, np.repeat(np.arange(12), 10)) == pytest.approx(expected)


def test_over_single_rows_it_is_students_t_test() -> None:
    gains = np.random.default_rng(1).normal(0.1, 1, 50)

    assert chance_of_no_gain(gains, np.arange(50)) == pytest.approx(
        stats.ttest_1samp(gains, 0, alternative="greater").pvalue
    )


@pytest.mark.parametrize("gains", [[], [1.0], [1.0, 1.0], [0.0] * 9])
def test_what_does_not_vary_shows_nothing(gains: list[float]) -> None:
    assert chance_of_no_gain(np.array(gains), np.arange(len(gains))) == 1.0


def test_the_worst_partition_is_that_of_the_smallest_mean() -> None:
    assert worst_mean(np.array([1.0, 3.0, -1.0, 0.0]), np.array([5, 5, 9, 9])) == -0.5
    assert worst_mean(np.array([*[1.0] * 9, -1.0]), np.array([*[5] * 9, 9])) == 1.0, "one row of ten has no say"
