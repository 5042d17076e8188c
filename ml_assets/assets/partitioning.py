"""How the rows in the lake were cut into partitions: for good. Under another cut old and new rows would stand twice.

Every table, and every version's record of what it has learnt from, names partitions by where they begin. A zone, a
grain or a block's size that changes later changes what all those names mean; so it is refused before anything is
written, and what the rows were cut by is kept beside them when the first are written.
"""

import duckdb

from ml_assets.lake.connection import Lake, LakeError, Transaction, create_schema, table_exists
from ml_assets.lake.tables import PARTITION
from ml_assets.project import Project

# What places a row, in the order in which a difference is told.
FIELDS = ("grain", "timezone", "rows")


class PartitionsChangedError(LakeError):
    """The declared partitions are not those that the lake's rows were cut into."""


def refuse_other_partitions(project: Project, lake: Lake) -> None:
    """Make sure that a project's partitions are still those of its rows in the lake.

    Raises:
        PartitionsChangedError: if they are others, naming what was changed and the ways out.
    """
    with lake.reader() as cursor:
        field, why = changed_partitions(project, cursor)
    if why:
        raise PartitionsChangedError(f"{project.name}: partitions.{field}: {why}")


def changed_partitions(project: Project, cursor: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """The field of `partitions` that no longer fits the rows in the lake, and what it says; two "" where all fit."""
    kept, declared = _kept(project, cursor), _declared(project)
    for name in FIELDS if kept else ():
        if kept[name] != declared[name]:
            return name, _words(
                project, f"{declared[name]!r} is declared, and the rows in the lake are cut by {kept[name]!r}"
            )
    if kept == declared or not table_exists(cursor, project.table("raw")):
        return "", ""
    # The start is another, or was never noted: it may move to before the rows, not to after them.
    found = cursor.execute(f"SELECT DISTINCT {PARTITION} FROM {project.table('raw').path} ORDER BY ALL").fetchall()
    for (start,) in found:
        if start < project.start_of(project.first):
            return "start", _words(project, f"{project.first!r} is declared, and the lake holds rows of {start} (UTC)")
        if project.calendar.has_time and project.calendar.holding(start) != start:
            words = (
                f"a {project.partitions.grain} of {project.partitions.timezone} never begins at {start} (UTC), where"
            )
            return "grain", _words(project, f"{words} rows in the lake do")
    return "", ""


def note_partitions(project: Project, transaction: Transaction) -> None:
    """Keep what the rows of a project are cut by, with the first of them."""
    if _kept(project, transaction.cursor):
        return
    table, declared = project.table("partitioning"), _declared(project)
    create_schema(transaction.cursor, project.name)
    columns = ", ".join(f'"{name}" {"BIGINT" if name == "rows" else "VARCHAR"}' for name in declared)
    transaction.cursor.execute(f"CREATE TABLE {table.path} ({columns})")
    marks = ", ".join("?" for _ in declared)
    transaction.cursor.execute(f"INSERT INTO {table.path} VALUES ({marks})", list(declared.values()))


def _words(project: Project, what: str) -> str:
    return (
        f"{what}; with both, rows would stand twice. Remedy: declare it as it was; or declare a project of another "
        f"name with the new partitions, beside {project.name} or in its place, and backfill that"
    )


def _declared(project: Project) -> dict[str, str | int]:
    declared = project.partitions
    rows = declared.rows if declared.grain == "block" else 0
    return {"grain": declared.grain, "timezone": declared.timezone, "rows": rows, "start": project.first}


def _kept(project: Project, cursor: duckdb.DuckDBPyConnection) -> dict[str, str | int]:
    """What was noted; nothing before the first rows, or where they are older than this note."""
    table = project.table("partitioning")
    if not table_exists(cursor, table):
        return {}
    rows = cursor.execute(f'SELECT grain, timezone, "rows", start FROM {table.path}').fetchall()
    return dict(zip((*FIELDS, "start"), rows[0], strict=True)) if rows else {}
