"""Rows that repeat those of an older block: which they are, and which blocks were judged before an older one changed.

Between months two equal rows are two events. Blocks have no time: the same row in a later block is a repetition, and
would stand on both sides of a split into older and newer blocks. So a block's duplicates depend on the blocks before
it. When one of those changes, nothing runs by itself in the same minute: the run that changed it says which newer
blocks it has put in question, and the next look, or `ml-assets catch-up`, has them judged again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.lake.connection import table_exists
from ml_assets.lake.origin import SIMULATED
from ml_assets.lake.sql import quoted
from ml_assets.lake.tables import LINEAGE, PARTITION, described

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import duckdb
    import polars as pl

    from ml_assets.lake.sql import Window
    from ml_assets.project import Project


def told_apart(project: Project, columns: Iterable[str]) -> list[str]:
    """The columns of `raw` in which two rows must be equal to be the same row, `_partition` among them."""
    ignored = {*project.source.ignore_in_duplicates, "_source", "_row", "_ingested_at", SIMULATED}
    return [name for name in columns if name not in ignored]


def in_older_blocks(
    project: Project, cursor: duckdb.DuckDBPyConnection, raw: pl.DataFrame, window: Window, snapshot: int | None = None
) -> pl.Series | None:
    """Which raw rows of a window repeat one of an older block; None where partitions are no blocks.

    Of the lake as it is now, or as a snapshot saw it.
    """
    import polars as pl

    if project.partitions.grain != "block":
        return None
    table, same = f"(FROM {project.table('raw').at(snapshot)})", []
    for name in told_apart(project, raw.columns):
        same += [f"newer.{quoted(name)} IS NOT DISTINCT FROM older.{quoted(name)}"] if name != PARTITION else []
    lineage = list(LINEAGE)
    found = cursor.execute(
        f"SELECT DISTINCT {', '.join(f'newer.{name}' for name in lineage)} FROM {table} AS newer JOIN {table} AS older "
        f"ON {' AND '.join([*same, f'older.{PARTITION} < newer.{PARTITION}'])} "
        f"WHERE {window.condition(PARTITION, of='newer')}"
    ).pl()
    marked = raw.select(lineage).join(
        found.with_columns(pl.lit(value=True).alias("_repeated")), on=lineage, how="left", maintain_order="left"
    )
    return marked["_repeated"].fill_null(value=False)


def judged_otherwise(
    project: Project, cursor: duckdb.DuckDBPyConnection, after: datetime | None = None
) -> dict[datetime, tuple[int, int]]:
    """The blocks whose duplicates are not those that were dropped: an older block has changed, or they were not judged.

    Of rows that are equal the first in the order of `_partition`, `_source`, `_row` is judged and the others are
    dropped. What was dropped is what stands neither in `validated` nor in `quarantine`. Nothing where partitions are no
    blocks, or nothing has been validated yet.

    Args:
        project: the project.
        cursor: a transaction of the lake.
        after: only blocks that start then or later.

    Returns:
        Start of a block, in order → its raw rows, and those of them for which judged and dropped change places.
    """
    raw, judged = project.table("raw"), [project.table(name) for name in ("validated", "quarantine")]
    if project.partitions.grain != "block" or not all(table_exists(cursor, one) for one in (raw, *judged)):
        return {}
    within, parameters = (f"{PARTITION} >= ?", [after]) if after else ("true", [])
    if not cursor.execute(f"SELECT 1 FROM {raw.path} WHERE {within} LIMIT 1", parameters).fetchall():
        return {}  # the newest block: the common case, and the pass over all rows is spared
    lineage = ", ".join(LINEAGE)
    same = ", ".join(quoted(name) for name in told_apart(project, described(cursor, raw)) if name != PARTITION)
    kept = " UNION ALL ".join(f"SELECT {lineage}, true AS judged FROM {one.path} WHERE {within}" for one in judged)
    found = cursor.execute(
        f"WITH rows AS (SELECT {lineage}, row_number() OVER (PARTITION BY {same} ORDER BY {lineage}) = 1 AS is_first "
        f"FROM {raw.path}), kept AS ({kept}) "
        f"SELECT {PARTITION}, count(*), count(*) FILTER (is_first <> coalesce(judged, false)) AS otherwise "
        f"FROM rows LEFT JOIN kept USING ({lineage}) WHERE {within} GROUP BY ALL HAVING otherwise > 0 ORDER BY ALL",
        parameters * 3,
    ).fetchall()
    return {start: (rows, otherwise) for start, rows, otherwise in found}
