"""Reading PostgreSQL and SQLite: the rows whose cursor column lies in some partitions, all fields as text.

The database itself selects the window, orders the rows and, for PostgreSQL, turns them into text. PostgreSQL is reached
through DuckDB's postgres extension, which hands a whole statement over and streams its result. SQLite is read with
Python's own sqlite3: a column there may hold values of any type, whatever it was declared as, and DuckDB's scanner
would refuse or cut them (a text in an INTEGER column, the last digits of a REAL), where sqlite3 gives each as it is.

A row is placed by its cursor:

| the cursor's type | how it is read |
|---|---|
| `timestamptz` | as it is |
| `timestamp`, `date` | in the declared time zone |
| numbers | seconds since 1970 UTC |
| text | ISO 8601: `2024-01`, `2024-01-31`, `2024-01-31 09:30:00.5`, with `T` too; without `Z` or offset, in that zone |

PostgreSQL's columns have one type; in SQLite every value is read by its own. An index on the cursor is used but for
texts in PostgreSQL. A time that the clocks showed twice is taken for the first, as everywhere (ADR 0009); PostgreSQL by
itself takes the second.

Rows whose cursor is null, is no time (also `infinity`, NaN, the year 10000 or later) or lies before the project's first
partition are **strays**. They come with the first partition, and only there, so that validation puts them into
quarantine with a reason instead of nobody ever asking for them.

Nothing is written: the sessions are read only.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from bisect import bisect_left, bisect_right
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from time import sleep
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import duckdb

from ml_assets.lake.connection import DUCKDB_SETTINGS, LakeError, load_extension
from ml_assets.lake.sql import literal, quoted
from ml_assets.sources.reading import FRAME, MALFORMED, Part, Reading, SourceError
from ml_assets.sources.staging import Spool
from ml_assets.sources.storage import check_within
from ml_assets.sources.texts import check_columns, nearest, series_of_texts, unasked, with_lineage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import polars as pl

ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 30.0
# Beyond this nothing is a time that a project means, such as milliseconds taken for seconds.
NO_TIME = datetime(9999, 12, 31, tzinfo=UTC)
# No column of a database can have this name.
PLACE = "\0place"
BUSY_SECONDS = 30.0
# No clock on earth is further from UTC.
SHIFT = timedelta(hours=15)

ISO_TIME = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])"
    r"(?:-(?:0[1-9]|[12]\d|3[01])(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
    r"(?P<zone>Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?)?",
    re.ASCII,
)


class _DroppedError(Exception):
    """The connection is gone, or was never made: another attempt may do better."""


@dataclass(frozen=True)
class Selection:
    """What is asked of a database.

    Attributes:
        relation: a table's name in SQL, or a statement in brackets.
        columns: name → type as the database names it.
        cursor: the cursor column, or None for all rows.
        order_by: the columns that order the rows where there is no cursor.
        bounds: the starts of the partitions and the end of the last, UTC; none without a cursor.
        first: the start of the project's first partition, UTC.
        zone: the time zone of times that have none.
    """

    relation: str
    columns: dict[str, str]
    cursor: str | None
    order_by: tuple[str, ...]
    bounds: tuple[datetime, ...]
    first: datetime
    zone: str

    @property
    def strays(self) -> bool:
        """Whether rows that belong to no partition are asked for too."""
        return self.bounds[0] == self.first


class Session(Protocol):
    """An open, read-only session."""

    def columns(self, relation: str) -> dict[str, str]:
        """The columns of a table or statement: name → type."""
        ...

    def newest(self, selection: Selection) -> datetime | None:
        """The newest time of the cursor, UTC."""
        ...

    def rows(self, selection: Selection) -> Generator[pl.DataFrame]:
        """The rows as text, `_place` first: 1 for the first partition. By partition, then in a fixed order."""
        ...


class Engine(Protocol):
    """A database that can be opened."""

    def relation(self, table: str) -> str:
        """A table's name in SQL."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """Open a read-only session."""
        ...


@dataclass(frozen=True)
class DatabaseReader:
    """A table or query of a database as a source.

    Attributes:
        name: how lineage and messages name it, such as `sales.orders`.
        engine: `Postgres` or `Sqlite`.
        table, query: one of them.
        cursor: the column whose value places a row; None for projects without time.
        first: the start of the project's first partition, naive UTC: it gets the rows that no partition would.
        zone: the time zone of cursor values without one.
        order_by: the columns that order the rows where there is no cursor.
        backoff: seconds before a second attempt; doubles with each.
    """

    name: str
    engine: Engine
    table: str | None = None
    query: str | None = None
    cursor: str | None = None
    first: datetime | None = None
    zone: str = "UTC"
    order_by: tuple[str, ...] = ()
    backoff: float = 1.0

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """The partitions that begin at or before the newest row; without a cursor all of them.

        Raises:
            SourceError: the database cannot be asked.
        """
        if self.cursor is None or not parts:
            return list(parts)
        try:
            with self.engine.session() as session:
                newest = session.newest(self._selection(session, parts, ()))
        except _DroppedError as dropped:
            # A sensor asks: it has no time to wait, and asks again.
            raise self._gone(dropped, 1) from None
        return [part for part in parts if newest is not None and _utc(part.start) <= newest]

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        """The rows of some partitions, one partition after the other, each once it has arrived whole.

        A lost connection is made again, and reading goes on from the partition that was under way. `_row` counts
        within a partition, in the order of the cursor and then of all columns, whatever else is read.

        Raises:
            SourceError: the database cannot be reached, or refuses; the message never tells the password.
        """
        # Without a cursor all rows are one reading, whatever partitions are asked for, also none in particular.
        waiting: list[Part | None] = [None] if self.cursor is None else list(parts)
        failures = 0
        while waiting:
            try:
                for spool in self._fetched(tuple(waiting), required, reading):
                    with spool:
                        yield from spool.frames()
                    waiting = waiting[1:]
                    failures = 0
            except _DroppedError as dropped:
                failures = self._wait(failures, dropped)

    def _wait(self, failures: int, dropped: _DroppedError) -> int:
        failures += 1
        if failures == ATTEMPTS:
            # Without the cause: the driver's message may tell the address.
            raise self._gone(dropped, failures) from None
        sleep(min(self.backoff * 2 ** (failures - 1), LONGEST_WAIT_SECONDS))
        return failures

    def _gone(self, dropped: _DroppedError, attempts: int) -> SourceError:
        return SourceError(
            f"{self.name}: the database could not be read, in {attempts} attempts: {dropped}. Remedy: see whether "
            "it is up and reachable from here, then run again; nothing was written"
        )

    def _selection(self, session: Session, parts: Sequence[Part | None], required: Collection[str]) -> Selection:
        # On lines of its own: a statement may end with a comment.
        relation = self.engine.relation(self.table) if self.table else f"(\n{(self.query or '').strip().rstrip(';')}\n)"
        columns = session.columns(relation)
        own = [self.cursor] if self.cursor is not None else self.order_by
        check_columns(self.name, list(columns), [*own, *(name for name in required if name not in own)])
        timed = [part for part in parts if part is not None]
        bounds = (*(_utc(part.start) for part in timed), *(_utc(part.end) for part in timed[-1:]))
        first = min(bounds, default=NO_TIME) if self.first is None else _utc(self.first)
        return Selection(relation, columns, self.cursor, self.order_by, bounds, first, self.zone)

    def _fetched(self, goals: tuple[Part | None, ...], required: Collection[str], reading: Reading) -> Iterator[Spool]:
        """Whole partitions in order; None stands for all rows, where there is no cursor."""
        with self.engine.session() as session:
            selection = self._selection(session, goals, required)
            extra = unasked(selection.columns, required)
            spool, number = Spool(), 1
            with closing(session.rows(selection)) as frames:
                try:
                    for frame in frames:
                        for piece in frame.partition_by(PLACE, maintain_order=True):
                            while number < piece[PLACE][0]:
                                yield self._done(goals[number - 1], spool, extra, reading)
                                spool, number = Spool(), number + 1
                            goal = goals[number - 1]
                            start = None if goal is None else goal.start
                            rows = piece.drop(PLACE)
                            spool.add(with_lineage(rows, source=self._source(goal), before=spool.rows, start=start))
                    for goal in goals[number - 1 :]:
                        yield self._done(goal, spool, extra, reading)
                        spool = Spool()
                finally:
                    spool.close()

    def _source(self, part: Part | None) -> str:
        return self.name if part is None else f"{self.name} {part.key}"

    def _done(self, part: Part | None, spool: Spool, extra: tuple[str, ...], reading: Reading) -> Spool:
        source = self._source(part)
        reading.facts["" if part is None else part.key] = {"source": source, "sha256": spool.sha256}
        if extra and spool.rows:
            reading.unexpected[source] = extra
        return spool


def _zone(name: str) -> tzinfo:
    # Python's own UTC takes a third of the time.
    return UTC if name == "UTC" else ZoneInfo(name)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server.

    Attributes:
        url_env: the environment variable that holds its address, `postgresql://user:password@host:port/database`; with
            libpq's parameters after a question mark, such as `?sslmode=require`.
    """

    url_env: str

    def relation(self, table: str) -> str:
        """A table's name in SQL: `table` or `schema.table`."""
        return ".".join(quoted(part) for part in table.split(".", 1))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a read-only session.

        Raises:
            SourceError: the variable is not set, or the server refuses.
        """
        address = _Address.parse(self.url_env)
        # Secrets that somebody stored on this machine are none of ours.
        config: dict[str, Any] = {**DUCKDB_SETTINGS, "allow_persistent_secrets": "false"}
        with duckdb.connect(":memory:", config=config) as connection:
            try:
                load_extension(connection, "postgres_scanner")
            except LakeError as error:
                raise SourceError(str(error)) from error
            try:
                connection.execute(f"CREATE SECRET address (TYPE postgres, {address.secret})")
                connection.execute(
                    f"ATTACH {literal(address.options)} AS source (TYPE postgres, SECRET address, READ_ONLY)"
                )
            except duckdb.Error as error:
                # Without the cause: what the driver says is told, but for the password.
                raise _said(error, address, self.url_env) from None
            yield _PostgresSession(connection, address, self.url_env)


@dataclass(frozen=True, repr=False)
class _Address:
    """A server's address in two parts, so that no message can tell the password: DuckDB repeats only `options`."""

    secret: str
    options: str
    hidden: tuple[str, ...]

    @classmethod
    def parse(cls, variable: str) -> _Address:
        url = os.environ.get(variable, "")
        form = f"Remedy: {variable}=postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX"
        if not url:
            raise SourceError(f"the environment variable {variable}, the database's address, is not set. {form}")
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
            more = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError:
            parts, port, more = urlsplit(""), 0, {}
        database = parts.path.removeprefix("/")
        known = parts.scheme in {"postgresql", "postgres"} and parts.hostname and database and not parts.fragment
        # Anything else may be a password with a character of its own meaning, cut in two: none of it may be told.
        if not known or set(database) & set("/@:") or set(more) & {"password", "options", "sslpassword", "passfile"}:
            raise SourceError(f"the environment variable {variable} is no address of a PostgreSQL database. {form}")
        password = unquote(parts.password or "")
        values = {
            "HOST": literal(unquote(parts.hostname or "")),
            "PORT": str(port),
            "DATABASE": literal(unquote(database)),
            "USER": literal(unquote(parts.username or "")),
            "PASSWORD": literal(password),
        }
        session = "-c timezone=UTC -c datestyle=ISO -c bytea_output=hex -c extra_float_digits=1"
        options = {
            "connect_timeout": "10",
            "tcp_user_timeout": "60000",
            "client_encoding": "UTF8",
            "application_name": "ml-assets",
            **more,
            "options": f"{session} -c default_transaction_read_only=on",
        }
        return cls(
            ", ".join(f"{name} {value}" for name, value in values.items() if value != "''"),
            " ".join(f"{name}='{_escaped(value)}'" for name, value in options.items()),
            tuple(each for each in {url, password, parts.password or "", quote(password, safe="")} if each),
        )

    def censored(self, message: str) -> str:
        for each in sorted(self.hidden, key=len, reverse=True):
            message = message.replace(each, "***")
        return message


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


# What a server says with an error of which another attempt may know nothing.
PASSING = (
    "starting up",
    "shutting down",
    "recovery",
    "terminating",
    "too many",
    "connection slots",
    "conflict",
    "deadlock",
)


def _said(error: Exception, address: _Address, variable: str) -> SourceError | _DroppedError:
    """What a driver's error means: the server's own words, or that there was no server."""
    message = address.censored(str(error))
    words = re.search(r"(?:FATAL|ERROR):\s+(.+)", message)
    hint = re.search(r"HINT:\s+(.+)", message)
    if double := re.search(r"duplicate column name (.+)", message):
        return SourceError(f"the database that {variable} names gives two columns {double[1]}. Remedy: rename one")
    if words is None or any(each in words[1] for each in PASSING):
        lines = message.replace("\t", " ").splitlines()
        return _DroppedError(words[1] if words else re.sub(r'Unable to connect to Postgres at ".*?": ', "", lines[0]))
    return SourceError(
        f"the database that {variable} names says: {words[1]}.{' ' + hint[1] if hint else ''} "
        "Remedy: mend the address, the rights or the query; nothing was written"
    )


TIMES = {"date", "timestamp without time zone"}
NUMBERS = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
TEXTS = {"text", "character varying", "character"}


class _PostgresSession:
    def __init__(self, connection: duckdb.DuckDBPyConnection, address: _Address, variable: str) -> None:
        self._connection, self._address, self._variable = connection, address, variable

    def columns(self, relation: str) -> dict[str, str]:
        try:
            cursor = self._ask(f"SELECT * FROM {relation} AS q LIMIT 0")
        except SourceError as error:
            if 'relation "' in str(error) and not relation.startswith("("):
                raise SourceError(self._no_table(relation)) from None
            raise
        names = [column[0] for column in cursor.description or ()]
        types = ", ".join(f"pg_typeof(q.{quoted(name)})::text AS c{i}" for i, name in enumerate(names))
        # A table without rows has types too.
        sql = f"SELECT {types} FROM (SELECT 1) AS one LEFT JOIN (SELECT * FROM {relation} AS p LIMIT 0) AS q ON true"
        return dict(zip(names, self._ask(sql).fetchall()[0], strict=True))

    def newest(self, selection: Selection) -> datetime | None:
        at, bound = self._time(selection)
        cursor = f"q.{quoted(selection.cursor or '')}"
        plain = at if selection.columns[selection.cursor or ""] in TEXTS else cursor
        sql = f"SELECT max({at})::text AS newest FROM {selection.relation} AS q WHERE {plain} < {bound(NO_TIME)}"
        row = self._ask(sql).fetchone()
        if row is None or row[0] is None:
            return None
        if selection.columns[selection.cursor or ""] in NUMBERS:
            return datetime.fromtimestamp(float(row[0]), UTC)
        moment = datetime.fromisoformat(row[0])
        return moment if moment.tzinfo else moment.replace(tzinfo=_zone(selection.zone))

    def rows(self, selection: Selection) -> Generator[pl.DataFrame]:
        import polars as pl

        names = list(selection.columns)
        renamed = {f"c{i}": name for i, name in enumerate(names)}
        texts = [f"{_as_text(name, kind)} AS c{i}" for i, (name, kind) in enumerate(selection.columns.items())]
        place, keys, where = self._placing(selection)
        inner = [f"{place} AS place", *(f"{key} AS k{i}" for i, key in enumerate(keys)), *texts]
        # The last keys are all columns, by their bytes: equal are only rows that nobody could tell apart.
        order = ["place", *(f"k{i} NULLS FIRST" for i in range(len(keys))), *(f'{c} COLLATE "C"' for c in renamed)]
        sql = (
            f"SELECT place, {', '.join(renamed)} FROM (SELECT {', '.join(inner)} FROM {selection.relation} AS q "
            f"WHERE {where}) AS r ORDER BY {', '.join(order)}"
        )
        try:
            with closing(self._ask(sql).to_arrow_reader(FRAME)) as batches:
                for batch in batches:
                    frame = pl.from_arrow(batch)
                    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a batch is a table, say polars' types
                    if frame.height:
                        yield frame.with_columns(pl.exclude("place").cast(pl.String)).rename(
                            {"place": PLACE, **renamed}
                        )
        except (duckdb.Error, OSError) as error:  # Arrow turns what DuckDB raises while it streams into an OSError
            raise _said(error, self._address, self._variable) from None

    def _placing(self, selection: Selection) -> tuple[str, list[str], str]:
        """SQL for the number of a row's partition, for what orders the rows, and for which rows are asked for."""
        if selection.cursor is None:
            return "1", [f"q.{quoted(name)}" for name in selection.order_by], "true"
        at, bound = self._time(selection)
        # The bare column where its type allows: so that an index serves.
        column = at if selection.columns[selection.cursor] in TEXTS else f"q.{quoted(selection.cursor)}"
        window = f"{column} >= {bound(selection.bounds[0])} AND {column} < {bound(selection.bounds[-1])}"
        starts = ", ".join(bound(start) for start in selection.bounds[:-1])
        place = f"width_bucket({at}, ARRAY[{starts}])"
        if not selection.strays:
            return place, [at], window
        stray = f"{column} IS NULL OR {column} < {bound(selection.first)} OR {column} >= {bound(NO_TIME)}"
        return f"CASE WHEN {stray} THEN 1 ELSE {place} END", [column], f"(({window}) OR {stray})"

    def _time(self, selection: Selection) -> tuple[str, Callable[[datetime], str]]:
        """SQL for the cursor as something that compares with times, and what writes such a time."""
        name = selection.cursor or ""
        kind, column = selection.columns[name], f"q.{quoted(name)}"
        zone = _zone(selection.zone)
        if kind in TIMES:
            return f"{column}::timestamp", lambda at: f"'{_local(at, zone)}'::timestamp"
        if kind in NUMBERS:
            return f"{column}::numeric", lambda at: f"{_seconds(at)}::numeric"
        if kind in TEXTS:
            return _time_of_text(column, selection.zone), lambda at: f"'{at}'::timestamptz"
        if kind == "timestamp with time zone":
            return column, lambda at: f"'{at}'::timestamptz"
        raise SourceError(
            f"the cursor column {name!r} has the type {kind}, which is no time. Remedy: name a column that is a date, "
            "a timestamp, a number of seconds or a text of the form 2024-01-31T09:30:00"
        )

    def _no_table(self, relation: str) -> str:
        sql = (
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        table = relation.replace('"', "")
        names = [row[0] if "." in table else row[0].partition(".")[2] for row in self._ask(sql).fetchall()]
        return (
            f"the database that {self._variable} names has no table {table!r} that we may read{nearest(table, names)} "
            f"It has: {', '.join(names)}. Remedy: mend the name, or ask for the right to read it"
        )

    def _ask(self, sql: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute("FROM postgres_query('source', ?)", [sql])
        except duckdb.Error as error:
            raise _said(error, self._address, self._variable) from None


def _as_text(name: str, kind: str) -> str:
    column = f"q.{quoted(name)}"
    if kind == "bytea":
        return f"encode({column}, 'hex')"
    return f"to_json({column})::text" if kind.endswith("[]") else f"{column}::text"


def _time_of_text(column: str, zone: str) -> str:
    """SQL for the moment that a text tells, null where it tells none: it never raises, so one row stops no read."""
    value = f"{column}::text"
    pattern = ISO_TIME.pattern.replace("?P<zone>", "")
    # The months end on different days; PostgreSQL raises on the 31st of June.
    month = f"(substr({value}, 1, 7) || '-01')::date"
    last = f"extract(day FROM {month} + interval '1 month - 1 day')"
    return (
        f"CASE WHEN {value} !~ {literal(f'^(?:{pattern})$')} THEN NULL "
        f"WHEN length({value}) = 7 THEN {month}::timestamp AT TIME ZONE {literal(zone)} "
        f"WHEN substr({value}, 9, 2)::int > {last} THEN NULL "
        f"WHEN {value} ~ '(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$' AND length({value}) > 10 THEN {value}::timestamptz "
        f"ELSE {_first_moment(f'{value}::timestamp', zone)} END"
    )


def _first_moment(naive: str, zone: str) -> str:
    """SQL for the moment of a local time; of one that the clocks showed twice the first."""
    if zone == "UTC":
        return f"{naive} AT TIME ZONE 'UTC'"
    place = literal(zone)
    # What PostgreSQL takes; clocks never go back by more than three hours, so that then they still had not.
    second = f"({naive} AT TIME ZONE {place})"
    before = f"({second} - interval '3 hours')"
    offset = f"(({before} AT TIME ZONE {place}) - ({before} AT TIME ZONE 'UTC'))"
    first = f"(({naive} - {offset}) AT TIME ZONE 'UTC')"
    return f"CASE WHEN {first} AT TIME ZONE {place} = {naive} THEN least({first}, {second}) ELSE {second} END"


def _local(at: datetime, zone: tzinfo) -> datetime:
    """The earliest local time, naive, that is not before a moment, where a time that comes twice is the first.

    That is what the clocks show, but in the second of two equal hours: then it is the end of that hour.
    """
    shown = at.astimezone(zone)
    if shown.fold:
        overlap = (shown.replace(fold=0).utcoffset() or timedelta()) - (shown.utcoffset() or timedelta())

        def comes_once(seconds: int) -> bool:
            later = shown + timedelta(seconds=seconds)
            return later.replace(fold=0).utcoffset() == later.replace(fold=1).utcoffset()

        shown += timedelta(seconds=bisect_left(range(int(overlap.total_seconds())), True, key=comes_once))
    return shown.replace(tzinfo=None, fold=0)


def _seconds(at: datetime) -> str:
    """A moment in seconds since 1970, without the rounding of a float."""
    return f"{Decimal((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) / 1_000_000:f}"


@dataclass(frozen=True)
class Sqlite:
    """A SQLite database.

    Attributes:
        path: its file.
        name: how messages name it: the path under the data folder.
        root: the data folder, out of which no link may lead; None where any file will do.
    """

    path: Path
    name: str
    root: Path | None = None

    def relation(self, table: str) -> str:
        """A table's name in SQL."""
        return quoted(table)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a read-only session.

        Raises:
            SourceError: there is no such file, or it is a link out of the data folder.
        """
        if not self.path.is_file():
            raise SourceError(
                f"{self.name}: there is no such file. It was looked for at {self.path}. "
                "Remedy: put the database there, or set ML_ASSETS_DATA to the folder that holds it"
            )
        if self.root is not None:
            check_within(self.root, self.name, "put the file itself into the folder")
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            ) as connection:
                connection.execute("PRAGMA query_only = on")
                connection.text_factory = _decoded
                yield _SqliteSession(connection, self.name)
        except sqlite3.Error as error:
            raise SourceError(
                f"{self.name}: {error}. Remedy: mend the query, or see that it is a whole database"
            ) from error


class _NoText(bytes):
    """A text of SQLite whose bytes are not UTF-8."""


def _decoded(value: bytes) -> str | _NoText:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _NoText(value)


class _SqliteSession:
    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection, self._name = connection, name

    def columns(self, relation: str) -> dict[str, str]:
        try:
            cursor = self._connection.execute(f"SELECT * FROM {relation} AS q LIMIT 0")
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error) or relation.startswith("("):
                raise
            table = relation.strip('"')
            sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
            names = [str(row[0]) for row in self._connection.execute(sql)]
            raise SourceError(
                f"{self._name} has no table {table!r}{nearest(table, names)} It has: {', '.join(names)}. "
                "Remedy: mend the name"
            ) from error
        # Types are the values' own.
        return dict.fromkeys((column[0] for column in cursor.description), "")

    def newest(self, selection: Selection) -> datetime | None:
        zone = _zone(selection.zone)

        def moment(value: object) -> str | None:
            found = _moment(value, zone)
            return None if found is None else found.isoformat(timespec="microseconds")

        column = f"q.{quoted(selection.cursor or '')}"
        # As values compare, the newest text of a time is the greatest, and an index serves.
        sql = f"SELECT max({column}) FROM {selection.relation} AS q WHERE {column} < '9999-12-31'"
        if found := _moment(self._connection.execute(sql).fetchone()[0], zone):
            return found
        self._connection.create_function("moment", 1, moment, deterministic=True)
        sql = f"SELECT max(moment({column})) FROM {selection.relation} AS q"
        newest = self._connection.execute(sql).fetchone()[0]
        return None if newest is None else datetime.fromisoformat(newest)

    def rows(self, selection: Selection) -> Generator[pl.DataFrame]:
        import polars as pl

        place, keys, where, parameters = self._placing(selection)
        columns = [f"q.{quoted(name)} AS c{i}" for i, name in enumerate(selection.columns)]
        order = ["place", *keys, *(f"c{i}" for i in range(len(columns)))]
        # Materialized, so that Python is asked once for the place of a row.
        cursor = self._connection.execute(
            f"WITH r AS MATERIALIZED (SELECT {place} AS place, {', '.join(columns)} FROM {selection.relation} AS q "
            f"WHERE {where}) SELECT * FROM r WHERE place IS NOT NULL ORDER BY {', '.join(order)}",
            parameters,
        )
        before = 0
        while records := cursor.fetchmany(FRAME):
            places, *values = zip(*records, strict=True)
            texts = [
                series_of_texts(name, column, self._name, before)
                for name, column in zip(selection.columns, values, strict=True)
            ]
            wrong: list[str | None] = [None] * len(records)
            for name, column in zip(selection.columns, values, strict=True):
                for number, value in enumerate(column):
                    if type(value) is _NoText:
                        wrong[number] = f"column {name!r}: the text is not UTF-8; its bytes are given as hex"
            malformed = pl.Series(MALFORMED, wrong, dtype=pl.String)
            yield pl.DataFrame([pl.Series(PLACE, places, dtype=pl.Int64), *texts, malformed])
            before += len(records)

    def _placing(self, selection: Selection) -> tuple[str, list[str], str, list[Any]]:
        """SQL for the number of a row's partition, for what orders the rows, for which are asked; and its values."""
        number = {name: f"c{i}" for i, name in enumerate(selection.columns)}
        if selection.cursor is None:
            return "1", [number[name] for name in selection.order_by], "true", []
        zone, column = _zone(selection.zone), f"q.{quoted(selection.cursor)}"
        bounds, first, strays = selection.bounds, selection.first, selection.strays

        def place(value: object) -> int | None:
            moment = _moment(value, zone)
            if moment is None or moment < first:
                return 1 if strays else None
            found = bisect_right(bounds, moment)
            return found if 0 < found < len(bounds) else None

        self._connection.create_function("place", 1, place, deterministic=True)
        where, parameters = "true", []
        if not strays:
            # Wider than the window by what a zone may shift, as texts and as numbers compare: an index serves.
            low, high = selection.bounds[0] - SHIFT, selection.bounds[-1] + SHIFT
            within = f"({column} >= ? AND {column} < ?)"
            after = high + timedelta(days=1)
            parameters = [f"{low:%Y-%m-%d}", f"{after:%Y-%m-%d}", low.timestamp(), high.timestamp()]
            where = f"({within} OR {within})"
        return f"place({column})", [number[selection.cursor]], where, parameters


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(value: object, zone: tzinfo) -> datetime | None:
    """The time, UTC, that a value of SQLite tells; None where it tells none."""
    try:
        if isinstance(value, str):
            if not ISO_TIME.fullmatch(value):
                return None
            moment = datetime.fromisoformat(value if len(value) > len("2024-01") else f"{value}-01")
            # Of a time that the clocks showed twice this is the first.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            moment = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
        elif isinstance(value, int | float):
            moment = EPOCH + timedelta(microseconds=math.floor(value * 1_000_000))
        else:
            return None
    except (ValueError, OverflowError):
        # The 31st of June, an infinity.
        return None
    return moment if moment < NO_TIME else None
