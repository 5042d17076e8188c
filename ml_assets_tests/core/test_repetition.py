from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.core.repetition import fingerprints, is_first, is_repeated

VALUES = st.sampled_from(["", "a", "b", "ab", "a" * 40, None])
ROWS = st.lists(st.tuples(VALUES, VALUES, st.sampled_from([0, 1, None])), max_size=20)
SCHEMA = {"x": pl.String, "y": pl.String, "n": pl.Int64}


@given(ROWS, st.integers(0, 20))
def test_fingerprints_taken_in_slices_tell_the_same_rows_apart_as_the_rows_themselves(
    values: list[tuple[str | None, str | None, int | None]], cut: int
) -> None:
    rows = pl.DataFrame(values, schema=SCHEMA, orient="row")
    prints = pl.concat([fingerprints(rows[:cut]), fingerprints(rows[cut:])])
    among = pl.Series([number % 3 > 0 for number in range(rows.height)], dtype=pl.Boolean)

    assert is_first(prints).to_list() == rows.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_list()
    alike = iter(rows.filter(among).is_duplicated())
    assert is_repeated(prints, among).to_list() == [one and next(alike) for one in among]


def test_a_category_has_the_fingerprint_of_its_text_whatever_stands_for_it() -> None:
    one = pl.DataFrame({"x": ["a", "b"]}, schema={"x": pl.Categorical})
    other = pl.DataFrame({"x": ["b", "a"]}, schema={"x": pl.Categorical})

    assert fingerprints(one).rows() == fingerprints(other)[::-1].rows()
