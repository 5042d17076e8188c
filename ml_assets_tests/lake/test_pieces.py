"""Rows on their way into the lake, piece by piece."""

from __future__ import annotations

from datetime import time

import polars as pl
import pytest
from small_lake import COMMIT

from ml_assets.lake.connection import Lake
from ml_assets.lake.sql import Table
from ml_assets.lake.tables import PIECES, LakeSchemaError, Spool, WindowWriter, read


def pieces_left(lake: Lake) -> list[str]:
    return [path.name for path in (lake.folder / PIECES).glob("*")]


def test_pieces_are_one_table_and_leave_nothing_behind(lake: Lake, table: Table) -> None:
    pieces = [
        pl.DataFrame({"a": ["one", None]}),
        pl.DataFrame({"b": [time(12, 30)], "a": ["three"]}),
        pl.DataFrame({"a": [], "c": []}, schema={"a": pl.String, "c": pl.List(pl.Struct({"d": pl.Int64}))}),
    ]
    with lake.transaction(COMMIT) as transaction, WindowWriter(transaction, table, None) as writer:
        for piece in pieces:
            writer.add(piece)
        assert pieces_left(lake)
    with lake.reader() as cursor:
        found = read(cursor, table)
    # Without lineage rows have no order: DuckDB may write the files of a table side by side.
    assert found.sort("a", "b").equals(pl.concat(pieces, how="diagonal").sort("a", "b"))
    assert not pieces_left(lake)


def test_an_error_between_pieces_leaves_nothing_behind(lake: Lake) -> None:
    spool = Spool(lake.cursor(), "incoming")
    spool.add(pl.DataFrame({"a": ["one"]}))
    with pytest.raises(LakeSchemaError, match=r"incoming: column 'a' is BIGINT in some rows and VARCHAR in others"):
        spool.add(pl.DataFrame({"a": [2]}))
    del spool
    assert not pieces_left(lake)
