"""Which row and column of two tables is the first that differs."""

from __future__ import annotations

import math

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.core.comparing import difference, rounding


def table(**columns: list[object]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    return pl.DataFrame({"_partition": [1] * rows, "_source": ["a.csv"] * rows, "_row": range(1, rows + 1), **columns})


def test_equal_tables_do_not_differ_in_whatever_order_missing_and_nan_included() -> None:
    one = table(area=[1.0, None, math.nan], town=["A", None, "B"])

    assert difference(one, one[[2, 0, 1]]) == ""
    assert rounding(one, one) == 0


def test_the_first_value_that_differs_is_told() -> None:
    held, made = table(area=[1.0, 2.0, 3.0], town=["A", "B", None]), table(area=[1.0, 2.0, 3.0], town=["A", "C", "D"])

    assert difference(held, made) == (
        "column 'town': 2 of 3 rows differ, first row 2 of a.csv: 'B' is held, 'C' is made again"
    )
    assert "None is held, 'D'" in difference(held[2:], made[2:])


def test_a_row_more_or_less_is_told() -> None:
    three = table(area=[1.0, 2.0, 3.0])

    assert difference(three, three[:2]) == "3 rows are held, 2 are made again; row 3 of a.csv is not made again"
    assert difference(three[1:], three) == "2 rows are held, 3 are made again; row 1 of a.csv is made, but is not held"


def test_a_column_that_is_no_longer_made_may_be_held_empty() -> None:
    held = table(area=[1.0, 2.0], older=[None, None])

    assert difference(held, held.drop("older")) == ""
    assert difference(held.with_columns(older=pl.lit(1)), held.drop("older")) == "column 'older' is not made again"
    assert difference(held.drop("older"), held) == "column 'older' is made, but is not held"


def test_a_column_that_was_widened_since_holds_the_same_values() -> None:
    held = table(rooms=[1, 2])

    assert difference(held, held.cast({"rooms": pl.Int16})) == ""
    assert "2 is held, 3 is made again" in difference(held, table(rooms=[1, 3]).cast({"rooms": pl.Int16}))


def test_a_sum_in_another_order_is_the_same_to_the_last_digits() -> None:
    held, made = table(mean=[0.1 + 0.2 + 0.3]), table(mean=[0.1 + (0.2 + 0.3)])

    assert difference(held, made) == ""
    assert 0 < rounding(held, made) < 1e-15
    assert difference(held, table(mean=[0.6001])) != ""


@given(st.lists(st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0])), min_size=1, max_size=6), st.data())
def test_any_change_of_a_value_is_found(values: list[float | None], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(values) - 1))
    changed = list(values)
    changed[at] = 12345.0 if values[at] is None else None
    schema = {"value": pl.Float64}
    held, made = table(value=values).cast(schema), table(value=changed).cast(schema)

    assert f"first row {at + 1} of a.csv" in difference(held, made)
    assert difference(held, held) == ""
