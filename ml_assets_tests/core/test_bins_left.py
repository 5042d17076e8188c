"""Whether most rows of a column lie beyond those that its bins were chosen from."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.profiles import CATEGORIES, Counts, choose_bins, count_values, has_left

numbers = st.lists(st.sampled_from([0.0, 1.0, 2.0, 7.5]) | st.floats(-1e9, 1e9), min_size=1, max_size=300)


@given(values=numbers)
@settings(max_examples=100, deadline=None)
def test_no_rows_have_left_bins_that_were_chosen_from_them(values: list[float]) -> None:
    (bins,) = choose_bins(pl.DataFrame({"area": values}), {"area": "number"})

    assert not has_left(bins, count_values(bins, np.array(values)))


@pytest.mark.parametrize("factor", [1000, 1e-3, -1])
def test_rows_in_another_unit_have_left(factor: float) -> None:
    values = np.linspace(40, 160, 1000)
    (bins,) = choose_bins(pl.DataFrame({"area": values}), {"area": "number"})

    assert has_left(bins, count_values(bins, values * factor))
    mixed = count_values(bins, values) + count_values(bins, values[:400] * factor)
    assert not has_left(bins, mixed), "most are where they were"


def test_values_where_all_were_null_have_left() -> None:
    (bins,) = choose_bins(pl.DataFrame({"area": [None, None]}, schema={"area": pl.Float64}), {"area": "number"})

    assert not has_left(bins, count_values(bins, np.array([np.nan])))
    assert has_left(bins, count_values(bins, np.array([1.0, 2.0])))


def test_categories_have_left_when_none_that_is_counted_by_name_occurs() -> None:
    towns = [f"town {number:03}" for number in range(CATEGORIES + 1)]
    (bins,) = choose_bins(pl.DataFrame({"town": towns}), {"town": "category"})

    assert has_left(bins, Counts("town", "category", 0, 0, {"(other)": 50}))
    assert not has_left(bins, Counts("town", "category", 0, 0, {"(other)": 50, towns[0]: 1}))
    (few,) = choose_bins(pl.DataFrame({"town": towns[:3]}), {"town": "category"})
    assert not has_left(few, Counts("town", "category", 0, 0, {"TOWN 000": 50})), "all are counted by name"
