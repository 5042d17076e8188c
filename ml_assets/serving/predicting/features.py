"""Features of requests' rows, by the statement that made those the version has learnt from, in DuckDB.

The statement sees rows of requests as rows of `validated`. What is not known of them (the target, and what is declared
unknown) stands there as in a row that the statement lets through, so that a filter on it drops none; that no feature
reads it, the lineage of the statement shows. A statement that looks at other rows too sees each row of a request,
alone, beside those of its partition that the lake holds: as in training, where it ran over one partition after another.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.core.partitioning import in_utc, placed
from ml_assets.lake.connection import columns_of, open_duckdb
from ml_assets.lake.sql import Window, quoted
from ml_assets.lake.tables import LINEAGE, PARTITION, described, read, run_select
from ml_assets.serving.predicting.inputs import CannotServeError, inputs_of, settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project

    Row = Mapping[str, Any]

# Rows of the lake among which one is looked for that the statement lets through, and that a version is tried on.
TRIED = 200
# Partitions whose rows are kept for statements that look at them.
KEPT = 8
# Rows up to which a join AS OF looks each of them up.
FEW = 16
# Rows that one request may hold where each is looked at alone, beside its partition: two seconds' work or so.
ALONE = 1_000
SOURCE = "a request"


@dataclass
class _History:
    """The rows of a partition, as a table in memory.

    Attributes:
        table: its name.
        statement: the statement over it and a row of a request, parsed.
        users: how many are asking it now; while there are any it is not dropped.
    """

    table: str
    statement: Any
    users: int = 0


class UnusableRowError(Exception):
    """A row of a request of which the statement makes no features; the message says why."""


class Features:
    """The statement of one version, over rows of requests.

    Safe for threads: each has a cursor of its own, and parsed statements are copied as they are run.

    Attributes:
        inputs: what it needs.
        filled: column → what stands in it, for it is not known of a request.
        samples: real rows, as a request would give them.
        schema: feature → its polars type.
        snapshot: the lake's version that it has read.
        fingerprint: of the tables that it has read.

    Args:
        project: the project; its features.sql is the version's.
        lake: holds `validated` and the reference tables.
        kinds: the features that the version needs, with their kinds.
        schema: the schema's columns.

    Raises:
        CannotServeError: if no row of the lake comes through the statement, or a feature is computed from what is not
            known.
        LakeError: if a table is missing.
        SqlError: if the statement is none that is taken.
    """

    def __init__(self, project: Project, lake: Lake, kinds: Mapping[str, str], schema: Sequence[str]) -> None:
        self._project, self._lake, self._names = project, lake, list(kinds)
        self._local = threading.local()
        self._sql = project.features_sql
        self._instance = open_duckdb(threads="1")
        self._histories: dict[datetime, _History] = {}
        self._made, self._lock = 0, threading.Lock()
        table = project.table("validated")
        with lake.reader() as cursor:
            described(cursor, table)
            self._types = columns_of(cursor, table)
            self.snapshot = int(cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()[0][0])
            references = {name: described(cursor, project.table(name)) for name in project.references}
            for name in project.references:
                self._load(name, cursor.execute(f"FROM {project.table(name).path} ORDER BY _source, _row").pl())
            self.inputs = inputs_of(project, self._names, schema, references)
            self._read = [name for name in self.inputs.asked if name in self.inputs.needed]
            self.fingerprint = fingerprint(cursor, project, row_wise=self.inputs.row_wise)
            newest = cursor.execute(f"SELECT max({PARTITION}) FROM {table.path}").fetchall()[0][0]
            if newest is None:
                raise CannotServeError(f"the lake holds no row of {table}. Remedy: `ml-assets backfill {project.name}`")
            self._newest: datetime = newest
            self.filled, self.samples = self._tried(cursor, newest)
        self.kinds = dict(kinds)
        self._alone = self._parsed(None)

    @property
    def example(self) -> dict[str, Any]:
        """What a request may give of a real row."""
        return self.samples[0]

    @property
    def most(self) -> int | None:
        """Rows that one request may hold, where the statement limits them."""
        return None if self.inputs.row_wise else ALONE

    def of(self, rows: Sequence[Row]) -> tuple[dict[str, list[Any]], list[int]]:
        """The features of some rows.

        Args:
            rows: as a contract has read them.

        Returns:
            Feature → values; and the places of the rows that they belong to, ascending. A row that the statement drops
            has none.

        Raises:
            UnusableRowError: if the statement fails, or returns a row more than once.
        """
        if self.inputs.row_wise:
            found = self._run(self._alone, rows, range(len(rows)))
        else:
            found = []
            for place, row in enumerate(rows):
                # Each alone: no row of a request is seen by another, and other requests are answered in between.
                with self._history(self._partition_of(row)) as history:
                    found += self._run(history.statement, [row], [place])
        found.sort(key=lambda one: one[0])
        places = [one[0] for one in found]
        if len(set(places)) < len(places):
            raise UnusableRowError(f"{self._project.features_path} returns a row more than once")
        columns = zip(*(one[1:] for one in found), strict=True) if found else ([] for _ in self._names)
        return {name: list(values) for name, values in zip(self._names, columns, strict=True)}, places

    def of_frame(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The features of many rows: `_row`, the place of each, and the features, in order.

        Args:
            rows: asked columns in the types of `validated`; others are null.

        Raises:
            UnusableRowError: if the statement fails.
        """
        import polars as pl

        if not self.inputs.row_wise or not rows.height:
            columns, places = self.of(rows.rows(named=True))
            return pl.DataFrame(
                {"_row": pl.Series(places, dtype=pl.UInt32), **columns}, {"_row": pl.UInt32, **self.schema}
            )
        time, calendar = self._project.partitions.time, self._project.calendar
        partitions: Any = pl.lit(self._newest)
        if time and time in rows.columns:
            partitions = placed(in_utc(rows[time], calendar.timezone), calendar)
        rows = rows.with_row_index("_row").with_columns(pl.lit(SOURCE).alias("_source"), partitions.alias(PARTITION))
        values = {name: quoted(name) for name in rows.columns}
        values |= {name: f"${place}" for place, name in enumerate(self.filled, 1)}
        listed = ", ".join(
            f"{values.get(name, 'NULL')}::{kind} AS {quoted(name)}" for name, kind in self._types.items()
        )
        cursor = self._instance.cursor()
        cursor.register("_rows", rows)
        try:
            found = run_select(
                cursor, self._project.features_sql, {"validated": f"SELECT {listed} FROM _rows"},
                list(self.filled.values()) or None,
            )  # fmt: skip
        except duckdb.Error as error:
            raise UnusableRowError(self._said(error)) from error
        finally:
            cursor.close()
        found = found.select(pl.col("_row").cast(pl.UInt32), *self._names).sort("_row")
        if found["_row"].is_duplicated().any():
            raise UnusableRowError(f"{self._project.features_path} returns a row more than once")
        return found

    def _load(self, name: str, rows: pl.DataFrame) -> None:
        cursor = self._instance.cursor()
        cursor.register("_incoming", rows)
        cursor.execute(f"CREATE TABLE {quoted(name)} AS FROM _incoming")
        cursor.close()

    def _tried(
        self, cursor: duckdb.DuckDBPyConnection, newest: datetime
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What stands in hidden columns, and some real rows as requests: of the newest partition, if it has any."""
        project, table = self._project, self._project.table("validated")
        first = project.start_of(project.first)
        for window in (Window(newest, project.step(newest, 1)), Window(first, project.step(newest, 1))):
            some = (
                f"FROM {table.path} WHERE {window.condition()} ORDER BY {', '.join(map(quoted, LINEAGE))} LIMIT {TRIED}"
            )
            rows = cursor.execute(some).pl()
            own = self._instance.cursor()
            own.register("_rows", rows)
            passed = run_select(own, project.features_sql, {"validated": "FROM _rows"})
            self._settle(own, passed)
            own.close()
            self.schema = {name: kind for name, kind in passed.schema.items() if name in self._names}
            if wrong := next((name for name in self._names if name not in self.schema), ""):
                raise CannotServeError(f"{project.features_path} returns no feature {wrong}, which the version needs")
            real = rows.join(passed.select(LINEAGE), on=list(LINEAGE), how="semi", maintain_order="left").rows(
                named=True
            )
            if real:
                asked = [{name: row[name] for name in self.inputs.asked} for row in real]
                return {name: real[0][name] for name in sorted(self.inputs.filled)}, asked
        raise CannotServeError(
            f"{project.features_path} lets none of the rows of {table} through that were tried. Remedy: materialize "
            "newer partitions, or correct its filters"
        )

    def _settle(self, cursor: duckdb.DuckDBPyConnection, wanted: pl.DataFrame) -> None:
        """Compute once what hangs on no request; only if the statement then says the same of real rows."""
        tables, sql = settled(self._project.features_sql, self._project.features_path)
        if not tables or self._sql == sql:
            return
        try:
            for name, made in tables:
                cursor.execute(f"CREATE TABLE {quoted(name)} AS {made}")
            found = run_select(cursor, sql, {"validated": "FROM _rows"})
        except duckdb.Error:
            return  # then it is asked as it was written
        if found.sort(LINEAGE).equals(wanted.sort(LINEAGE)):
            self._sql = sql

    def _run(self, statement: Any, rows: Sequence[Row], places: Sequence[int]) -> list[tuple[Any, ...]]:
        asked = [[row.get(name) for row in rows] for name in self._read]
        partitions = [self._partition_of(row) for row in rows]
        values = [*asked, *self.filled.values(), partitions, list(places)]
        try:
            return self._cursor(few=len(rows) <= FEW).execute(statement, values).fetchall()
        except duckdb.Error as error:
            raise UnusableRowError(self._said(error)) from error

    def _cursor(self, *, few: bool) -> duckdb.DuckDBPyConnection:
        """This thread's cursor for so many rows."""
        local = self._local
        if not hasattr(local, "cursors"):
            local.cursors = (self._instance.cursor(), self._instance.cursor())
            # Few rows are joined AS OF by looking each up, which takes a quarter of the time of sorting.
            local.cursors[1].execute(f"SET SESSION asof_loop_join_threshold = {4 * FEW}")
        cursor: duckdb.DuckDBPyConnection = local.cursors[few]
        return cursor

    def _parsed(self, history: str | None) -> Any:
        with self._instance.cursor() as cursor:
            (statement,) = cursor.extract_statements(self._statement(history))
        return statement

    def _statement(self, history: str | None) -> str:
        values: dict[str, str] = {}
        for name in self._read:
            values[name] = f"unnest(${len(values) + 1}::{self._types[name]}[])"
        for name in self.filled:
            values[name] = f"${len(values) + 1}::{self._types[name]}"
        values[PARTITION] = f"unnest(${len(values) + 1}::TIMESTAMP[])"
        values["_row"] = f"unnest(${len(values) + 1}::BIGINT[])"
        values["_source"] = f"'{SOURCE}'"
        # In the order of the table: a star returns them so. What no feature reads need not be handed over.
        listed = ", ".join(
            f"{values.get(name, f'NULL::{kind}')} AS {quoted(name)}" for name, kind in self._types.items()
        )
        rows = f"SELECT {listed}"
        if history is not None:
            rows = f"FROM {quoted(history)} UNION ALL BY NAME {rows}"
        wanted = ", ".join(map(quoted, self._names))
        return f"WITH validated AS ({rows}) SELECT _row, {wanted} FROM (\n{self._sql}\n) WHERE _source = '{SOURCE}'"

    def _partition_of(self, row: Row) -> datetime:
        """The start of the partition that a row would stand in; the newest where partitions have no time."""
        project, moment = self._project, row.get(self._project.partitions.time)
        if moment is None:
            return self._newest
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 - local
        try:
            start = project.calendar.holding(_in_utc(moment, project))
        except OverflowError:
            raise UnusableRowError(f"{project.partitions.time}: {moment:%Y-%m-%d} lies outside the calendar") from None
        return max(start, project.start_of(project.first))

    @contextmanager
    def _history(self, start: datetime) -> Iterator[_History]:
        """The rows of a partition, as they stood when this was loaded; they stay for as long as they are asked."""
        with self._lock:
            history = self._histories.get(start) or self._loaded(start)
            history.users += 1
        try:
            yield history
        finally:
            with self._lock:
                history.users -= 1

    def _loaded(self, start: datetime) -> _History:
        table = self._project.table("validated")
        with self._lake.reader() as cursor:
            # While the files are those that were there the newest version says the same, and is there for ever: upkeep
            # forgets snapshots.
            is_same = fingerprint(cursor, self._project, row_wise=False) == self.fingerprint
            rows = read(cursor, table, Window(start, self._project.step(start, 1)), None if is_same else self.snapshot)
        if len(self._histories) >= KEPT:
            idle = next((at for at, one in self._histories.items() if not one.users), None)
            if idle is not None:
                self._instance.cursor().execute(f"DROP TABLE {quoted(self._histories.pop(idle).table)}")
        self._made += 1
        name = f"history {self._made}"
        self._load(name, rows)
        self._histories[start] = _History(name, self._parsed(name))
        return self._histories[start]

    def _said(self, error: duckdb.Error) -> str:
        return f"{self._project.features_path} cannot be computed: {str(error).splitlines()[0][:300]}"


def _in_utc(moment: datetime, project: Project) -> datetime:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=project.calendar.zone)
    return moment.astimezone(UTC).replace(tzinfo=None)


def fingerprint(cursor: duckdb.DuckDBPyConnection, project: Project, *, row_wise: bool) -> tuple[Any, ...]:
    """What tells whether the tables that a statement reads beside a request's rows are other ones now: their files."""
    names = [*project.references, *([] if row_wise else ["validated"])]
    return tuple(
        tuple(
            cursor.execute(
                "SELECT data_file, delete_file FROM ducklake_list_files('lake', ?, schema => ?) ORDER BY ALL",
                [name, project.name],
            ).fetchall()
        )
        for name in names
    )


def of_version(project: Project, features_sql: str) -> Project:
    """A project with the statement that a version has learnt by."""
    return replace(project, features_sql=features_sql) if features_sql else project
