"""Tables of a lake written in one go, as tests need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.lake.tables import replace_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from ml_assets.lake.connection import Commit, Lake
    from ml_assets.lake.sql import Table, Window


def replace_window(lake: Lake, tables: Mapping[Table, pl.DataFrame], window: Window | None, commit: Commit) -> int:
    """Replace a window's rows of some tables in one transaction; the snapshot id that holds them."""
    with lake.transaction(commit) as transaction:
        for table, rows in tables.items():
            replace_rows(transaction, table, rows, window)
    return transaction.snapshot
