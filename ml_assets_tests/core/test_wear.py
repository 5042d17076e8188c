"""What keeping a champion costs, told from noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.wear import Tenure, better_retired, futile_retrainings, measure_wear, still_needed


def tenure(*errors: float, reference: float | None = None) -> Tenure:
    return Tenure(errors, [100.0] * len(errors), reference)


def test_steady_growth_is_wear_and_no_noise() -> None:
    wear = measure_wear([tenure(1.0, 1.1, 1.2, 1.3)])

    assert wear is not None
    assert (wear.usual, wear.noise) == (1, pytest.approx(0, abs=1e-12))
    assert wear.excess == pytest.approx(0.1 + 0.2 + 0.3)
    assert wear.expected == pytest.approx(0.2)


def test_a_jump_counts_from_where_it_began_and_goes_on_until_the_next_decision() -> None:
    wear = measure_wear([tenure(1, 1, 1, 1, 1, 1, 3, 3)], pending=2)

    assert wear is not None
    assert (wear.usual, wear.noise, wear.excess) == (1, 0, 4)
    assert wear.expected == pytest.approx((0 + 2 + 2) / 3 * 2)


def test_what_champions_before_could_do_when_young_is_what_is_usual() -> None:
    alone = measure_wear([tenure(2, 2, 2, 2)])
    after = measure_wear([tenure(1, 1, 1, 1), tenure(2, 2, 2, 2)])

    assert alone is not None
    assert after is not None
    assert (alone.usual, alone.excess) == (2, 0)
    assert (after.usual, after.excess) == (1, 4)


def test_an_error_on_test_rows_is_a_witness_of_youth_and_no_wear() -> None:
    wear = measure_wear([tenure(2, 2, 2, 2, reference=1)])

    assert wear is not None
    assert (wear.usual, wear.excess) == (1, 4)


@pytest.mark.parametrize("tenures", [[], [tenure()], [tenure(1, 1, 1, 1), tenure(1)], [tenure(1, 2, 3)]])
def test_too_few_partitions_tell_nothing(tenures: list[Tenure]) -> None:
    assert measure_wear(tenures) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=4), st.integers(0, 5))
def test_so_many_partitions_more_as_it_says_are_needed_and_no_fewer(before: list[int], served: int) -> None:
    def measured(count: int) -> bool:
        return measure_wear([*(tenure(*range(1, one + 1)) for one in before), tenure(*range(1, count + 1))]) is not None

    needed = still_needed([*(tenure(*range(one)) for one in before), tenure(*range(served))])
    assert measured(served + needed)
    assert needed == 0 or not measured(served + needed - 1)


def test_partitions_weigh_by_their_rows() -> None:
    heavy = measure_wear([Tenure([1, 1, 1, 1, 3], [100, 100, 100, 100, 200])])

    assert heavy is not None
    assert heavy.excess == pytest.approx(2 * 200 / 120)


@settings(max_examples=60, deadline=None)
@given(scale=st.floats(0.01, 100), errors=st.lists(st.floats(0.5, 2), min_size=5, max_size=20))
def test_wear_is_in_the_unit_of_the_metric(scale: float, errors: list[float]) -> None:
    one, other = measure_wear([tenure(*errors)]), measure_wear([tenure(*(scale * error for error in errors))])

    assert one is not None
    assert other is not None
    found, expected = [(each.usual, each.noise, each.excess, each.expected) for each in (other, one)]
    assert found == pytest.approx([scale * value for value in expected], abs=1e-9 * scale)


@settings(max_examples=40, deadline=None)
@given(errors=st.lists(st.floats(0.5, 2), min_size=5, max_size=20), worse=st.floats(0, 2))
def test_a_worse_newest_partition_is_never_less_wear(errors: list[float], worse: float) -> None:
    # The champions before settle what is usual and what is noise.
    before = tenure(*([1.0, 1.02] * 40))
    one = measure_wear([before, tenure(*errors)])
    other = measure_wear([before, tenure(*errors[:-1], errors[-1] + worse)])

    assert one is not None
    assert other is not None
    assert other.excess + other.expected >= one.excess + one.expected - 0.1


def test_noise_alone_is_hardly_any_wear() -> None:
    costs = []
    for seed in range(200):
        errors = 1 + 0.1 * np.random.default_rng(seed).normal(size=40)
        wear = measure_wear([tenure(*errors)])
        assert wear is not None
        costs.append(wear.excess)

    # Forty partitions, each off by a tenth of an error of one.
    assert np.quantile(costs, 0.9) < 1
    assert np.median(costs) < 0.1


@pytest.mark.parametrize(
    ("gains", "futile"),
    [
        ([], 0),
        ([[0.5, 0.5]], 0),
        ([[0.0, 0.0]], 1),
        ([[-1.0, -1.0], [0.0, 0.0]], 2),
        ([[0.0, 0.0], [0.5, 0.5], [0.1, 0.1]], 1),
        ([[0.0, 0.0], [0.5, 0.5], [9.0]], 0),
        ([[0.24, 0.24]], 1),
        ([[0.25, 0.25]], 0),
        ([[-1.0, 1.0]], 0),
    ],
)
def test_retrainings_are_futile_that_have_not_earned_half_of_a_price_of_one(
    gains: list[list[float]], futile: int
) -> None:
    assert futile_retrainings(gains, 1.0) == futile


def test_a_retired_version_must_be_better_on_each_of_the_newest_partitions_and_clearly() -> None:
    assert better_retired({}) is None
    assert better_retired({1: [0.5]}) is None
    assert better_retired({1: [-9, 0.5, 0.6]}) == 1
    assert better_retired({1: [9, -0.1, 0.6]}) is None
    assert better_retired({1: [0.01, 0.9]}) is None
    assert better_retired({1: [0.5, 0.6], 2: [0.7, 0.8], 3: [-1, 9]}) == 2
