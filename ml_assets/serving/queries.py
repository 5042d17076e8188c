"""What the pages show, read from the lake, the registry and the ledger.

A page reads in one transaction: what stands on it belongs together, whatever is being written meanwhile.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.causes import Carrier
from ml_assets.lake.connection import columns_of
from ml_assets.lake.origin import origin_warning
from ml_assets.lake.sql import Window
from ml_assets.registry.asks import waiting_ask
from ml_assets.registry.ledger import VERDICTS, Entry, current_champion, stages
from ml_assets.registry.models import RegistryError
from ml_assets.serving.remembering import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import duckdb

    from ml_assets.lake.connection import Lake
    from ml_assets.lake.sql import Table
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version


# Columns of `performance` beside the value.
LABELLED = ("standing", "labels", "estimate", "margin")
# The component that is nearest to its alarm. What is as rare as can be told is no further than the float.
SURPRISE = (
    "max(ln(greatest(p_value, 1e-300)) / ln(alarm_below)) "
    "FILTER (p_value IS NOT NULL AND alarm_below > 0 AND alarm_below < 1)"
)


@dataclass(frozen=True)
class Partition:
    """One partition as the lake holds it.

    Attributes:
        key, start: which.
        rows: raw rows.
        quarantined, duplicates: what became of those that are not used; None while they have not been judged.
        version: the version that scored it, or None.
        in_sample: whether that version has learnt from all of its rows, so that they say nothing about its error.
        hindsight: whether it is older than all that that version has learnt from, or the version stands in for an older
            one whose feature is gone: its error is not counted either.
        alarms: columns whose drift alarms, or None where drift has not been measured.
        error: the watched error, or None where there is none.
        decision: the decision on it: the live one, which may act, else the newest; or None.
        standing: `matured`, `provisional` or `estimated`: how the error stands; None where nobody noted it.
        labels: the share of its rows that has a label.
        estimate, margin: the watched error as it is to be expected without labels, and half its 95 % interval.
        surprise: how near its drift comes to an alarm, as logarithms of p-values: above 1 a column alarms.
    """

    key: str
    start: datetime
    rows: int
    quarantined: int | None
    duplicates: int | None
    version: int | None
    in_sample: bool
    hindsight: bool
    alarms: tuple[str, ...] | None
    error: float | None
    decision: Entry | None
    standing: str | None = None
    labels: float | None = None
    estimate: float | None = None
    margin: float | None = None
    surprise: float | None = None

    @property
    def asks_retraining(self) -> bool:
        """Whether a retraining was launched because of it."""
        return self.decision is not None and (self.decision.action, self.decision.standing) == ("retrain", "live")


@dataclass(frozen=True)
class ModelVersion:
    """One version and what became of it.

    Attributes:
        number: which.
        record: how it was made; None where it cannot be read.
        stage: candidate, awaiting, champion, retired or rejected.
        test: its metrics on the rows held out; empty where it has not been evaluated.
        verdict: what last became of it: it waits, was promoted or rejected; or None.
        broken: why record or metrics cannot be read, and the remedy; "" where they can.
    """

    number: int
    record: Version | None
    stage: str
    test: Mapping[str, float]
    verdict: Entry | None
    broken: str = ""


@dataclass(frozen=True)
class State:
    """All that the pages say about a project.

    Attributes:
        project: its declaration.
        partitions: those that hold rows, or the newest of them, oldest first.
        versions: its versions, oldest first.
        ask: the decision that waits for a person, or None.
        promotions: the entries by which versions came to serve, oldest first; one that served twice has two.
        warning: what must be said of where its rows came from; None where all are real.
        entries: its ledger, oldest first.
        many, last: how many partitions hold rows, and the key of the newest; "" where none does.
        quarantined: rows in quarantine, of all partitions.
        read_at: when the newest partition was read from the source, naive UTC; None where nobody noted it.
        measured: the newest on which the champion was measured, where `partitions` do not reach so far; or None.
    """

    project: Project
    partitions: tuple[Partition, ...] = ()
    versions: tuple[ModelVersion, ...] = ()
    promotions: tuple[Entry, ...] = ()
    warning: str | None = None
    ask: Entry | None = None
    entries: tuple[Entry, ...] = ()
    many: int = 0
    last: str = ""
    quarantined: int = 0
    read_at: datetime | None = None
    measured: Partition | None = None

    @property
    def newest(self) -> Partition | None:
        """The newest partition."""
        return self.partitions[-1] if self.partitions else None

    @property
    def judged(self) -> Partition | None:
        """The newest partition that has a watched error."""
        return next((one for one in reversed(self.partitions) if one.error is not None), self.measured)

    @property
    def own(self) -> Partition | None:
        """The newest partition on which the champion has a watched error."""
        errors = (one for one in reversed(self.partitions) if one.error is not None)
        return next((one for one in errors if self.champion and one.version == self.champion.number), self.measured)

    @property
    def decided(self) -> Partition | None:
        """The newest partition that has been decided on."""
        return next((partition for partition in reversed(self.partitions) if partition.decision), None)

    @property
    def champion(self) -> ModelVersion | None:
        """The version that serves."""
        return next((version for version in reversed(self.versions) if version.stage == "champion"), None)

    @property
    def waiting(self) -> ModelVersion | None:
        """The version that waits for a person."""
        return next((version for version in self.versions if version.stage == "awaiting"), None)

    def reference(self, version: int | None) -> float | None:
        """The watched error that a version had on its test rows, or None."""
        metric = self.project.watched
        return next((one.test.get(metric) for one in self.versions if one.number == version), None)


@dataclass(frozen=True)
class Statistic:
    """One statistic of `drift`; `p_value` and `alarm_below` are None where it only tells."""

    version: int
    column: str
    name: str
    value: float | None
    p_value: float | None
    alarm_below: float | None
    alarm: bool


@dataclass(frozen=True)
class Moved:
    """One column that alarms, as in `core.causes.Cause`, and whether what it does is harmful."""

    column: str
    moved: float | None
    effect: float | None
    cost: float | None
    harmful: bool | None
    carriers: tuple[Carrier, ...]
    metric: str
    note: str


@contextmanager
def reading(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """A read transaction, or None where there is no lake yet: looking at pages does not make one."""
    if not lake.catalogue.exists():
        yield None
        return
    with lake.reader() as cursor:
        yield cursor


def read_state(
    cursor: duckdb.DuckDBPyConnection | None,
    registry: Registry,
    project: Project,
    newest: int | None = None,
    before: datetime | None = None,
) -> State:
    """A project's state; an empty one where nothing has been materialized.

    Args:
        cursor: a read transaction.
        registry: holds its versions.
        project: the project.
        newest: at most so many partitions are read; all where it is None.
        before: where given, the last of them is the last before this moment.
    """
    if cursor is None:
        return State(project)
    entries, present = entries_of(cursor, registry.folder, project.name), _tables(cursor, project)
    many, last = _extent(cursor, project) if "raw" in present else (0, None)
    partitions: tuple[Partition, ...] = ()
    measured = None
    if last is not None:
        end = min(before or project.step(last, 1), project.step(last, 1))
        since = project.start_of(project.first) if newest is None else project.step(end, -newest)
        partitions = _partitions(cursor, project, entries, present, Window(since, end))
        if "performance" in present and before is None:
            measured = _measured(cursor, project, entries, present, since)
    return State(
        project=project,
        partitions=partitions,
        versions=_versions(registry, project, entries),
        promotions=tuple(entry for entry in entries if entry.kind == "promoted"),
        warning=origin_warning(cursor, project.name),
        ask=waiting_ask(entries, project.retraining.ask_expires),
        entries=entries,
        many=many,
        last=project.key_of(last) if last is not None else "",
        quarantined=_rows_of(cursor, project.table("quarantine")) if "quarantine" in present else 0,
        read_at=_read_at(cursor, project, last),
        measured=measured,
    )


def _measured(
    cursor: duckdb.DuckDBPyConnection, project: Project, entries: Sequence[Entry], present: set[str], end: datetime
) -> Partition | None:
    """The newest partition before a moment on which the champion was measured: labels may come years after."""
    sql = (
        f"SELECT max(_partition) FROM {project.table('performance').path} "
        "WHERE _partition < ? AND metric = ? AND version = ? AND value IS NOT NULL"
    )
    ((start,),) = cursor.execute(sql, [end, project.watched, current_champion(entries)]).fetchall()
    if start is None:
        return None
    return next(iter(_partitions(cursor, project, entries, present, Window(start, project.step(start, 1)))), None)


def _extent(cursor: duckdb.DuckDBPyConnection, project: Project) -> tuple[int, datetime | None]:
    """How many partitions hold rows, and the start of the newest."""
    sql = f"SELECT count(DISTINCT _partition), max(_partition) FROM {project.table('raw').path}"
    ((many, last),) = cursor.execute(sql).fetchall()
    return many, last


def _rows_of(cursor: duckdb.DuckDBPyConnection, table: Table) -> int:
    ((rows,),) = cursor.execute(f"SELECT count(*) FROM {table.path}").fetchall()
    return int(rows)


def _read_at(cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime | None) -> datetime | None:
    """When a partition was read from the source."""
    raw = project.table("raw")
    if start is None or "_ingested_at" not in columns_of(cursor, raw):
        return None
    row = cursor.execute(f"SELECT max(_ingested_at) FROM {raw.path} WHERE _partition = ?", [start]).fetchone()
    return row[0] if row else None


def read_statistics(
    cursor: duckdb.DuckDBPyConnection | None, project: Project, start: datetime
) -> tuple[Statistic, ...]:
    """The drift statistics of a partition, alarms first; empty where they have not been measured."""
    if cursor is None or "drift" not in _tables(cursor, project):
        return ()
    sql = (
        "SELECT version, column_name, statistic, CASE WHEN isfinite(value) THEN value END, p_value, alarm_below, alarm "
        f"FROM {project.table('drift').path} WHERE _partition = ? "
        "ORDER BY alarm DESC, p_value IS NULL, column_name, statistic"
    )
    return tuple(Statistic(*row) for row in cursor.execute(sql, [start]).fetchall())


def read_causes(cursor: duckdb.DuckDBPyConnection | None, project: Project, start: datetime) -> tuple[Moved, ...]:
    """What an alarm's columns do to the predictions of a partition, unknown ones and the most harmful first."""
    if cursor is None or "causes" not in _tables(cursor, project):
        return ()
    table = project.table("causes")
    # A table of before these were noted lacks their columns, and rows of then have nulls there.
    present = columns_of(cursor, table)
    metric, note = (f"coalesce({name}, ?)" if name in present else "?" for name in ("metric", "note"))
    sql = (
        f"SELECT column_name, moved, effect, cost, harmful, carriers, {metric}, {note} "
        f"FROM {table.path} WHERE _partition = ? ORDER BY effect DESC NULLS FIRST, column_name"
    )
    return tuple(
        Moved(name, moved, effect, cost, harmful, tuple(Carrier(**one) for one in json.loads(carriers)), of, why)
        for name, moved, effect, cost, harmful, carriers, of, why in cursor.execute(
            sql, [project.watched, "", start]
        ).fetchall()
    )


def _tables(cursor: duckdb.DuckDBPyConnection, project: Project) -> set[str]:
    sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = ?"
    return {name for (name,) in cursor.execute(sql, [project.name]).fetchall()}


def _partitions(
    cursor: duckdb.DuckDBPyConnection,
    project: Project,
    entries: Sequence[Entry],
    present: set[str],
    window: Window,
) -> tuple[Partition, ...]:

    def grouped(table: str, values: str, parameters: Any = None) -> dict[datetime, tuple[Any, ...]]:
        if table not in present:
            return {}
        path = project.table(table).path
        sql = f"SELECT _partition, {values} FROM {path} WHERE {window.condition()} GROUP BY ALL ORDER BY _partition"
        return {start: tuple(row) for start, *row in cursor.execute(sql, parameters).fetchall()}

    raw = grouped("raw", "count(*)")
    validated = grouped("validated", "count(*)")
    quarantine = grouped("quarantine", "count(*)")
    scored = grouped("predictions", "max(version), bool_and(in_sample), bool_and(hindsight)")
    drifted = grouped("drift", f"list_sort(list(DISTINCT column_name) FILTER (alarm)), {SURPRISE}")
    # A table of before labels were looked at lacks their columns.
    measured = columns_of(cursor, project.table("performance"))
    noted = [name for name in LABELLED if name in measured]
    watched = ", ".join(f"max({name}) FILTER (metric = $1)" for name in ("value", *noted))
    errors = grouped("performance", watched, [project.watched])
    decided = [entry for entry in entries if entry.kind == "decision"]
    decisions = {entry.partition: entry for entry in sorted(decided, key=lambda entry: entry.standing == "live")}
    found = []
    for start, (rows,) in raw.items():
        key = project.key_of(start)
        (kept,), (bad,) = validated.get(start, (0,)), quarantine.get(start, (0,))
        is_judged = kept + bad > 0
        version, in_sample, hindsight = scored.get(start, (None, False, False))
        drift = drifted.get(start)
        error, *more = errors.get(start, (None,))
        found.append(
            Partition(
                key=key,
                start=start,
                rows=rows,
                quarantined=bad if is_judged else None,
                duplicates=rows - kept - bad if is_judged else None,
                version=version,
                in_sample=in_sample,
                hindsight=hindsight,
                alarms=tuple(drift[0] or ()) if drift else None,
                surprise=drift[1] if drift else None,
                error=error,
                decision=decisions.get(key),
                **dict(zip(noted, more, strict=False)),
            )
        )
    return tuple(found)


def _versions(registry: Registry, project: Project, entries: Sequence[Entry]) -> tuple[ModelVersion, ...]:
    # The ledger says which there are: a folder without its entry was written a moment ago.
    verdicts = {entry.version: entry for entry in entries if entry.kind in VERDICTS}
    found = []
    for number, stage in sorted(stages(entries).items()):
        try:
            record, stored = registry.version(project.name, number), registry.evaluation(project.name, number)
        except RegistryError as error:
            # It must not take the pages of all others down.
            found.append(ModelVersion(number, None, stage, {}, verdicts.get(number), str(error)))
            continue
        test = stored["metrics"]["test"] if stored else {}
        found.append(ModelVersion(number, record, stage, test, verdicts.get(number)))
    return tuple(found)
