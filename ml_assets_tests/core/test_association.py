"""The measures of association against scipy's and against what they must be by their definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats.contingency import association as scipy_association

from ml_assets.core.association import correlation_ratio, cramers_v, pearson, spearman

numbers = st.lists(st.integers(-1000, 1000), min_size=5, max_size=60)


@given(numbers, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_spearman_is_scipys(values: list[int], draw: Any) -> None:
    one = np.array(values, dtype=float)
    other = np.array([value + draw.randint(-500, 500) for value in values], dtype=float)
    if len(set(one)) > 1 and len(set(other)) > 1:
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-9)
    else:
        assert spearman(one, other) == 0


@given(numbers, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_pearson_of_pairs_is_that_of_the_rows_which_have_both(values: list[int], draw: Any) -> None:
    one = np.array([math.nan if draw.random() < 0.2 else value for value in values])
    other = np.array([math.nan if draw.random() < 0.2 else value + draw.randint(-500, 500) for value in values])
    both = np.isfinite(one) & np.isfinite(other)
    found = pearson({"one": one, "other": other})[0, 1]
    if len(set(one[both])) > 1 and len(set(other[both])) > 1:
        assert found == pytest.approx(stats.pearsonr(one[both], other[both]).statistic, abs=1e-7)
    else:
        assert math.isnan(found)


def test_correlations_of_large_numbers_are_not_lost_in_rounding() -> None:
    small = np.arange(100.0)
    assert pearson({"one": 1e12 + small, "other": small})[0, 1] == pytest.approx(1)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(30, 200))
@settings(max_examples=60, deadline=None)
def test_the_correlation_ratio_is_the_adjusted_r_squared_of_a_regression_on_the_category(
    seed: int, categories: int, rows: int
) -> None:
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, categories, rows)
    code = np.array(pl.Series(codes).rank("dense")) - 1
    values = draw.normal(codes, 2)
    groups = [values[code == number] for number in range(code.max() + 1)]
    found = correlation_ratio(code.astype(np.int64), values)
    if len(groups) > 1:
        within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (len(values) - len(groups))
        assert found**2 == pytest.approx(max(0, 1 - within / values.var(ddof=1)), abs=1e-9)
    else:
        assert found == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=20, max_size=200))
@settings(max_examples=60, deadline=None)
def test_cramers_v_falls_short_of_scipys_by_its_correction_only(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array(pl.Series(side).rank("dense"), dtype=np.int64) - 1 for side in zip(*pairs, strict=True))
    table = np.zeros((one.max() + 1, other.max() + 1), dtype=int)
    np.add.at(table, (one, other), 1)
    found = cramers_v(one, other)
    assert 0 <= found <= 1
    if min(table.shape) > 1:
        size, (height, width) = len(pairs), table.shape
        phi = scipy_association(table, method="cramer") ** 2 * (min(table.shape) - 1)
        phi = max(0, phi - (height - 1) * (width - 1) / (size - 1))
        least = min(side - (side - 1) ** 2 / (size - 1) for side in table.shape) - 1
        assert found == pytest.approx(min(1, math.sqrt(phi / least)), abs=1e-9)
    else:
        assert found == 0


def test_categories_by_chance_go_with_nothing() -> None:
    draw = np.random.default_rng(7)
    codes, values = draw.integers(0, 200, 2000), draw.normal(size=2000)
    other = draw.integers(0, 200, 2000)

    assert correlation_ratio(codes, values) < 0.1
    assert cramers_v(codes, other) < 0.1
