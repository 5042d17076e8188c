from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_lake import COMMIT, as_days, day, days, held, new_table, rows_of, write
from writing_tables import replace_window

from ml_assets.lake import tables
from ml_assets.lake.connection import Lake, LakeError, columns_of, create_schema, table_exists
from ml_assets.lake.sql import Table, Window, literal, quoted
from ml_assets.lake.tables import (
    LakeSchemaError,
    Spool,
    WindowWriter,
    pieces_of,
    read,
    read_unchanged,
    run_select,
    window_of,
)
from ml_assets.lake.upkeep import compact

HOSTILE = [
    'a "quoted" name',
    "it's; DROP TABLE x; --",
    "select",
    "incoming",
    "../../up",
    "a/b\\c",
    "%s {0} $1 ?",
    "naïve 😀 表",
    "tab\tnew\nline",
    " spaces ",
]

# Days 29 to 32 lie on both sides of a month's end, where the files are cut.
DAYS = st.integers(28, 33)
VALUES = st.lists(st.integers(-3, 3), max_size=3)


@st.composite
def replacements(draw: st.DrawFn) -> tuple[tuple[int, int] | None, list[dict[int, list[int]]]]:
    """A window, or None for the whole table, and the new rows of two tables."""
    if draw(st.booleans()) and draw(st.booleans()):
        return None, [draw(st.dictionaries(DAYS, VALUES)) for _ in range(2)]
    first, end = sorted((draw(DAYS), draw(DAYS)))
    inside = st.dictionaries(st.integers(first, end), VALUES)
    return (first, end + 1), [draw(inside) for _ in range(2)]


@settings(max_examples=8, deadline=None)
@given(st.lists(replacements(), min_size=1, max_size=4))
def test_any_replacements_leave_what_a_dictionary_of_partitions_would_hold(
    lake: Lake, steps: list[tuple[tuple[int, int] | None, list[dict[int, list[int]]]]]
) -> None:
    project = new_table().project
    tables = [Table(project, "one"), Table(project, "two")]
    model: list[dict[int, list[int]]] = [{}, {}]
    history = []
    for limits, contents in steps:
        frames = {table: rows_of(content) for table, content in zip(tables, contents, strict=True)}
        for _ in range(2):  # once more changes nothing
            snapshot = replace_window(lake, frames, days(*limits) if limits else None, COMMIT)
        inside = range(*limits) if limits else range(100)
        model = [
            {number: values for number, values in old.items() if number not in inside} | content
            for old, content in zip(model, contents, strict=True)
        ]
        history.append((snapshot, [as_days(content) for content in model]))
        assert [held(lake, table) for table in tables] == history[-1][1]
    for snapshot, contents_then in history:
        assert [held(lake, table, snapshot) for table in tables] == contents_then


@pytest.mark.parametrize("outside", [-1, 2, 31])
def test_rows_outside_the_window_are_refused_and_nothing_is_written(lake: Lake, table: Table, outside: int) -> None:
    before = write(lake, table, {0: [1], 1: [2]})
    message = re.escape(f"1 rows for {table} lie outside the window")
    with pytest.raises(LakeError, match=message):
        replace_window(lake, {table: rows_of({0: [7], 1: [8], outside: [9]})}, days(0, 2), COMMIT)
    assert held(lake, table) == held(lake, table, before) == as_days({0: [1], 1: [2]})


def test_a_window_holds_its_start_and_not_its_end(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [0], 1: [1], 2: [2], 3: [3]})
    replace_window(lake, {table: rows_of({})}, days(1, 3), COMMIT)
    assert held(lake, table) == as_days({0: [0], 3: [3]})
    assert sorted(Window(day(1), day(3)).condition("t").split("'")[1::2]) == [
        "2024-01-02 00:00:00",
        "2024-01-04 00:00:00",
    ]


def test_a_row_without_a_partition_is_refused_because_no_window_would_ever_replace_it(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    nowhere = pl.DataFrame({"_partition": [day(0), None], "x": [1, 2]})
    with pytest.raises(LakeError, match="1 rows"):
        replace_window(lake, {table: nowhere}, days(0, 1), COMMIT)
    assert held(lake, table) == as_days({0: [1]})


def test_an_empty_frame_makes_the_table_and_empties_the_window(lake: Lake, table: Table) -> None:
    replace_window(lake, {table: rows_of({})}, days(0, 1), COMMIT)
    with lake.reader() as cursor:
        assert columns_of(cursor, table) == {"_partition": "TIMESTAMP", "x": "BIGINT"}
    write(lake, table, {0: [1], 1: [2]})
    replace_window(lake, {table: rows_of({})}, days(0, 1), COMMIT)
    assert held(lake, table) == as_days({1: [2]})


def test_rows_are_read_in_the_order_of_partition_source_and_row_however_they_were_written(
    lake: Lake, table: Table
) -> None:
    rows = pl.DataFrame(
        {
            "_row": [2, 1, 1, 10, 1],
            "_source": ["a", "b", "a", "a", "a"],
            "_partition": [day(0), day(0), day(0), day(0), day(31)],
        }
    )
    replace_window(lake, {table: rows.filter(pl.col("_partition") == day(31))}, days(31, 32), COMMIT)
    replace_window(lake, {table: rows.filter(pl.col("_partition") == day(0))}, days(0, 1), COMMIT)
    with lake.reader() as cursor:
        found = read(cursor, table).select("_partition", "_source", "_row")
        of_a_day = read(cursor, table, days(0, 1))
    assert found.rows() == [
        (day(0), "a", 1),
        (day(0), "a", 2),
        (day(0), "a", 10),
        (day(0), "b", 1),
        (day(31), "a", 1),
    ]
    assert of_a_day["_partition"].to_list() == [day(0)] * 4


def test_an_old_version_is_read_with_its_own_rows_and_columns(lake: Lake, table: Table) -> None:
    first = write(lake, table, {0: [1]})
    second = write(lake, table, {0: [2], 1: [3]})
    third = replace_window(lake, {table: pl.DataFrame({"_partition": [day(0)], "y": ["new"]})}, days(0, 1), COMMIT)
    assert held(lake, table, first) == as_days({0: [1]})
    assert held(lake, table, second) == as_days({0: [2], 1: [3]})
    with lake.reader() as cursor:
        assert read(cursor, table, snapshot=first).columns == ["_partition", "x"]
        assert read(cursor, table, snapshot=third).rows() == [(day(0), None, "new"), (day(1), 3, None)]
        assert run_select(cursor, "SELECT x FROM t", {"t": window_of(table, days(0, 1), second)}).rows() == [(2,)]


def test_a_table_that_is_not_there_is_an_error_that_says_what_to_materialize(lake: Lake, table: Table) -> None:
    with lake.reader() as cursor:
        assert not table_exists(cursor, table)
        with pytest.raises(LakeError, match=f"holds no table {table}.*materialize the asset {table.project}/sales"):
            read(cursor, table)
    snapshot = write(lake, new_table(), {0: [1]})
    write(lake, table, {0: [1]})
    with lake.reader() as cursor:
        assert table_exists(cursor, table)
        with pytest.raises(LakeError, match="holds no table"):
            read(cursor, table, snapshot=snapshot)


# ---- columns


def test_a_new_column_is_added_and_is_null_in_the_rows_before(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    replace_window(lake, {table: pl.DataFrame({"y": ["a"], "_partition": [day(1)], "x": [2]})}, days(1, 2), COMMIT)
    with lake.reader() as cursor:
        assert read(cursor, table).rows(named=True) == [
            {"_partition": day(0), "x": 1, "y": None},
            {"_partition": day(1), "x": 2, "y": "a"},
        ]


def test_a_column_that_a_write_leaves_out_is_null_in_its_rows(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    replace_window(lake, {table: pl.DataFrame({"_partition": [day(1)]})}, days(1, 2), COMMIT)
    assert held(lake, table) == {day(0): [1], day(1): [None]}


@pytest.mark.parametrize(
    ("narrow", "wide", "least", "greatest"),
    [
        (pl.Int8, pl.Int16, -(2**7), 2**15 - 1),
        (pl.Int16, pl.Int32, -(2**15), 2**31 - 1),
        (pl.Int32, pl.Int64, -(2**31), 2**63 - 1),
        (pl.Int8, pl.Int64, 2**7 - 1, -(2**63)),
        (pl.Float32, pl.Float64, 0.5, 1e300),
        (pl.Int32, pl.Float64, -(2**31), 0.5),
    ],
)
def test_a_column_is_widened_in_place_and_then_takes_both_types(
    lake: Lake, table: Table, *, narrow: pl.DataType, wide: pl.DataType, least: float, greatest: float
) -> None:
    before = write(lake, table, {0: [least]}, narrow)
    write(lake, table, {1: [greatest]}, wide)
    write(lake, table, {2: [least]}, narrow)
    assert held(lake, table) == {day(0): [least], day(1): [greatest], day(2): [least]}
    assert held(lake, table, before) == {day(0): [least]}


def test_two_tables_are_widened_in_one_write(lake: Lake, table: Table) -> None:
    other = Table(table.project, "other")
    for kind, number in ((pl.Int8, 0), (pl.Int64, 1)):
        frame = rows_of({number: [100]}, kind)
        replace_window(lake, {table: frame, other: frame}, days(number, number + 1), COMMIT)
    assert held(lake, table) == held(lake, other) == as_days({0: [100], 1: [100]})


WIDTHS = {pl.Int8: 8, pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}
# On both sides of each type's limits: what the lake remembers of a column's range decides which rows a query skips.
EDGES = sorted({sign * 2**power - low for power in (0, 7, 15, 31, 63) for sign in (1, -1) for low in (0, 1)})


@st.composite
def writes(draw: st.DrawFn) -> tuple[int, dict[str, pl.Series]]:
    """A day and its columns: `x` of some width, the others there or not."""
    rows = draw(st.integers(0, 3))
    kind = draw(st.sampled_from(list(WIDTHS)))
    fitting = [edge for edge in EDGES if -(2 ** (WIDTHS[kind] - 1)) <= edge < 2 ** (WIDTHS[kind] - 1)]

    def series(values: st.SearchStrategy[object], kind: object) -> pl.Series:
        listed = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        return pl.Series(listed, dtype=kind)  # type: ignore[arg-type]

    columns = {"x": series(st.sampled_from(fitting), kind)}
    if draw(st.booleans()):
        columns["name"] = series(st.sampled_from(["", "a", "z", "Z", "é", "10", "9"]), pl.String)
    if draw(st.booleans()):
        columns["rate"] = series(st.sampled_from([-1e300, -0.1, 0.0, 0.1, 1e300]), pl.Float64)
    return draw(st.integers(0, 3)), columns


@settings(max_examples=12, deadline=None)
@given(st.lists(writes(), min_size=2, max_size=5))
def test_queries_find_every_value_however_columns_came_and_widened(
    lake: Lake, steps: list[tuple[int, dict[str, pl.Series]]]
) -> None:
    table = new_table()
    model: dict[int, pl.DataFrame] = {}
    for number, columns in steps:
        rows = pl.DataFrame(columns).select(pl.lit(day(number)).cast(pl.Datetime("us")).alias("_partition"), pl.all())
        replace_window(lake, {table: rows}, days(number, number + 1), COMMIT)
        model[number] = rows
    expected = pl.concat(model.values(), how="diagonal_relaxed")
    with lake.reader() as cursor:
        names = list(columns_of(cursor, table))
        assert set(names) == {name for _, columns in steps for name in columns} | {"_partition"}
        for name in names:
            kept = expected[name].to_list() if name in expected.columns else [None] * expected.height
            in_order = [
                value for (value,) in cursor.execute(f"SELECT {name} FROM {table.path} ORDER BY ALL").fetchall()
            ]
            values = sorted(value for value in kept if value is not None)
            assert in_order == values + [None] * (len(kept) - len(values))
            for value in set(values):
                query = f"SELECT count(*) FROM {table.path} WHERE {name} = ?"
                assert cursor.execute(query, [value]).fetchall() == [(values.count(value),)]


@pytest.mark.parametrize(
    ("old", "new", "value", "words"),
    [
        (pl.Int64, pl.String, "1", "BIGINT in the lake and VARCHAR in this write"),
        (pl.String, pl.Int64, 1, "VARCHAR in the lake and BIGINT in this write"),
        (pl.Float64, pl.Int64, 1, "DOUBLE in the lake and BIGINT"),
        (pl.Int64, pl.Float64, 0.5, "BIGINT in the lake and DOUBLE"),
        (pl.Float64, pl.Boolean, True, "DOUBLE in the lake and BOOLEAN"),
        (pl.Datetime("us"), pl.Date, day(0).date(), "TIMESTAMP in the lake and DATE"),
        (pl.String, pl.Datetime("us"), day(0), "VARCHAR in the lake and TIMESTAMP"),
    ],
)
def test_another_change_of_type_is_an_error_that_says_how_to_migrate_and_leaves_the_data(
    lake: Lake, table: Table, *, old: pl.DataType, new: pl.DataType, value: object, words: str
) -> None:
    kept = {pl.Int64: 5, pl.String: "five", pl.Float64: 5.5}.get(old, day(5))  # type: ignore[call-overload]
    before = write(lake, table, {0: [kept]}, old)
    other = Table(table.project, "other")
    with pytest.raises(LakeSchemaError) as caught:
        replace_window(lake, {other: rows_of({0: [1]}), table: rows_of({0: [value]}, new)}, days(0, 1), COMMIT)
    for part in (f"{table}: column 'x'", words, f"`ml-assets lake drop {table.project} {table.name}`"):
        assert part in str(caught.value)
    assert held(lake, table) == held(lake, table, before) == {day(0): [kept]}
    with lake.reader() as cursor:
        assert not table_exists(cursor, other)
    assert write(lake, table, {0: [kept]}, old) > before


def test_the_case_of_a_column_name_makes_no_second_column(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]}, pl.Int32)
    replace_window(lake, {table: pl.DataFrame({"_Partition": [day(1)], "X": [2**40]})}, days(1, 2), COMMIT)
    with lake.reader() as cursor:
        assert columns_of(cursor, table) == {"_partition": "TIMESTAMP", "x": "BIGINT"}
    assert held(lake, table) == as_days({0: [1], 1: [2**40]})


def test_tables_whose_names_differ_in_case_only_are_never_mixed_up(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    with pytest.raises((LakeError, duckdb.CatalogException), match="already exists"):
        write(lake, Table(table.project, table.name.upper()), {0: [2]})
    assert held(lake, table) == as_days({0: [1]})


# ---- names


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_names(lake: Lake, name: str) -> None:
    table = Table(f"{new_table().project} {name}", name)
    rows = pl.DataFrame({"_partition": [day(0)], name: [1]})
    snapshot = replace_window(lake, {table: rows}, days(0, 1), COMMIT)
    added = rows.with_columns(pl.lit("x").alias(f"{name} 2"))
    replace_window(lake, {table: added}, days(0, 1), COMMIT)
    with lake.reader() as cursor:
        assert read(cursor, table).equals(added)
        assert read(cursor, table, snapshot=snapshot).equals(rows)
        assert columns_of(cursor, table) == {"_partition": "TIMESTAMP", name: "BIGINT", f"{name} 2": "VARCHAR"}
    with pytest.raises(LakeSchemaError):
        replace_window(lake, {table: rows.with_columns(pl.lit("text").alias(name))}, days(0, 1), COMMIT)


def test_nothing_is_written_outside_the_lakes_folder(lake: Lake) -> None:
    replace_window(lake, {Table("../out", "../../out"): rows_of({0: [1]})}, days(0, 1), COMMIT)
    assert {path.name for path in lake.folder.parent.iterdir()} == {lake.folder.name}
    assert {path.name for path in lake.folder.iterdir()} <= {
        "pieces",
        "catalog.sqlite",
        "catalog.sqlite-wal",
        "catalog.sqlite-shm",
        "catalog.sqlite.lock",
        "data",
    }


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_comes_back_from_a_literal_and_from_an_identifier(text: str) -> None:
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT {literal(text)} AS {quoted(text)}")
        assert result.fetchall() == [(text,)]
        assert connection.description[0][0] == text


# ---- statements


def test_a_mistyped_name_is_an_error_even_where_a_python_frame_has_it(lake: Lake, table: Table) -> None:
    sale = pl.DataFrame({"x": [1]})
    pandas_sale = sale.to_pandas()
    write(lake, table, {0: [1]})
    with lake.transaction(COMMIT) as transaction, lake.reader() as cursor:
        for name in ("sale", "pandas_sale", "rows"):
            with pytest.raises(duckdb.CatalogException, match=f"{name} does not exist"):
                cursor.execute(f"FROM {name}")
            with pytest.raises(duckdb.CatalogException, match=f"{name} does not exist"):
                run_select(cursor, f"SELECT * FROM {name}", {"sales": window_of(table, None)})
        with pytest.raises(duckdb.CatalogException, match="sale does not exist"):
            transaction.cursor.execute("FROM sale")
    assert pandas_sale.shape == sale.shape


def test_a_select_reads_its_named_inputs_and_leaves_no_view_behind(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1, 2], 1: [3]})
    with lake.reader() as cursor:
        inputs = {"the sales": window_of(table, days(0, 1)), "rates": "SELECT 10 AS rate"}
        select = 'SELECT x * rate + ? AS y FROM "the sales", rates ORDER BY y -- a comment, last'
        assert run_select(cursor, select, inputs, [5]).rows() == [(15,), (25,)]
        with pytest.raises(duckdb.CatalogException):
            cursor.execute("FROM rates")


def test_a_frame_that_was_written_is_not_in_reach_of_later_statements(lake: Lake, table: Table) -> None:
    with lake.transaction(COMMIT) as transaction:
        from ml_assets.lake.tables import replace_rows

        replace_rows(transaction, table, rows_of({0: [1]}), days(0, 1))
        with pytest.raises(duckdb.CatalogException, match="incoming does not exist"):
            transaction.rows("FROM incoming")


@pytest.mark.parametrize("there", [[], [{}], [{0: [7]}]], ids=["a new table", "an empty one", "one with rows"])
def test_rows_that_come_in_pieces_keep_their_values_beside_earlier_nulls(
    lake: Lake, there: list[dict[int, list[int]]]
) -> None:
    table = new_table()

    def piece(number: int, value: int | None) -> pl.DataFrame:
        rows = pl.DataFrame({"_partition": [day(number)], "x": [value]}, schema_overrides={"x": pl.Int64})
        return rows.cast({"_partition": pl.Datetime("us")})

    for before in there:
        replace_window(lake, {table: rows_of(before, pl.Int64)}, days(0, 1), COMMIT)
    with lake.transaction(COMMIT) as transaction, WindowWriter(transaction, table, days(0, 2)) as writer:
        writer.add(piece(0, None))
        writer.add(piece(1, -32768))
    replace_window(lake, {table: piece(2, -128)}, days(2, 3), COMMIT)

    with lake.reader() as cursor:
        found = cursor.execute(f"SELECT x FROM {table.path} ORDER BY ALL").fetchall()
    assert found == [(-32768,), (-128,), (None,)]


def test_pieces_of_different_types_are_refused_and_change_nothing(lake: Lake) -> None:
    table = new_table()

    def write_both() -> None:
        with lake.transaction(COMMIT) as transaction, WindowWriter(transaction, table, None) as writer:
            writer.add(pl.DataFrame({"x": [1]}))
            writer.add(pl.DataFrame({"x": [0.5]}))

    with pytest.raises(LakeSchemaError, match=r"column 'x' is DOUBLE in some rows and BIGINT in others.*CAST"):
        write_both()

    with lake.reader() as cursor:
        assert columns_of(cursor, table) == {}


def test_pieces_whose_columns_differ_in_case_are_one_table() -> None:
    with duckdb.connect() as cursor:
        spool = Spool(cursor, "incoming rows")
        for town in ("Town", "town"):
            spool.add(pl.DataFrame({town: [town], "n": [1]}))
        assert cursor.execute('SELECT * FROM "incoming rows" ORDER BY ALL').fetchall() == [("Town", 1), ("town", 1)]


# ---- pieces, and reading without DuckDB


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sets(st.integers(1, 40), max_size=25)), max_size=6))
def test_pieces_of_a_window_hold_each_row_once_in_order_and_no_more_than_asked(
    lake: Lake, sources: list[tuple[str, set[int]]]
) -> None:
    table = new_table()
    places = sorted({(source, number) for source, numbers in sources for number in numbers})
    lines = [(day(30), source, number) for source, number in places] + [(day(32), "a", 1)]
    schema = {"_partition": pl.Datetime("us"), "_source": pl.String, "_row": pl.Int64}
    replace_window(lake, {table: pl.DataFrame(lines, schema=schema, orient="row")}, None, COMMIT)
    with lake.reader() as cursor:
        pieces = pieces_of(cursor, table, days(30, 31), 10)
        frames = [read(cursor, table, one) for one in pieces]
        again = list(read_unchanged(cursor, table, pieces))

    assert [row[1:] for frame in frames for row in frame.rows()] == places
    assert all(0 < frame.height <= 10 for frame in frames)
    assert len(pieces) <= len(places) // 5 + 5, "neighbours that fit together are one piece"
    assert all(one.equals(other) for one, other in zip(frames, again, strict=True))


def test_a_table_is_the_same_read_from_its_files_whatever_became_of_them(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, window, ways = new_table(), days(29, 33), []
    by_duckdb = tables.read

    def counted(*arguments: Any) -> pl.DataFrame:
        ways.append("DuckDB")
        return by_duckdb(*arguments)

    def same() -> str:
        ways.clear()
        with lake.transaction(COMMIT) as transaction:
            monkeypatch.setattr(tables, "read", counted)
            (found,) = read_unchanged(transaction.cursor, table, [window])
            monkeypatch.undo()
            expected = read(transaction.cursor, table, window)
        assert found.schema == expected.schema
        assert found.sort(pl.all()).equals(expected.sort(pl.all()))
        assert found.height > 0
        return "".join(ways) or "polars"

    write(lake, table, {28: [7], 29: [1, 2], 31: [3], 33: [8]})
    assert same() == "polars"
    write(lake, table, {30: [4]})
    assert same() == "polars", "a day that was not there is a file more"
    write(lake, table, {29: [5]})
    assert same() == "DuckDB", "rows of a file are deleted"
    frame = rows_of({31: [6]}).with_columns(note=pl.lit("new"))
    replace_window(lake, {table: frame}, days(29, 33), COMMIT)
    assert same() == "DuckDB", "files differ in their columns"
    replace_window(lake, {table: frame}, None, COMMIT)
    assert same() == "polars", "all is new"
    for number in (29, 30, 32):
        replace_window(
            lake, {table: frame.with_columns(_partition=pl.lit(day(number)))}, days(number, number + 1), COMMIT
        )
    compact(lake, keep=timedelta(0), protected=())
    same()


def test_types_that_are_others_in_parquet_are_read_by_duckdb(lake: Lake) -> None:
    table = new_table()
    with lake.transaction(COMMIT) as transaction:
        create_schema(transaction.cursor, table.project)
        transaction.rows(
            f"CREATE TABLE {table.path} AS SELECT TIMESTAMP '2024-01-02' AS _partition, CAST(7 AS HUGEINT) AS x, "
            "TIME '12:00' AS t, CAST(1 AS DECIMAL(5, 2)) AS d, [1, 2] AS l"
        )
    with lake.reader() as cursor:
        (found,) = read_unchanged(cursor, table, [days(0, 2)])
        expected = read(cursor, table, days(0, 2))

    assert found.schema == expected.schema
    assert found.rows() == expected.rows() != []


def test_a_table_that_is_not_there_has_no_files_either(lake: Lake) -> None:
    with lake.reader() as cursor, pytest.raises(LakeError, match="the lake holds no table"):
        next(read_unchanged(cursor, new_table(), [days(0, 1)]))
