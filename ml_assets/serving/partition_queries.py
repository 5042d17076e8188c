"""What the lake holds of one partition, and of one of its rows: read with bound values, whatever stands in the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.lake.connection import columns_of
from ml_assets.lake.sql import quoted

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb

    from ml_assets.project import Project

# Rows that a page names of a partition as a way in.
WORST = 10


@dataclass(frozen=True)
class Place:
    """Where a row came from: its partition, its source and its number in that. A source is a name, never a path."""

    start: datetime
    source: str
    row: int


@dataclass(frozen=True)
class Scored:
    """A row with what was predicted of it, and how far off that was: values, classes, or the positive's probability."""

    source: str
    row: int
    predicted: Any
    actual: Any
    off: float


def metrics_of(cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime) -> list[dict[str, Any]]:
    """The metrics of a partition, as `performance` holds them; none where it was not measured."""
    table = project.table("performance")
    if not columns_of(cursor, table):
        return []
    sql = f"SELECT * FROM {table.path} WHERE _partition = ? ORDER BY version, metric"
    return _as_dicts(cursor, sql, [start])


def versions_of(cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime) -> list[tuple[int, int, int]]:
    """The versions that scored a partition's rows: number, rows, and those of them that it has learnt from."""
    table = project.table("predictions")
    if not columns_of(cursor, table):
        return []
    sql = (
        f"SELECT version, count(*), count(*) FILTER (in_sample) FROM {table.path} WHERE _partition = ? "
        "GROUP BY version ORDER BY version"
    )
    return cursor.execute(sql, [start]).fetchall()


def neighbours_of(
    cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime, table: str = "raw"
) -> tuple[str | None, str | None]:
    """The keys of the partitions before and after one that a table holds; None where there is none."""
    sql = (
        "SELECT max(_partition) FILTER (_partition < $1), min(_partition) FILTER (_partition > $1) "
        f"FROM {project.table(table).path}"
    )
    ((before, after),) = cursor.execute(sql, [start]).fetchall()
    return (project.key_of(before) if before else None), (project.key_of(after) if after else None)


def worst_of(cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime, classes: list[str]) -> list[Scored]:
    """The rows of a partition whose predictions were farthest off; none where there are no labels, or no classes known.

    Args:
        cursor: a read transaction.
        project: the project.
        start: of the partition.
        classes: of the version that scored it: of a binary task the positive one is the last. Without them it is not
            known whose probability was predicted.
    """
    features, predictions = project.table("features"), project.table("predictions")
    present = columns_of(cursor, features)
    if project.target not in present or not columns_of(cursor, predictions):
        return []
    if project.task == "binary" and not classes:
        return []
    label = f"f.{quoted(project.target)}"
    parameters: list[Any] = [start]
    predicted = "p.prediction"
    if project.task == "regression":
        off = f"abs(p.prediction - TRY_CAST({label} AS DOUBLE))"
    elif project.task == "binary":
        off = f"abs(p.prediction - (CAST({label} AS VARCHAR) = $2)::INTEGER)"
        parameters.append(classes[-1])
    else:
        off = f"CASE WHEN p.predicted_class = CAST({label} AS VARCHAR) THEN 1 - p.prediction ELSE p.prediction END"
        predicted = "p.predicted_class"
    sql = (
        f"SELECT p._source, p._row, {predicted}, {label}, {off} AS off "
        f"FROM {predictions.path} p JOIN {features.path} f USING (_partition, _source, _row) "
        f"WHERE _partition = $1 AND {label} IS NOT NULL AND isfinite({off}) "
        f"ORDER BY off DESC, p._source, p._row LIMIT {WORST}"
    )
    return [Scored(*row) for row in cursor.execute(sql, parameters).fetchall()]


def row_in(cursor: duckdb.DuckDBPyConnection, project: Project, table: str, place: Place) -> dict[str, Any] | None:
    """A row of a table of the lake; None where it holds no such row."""
    path = project.table(table)
    if not {"_partition", "_source", "_row"} <= columns_of(cursor, path).keys():
        return None
    sql = f"SELECT * FROM {path.path} WHERE _partition = ? AND _source = ? AND _row = ? LIMIT 1"
    found = _as_dicts(cursor, sql, [place.start, place.source, place.row])
    return found[0] if found else None


def sources_of(cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime) -> list[tuple[str, int]]:
    """The sources of a partition's raw rows, with how many each gave."""
    path = project.table("raw").path
    if "_source" not in columns_of(cursor, project.table("raw")):
        return []
    sql = f"SELECT _source, count(*) FROM {path} WHERE _partition = ? GROUP BY _source ORDER BY _source LIMIT 100"
    return cursor.execute(sql, [start]).fetchall()


def _as_dicts(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any]) -> list[dict[str, Any]]:
    found = cursor.execute(sql, parameters)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
