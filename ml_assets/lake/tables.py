"""Writing and reading tables by window.

A write replaces its window whole, in one transaction; columns may be added or widened in place, and any other change of
type is an error, because it would silently change what old rows mean.
"""

from __future__ import annotations

import glob
import shutil
import tempfile
import weakref
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from ml_assets.lake.connection import LakeError, Transaction, columns_of, create_schema, refuse_other_spelling
from ml_assets.lake.sql import Piece, Table, Window, literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

PARTITION = "_partition"
# The folder beside the catalogue for rows that are on their way into the lake.
PIECES = "pieces"
# Kept on every row from `raw` to `predictions`, so that any prediction leads back to a line of a source file.
LINEAGE = (PARTITION, "_source", "_row")
ALL_ROWS = (0, 2**63 - 1)


class LakeSchemaError(LakeError):
    """The columns of a write do not fit the table that is there."""


def replace_rows(transaction: Transaction, table: Table, rows: pl.DataFrame, window: Window | None) -> None:
    """Replace a window's rows of one table inside an open transaction.

    Args:
        transaction: it is all written by its end, or nothing is.
        table: the table.
        rows: the new rows, with a `_partition` column, all values of which lie in the window.
        window: which partitions are replaced; None replaces the whole table.

    Raises:
        LakeSchemaError: if a column's type changed in a way that is not a widening.
    """
    cursor = transaction.cursor
    cursor.register("incoming", rows)
    try:
        replace_from(transaction, table, "incoming", window)
    finally:
        cursor.unregister("incoming")


def replace_from(transaction: Transaction, table: Table, relation: str, window: Window | None) -> None:
    """Replace a window's rows by those of a relation that the transaction's cursor knows by a plain name.

    All rows come by one INSERT: after two in a transaction, the first of which had only nulls in a column, this
    DuckLake forgets the values of the second when it next notes the column's minimum and maximum, and queries then
    decode values to wrong ones.
    """
    cursor = transaction.cursor
    incoming = _types(cursor, quoted(relation))
    if window is not None:
        sql = f"SELECT count(*) FROM {quoted(relation)} WHERE ({window.condition()}) IS NOT TRUE"
        outside = cursor.execute(sql).fetchone()
        if outside is None or outside[0]:
            raise LakeError(
                f"{outside and outside[0]} rows for {table} lie outside the window {window}: they would double"
            )
    if present := columns_of(cursor, table):
        refuse_other_spelling(cursor, table)
    columns = _evolved(table, present, incoming)
    replaced = window.condition() if window else "true"
    source = f"FROM {quoted(relation)}"
    if any(columns[name] != kind for name, kind in present.items()):
        # Not widened by ALTER … SET DATA TYPE: this DuckLake then keeps wrong minima and maxima of the column too
        # (duckdb/ducklake#1307, #1308, #1397).
        cursor.execute(f"CREATE TEMP TABLE kept AS FROM {table.path} WHERE ({replaced}) IS NOT TRUE")
        cursor.execute(f"DROP TABLE {table.path}")
        _create(cursor, table, columns)
        cursor.execute(f"INSERT INTO {table.path} BY NAME FROM kept UNION ALL BY NAME {source}")
        cursor.execute("DROP TABLE kept")
        return
    if present:
        for name in list(columns)[len(present) :]:
            cursor.execute(f"ALTER TABLE {table.path} ADD COLUMN {quoted(name)} {columns[name]}")
        cursor.execute(f"DELETE FROM {table.path} WHERE {replaced}")
    else:
        _create(cursor, table, columns)
    cursor.execute(f"INSERT INTO {table.path} BY NAME {source}")


class Spool:
    """Rows that come in pieces, kept as Parquet files beside the lake until they are written at once.

    Writing a piece so costs a seventh of adding it to a temporary table, and memory holds one piece at a time.

    Args:
        cursor: the pieces are a temporary view of this cursor alone.
        name: the view's name.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, name: str) -> None:
        self.name = name
        self._cursor = cursor
        self._columns: dict[str, str] = {}
        self._schema: pl.Schema | None = None
        self._pieces = 0
        self._folder = _folder_of_pieces(cursor)
        # Also when an error leaves the spool behind, and at the end of the process.
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def empty(self) -> bool:
        """Whether no piece has come, not even one without rows: then there is no view either."""
        return not self._columns

    def add(self, rows: pl.DataFrame) -> None:
        """Add a piece. A column that some pieces lack is null there.

        Raises:
            LakeSchemaError: if a column has another type than in the pieces before.
        """
        file = self._folder / f"{self._pieces:08}.parquet"
        rows.write_parquet(file, compression="lz4", statistics=False)
        self._pieces += 1
        if rows.schema == self._schema:
            return  # as the piece before
        incoming = _types(self._cursor, f"read_parquet({literal(str(file))})")
        self._fit(incoming)
        self._schema = rows.schema
        if incoming.keys() - self._columns.keys():
            self._columns = incoming | self._columns
            files = literal(str(self._folder / "*.parquet"))
            self._cursor.execute(
                f"CREATE OR REPLACE TEMP VIEW {quoted(self.name)} AS FROM read_parquet({files}, union_by_name => true)"
            )

    def drop(self) -> None:
        """Drop the view and its files."""
        self._cursor.execute(f"DROP VIEW IF EXISTS temp.{quoted(self.name)}")
        self._remove()

    def _fit(self, incoming: Mapping[str, str]) -> None:
        # As SQL tells names apart: `Town` and `town` are one.
        there = {name.casefold(): kind for name, kind in self._columns.items()}
        for name, kind in incoming.items():
            known = there.get(name.casefold(), kind)
            if not _fits(kind, known):
                raise LakeSchemaError(
                    f"{self.name}: column {name!r} is {kind} in some rows and {known} in others. "
                    "Remedy: CAST it to one type in the SQL"
                )


def _folder_of_pieces(cursor: duckdb.DuckDBPyConnection) -> Path:
    """A new folder beside the one that DuckDB spills to, which DuckDB may remove with all that is in it."""
    (spill,) = cursor.execute("SELECT current_setting('temp_directory')").fetchall()[0]
    home = Path(spill).with_name(PIECES)
    if glob.has_magic(str(home)):
        home = Path(tempfile.gettempdir())  # DuckDB would take the path for a pattern
    home.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=home))


class WindowWriter:
    """Replaces a window of a table by rows that come in pieces, inside one open transaction. See `replace_rows`.

    A context manager: at its end all pieces are in the table, if there was one, even without rows.

    Args:
        transaction: it is all written by its end, or nothing is.
        table: the table.
        window: what is replaced; None for the whole table.
    """

    def __init__(self, transaction: Transaction, table: Table, window: Window | None) -> None:
        self._transaction = transaction
        self._table = table
        self._window = window
        self._spool = Spool(transaction.cursor, f"pieces of {table}")

    def __enter__(self) -> Self:
        """Begin; nothing is replaced before the end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Replace the window, unless something failed: then the transaction rolls back."""
        if kind is None and not self._spool.empty:
            replace_from(self._transaction, self._table, self._spool.name, self._window)
            self._spool.drop()

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows of the window; pieces that have none say which columns there are."""
        self._spool.add(rows)


def read(
    cursor: duckdb.DuckDBPyConnection, table: Table, window: Window | None = None, snapshot: int | None = None
) -> pl.DataFrame:
    """A window of a table as a polars frame, in the order partition, source, row: always the same.

    Raises:
        LakeError: if the table does not exist (yet), naming it.
    """
    described(cursor, table, snapshot)
    return _in_order(cursor.execute(window_of(table, window, snapshot)).pl())


def read_unchanged(
    cursor: duckdb.DuckDBPyConnection, table: Table, windows: Sequence[Window]
) -> Iterator[pl.DataFrame]:
    """As `read` of each window, in a write transaction, of a table that it has not changed itself.

    Handing rows over costs DuckDB several times what polars needs to read the same Parquet files. So polars reads them
    where they say all: no row of them was deleted since, none is encrypted, and all have the table's columns.

    Raises:
        LakeError: if the table does not exist (yet), naming it.
    """
    import polars as pl

    described(cursor, table)
    # Changes of this very transaction are not in the list.
    files = cursor.execute(
        "SELECT data_file, delete_file IS NULL AND data_file_encryption_key IS NULL "
        f"FROM ducklake_list_files('lake', {literal(table.name)}, schema => {literal(table.project)})"
    ).fetchall()
    if not files or not all(whole and Path(file).is_file() for file, whole in files):
        yield from (read(cursor, table, window) for window in windows)
        return
    rows = pl.scan_parquet([file for file, _ in files], hive_partitioning=False, glob=False)
    schema = cursor.execute(f"FROM {table.path} LIMIT 0").pl().schema
    for window in windows:
        condition = [pl.col(PARTITION) >= window.start, pl.col(PARTITION) < window.end]
        if isinstance(window, Piece):
            condition.append(pl.col("_source").is_between(pl.lit(window.sources[0]), pl.lit(window.sources[1])))
            condition.append(pl.col("_row").is_between(*window.rows, closed="left"))
        try:
            found = rows.filter(*condition).collect()
        except (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError):
            yield read(cursor, table, window)  # a column was added later, or upkeep put files together
            continue
        # Those have a column more, and some types of DuckDB's are others in Parquet.
        yield _in_order(found) if found.schema == schema else read(cursor, table, window)


def pieces_of(cursor: duckdb.DuckDBPyConnection, table: Table, window: Window, size: int) -> list[Piece]:
    """A window in pieces of at most so many rows, in the order in which `read` returns them.

    Args:
        cursor: any cursor.
        table: a table with lineage.
        window: what is cut.
        size: rows of a piece; `_row` does not repeat within a source and partition.
    """
    cells = cursor.execute(
        f"SELECT _source, _row // {int(size)} AS cell, count(*) FROM {table.path} WHERE {window.condition()} "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    found: list[Piece] = []
    held = 0
    for source, group in groupby(cells, key=itemgetter(0)):
        parts = [((cell * size, (cell + 1) * size), count) for _, cell, count in group]
        of_source = sum(count for _, count in parts)
        if of_source <= size:
            parts = [(ALL_ROWS, of_source)]
        for rows, count in parts:
            last = found[-1] if found else None
            if last and held + count <= size and (last.sources[0] == source or last.rows == rows == ALL_ROWS):
                found[-1] = replace(last, sources=(last.sources[0], source), rows=(last.rows[0], rows[1]))
                held += count
            else:
                found.append(Piece(window.start, window.end, (source, source), rows))
                held = count
    return found


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    order = [name for name in LINEAGE if name in rows.columns]
    # Not by ORDER BY: DuckDB moves whole rows, polars only what tells where their texts are.
    if not order or _is_in_order(rows, order):
        return rows
    return rows.sort(order, nulls_last=True, maintain_order=True)


def _is_in_order(rows: pl.DataFrame, order: Sequence[str]) -> bool:
    """Whether each row comes after the one before it, as nearly always: to see that is quicker than to move them."""
    import polars as pl

    after = pl.lit(value=True)
    for name in reversed(order):
        now, before = pl.col(name).slice(1), pl.col(name).slice(0, pl.len() - 1)
        after = (now > before) | ((now == before) & after)
    # With a null nothing is said: then they are sorted.
    return rows.height < 2 or bool(rows.select(after.all(ignore_nulls=False)).item())  # noqa: PLR2004


def described(cursor: duckdb.DuckDBPyConnection, table: Table, snapshot: int | None = None) -> list[str]:
    """The columns of a table, now or as a snapshot saw it.

    Raises:
        LakeError: if the table does not exist (yet), naming it.
    """
    try:
        return [column[0] for column in cursor.execute(f"DESCRIBE FROM {table.at(snapshot)}").fetchall()]
    except duckdb.CatalogException as error:
        raise LakeError(
            f"the lake holds no table {table}. Remedy: materialize the asset {table.project}/{table.name}"
        ) from error


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


def _types(cursor: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    described = cursor.execute(f"DESCRIBE FROM {relation}").fetchall()
    return {name: kind for name, kind, *_ in described}


def _create(cursor: duckdb.DuckDBPyConnection, table: Table, columns: Mapping[str, str]) -> None:
    create_schema(cursor, table.project)
    cursor.execute(f"CREATE TABLE {table.path} ({_listed(columns)})")
    if PARTITION in columns:
        # Months are coarse enough to keep files few and fine enough that a refresh rewrites little.
        cursor.execute(f"ALTER TABLE {table.path} SET PARTITIONED BY (year({PARTITION}), month({PARTITION}))")


def _listed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())


def _evolved(table: Table, present: Mapping[str, str], incoming: Mapping[str, str]) -> dict[str, str]:
    """The columns that a table has after a write: those that are there, widened where needed, then new ones."""
    if changed := _changed(present, incoming):
        raise _misfit({table: changed})
    names = {name.casefold(): name for name in present}
    columns = dict(present)
    for name, kind in incoming.items():
        old_name = names.get(name.casefold(), name)
        if not _fits(kind, columns.setdefault(old_name, kind)):
            columns[old_name] = kind
    return columns


def misfits(cursor: duckdb.DuckDBPyConnection, table: Table, rows: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """The columns that keep rows out of a table: name → its type in the lake, and that of the rows."""
    cursor.register("incoming", rows)
    try:
        return _changed(columns_of(cursor, table), _types(cursor, "incoming"))
    finally:
        cursor.unregister("incoming")


def refuse_misfits(found: Mapping[Table, Mapping[str, tuple[str, str]]]) -> None:
    """Refuse a write to tables of one project, for all of them at once. See `misfits`.

    Raises:
        LakeSchemaError: if a column of any has changed its type in a way that is not a widening.
    """
    changed = {table: columns for table, columns in found.items() if columns}
    if changed:
        raise _misfit(changed)


def _changed(present: Mapping[str, str], incoming: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    there = {name.casefold(): kind for name, kind in present.items()}
    pairs = {name: (there.get(name.casefold(), kind), kind) for name, kind in incoming.items()}
    return {name: (old, new) for name, (old, new) in pairs.items() if not _fits(new, old) and not _fits(old, new)}


def _misfit(changed: Mapping[Table, Mapping[str, tuple[str, str]]]) -> LakeSchemaError:
    told = "; ".join(
        f"{table}: column {name!r} is {old} in the lake and {new} in this write"
        for table, columns in changed.items()
        for name, (old, new) in columns.items()
    )
    project, names = next(iter(changed)).project, " ".join(table.name for table in changed)
    return LakeSchemaError(
        f"{told}; only widening is done in place. Remedy: give the column a new name in the SQL, or drop "
        f"{'the table' if len(changed) == 1 else 'the tables'} with `ml-assets lake drop {project} {names}` and "
        f"materialize all partitions again: `ml-assets backfill {project}`"
    )


def _fits(narrow: str, wide: str) -> bool:
    """Whether every value of one type is a value of the other: the same type, or a wider integer or float."""
    widths = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
    if narrow in widths and wide in widths:
        return widths.index(narrow) <= widths.index(wide)
    return narrow == wide or (wide == "DOUBLE" and narrow in {*widths[:3], "FLOAT"})
