"""By which SQL the rows of a partition were made: kept beside them, so that an edit without a backfill is noticed.

A version's record holds today's clean.sql and features.sql. Of rows that an older text made that would be false.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb

from ml_assets.core.statement import gives_all_of, same_select
from ml_assets.core.training import TrainingError
from ml_assets.lake.connection import Transaction, create_schema, table_exists
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import described, replace_rows, window_of
from ml_assets.project import Project

SHOWN = 6


def note_validated(project: Project, transaction: Transaction, window: Window) -> None:
    """Keep by which clean.sql the validated rows of a window are made, in the transaction that writes them."""
    _note(project, transaction, "validated_code", window, [{"clean": project.clean_sql}] * len(project.starts(window)))


def note_features(project: Project, transaction: Transaction, window: Window) -> None:
    """Keep by which features.sql, over rows of which clean.sql, the features of a window are made."""
    cleaned = _noted(project, transaction.cursor, "validated_code", window)
    made_by = [
        {"clean": cleaned.get(start, {}).get("clean"), "features": project.features_sql}
        for start in project.starts(window)
    ]
    _note(project, transaction, "features_code", window, made_by)


def refuse_other_code(
    project: Project, cursor: duckdb.DuckDBPyConnection, keys: Sequence[str], columns: Sequence[str], snapshot: int
) -> None:
    """Make sure that the features of some partitions are what today's clean.sql and features.sql make.

    Rows by a features.sql that selected more columns, and is the same otherwise, are: nothing is missing. Of rows
    that are older than this note it is not known, and they are taken.

    Args:
        project: the project.
        cursor: any cursor.
        keys: of the partitions.
        columns: what features.sql returns today.
        snapshot: of the lake.

    Raises:
        TrainingError: if they are not, naming the file, the partitions and the way on.
    """
    keys = sorted(keys, key=project.start_of)
    noted = _noted(project, cursor, "features_code", project.window(keys[0], keys[-1]), snapshot)
    made_by = {key: noted.get(project.start_of(key), {}) for key in keys}
    cleaned = {key: code["clean"] for key, code in made_by.items() if code.get("clean")}
    computed = {key: code["features"] for key, code in made_by.items() if code.get("features")}
    stale = {
        project.clean_path: [key for key, sql in cleaned.items() if not same_select(sql, project.clean_sql)],
        project.features_path: [key for key, sql in computed.items() if not gives_all_of(sql, project.features_sql)],
    }
    there = {name.casefold() for name in described(cursor, project.table("features"), snapshot)}
    missing = [name for name in columns if name.casefold() not in there]
    told = [
        f"{path} is another than the one that made the rows of {_few(found)}" for path, found in stale.items() if found
    ]
    if missing:
        told.append(f"{project.features_path} returns {missing[0]!r}, which no row in the lake has")
    if not told:
        return
    raise TrainingError(
        f"{project.name}: {'; '.join(told)}: what is learnt would not be what the record says. "
        f"Remedy: `ml-assets backfill {project.name}`, which makes the rows anew; or undo the change of the file"
    )


def _few(keys: Sequence[str]) -> str:
    if len(keys) <= SHOWN:
        return ", ".join(keys)
    return f"{keys[0]} … {keys[-1]} ({len(keys)} partitions)"


def _note(
    project: Project, transaction: Transaction, name: str, window: Window, made_by: Sequence[Mapping[str, str | None]]
) -> None:
    import polars as pl

    columns = {"_partition": project.starts(window)} | {key: [one[key] for one in made_by] for key in made_by[0]}
    frame = pl.DataFrame(columns, schema={"_partition": pl.Datetime("us"), **dict.fromkeys(made_by[0], pl.String)})
    create_schema(transaction.cursor, project.name)
    replace_rows(transaction, project.table(name), frame, window)


def _noted(
    project: Project, cursor: duckdb.DuckDBPyConnection, name: str, window: Window, snapshot: int | None = None
) -> dict[datetime, dict[str, Any]]:
    """What was noted of each partition of a window: file → text; nothing of those that are older than the note."""
    table = project.table(name)
    if not table_exists(cursor, table):
        return {}
    rows = cursor.execute(window_of(table, window, snapshot)).pl().to_dicts()
    return {row.pop("_partition"): row for row in rows}
