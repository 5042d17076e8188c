"""Working the quarantine: why rows are in it and since when, as tables to read, and the rows as a file to repair.

Nothing is remembered beside the rows and their reasons: what is told is read off the tables, and since when off the
lake's snapshots, as far back as upkeep has kept them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.partitioning import in_utc
from ml_assets.core.showing import MISSING, visible
from ml_assets.core.validation import IN_PARTITION, cast_column
from ml_assets.lake.connection import columns_of, table_exists
from ml_assets.lake.sql import Window, literal, quoted
from ml_assets.registry.ledger import Entry, read_entries
from ml_assets.sources.reading import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from ml_assets.project import Project

EXAMPLES = 3
REASONS = "_reasons"
FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet", ".jsonl": "FORMAT json"}


@dataclass(frozen=True)
class Example:
    """A value that fails a check, and one of the rows that have it.

    Attributes:
        value: as text; None where it is missing.
        rows: how many rows have it.
        partition, source, row: one of them: the key of its partition, its file, and its number in that.
        belongs: where the time lies in another partition, which; else "".
    """

    value: str | None
    rows: int
    partition: str
    source: str
    row: int
    belongs: str = ""

    @property
    def shown(self) -> str:
        """The value for people. See `visible`."""
        return visible(self.value)


@dataclass(frozen=True)
class Failing:
    """One check that rows fail.

    Attributes:
        name: the check.
        column: the column that it judges; None for whole rows.
        rows: rows that fail it.
        share: of the raw rows looked at.
        first, newest: keys of the oldest and the newest partition that hold such rows.
        since: when the first of these rows was put into quarantine for it, naive UTC: the oldest snapshot that tells,
            or the time at which the row was read, if upkeep has forgotten the snapshot.
        examples: the commonest values.
    """

    name: str
    column: str | None
    rows: int
    share: float
    first: str
    newest: str
    since: datetime | None
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Held:
    """The quarantine of one partition.

    Attributes:
        key: the partition.
        raw: its raw rows.
        rows: those in quarantine.
        checks: check → rows that fail it, most rows first. A row may fail several.
        belongs: key of another partition → rows whose time lies there.
    """

    key: str
    raw: int
    rows: int
    checks: Mapping[str, int]
    belongs: Mapping[str, int]

    @property
    def share(self) -> float:
        """Of its raw rows."""
        return self.rows / self.raw if self.raw else 0.0

    @property
    def why(self) -> str:
        """In words."""
        return _counted(self.checks) + (f"; belong to {_counted(self.belongs)}" if self.belongs else "")


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of a project, or what was asked for of it.

    Attributes:
        project: the project's name.
        raw: raw rows looked at.
        rows: those in quarantine.
        checks: most rows first.
        partitions: those that hold such rows, newest first.
        replayed: entries of the ledger about rows that re-entered, newest first.
    """

    project: str
    raw: int = 0
    rows: int = 0
    checks: tuple[Failing, ...] = ()
    partitions: tuple[Held, ...] = ()
    replayed: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        rows: how many.
        formulas: cells of a CSV file that a spreadsheet would take for a formula.
    """

    rows: int
    formulas: int


def read_quarantine(
    cursor: duckdb.DuckDBPyConnection | None,
    project: Project,
    *,
    partition: str = "",
    check: str = "",
    examples: int = EXAMPLES,
) -> Quarantine:
    """Why rows are in quarantine, by check and by partition.

    Args:
        cursor: a read transaction of the lake; None where there is no lake yet.
        project: the project.
        partition: key of the only partition to look at.
        check: name of the only check to look at.
        examples: values to show of each check.

    Raises:
        ValueError: if the key is none of the project's, or no row is in quarantine for the check.
    """
    window = project.window(partition, partition) if partition else None
    if cursor is None or not table_exists(cursor, project.table("quarantine")):
        return Quarantine(project.name)
    source, parameters = _told(project, window, check)
    _check_is_there(cursor, project, window, check)
    counted = f"SELECT _partition, count(*) FROM {project.table('raw').path} WHERE {_within(window)} GROUP BY ALL"
    raw: dict[datetime, int] = dict(cursor.execute(counted).fetchall())
    total = sum(raw.values())
    found = cursor.execute(
        f"SELECT name, any_value(column_name), {_ROWS}, min(_partition), max(_partition), min(_ingested_at) "
        f"FROM ({source}) GROUP BY name ORDER BY 3 DESC, name",
        parameters,
    ).fetchall()
    since = _since(cursor, project, window)
    shown = _examples(cursor, project, source, parameters, examples)
    checks = tuple(
        Failing(
            name, column, rows, rows / total if total else 0.0, project.key_of(first), project.key_of(newest),
            min((moment for moment in (since.get(name), ingested) if moment), default=None), tuple(shown.get(name, ())),
        )
        for name, column, rows, first, newest, ingested in found
    )  # fmt: skip
    partitions = _partitions(cursor, project, source, parameters, raw)
    replayed = [one for one in read_entries(cursor, project.name) if one.kind == "replayed"]
    return Quarantine(
        project.name, total, sum(one.rows for one in partitions), checks, partitions,
        tuple(one for one in reversed(replayed) if not partition or one.partition == partition),
    )  # fmt: skip


def export(
    cursor: duckdb.DuckDBPyConnection,
    project: Project,
    file: Path,
    *,
    partition: str = "",
    check: str = "",
    force: bool = False,
) -> Exported:
    """Write the raw rows that are in quarantine to a file: the source's columns as they came, their key, and why.

    The key is `_partition`, `_source` and `_row`; the reasons are text in `_reasons`. No value is altered, so that what
    is repaired and put back is what the source held: a cell that begins like a formula is counted, not defused.

    Args:
        cursor: a read transaction of the lake.
        project: the project.
        file: ends in `.csv`, `.parquet` or `.jsonl`. It is written whole or not at all; without rows it is not.
        partition: key of the only partition to export.
        check: name of the only check whose rows to export.
        force: whether a file that is there is replaced.

    Raises:
        ValueError: if the file's name, the key or the check is wrong, or the file is there already.
    """
    import polars as pl

    form = FORMATS.get(file.suffix.lower())
    if form is None:
        raise ValueError(f"{file}: the file's name must end in one of {', '.join(FORMATS)}")
    if file.exists() and not force:
        raise ValueError(f"{file} is there already. Remedy: give another name, or replace it with --force")
    if not file.parent.is_dir():
        raise ValueError(f"{file}: there is no folder {file.parent}. Remedy: make it")
    window = project.window(partition, partition) if partition else None
    table = project.table("quarantine")
    if not table_exists(cursor, table):
        return Exported(0, 0)
    _check_is_there(cursor, project, window, check)
    where = _within(window)
    if check:
        where += f' AND list_contains(list_transform({REASONS}, lambda one: one."check"), {literal(check)})'
    starts = [start for (start,) in cursor.execute(f"SELECT DISTINCT _partition FROM {table.path}").fetchall()]
    keys = {"_partition": starts, "_key": [project.key_of(start) for start in starts]}
    names = [f"held.{quoted(name)}" for name in columns_of(cursor, table) if name not in RESERVED]
    reasons = f"list_transform({REASONS}, lambda one: one.\"check\" || ': ' || coalesce(one.value, {literal(MISSING)}))"
    rows = f"SELECT * FROM {table.path} WHERE {where}"
    if not (count := _one(cursor, f"SELECT count(*) FROM ({rows})")):
        return Exported(0, 0)
    partial = file.with_name(f".{file.name}.partial")
    cursor.register("_keys", pl.DataFrame(keys, schema={"_partition": pl.Datetime("us"), "_key": pl.String}))
    try:
        cursor.execute(
            f"COPY (SELECT {', '.join(names)}{', ' if names else ''}_keys._key AS _partition, _source, _row, "
            f"array_to_string({reasons}, '; ') AS {REASONS} FROM ({rows}) AS held JOIN _keys USING (_partition) "
            f"ORDER BY held._partition, _source, _row) TO {literal(str(partial))} ({form})"
        )
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
        cursor.unregister("_keys")
    # Not count_if: that is NULL, as is then the whole sum, where a column holds no value at all.
    formulas = " + ".join(f"count(*) FILTER ({_FORMULA.format(name)})" for name in names) or "0"
    return Exported(count, _one(cursor, f"SELECT {formulas} FROM ({rows}) AS held") if form == FORMATS[".csv"] else 0)


def belonging(project: Project, values: Sequence[str | None]) -> list[str]:
    """To which partition times would belong.

    Args:
        project: the project.
        values: times as text, as the reason `rows__in_partition` tells them.

    Returns:
        The key for each; `before KEY` where it lies before the project's first partition, "" where it is no moment.
    """
    import polars as pl

    if not project.calendar.has_time:
        return [""] * len(values)
    zone = project.partitions.timezone
    moments = in_utc(cast_column(pl.Series(values, dtype=pl.String), pl.Datetime("us", "UTC"), zone), zone)
    first = project.start_of(project.first)
    return [
        "" if moment is None
        else f"before {project.first}" if moment < first
        else project.key_of(project.calendar.holding(moment))
        for moment in moments
    ]  # fmt: skip


_ROWS = "count(DISTINCT (_partition, _source, _row))"
# As spreadsheets judge: https://owasp.org/www-community/attacks/CSV_Injection. A number is none.
_FORMULA = "regexp_matches({0}, '^[=+@\\t\\r-]') AND TRY_CAST({0} AS DOUBLE) IS NULL"


def _told(project: Project, window: Window | None, check: str) -> tuple[str, list[str]]:
    """SQL that yields a row for each reason of a row in quarantine, and its parameters."""
    told = (
        f"SELECT _partition, _source, _row, _ingested_at, unnest({REASONS}) AS reason "
        f"FROM {project.table('quarantine').path} WHERE {_within(window)}"
    )
    sql = (
        'SELECT _partition, _source, _row, _ingested_at, reason."check" AS name, reason."column" AS column_name, '
        f"reason.value AS value FROM ({told})"
    )
    return (f"{sql} WHERE name = ?", [check]) if check else (sql, [])


def _within(window: Window | None) -> str:
    return window.condition() if window else "true"


def _one(cursor: duckdb.DuckDBPyConnection, sql: str) -> int:
    ((count,),) = cursor.execute(sql).fetchall()
    return int(count)


def _check_is_there(cursor: duckdb.DuckDBPyConnection, project: Project, window: Window | None, check: str) -> None:
    if not check:
        return
    source, _ = _told(project, window, "")
    names = [name for (name,) in cursor.execute(f"SELECT DISTINCT name FROM ({source}) ORDER BY 1").fetchall()]
    if check not in names:
        raise ValueError(
            f"no row of {project.name} is in quarantine for {check!r}; there are: {', '.join(names) or 'none'}"
        )


def _since(cursor: duckdb.DuckDBPyConnection, project: Project, window: Window | None) -> dict[str, datetime]:
    """When the first of the rows that are in quarantine now was put there for a check, as snapshots tell."""
    table = project.table("quarantine")
    oldest, newest = cursor.execute("SELECT min(snapshot_id), max(snapshot_id) FROM lake.snapshots()").fetchone() or ()
    inserted = (
        "SELECT snapshot_id, _partition, _source, _row, "
        f"unnest({REASONS}).\"check\" AS name FROM ducklake_table_insertions('lake', {literal(table.project)}, "
        f"{literal(table.name)}, {int(oldest)}, {int(newest)}) WHERE {_within(window)}"
    )
    source, _ = _told(project, window, "")
    return dict(
        cursor.execute(
            f"SELECT name, min(make_timestamp(epoch_us(snapshot_time))) FROM ({inserted}) "
            f"SEMI JOIN ({source}) USING (_partition, _source, _row, name) "
            "JOIN lake.snapshots() USING (snapshot_id) GROUP BY name"
        ).fetchall()
    )


def _examples(
    cursor: duckdb.DuckDBPyConnection, project: Project, source: str, parameters: list[str], limit: int
) -> dict[str, list[Example]]:
    rows = cursor.execute(
        "SELECT name, value, count(*) AS rows, "
        "min({'partition': _partition, 'source': _source, 'row': _row}) AS place "
        f"FROM ({source}) GROUP BY name, value "
        "QUALIFY row_number() OVER (PARTITION BY name ORDER BY rows DESC, place) <= ? ORDER BY name, rows DESC, place",
        [*parameters, limit],
    ).fetchall()
    outside = belonging(project, [value for _, value, _, _ in rows])
    found: dict[str, list[Example]] = {}
    for (name, value, count, place), belongs in zip(rows, outside, strict=True):
        key = project.key_of(place["partition"])
        one = Example(value, count, key, place["source"], place["row"], belongs if name == IN_PARTITION else "")
        found.setdefault(name, []).append(one)
    return found


def _partitions(
    cursor: duckdb.DuckDBPyConnection,
    project: Project,
    source: str,
    parameters: list[str],
    raw: Mapping[datetime, int],
) -> tuple[Held, ...]:
    def grouped(by: str, where: str = "true") -> list[tuple[Any, ...]]:
        sql = f"SELECT _partition, {by}{_ROWS} AS rows FROM ({source}) WHERE {where} GROUP BY ALL ORDER BY rows DESC, 2"
        return cursor.execute(sql, parameters).fetchall()

    checks: dict[datetime, dict[str, int]] = {}
    for start, name, count in grouped("name, "):
        checks.setdefault(start, {})[name] = count
    belongs: dict[datetime, dict[str, int]] = {}
    outside = grouped("value, ", f"name = {literal(IN_PARTITION)}")
    keys = belonging(project, [value for _, value, _ in outside])
    for (start, _, count), key in zip(outside, keys, strict=True):
        if key:
            there = belongs.setdefault(start, {})
            there[key] = there.get(key, 0) + count
    held = sorted(grouped(""), reverse=True)
    return tuple(
        Held(project.key_of(start), raw.get(start, 0), rows, checks[start], belongs.get(start, {}))
        for start, rows in held
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
