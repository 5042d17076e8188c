from __future__ import annotations

import math
import unicodedata
from collections import Counter
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml_assets.core.profiles import (
    BINS,
    CATEGORIES,
    OTHER,
    ColumnBins,
    Counts,
    add_up,
    as_frame,
    choose_bins,
    count_values,
    from_frame,
    with_derived,
)
from ml_assets.lake.profiling import choose_from, take_profiles
from ml_assets.lake.sql import Table

JANUARY, FEBRUARY = datetime(2024, 1, 1), datetime(2024, 2, 1)  # noqa: DTZ001 - naive UTC
HOSTILE = [
    "",
    "'",
    "''",
    '"',
    "\\",
    "a'; DROP TABLE t; --",
    "{}",
    "%s",
    "\0",
    "a\0'b",
    "\n",
    "面積",
    OTHER,
    "NULL",
    "0",
]


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def profile(database: duckdb.DuckDBPyConnection, bins: list[ColumnBins], **columns: Any) -> list[Counts]:
    """What the statement counts over rows of one partition."""
    rows = pl.DataFrame(columns).with_columns(pl.lit(JANUARY).alias("_partition"))
    return profiles_of(database, bins, rows)[JANUARY]


def chosen_from(
    database: duckdb.DuckDBPyConnection, kinds: dict[str, str], size: int = 1_000_000, **columns: Any
) -> list[ColumnBins]:
    """Bins as the lake chooses them, from a table that holds the columns."""
    cursor = database.cursor()
    cursor.execute("ATTACH IF NOT EXISTS ':memory:' AS lake")
    cursor.execute("CREATE SCHEMA IF NOT EXISTS lake.flats")
    cursor.register("incoming", pl.DataFrame(columns))
    cursor.execute("CREATE OR REPLACE TABLE lake.flats.features AS FROM incoming")
    return choose_from(cursor, Table("flats", "features"), kinds, size)


def profiles_of(database: duckdb.DuckDBPyConnection, bins: list[ColumnBins], rows: pl.DataFrame) -> Any:
    cursor = database.cursor().register("rows", rows)
    return take_profiles(cursor, bins, "FROM rows")


def counted_by_hand(edges: tuple[float, ...], values: list[float | None]) -> Counter[str]:
    """Bin i holds `edges[i-1] < x <= edges[i]`."""
    present = [value for value in values if value is not None and math.isfinite(value)]
    return Counter(str(sum(edge < value for edge in edges)) for value in present)


# Numbers, with ties, on edges, and those that are none

few_values = st.sampled_from([0.0, -0.0, 0.1, 1.0, 2.5, 3.0, -7.0, 1e300, 5e-324, None, math.nan, math.inf, -math.inf])
any_values = st.one_of(few_values, st.floats(-1e300, 1e300))
some_edges = st.lists(st.one_of(st.sampled_from([0.0, 0.1, 2.5, 3.0]), st.floats(-1e300, 1e300)), max_size=6).map(
    lambda edges: tuple(sorted({edge + 0.0 for edge in edges}))
)


@given(edges=some_edges, values=st.lists(any_values, max_size=30))
@example(edges=(), values=[1.0, None])
@example(edges=(0.1,), values=[0.1])
# DuckDB reads this one in a statement as a decimal, and the double of that is its neighbour.
@example(edges=(0.4226872211976585,), values=[0.4226872211976585])
@example(edges=(1.0,), values=[math.nan, math.inf, -math.inf])
@settings(max_examples=80, deadline=None)
def test_numbers_are_counted_in_the_bins_that_they_lie_in(
    database: duckdb.DuckDBPyConnection, edges: tuple[float, ...], values: list[float | None]
) -> None:
    bins = ColumnBins("x", "number", edges)
    series = pl.Series("x", values, dtype=pl.Float64)
    expected = counted_by_hand(edges, values)

    in_memory = count_values(bins, series.to_numpy())
    assert Counter(in_memory.bins) == expected
    assert in_memory.missing == len(values) - expected.total()
    if values:
        (counted,) = profile(database, [bins], x=series)
        assert Counter(counted.bins) == expected
        assert counted.missing == in_memory.missing
        assert counted.total == pytest.approx(in_memory.total, rel=1e-9, abs=1e290)


@given(values=st.lists(st.one_of(any_values, st.integers(-5, 5).map(float)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_chosen_bins_count_the_same_in_sql_and_in_memory(
    database: duckdb.DuckDBPyConnection, values: list[float | None]
) -> None:
    series = pl.Series("x", values, dtype=pl.Float64)
    (bins,) = choose_bins(pl.DataFrame({"x": series}), {"x": "number"})
    (counted,) = profile(database, [bins], x=series)

    assert Counter(counted.bins) == Counter(count_values(bins, series.to_numpy()).bins)
    assert list(bins.edges) == sorted(set(bins.edges))
    assert all(math.isfinite(edge) for edge in bins.edges)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2, 2, None, 3], pl.Int64),
        ([1, 2, 2, None, 3], pl.UInt8),
        ([True, False, None, True], pl.Boolean),
        ([0.5, 0.5, None], pl.Float32),
        (["1.25", "2.50", None], pl.Decimal(10, 2)),
    ],
)
def test_whatever_a_model_takes_as_a_number_is_counted_as_one(
    database: duckdb.DuckDBPyConnection, values: list[Any], dtype: Any
) -> None:
    series = pl.Series("x", values).cast(dtype)
    floats = series.cast(pl.Float64)
    (bins,) = choose_bins(pl.DataFrame({"x": series}), {"x": "number"})
    (counted,) = profile(database, [bins], x=series)

    assert Counter(counted.bins) == counted_by_hand(bins.edges, floats.to_list())
    assert sorted(counted.bins.values()) == sorted(Counter(floats.drop_nulls()).values())
    assert (counted.missing, counted.total) == (1, pytest.approx(floats.sum()))


def test_many_different_numbers_fall_into_about_a_hundred_equal_bins(database: duckdb.DuckDBPyConnection) -> None:
    numbers = np.random.default_rng(0).lognormal(size=20_000)
    (bins,) = choose_bins(pl.DataFrame({"x": numbers}), {"x": "number"})
    (counted,) = profile(database, [bins], x=numbers)

    assert len(counted.bins) == BINS
    assert max(counted.bins.values()) - min(counted.bins.values()) <= 2
    assert counted.bins == count_values(bins, numbers).bins


def test_few_different_numbers_have_a_bin_each(database: duckdb.DuckDBPyConnection) -> None:
    rooms = [1] * 500 + [2] * 300 + [3] * 200
    (bins,) = choose_bins(pl.DataFrame({"rooms": rooms}), {"rooms": "number"})
    (counted,) = profile(database, [bins], rooms=rooms)

    assert list(counted.bins.values()) == [500, 300, 200]


@pytest.mark.parametrize("constant", [5.0, 0.0, -1.5, 1e300])
def test_numbers_below_and_above_a_constant_are_told_from_it(
    database: duckdb.DuckDBPyConnection, constant: float
) -> None:
    (bins,) = choose_bins(pl.DataFrame({"x": [constant] * 10}), {"x": "number"})
    values = [constant, np.nextafter(constant, -np.inf), np.nextafter(constant, np.inf), constant]

    for counted in (*profile(database, [bins], x=values), count_values(bins, np.array(values))):
        assert sorted(counted.bins.items()) == [("0", 1), ("1", 2), ("2", 1)]


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Int64, pl.Boolean])
def test_a_column_without_values_has_one_bin_and_counts_what_comes_later(
    database: duckdb.DuckDBPyConnection, dtype: Any
) -> None:
    empty = pl.Series("x", [None, None], dtype=dtype)
    (bins,) = choose_bins(pl.DataFrame({"x": empty}), {"x": "number"})

    assert bins.edges == ()
    assert profile(database, [bins], x=empty) == [Counts("x", "number", 2, 0.0, {})]
    assert profile(database, [bins], x=[7, None]) == [Counts("x", "number", 1, 7.0, {"0": 1}, 0.0, 7.0, 7.0)]


def test_values_that_are_not_finite_choose_no_bins() -> None:
    rows = pl.DataFrame({"x": [math.nan, math.inf, -math.inf, 1.0, 2.0]})

    assert choose_bins(rows, {"x": "number"}) == choose_bins(rows.tail(2), {"x": "number"})


# Categories


@given(values=st.lists(st.one_of(st.none(), st.sampled_from(HOSTILE), st.text(max_size=3)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_categories_are_counted_by_name_whatever_they_are_called(
    database: duckdb.DuckDBPyConnection, values: list[str | None]
) -> None:
    values = [value if value is None else value.encode("utf-8", "ignore").decode() for value in values]
    series = pl.Series("x", values, dtype=pl.String)
    (bins,) = choose_bins(pl.DataFrame({"x": series}), {"x": "category"})
    present = [value for value in values if value is not None]

    assert profile(database, [bins], x=series) == [
        Counts("x", "category", len(values) - len(present), 0.0, Counter(present))
    ]


def test_rare_categories_are_counted_together_where_there_are_too_many(database: duckdb.DuckDBPyConnection) -> None:
    rare = [f"street {number}" for number in range(CATEGORIES)]
    hostile = [text for text in HOSTILE if text != OTHER]
    values = [*hostile, *hostile, *rare, None]
    (bins,) = choose_bins(pl.DataFrame({"x": values}), {"x": "category"})
    (counted,) = profile(database, [bins], x=[*values, "never seen"])

    assert len(bins.categories) == CATEGORIES
    assert set(hostile) < set(bins.categories)
    assert {name: count for name, count in counted.bins.items() if count > 1} == {
        **dict.fromkeys(hostile, 2),
        OTHER: len(hostile) + 1,
    }
    assert (counted.missing, counted.rows) == (1, len(values) + 1)


def test_as_many_categories_as_are_counted_by_name_need_no_list() -> None:
    values = [str(number) for number in range(CATEGORIES)]

    assert choose_bins(pl.DataFrame({"x": values}), {"x": "category"}) == [ColumnBins("x", "category")]


def test_the_same_rows_in_any_order_choose_the_same_bins() -> None:
    rows = pl.DataFrame({"x": [str(number) for number in range(CATEGORIES * 2)], "y": range(CATEGORIES * 2)})
    kinds = {"x": "category", "y": "number"}

    assert (
        choose_bins(rows, kinds)
        == choose_bins(rows.reverse(), kinds)
        == choose_bins(rows.sample(fraction=1, shuffle=True, seed=1), kinds)
    )


@pytest.mark.parametrize("name", ["count", "value", "rows", 'a "quoted" name', "select", "a'b", "Größe"])
def test_a_column_may_have_any_name(database: duckdb.DuckDBPyConnection, name: str) -> None:
    texts, numbers = ["a", "b", "a", None], [1, 2, 2, None]
    kinds = {name: "category", f"{name} 2": "number"}
    columns = {name: texts, f"{name} 2": numbers}
    bins = choose_bins(pl.DataFrame(columns), kinds)

    category, number = profile(database, bins, **columns)
    assert (category.column, category.bins, category.missing) == (name, {"a": 2, "b": 1}, 1)
    assert (number.column, sorted(number.bins.values()), number.total) == (f"{name} 2", [1, 2], 5.0)


def test_dates_are_counted_by_day_and_text_by_its_length(database: duckdb.DuckDBPyConnection) -> None:
    columns = {
        "sold": [date(1970, 1, 2), date(1970, 1, 4), date(1960, 1, 1), None],
        "sent": [datetime(1970, 1, 1, 12), datetime(1970, 1, 3), None, None],  # noqa: DTZ001 - naive UTC
        "message": ["", "дом", "three", None],
    }
    kinds = with_derived({"sold": "date", "sent": "date", "message": "text"})
    bins = chosen_from(database, kinds, **columns)
    sold, sent, message, tokens, words = profile(database, bins, **columns)

    assert [counts.kind for counts in (sold, sent, message)] == ["number"] * 3
    assert [counts.total for counts in (sold, sent, message)] == [1 + 3 - 3653, 2.5, 8]
    assert [counts.missing for counts in (sold, sent, message)] == [1, 2, 1]
    assert [sorted(counts.bins.values()) for counts in (sold, sent, message)] == [[1, 1, 1], [1, 1], [1, 1, 1]]
    assert (tokens.column, tokens.total, tokens.missing) == ("message (tokens)", 2, 1)
    assert (words.column, words.bins, words.missing) == ("message (words)", {"дом": 1, "three": 1}, 0)


@pytest.mark.parametrize(("text", "word"), [("ΟΔΟΣ", "οδοσ"), ("İZMİR", "izmir"), ("ΟΔΟΣ ΟΔΟΣ", "οδοσ")])
def test_words_are_chosen_in_the_letters_that_they_are_counted_in(
    database: duckdb.DuckDBPyConnection, text: str, word: str
) -> None:
    (bins,) = chosen_from(database, {"t (words)": "words"}, t=[text, None])
    (counts,) = profile(database, [bins], t=[text, text.lower()[:0]])

    assert counts.bins == dict.fromkeys(bins.categories, 1)
    assert OTHER not in counts.bins
    assert len(bins.categories) == 1
    assert unicodedata.normalize("NFD", bins.categories[0]).replace("\u0307", "") == word


def test_the_words_that_most_rows_hold_are_counted_by_name(database: duckdb.DuckDBPyConnection) -> None:
    texts = ["common " * 3 + f"rare{number}" for number in range(CATEGORIES + 5)]
    (bins,) = chosen_from(database, {"t (words)": "words"}, t=texts)
    (counts,) = profile(database, [bins], t=texts)

    assert bins.categories[0] == "common"
    assert len(bins.categories) == CATEGORIES
    assert (counts.bins["common"], counts.bins[OTHER]) == (len(texts), 6)


def test_bins_of_a_large_table_are_chosen_from_a_sample_which_is_the_same_every_time(
    database: duckdb.DuckDBPyConnection,
) -> None:
    rows = {"x": range(5_000)}
    (bins,) = chosen_from(database, {"x": "number"}, size=1_000, **rows)

    assert [bins] == chosen_from(database, {"x": "number"}, size=1_000, **rows)
    assert len(bins.edges) >= BINS - 1
    (counts,) = profile(database, [bins], **rows)
    assert max(counts.bins.values()) < 5_000 * 0.03
    assert [bins] != chosen_from(database, {"x": "number"}, **rows), "all are read where there are fewer"


@pytest.mark.parametrize("labels", [[True, False, True], [3, 1, 3]])
def test_labels_of_any_type_are_counted_as_text(database: duckdb.DuckDBPyConnection, labels: list[Any]) -> None:
    (counts,) = profile(database, choose_bins(pl.DataFrame({"y": labels}), {"y": "category"}), y=labels)

    assert counts.bins == {str(labels[0]).lower(): 2, str(labels[1]).lower(): 1}
    many = list(range(CATEGORIES * 2))
    (bins,) = choose_bins(pl.DataFrame({"y": many}), {"y": "category"})
    (counts,) = profile(database, [bins], y=many)
    assert counts.bins[OTHER] == CATEGORIES


# Adding up, storing


columns_of_rows = st.fixed_dictionaries(
    {
        "n": few_values,
        "c": st.one_of(st.none(), st.sampled_from(["a", "b", *HOSTILE])),
        "_partition": st.sampled_from([JANUARY, FEBRUARY]),
    }
)
BOTH = [ColumnBins("n", "number", (0.0, 0.1, 3.0)), ColumnBins("c", "category", categories=("a", "'", "a\0'b"))]
ALL_NAMED = [BOTH[0], ColumnBins("c", "category")]


def as_rows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"n": pl.Float64, "c": pl.String, "_partition": pl.Datetime("us")})


def told(counts: Counts) -> tuple[Any, ...]:
    return counts.column, counts.kind, counts.missing, pytest.approx(counts.total), dict(counts.bins)


@given(rows=st.lists(columns_of_rows, max_size=25))
@settings(max_examples=50, deadline=None)
def test_profiles_of_partitions_add_up_to_the_profile_of_all_rows(
    database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]
) -> None:
    found = profiles_of(database, BOTH, as_rows(rows))
    whole = profiles_of(database, BOTH, as_rows(rows).with_columns(pl.lit(JANUARY).alias("_partition")))

    assert list(found) == sorted({row["_partition"] for row in rows})
    summed = add_up(counts for many in found.values() for counts in many)
    assert [told(counts) for counts in summed.values()] == [told(counts) for many in whole.values() for counts in many]
    assert all(counts.rows == counts.present + counts.missing == len(rows) for counts in summed.values())


@given(rows=st.lists(columns_of_rows, max_size=25), bins=st.sampled_from([BOTH, ALL_NAMED]))
@example(rows=[{"n": 1.0, "c": "", "_partition": JANUARY}], bins=ALL_NAMED)
@settings(max_examples=50, deadline=None)
def test_profiles_come_back_from_their_table_in_any_order(
    database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], bins: list[ColumnBins]
) -> None:
    found = profiles_of(database, bins, as_rows(rows))
    table = as_frame(found)

    assert from_frame(table) == found
    by_name = {start: add_up(many) for start, many in found.items()}
    assert {start: add_up(many) for start, many in from_frame(table.reverse()).items()} == by_name
    assert table.schema == as_frame({}).schema
