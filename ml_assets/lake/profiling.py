"""Profiles of tables in the lake: every column is read once, in batches, so that memory does not grow with the rows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ml_assets.core.profile_sql import categories_sql, numbers_sql, read_categories, words_counted_sql, words_sql
from ml_assets.core.profiles import ColumnBins, NumberCounter, choose_bins
from ml_assets.lake.connection import table_exists
from ml_assets.lake.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import duckdb

    from ml_assets.core.profiles import Counts
    from ml_assets.lake.sql import Table

BATCH = 1 << 17
# Columns that are counted by one statement: to read its file's list of columns costs as much as to read some of them,
# and a batch of many outgrows the processor's caches.
NUMBERS, CATEGORIES = 100, 10
# Bins are chosen from so many rows: a quantile is off by about a thousandth of the rows, and a bin holds a hundredth.
SAMPLE = 200_000


def choose_from(
    cursor: duckdb.DuckDBPyConnection, table: Table, kinds: Mapping[str, str], size: int = SAMPLE
) -> list[ColumnBins]:
    """Choose how columns are counted from now on, from a sample of the rows of a table, the same every time.

    Args:
        cursor: where the table is read.
        table: holds the columns.
        kinds: column → its kind; of a text also what `core.profiles.with_derived` adds.
        size: rows of the sample; a table with fewer is read whole.
    """
    columns = ", ".join(quoted(name) for name in {ColumnBins(name, kind).column for name, kind in kinds.items()})
    rows = cursor.execute(f"SELECT {columns} FROM {table.path} USING SAMPLE reservoir({size} ROWS) REPEATABLE (0)").pl()
    found = {
        one.name: one for one in choose_bins(rows, {name: kind for name, kind in kinds.items() if kind != "words"})
    }
    cursor.register("sampled_rows", rows)
    for name, kind in kinds.items():
        if kind == "words":
            column = ColumnBins(name, kind)
            words = cursor.execute(words_sql(column, "FROM sampled_rows")).fetchall()
            found[name] = replace(column, categories=tuple(word for (word,) in words))
    cursor.unregister("sampled_rows")
    return [found[name] for name in kinds]


def take_profiles(
    cursor: duckdb.DuckDBPyConnection, bins: Sequence[ColumnBins], source: str
) -> dict[datetime, list[Counts]]:
    """The profile of each partition.

    Args:
        cursor: where the source is read.
        bins: how each column is counted.
        source: SQL that yields the rows, with `_partition`.

    Returns:
        Start of a partition → the counts of its columns, in the order of `bins`; nothing for a partition without rows.
    """
    found: dict[str, dict[datetime, Counts]] = {}
    for some in _some_at_a_time([column for column in bins if column.is_number], NUMBERS):
        found |= _numbers(cursor, some, source)
    for some in _some_at_a_time([column for column in bins if column.kind == "category"], CATEGORIES):
        found |= read_categories(some, cursor.execute(categories_sql(some, source)).fetchall())
    for column in bins:
        if column.kind == "words":
            found |= read_categories([column], cursor.execute(words_counted_sql(column, source)).fetchall())
    starts = sorted({start for counts in found.values() for start in counts})
    return {start: [found[column.name][start] for column in bins] for start in starts}


def read_bins(cursor: duckdb.DuckDBPyConnection, table: Table, snapshot: int | None = None) -> dict[str, ColumnBins]:
    """How each column is counted, or was when a snapshot was taken; nothing where no column was.

    Args:
        cursor: any cursor.
        table: the project's `bins`.
        snapshot: None for now.
    """
    if not table_exists(cursor, table):
        return {}
    sql = f"SELECT name, kind, edges, categories FROM {table.at(snapshot)}"
    return {
        name: ColumnBins(name, kind, tuple(edges), tuple(categories))
        for name, kind, edges, categories in cursor.execute(sql).fetchall()
    }


def _some_at_a_time(columns: Sequence[ColumnBins], size: int) -> Iterator[Sequence[ColumnBins]]:
    return (columns[first : first + size] for first in range(0, len(columns), size))


def _numbers(
    cursor: duckdb.DuckDBPyConnection, bins: Sequence[ColumnBins], source: str
) -> dict[str, dict[datetime, Counts]]:
    counters = [NumberCounter(column) for column in bins]
    # Counting lets go of Python's lock: columns of a batch are counted side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in cursor.execute(numbers_sql(bins, source)).to_arrow_reader(BATCH):
            if batch.num_rows:
                _count(counters, batch, pool)
    return {counter.column.name: counter.counts() for counter in counters}


def _count(counters: Sequence[NumberCounter], batch: Any, pool: ThreadPoolExecutor) -> None:
    """Count a batch, an Arrow record batch of the partition and then a column for each counter."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    partitions = batch.column(0).to_numpy(zero_copy_only=False)
    # Rows of one partition lie together as a rule; where they do not, they are brought together.
    order = None
    if (partitions[1:] < partitions[:-1]).any():
        order = np.argsort(partitions, kind="stable")
        partitions = partitions[order]
    starts = np.flatnonzero(np.concatenate([[True], partitions[1:] != partitions[:-1]]))
    keys = pl.Series(partitions[starts]).to_list()

    def add(position: int) -> None:
        values = batch.column(position + 1).to_numpy(zero_copy_only=False)
        counters[position].add(values if order is None else values[order], keys, starts)

    list(pool.map(add, range(len(counters))))
