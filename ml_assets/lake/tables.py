"""Writing and reading tables by window.

A write replaces its window whole, in one transaction; columns may be added or widened in place, and any other change of
type is an error, because it would silently change what old rows mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.lake.connection import Commit, Lake, LakeError, Transaction, columns_of, create_schema
from ml_assets.lake.sql import Table, Window, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

PARTITION = "_partition"
# Kept on every row from `raw` to `predictions`, so that any prediction leads back to a line of a source file.
LINEAGE = (PARTITION, "_source", "_row")


class LakeSchemaError(LakeError):
    """The columns of a write do not fit the table that is there."""


def replace_window(lake: Lake, tables: Mapping[Table, pl.DataFrame], window: Window | None, commit: Commit) -> int:
    """Replace a window's rows in one or more tables, in one transaction.

    Args:
        lake: where to.
        tables: the new rows; each frame has a `_partition` column, all values of which lie in the window.
        window: which partitions are replaced; None replaces the whole table.
        commit: who writes.

    Returns:
        The snapshot id that holds the new version.

    Raises:
        LakeSchemaError: if a column's type changed in a way that is not a widening.
    """
    with lake.transaction(commit) as transaction:
        for table, rows in tables.items():
            replace_rows(transaction, table, rows, window)
    return transaction.snapshot


def replace_rows(transaction: Transaction, table: Table, rows: pl.DataFrame, window: Window | None) -> None:
    """Replace a window's rows of one table inside an open transaction. See `replace_window`."""
    cursor = transaction.cursor
    cursor.register("incoming", rows)
    try:
        incoming = {name: kind for name, kind, *_ in cursor.execute("DESCRIBE FROM incoming").fetchall()}
        if window is not None:
            outside = cursor.execute(
                f"SELECT count(*) FROM incoming WHERE ({window.condition()}) IS NOT TRUE"
            ).fetchone()
            if outside is None or outside[0]:
                raise LakeError(
                    f"{outside and outside[0]} rows for {table} lie outside the window {window}: they would double"
                )
        present = columns_of(cursor, table)
        if present:
            _evolve(cursor, table, present, incoming)
            cursor.execute(f"DELETE FROM {table.path} WHERE {window.condition() if window else 'true'}")
        else:
            _create(cursor, table, incoming)
        cursor.execute(f"INSERT INTO {table.path} BY NAME FROM incoming")
    finally:
        cursor.unregister("incoming")


def read(
    cursor: duckdb.DuckDBPyConnection, table: Table, window: Window | None = None, snapshot: int | None = None
) -> pl.DataFrame:
    """A window of a table as a polars frame, in the order partition, source, row: always the same.

    Raises:
        LakeError: if the table does not exist (yet), naming it.
    """
    try:
        columns = [column[0] for column in cursor.execute(f"DESCRIBE FROM {table.at(snapshot)}").fetchall()]
    except duckdb.CatalogException as error:
        raise LakeError(
            f"the lake holds no table {table}. Remedy: materialize the asset {table.project}/{table.name}"
        ) from error
    order = ", ".join(quoted(name) for name in LINEAGE if name in columns)
    sql = f"FROM {table.at(snapshot)}"
    if window is not None:
        sql += f" WHERE {window.condition()}"
    if order:
        sql += f" ORDER BY {order}"
    return cursor.execute(sql).pl()


def run_select(
    cursor: duckdb.DuckDBPyConnection, select: str, inputs: Mapping[str, str], parameters: Any = None
) -> pl.DataFrame:
    """Run a SELECT over named inputs.

    Args:
        cursor: a reader's or a transaction's cursor.
        select: the statement, without a trailing semicolon; it may hold comments.
        inputs: name → SQL that yields the input's rows. They are common table expressions around the statement, so
            that no view is left behind and no name of another project is in reach.
        parameters: bound values.
    """
    tables = ", ".join(f"{quoted(name)} AS ({source})" for name, source in inputs.items())
    return cursor.execute(f"WITH {tables} FROM (\n{select}\n)", parameters).pl()


def window_of(table: Table, window: Window | None, snapshot: int | None = None) -> str:
    """SQL that yields a window of a table: for `run_select`'s inputs."""
    sql = f"FROM {table.at(snapshot)}"
    return f"{sql} WHERE {window.condition()}" if window else sql


def _create(cursor: duckdb.DuckDBPyConnection, table: Table, columns: Mapping[str, str]) -> None:
    create_schema(cursor, table.project)
    listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    cursor.execute(f"CREATE TABLE {table.path} ({listed})")
    if PARTITION in columns:
        # Months are coarse enough to keep files few and fine enough that a refresh rewrites little.
        cursor.execute(f"ALTER TABLE {table.path} SET PARTITIONED BY (year({PARTITION}), month({PARTITION}))")


def _evolve(
    cursor: duckdb.DuckDBPyConnection, table: Table, present: Mapping[str, str], incoming: Mapping[str, str]
) -> None:
    names = {name.casefold(): name for name in present}
    columns = dict(present)
    for name, kind in incoming.items():
        old_name = names.get(name.casefold())
        if old_name is None:
            columns[name] = kind
        elif not _fits(kind, present[old_name]):
            if not _fits(present[old_name], kind):
                raise LakeSchemaError(
                    f"{table}: column {name!r} is {present[old_name]} in the lake and {kind} in this write; only "
                    f"widening is done in place. Remedy: give the column a new name in the SQL, or drop the table with "
                    f"`ml-assets lake drop {table.project} {table.name}` and materialize all its partitions again"
                )
            columns[old_name] = kind
    if any(columns[name] != kind for name, kind in present.items()):
        _widen(cursor, table, columns)
        return
    for name in list(columns)[len(present) :]:
        cursor.execute(f"ALTER TABLE {table.path} ADD COLUMN {quoted(name)} {columns[name]}")


def _widen(cursor: duckdb.DuckDBPyConnection, table: Table, columns: Mapping[str, str]) -> None:
    # Not by ALTER … SET DATA TYPE: this DuckLake then keeps wrong minima and maxima of the column, by which queries
    # prune rows that are there and decode others to wrong values (duckdb/ducklake#1307, #1308, #1397).
    cursor.execute(f"CREATE TEMP TABLE kept AS FROM {table.path}")
    cursor.execute(f"DROP TABLE {table.path}")
    _create(cursor, table, columns)
    cursor.execute(f"INSERT INTO {table.path} BY NAME FROM kept")
    cursor.execute("DROP TABLE kept")


def _fits(narrow: str, wide: str) -> bool:
    """Whether every value of one type is a value of the other: the same type, or a wider integer or float."""
    widths = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
    if narrow in widths and wide in widths:
        return widths.index(narrow) <= widths.index(wide)
    return narrow == wide or (wide == "DOUBLE" and narrow in {*widths[:3], "FLOAT"})
