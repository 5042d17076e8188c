"""A statement's result is DuckDB's, whether all of it is run or only the columns that it computes."""

from __future__ import annotations

from datetime import datetime

import duckdb
import polars as pl
import pytest

from ml_assets.assets import common
from ml_assets.assets.common import SqlFailure, run_sql
from ml_assets.lake.tables import run_select

LINEAGE = "_partition, _source, _row"
ROWS = pl.DataFrame(
    {
        "a": ["x", " y ", None, "x"],
        "Town": ["N", "S", "", None],
        "n": [1, 2, None, 4],
        "_partition": [datetime(2024, 1, 1)] * 2 + [datetime(2024, 2, 1)] * 2,  # noqa: DTZ001 - naive UTC
        "_source": "file.csv",
        "_row": [1, 2, 1, 2],
    }
)


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT a, Town, n, {LINEAGE} FROM raw",
        f"SELECT {LINEAGE}, Town AS town, a AS b, trim(a) AS a, n + 1 AS n FROM raw -- with a comment",
        f"SELECT a, a, trim(a) AS a, {LINEAGE} FROM raw",
        f"SELECT town, TOWN AS there, r.a, {LINEAGE} FROM raw AS r",
        f"SELECT trim(a) AS b, b || '!' AS c, {LINEAGE} FROM raw",
        f"SELECT a, CAST(n AS INTEGER) AS n, unnest([_row]) AS once, {LINEAGE} FROM raw",
        f"SELECT a, unnest([1, 2]) AS twice, {LINEAGE} FROM raw",
        f"SELECT a, unnest({{'x': 1, 'y': 2}}), {LINEAGE} FROM raw",
        "SELECT a, _partition, _source, _row + 1 AS _row FROM raw",
        f"SELECT a, {LINEAGE} FROM raw WHERE a IS NOT NULL",
        f"SELECT a, count(*) OVER () AS rows, {LINEAGE} FROM raw",
        "SELECT * FROM raw",
    ],
)
@pytest.mark.parametrize("height", [0, 4])
def test_the_result_is_that_of_the_whole_statement_run_on_each_partition(sql: str, height: int) -> None:
    rows = ROWS.head(height)
    with duckdb.connect() as connection:
        found = run_sql(connection, "clean.sql", sql, "raw", rows)
        parts = []
        for part in rows.partition_by("_partition", maintain_order=True) or [rows]:
            connection.register("part", part)
            parts.append(run_select(connection, sql, {"raw": "FROM part"}))

    assert found.equals(pl.concat(parts))
    assert found.schema == parts[0].schema


def test_columns_that_are_passed_on_do_not_go_through_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def watched(cursor: duckdb.DuckDBPyConnection, select: str, inputs: dict[str, str]) -> pl.DataFrame:
        asked.append(select)
        return run_select(cursor, select, inputs)

    monkeypatch.setattr(common, "run_select", watched)
    with duckdb.connect() as connection:
        run_sql(connection, "clean.sql", f"SELECT a, trim(a) AS b, {LINEAGE} FROM raw", "raw", ROWS)

    assert asked[1].startswith('SELECT "b", "_partition", "_source", "_row" FROM (')
    assert len(asked) == 2


def test_an_error_of_a_computed_column_names_the_file() -> None:
    sql = f"SELECT a, CAST(Town AS INTEGER) AS n, {LINEAGE} FROM raw"
    with duckdb.connect() as connection, pytest.raises(SqlFailure, match=r"^clean\.sql: .*Could not convert"):
        run_sql(connection, "clean.sql", sql, "raw", ROWS)
