"""Whether a project's rows are real: said in `raw`, with each row, so that it cannot get lost on the way.

What is made from simulated rows must say so wherever it is shown, also when the folder they came from is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.lake.connection import columns_of
from ml_assets.lake.sql import Table, quoted

if TYPE_CHECKING:
    import duckdb

SIMULATED = "_simulated"


def origin_warning(cursor: duckdb.DuckDBPyConnection, project: str) -> str | None:
    """What everything made from a project's rows must say of where they came from; None where all are real."""
    raw = Table(project, "raw")
    if SIMULATED not in columns_of(cursor, raw):
        return None
    row = cursor.execute(f"SELECT max({quoted(SIMULATED)}) FROM {raw.path}").fetchone()
    return None if row is None or row[0] is None else str(row[0])
