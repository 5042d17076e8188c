from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_assets.core.drift import EMPTY, GROUPS, Statistic, coarsen, column_drift, drift, ks, psi
from ml_assets.core.profiles import ColumnBins, Counts, count_values
from ml_assets.declared.monitoring import Monitoring

histograms = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30)
THRESHOLDS = {"psi_threshold": 0.2, "ks_threshold": 0.15}


def number(bins: dict[str, int], missing: int = 0) -> Counts:
    return Counts("x", "number", missing, 0.0, bins)


def category(bins: dict[str, int], missing: int = 0) -> Counts:
    return Counts("x", "category", missing, 0.0, bins)


def statistics(reference: Counts, current: Counts) -> dict[str, float]:
    return {found.name: found.value for found in column_drift(reference, current, **THRESHOLDS)}


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


@pytest.mark.parametrize("statistic", [psi, ks])
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
        found = column_drift(counts, counts + counts, **THRESHOLDS)

        assert [statistic.value for statistic in found] == [0.0] * 3
        assert not any(statistic.alarm for statistic in found)


def test_numbers_have_a_missing_rate_ks_and_psi_on_joined_bins() -> None:
    reference = number({str(index): 10 for index in range(100)})
    current = number({str(index): 10 for index in range(50)}, missing=500)

    r, c = coarsen([10] * 100, [10] * 50 + [0] * 50)
    assert statistics(reference, current) == {"missing_rate": 0.5, "ks": 0.5, "psi": pytest.approx(psi(r, c))}


def test_bins_of_numbers_are_ordered_as_numbers() -> None:
    reference, current = number({"10": 1, "2": 1, "9": 1}), number({"9": 1, "10": 2})

    assert statistics(reference, current)["ks"] == pytest.approx(1 / 3)


def test_categories_have_a_missing_rate_new_ones_and_psi() -> None:
    found = statistics(category({"a": 50, "b": 50}), category({"a": 6, "new": 2, "newer": 1}, missing=1))

    assert found == {
        "missing_rate": pytest.approx(0.1),
        "new_categories": pytest.approx(0.3),
        "psi": pytest.approx(psi([50, 50, 0, 0], [6, 0, 2, 1])),
    }


def test_what_is_undefined_is_left_out() -> None:
    empty, all_missing = number({}), number({}, missing=4)

    assert statistics(number({"0": 3}), empty) == {}
    assert statistics(number({"0": 3}), all_missing) == {"missing_rate": 1.0}
    assert statistics(all_missing, number({"0": 3})) == {"missing_rate": 0.0}
    assert statistics(category({"a": 1}), category({})) == {}
    assert statistics(category({}), category({"a": 1})) == {"missing_rate": 0.0, "new_categories": 1.0}


def test_only_statistics_with_a_threshold_alarm_and_only_above_it() -> None:
    assert not Statistic("x", "psi", 0.2, 0.2).alarm
    assert Statistic("x", "psi", 0.2000001, 0.2).alarm
    assert not Statistic("x", "missing_rate", 1.0).alarm
    assert not Statistic("x", "psi", math.nan, 0.2).alarm


def test_each_statistic_alarms_at_its_own_threshold() -> None:
    reference, current = number({"0": 50, "1": 50}), number({"0": 60, "1": 40})
    value = statistics(reference, current)

    def alarms(psi_threshold: float, ks_threshold: float) -> set[str]:
        found = column_drift(reference, current, psi_threshold=psi_threshold, ks_threshold=ks_threshold)
        return {statistic.name for statistic in found if statistic.alarm}

    assert alarms(value["psi"] - 0.01, 1) == {"psi"}
    assert alarms(1, value["ks"] - 0.01) == {"ks"}
    assert alarms(value["psi"], value["ks"]) == set()
    assert column_drift(category({"a": 1}), category({"b": 1}), **THRESHOLDS)[-1].threshold == 0.2


def test_columns_that_only_one_profile_holds_have_no_statistics() -> None:
    a, b, c = (Counts(name, "category", 0, 0.0, {"v": 1}) for name in "abc")

    found = drift({"a": a, "b": b}, {"b": b, "c": c}, **THRESHOLDS)

    assert {statistic.column for statistic in found} == {"b"}


def test_a_constant_that_moves_either_way_alarms() -> None:
    reference = number({"1": 100})

    for moved in (number({"0": 100}), number({"2": 100})):
        assert any(statistic.alarm for statistic in column_drift(reference, moved, **THRESHOLDS))


def test_few_rows_are_measured_and_do_not_alarm() -> None:
    reference = number({str(bin_): 400 for bin_ in range(10)})
    statistics = {}
    for rows in (299, 300):
        # Rows without a value say nothing about the values.
        moved = number({"0": rows}, missing=500)
        statistics[rows] = column_drift(reference, moved, **THRESHOLDS, minimum_rows=300)
    assert not any(one.alarm for one in statistics[299])
    assert {one.name for one in statistics[300] if one.alarm} == {"psi", "ks"}
    assert [one.value for one in statistics[299]] == pytest.approx([one.value for one in statistics[300]], rel=0.01)


def test_without_drift_hardly_any_partition_of_the_default_minimum_alarms() -> None:
    draw = np.random.default_rng(3)
    rows, columns = Monitoring().minimum_rows, 26
    reference = category({str(town): 2_000 for town in range(columns)})
    alarms = 0
    for _ in range(200):
        counts = draw.multinomial(rows, [1 / columns] * columns)
        current = category({str(town): int(count) for town, count in enumerate(counts)})
        found = column_drift(reference, current, **THRESHOLDS, minimum_rows=rows)
        assert all(one.threshold == THRESHOLDS["psi_threshold"] for one in found if one.name == "psi")
        alarms += any(one.alarm for one in found)
    assert alarms <= 1
