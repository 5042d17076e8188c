"""Whether most rows of a column lie beyond those that its bins were chosen from."""

from __future__ import annotations

from datetime import datetime

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.alarms import Place, calibrate, judge
from ml_assets.core.profiles import (
    CATEGORIES,
    OTHER,
    ColumnBins,
    Counts,
    choose_bins,
    count_values,
    counted_by_name,
    has_left,
)
from ml_assets.lake.profiling import take_profiles


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


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


def test_a_category_with_more_values_than_are_counted_by_name_has_left_and_its_profile_stays_small() -> None:
    (few,) = choose_bins(pl.DataFrame({"town": ["east", "east", "west"]}), {"town": "category"})
    later = {"east": 200, "west": 100, OTHER: 7} | {f"new {number:06}": 1 for number in range(100_000)}
    all_rows = Counts("town", "category", 0, 0, later)

    assert not has_left(few, Counts("town", "category", 0, 0, dict(list(later.items())[:CATEGORIES])))
    assert has_left(few, all_rows)
    named = counted_by_name(few, later)
    assert named.categories == ("east", "west", *(f"new {number:06}" for number in range(CATEGORIES - 2)))
    assert not has_left(named, Counts("town", "category", 0, 0, {"east": 200, OTHER: 100_000}))


def test_values_that_were_never_seen_are_new_though_they_have_no_name(database: duckdb.DuckDBPyConnection) -> None:
    named = ColumnBins("town", "category", categories=("east", "west"))

    def place(number: int, towns: list[str]) -> Place:
        rows = pl.DataFrame({"town": towns, "_partition": [datetime(2024, 1, 1)] * len(towns)})  # noqa: DTZ001
        (found,) = take_profiles(database.cursor().register("rows", rows), [named], "FROM rows").values()
        return Place(number, {"town": found[0]})

    reference = [place(number, ["east"] * 300 + ["west"] * 100) for number in range(3)]
    watch = calibrate(reference, reference, budget=1 / 24)
    flood = place(4, ["east"] * 300 + ["west"] * 100 + [f"new {number}" for number in range(1_000)])

    assert flood.profile["town"].bins == {"east": 300, "west": 100, OTHER: 1_000}
    (new,) = (one for one in judge(watch, flood) if one.name == "new_categories")
    assert new.alarm
    assert new.value == pytest.approx(1_000 / 1_400)


def test_categories_have_left_when_none_that_is_counted_by_name_occurs() -> None:
    towns = [f"town {number:03}" for number in range(CATEGORIES + 1)]
    (bins,) = choose_bins(pl.DataFrame({"town": towns}), {"town": "category"})

    assert has_left(bins, Counts("town", "category", 0, 0, {"(other)": 50}))
    assert not has_left(bins, Counts("town", "category", 0, 0, {"(other)": 50, towns[0]: 1}))
    (few,) = choose_bins(pl.DataFrame({"town": towns[:3]}), {"town": "category"})
    assert not has_left(few, Counts("town", "category", 0, 0, {"TOWN 000": 50})), "all are counted by name"
