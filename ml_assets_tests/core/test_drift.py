from __future__ import annotations

import math
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ml_assets.core.drift import (
    EMPTY,
    GROUPS,
    Statistic,
    chi_squared,
    coarsen,
    column_drift,
    drift,
    jensen_shannon,
    ks,
    psi,
    wasserstein,
)
from ml_assets.core.profiles import ColumnBins, Counts, choose_bins, count_values

histograms = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30)


def number(bins: dict[str, int], missing: int = 0) -> Counts:
    return Counts("x", "number", missing, 0.0, bins)


def category(bins: dict[str, int], missing: int = 0) -> Counts:
    return Counts("x", "category", missing, 0.0, bins)


def statistics(reference: Counts, current: Counts) -> dict[str, float]:
    return {found.name: found.value for found in column_drift(reference, current)}


# Population stability index


def test_psi_is_what_is_worked_out_by_hand() -> None:
    # Shares 0.5, 0.5 and 0.8, 0.2.
    assert psi([50, 50], [8, 2]) == pytest.approx(0.3 * math.log(1.6) - 0.3 * math.log(0.4))


def test_an_empty_bin_counts_as_a_ten_thousandth() -> None:
    assert psi([10, 0], [5, 5]) == pytest.approx(-0.5 * math.log(0.5) + (0.5 - EMPTY) * math.log(0.5 / EMPTY))
    assert psi([1, 0, 0], [1, 0, 0]) == 0
    assert EMPTY == 0.0001


@given(pairs=histograms)
@settings(max_examples=80, deadline=None)
def test_psi_is_the_symmetric_divergence_of_the_shares(pairs: list[tuple[int, int]]) -> None:
    reference, current = (np.array(counts) for counts in zip(*pairs, strict=True))
    if not reference.sum() or not current.sum():
        assert math.isnan(psi(reference, current))
        return
    r, c = (np.where(counts == 0, EMPTY, counts / counts.sum()) for counts in (reference, current))

    assert psi(reference, current) == pytest.approx(np.sum((c - r) * np.log(c / r)))
    assert psi(reference, current) == pytest.approx(psi(current, reference))
    assert psi(reference, current) >= 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_psi_is_that_of_evidently_on_the_same_bins() -> None:
    import pandas as pd
    from evidently.legacy.calculations.stattests.psi import _psi

    for seed in range(5):
        random = np.random.default_rng(seed)
        reference, current = random.integers(0, 15, 400), random.integers(2, 18, 90)
        counts = [np.bincount(values, minlength=18).tolist() for values in (reference, current)]
        expected, _ = _psi(pd.Series(reference), pd.Series(current), "num", 0.1)
        assert psi(*counts) == pytest.approx(expected)


# Kolmogorov-Smirnov


def test_ks_is_what_is_worked_out_by_hand() -> None:
    assert ks([50, 50, 0], [2, 3, 5]) == pytest.approx(0.5)
    assert ks([1, 0], [0, 1]) == 1
    assert ks([1, 2, 1], [2, 4, 2]) == 0


samples = st.lists(st.floats(-5, 5).map(lambda value: round(value, 1)), min_size=1, max_size=40)


@given(reference=samples, current=samples)
@settings(max_examples=80, deadline=None)
def test_ks_is_exact_where_each_value_has_a_bin(reference: list[float], current: list[float]) -> None:
    edges = tuple(sorted({*reference, *current}))
    counts = histograms_of(edges, reference, current)

    assert ks(*counts) == pytest.approx(exact_ks(reference, current))


@given(reference=samples, current=samples, edges=st.sets(st.floats(-5, 5), max_size=8))
@settings(max_examples=80, deadline=None)
def test_ks_is_below_the_exact_one_by_at_most_the_greatest_share_of_a_bin(
    reference: list[float], current: list[float], edges: set[float]
) -> None:
    counts = histograms_of(tuple(sorted(edges)), reference, current)
    exact = exact_ks(reference, current)
    greatest = max(max(some) / sum(some) for some in counts)

    assert exact - greatest - 1e-9 <= ks(*counts) <= exact + 1e-9


def exact_ks(reference: list[float], current: list[float]) -> float:
    with warnings.catch_warnings():
        # Of its p-value, which is not asked for.
        warnings.simplefilter("ignore", RuntimeWarning)
        return stats.ks_2samp(reference, current).statistic


def histograms_of(edges: tuple[float, ...], *samples: list[float]) -> list[list[int]]:
    bins = ColumnBins("x", "number", edges)
    return [
        [count_values(bins, np.array(values)).bins.get(str(index), 0) for index in range(len(edges) + 1)]
        for values in samples
    ]


@pytest.mark.parametrize("statistic", [psi, ks, jensen_shannon])
def test_without_rows_on_either_side_there_is_no_statistic(statistic: object) -> None:
    for reference, current in (([0, 0], [1, 2]), ([1, 2], [0, 0]), ([], [])):
        assert math.isnan(statistic(reference, current))


@pytest.mark.parametrize("statistic", [psi, ks, coarsen])
def test_histograms_on_different_bins_are_refused(statistic: object) -> None:
    with pytest.raises(ValueError, match="zip"):
        statistic([1, 2, 3], [1, 2])


# Joining bins


@given(pairs=histograms)
@example(pairs=[(20, 1), (1, 0)])
@example(pairs=[(20, 1), (0, 1)])
@settings(max_examples=80, deadline=None)
def test_joined_bins_keep_all_rows_and_their_order(pairs: list[tuple[int, int]]) -> None:
    reference, current = zip(*pairs, strict=True)
    joined_reference, joined_current = coarsen(reference, current)

    assert (sum(joined_reference), sum(joined_current)) == (sum(reference), sum(current))
    assert len(joined_reference) == len(joined_current)
    # Each border between groups is one between bins.
    borders = set(zip(np.cumsum(reference), np.cumsum(current), strict=True))
    assert set(zip(np.cumsum(joined_reference), np.cumsum(joined_current), strict=True)) <= borders | {(0, 0)}


@given(pairs=histograms)
@settings(max_examples=80, deadline=None)
def test_each_joined_bin_but_those_at_the_ends_holds_a_tenth_of_the_reference(pairs: list[tuple[int, int]]) -> None:
    reference, current = zip(*pairs, strict=True)
    joined, _ = coarsen(reference, current)

    if sum(reference):
        assert len(joined) <= GROUPS + 2
        assert all(count >= sum(reference) / GROUPS for count in joined[1:-1])


def test_a_hundred_equal_bins_join_to_ten() -> None:
    assert coarsen([7] * 100, [3] * 100) == ([70] * 10, [30] * 10)


def test_rows_beyond_all_of_the_reference_keep_a_group_of_their_own() -> None:
    assert coarsen([10, 0], [0, 5]) == ([10, 0], [0, 5])


def test_rows_below_nearly_all_of_the_reference_keep_a_group_of_their_own() -> None:
    assert coarsen([0, 10], [5, 0]) == ([0, 10], [5, 0])
    assert coarsen([1, 0, 99], [50, 50, 0]) == ([1, 99], [100, 0])
    assert psi(*coarsen([1, 0, 99], [50, 50, 0])) > 1


# Columns


def test_identical_profiles_have_no_drift() -> None:
    for counts in (number({"0": 5, "7": 9, "12": 1}), category({"a": 5, "b": 9})):
        found = statistics(counts, counts + counts)

        assert found.pop("chi_squared", 1.0) == 1.0
        assert set(found.values()) == {0.0}


def test_numbers_have_ks_and_psi_on_joined_bins() -> None:
    reference = number({str(index): 10 for index in range(100)})
    current = number({str(index): 10 for index in range(50)}, missing=500)

    found = statistics(reference, current)
    r, c = coarsen([10] * 100, [10] * 50 + [0] * 50)
    assert (found["ks"], found["psi"]) == (0.5, pytest.approx(psi(r, c)))


def test_bins_of_numbers_are_ordered_as_numbers() -> None:
    reference, current = number({"10": 1, "2": 1, "9": 1}), number({"9": 1, "10": 2})

    assert statistics(reference, current)["ks"] == pytest.approx(1 / 3)


def test_what_is_undefined_is_left_out() -> None:
    empty, all_missing = number({}), number({}, missing=4)

    assert statistics(number({"0": 3}), empty) == {}
    assert statistics(number({"0": 3}), all_missing) == {}
    assert statistics(category({"a": 1}), category({})) == {}


def test_what_only_tells_never_alarms_and_a_test_alarms_below_its_threshold() -> None:
    assert not Statistic("x", "psi", 9.0).alarm
    assert Statistic("x", "location", 0.1, 0.001, 0.002).alarm
    assert not Statistic("x", "location", 0.1, 0.002, 0.002).alarm
    assert not Statistic("x", "location", 0.1, math.nan, 0.002).alarm


def test_columns_that_only_one_profile_holds_have_no_statistics() -> None:
    a, b, c = (Counts(name, "category", 0, 0.0, {"v": 1, "w": 2}) for name in "abc")

    found = drift({"a": a, "b": b}, {"b": b, "c": c}, {})

    assert {statistic.column for statistic in found} == {"b"}


# Jensen-Shannon, Wasserstein, chi-squared


@given(pairs=histograms)
@settings(max_examples=80, deadline=None)
def test_jensen_shannon_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    reference, current = (np.array(counts) for counts in zip(*pairs, strict=True))
    if reference.sum() and current.sum():
        assert jensen_shannon(reference, current) == pytest.approx(jensenshannon(reference, current), abs=1e-7)
    else:
        assert math.isnan(jensen_shannon(reference, current))


@given(pairs=histograms)
@settings(max_examples=80, deadline=None)
def test_chi_squared_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    table = np.array([pair for pair in pairs if sum(pair)]).T
    if len(table) and table.shape[1] > 1 and table.sum(axis=1).all():
        expected = stats.chi2_contingency(table, correction=False).pvalue
        assert chi_squared(*table.tolist()) == pytest.approx(expected, abs=1e-12)
    else:
        assert math.isnan(chi_squared(*(list(counts) for counts in zip(*pairs, strict=True))))


def profiles_of(edges: tuple[float, ...], *samples: list[float]) -> list[Counts]:
    return [count_values(ColumnBins("x", "number", edges), np.array(values, dtype=float)) for values in samples]


@given(reference=samples, current=samples)
@settings(max_examples=80, deadline=None)
def test_wasserstein_is_exact_where_each_value_has_a_bin(reference: list[float], current: list[float]) -> None:
    edges = tuple(sorted({*reference, *current}))
    value, _ = wasserstein(*profiles_of(edges, reference, current), edges)
    spread = np.std(reference)
    if spread > 1e-9:
        assert value == pytest.approx(stats.wasserstein_distance(reference, current) / spread, abs=1e-6)


@given(reference=samples, current=samples, edges=st.sets(st.floats(-5, 5), max_size=120))
@settings(max_examples=80, deadline=None)
def test_wasserstein_is_off_by_at_most_its_bound(
    reference: list[float], current: list[float], edges: set[float]
) -> None:
    ordered = tuple(sorted(edges))
    value, bound = wasserstein(*profiles_of(ordered, reference, current), ordered)
    spread = np.std(reference)
    if spread > 1e-9:
        exact = stats.wasserstein_distance(reference, current) / spread
        assert abs(value - exact) <= bound + 1e-6


@pytest.mark.parametrize("values", [97, 100, 140])
def test_wasserstein_of_whole_numbers_is_exact_for_fewer_than_a_hundred_and_within_its_bound_for_more(
    values: int,
) -> None:
    reference = [float(value) for value in range(values)] * 5
    current = [min(value + 3, values - 1.0) for value in reference]
    (bins,) = choose_bins(pl.DataFrame({"x": reference}), {"x": "number"})

    value, bound = wasserstein(*profiles_of(bins.edges, reference, current), bins.edges)

    off = abs(value - stats.wasserstein_distance(reference, current) / np.std(reference))
    assert off <= bound
    assert (off < 1e-9) == (values < 99)


@pytest.mark.filterwarnings("ignore")
def test_wasserstein_and_jensen_shannon_are_those_of_evidently() -> None:
    import pandas as pd
    from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
    from evidently.legacy.calculations.stattests.wasserstein_distance_norm import _wasserstein_distance_norm

    random = np.random.default_rng(2)
    reference, current = random.integers(0, 15, 400).astype(float), random.integers(2, 18, 90).astype(float)
    edges = tuple(float(value) for value in range(18))
    profiles = profiles_of(edges, list(reference), list(current))
    expected, _ = _wasserstein_distance_norm(pd.Series(reference), pd.Series(current), "num", 0.1)
    assert wasserstein(*profiles, edges)[0] == pytest.approx(expected)
    counts = [np.bincount(values.astype(int), minlength=18).tolist() for values in (reference, current)]
    expected, _ = _jensenshannon(pd.Series(reference), pd.Series(current), "num", 0.1)
    assert jensen_shannon(*counts) == pytest.approx(expected, rel=0.01), "its empty bins count as a ten-thousandth"


def test_how_far_values_reach_beyond_the_reference_is_a_share_of_its_range() -> None:
    reference, inside, beyond = profiles_of((1.0, 2.0), [0.0, 4.0], [1.0, 3.0], [-1.0, 6.0])

    assert statistics(reference, inside)["out_of_range"] == 0
    assert statistics(reference, beyond)["out_of_range"] == pytest.approx(0.5)
