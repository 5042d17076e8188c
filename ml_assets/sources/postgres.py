"""PostgreSQL, reached through DuckDB's postgres extension, which hands a whole statement over and streams its result.

The server itself cuts the partitions, orders the rows and turns them into text. An index on the cursor is used but for
texts. A time that the clocks showed twice PostgreSQL takes for the second; here it is the first, as everywhere
(ADR 0009).
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import duckdb

from ml_assets.lake.connection import LakeError, load_extension, open_duckdb
from ml_assets.lake.sql import literal, quoted
from ml_assets.sources.databases import ISO_TIME, NO_TIME, PLACE, DroppedError, Selection, zone_of
from ml_assets.sources.reading import FRAME, SourceError
from ml_assets.sources.texts import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import polars as pl

    from ml_assets.sources.databases import Session


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
        with open_duckdb(allow_persistent_secrets="false") as connection:
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


def _said(error: Exception, address: _Address, variable: str) -> SourceError | DroppedError:
    """What a driver's error means: the server's own words, or that there was no server."""
    message = address.censored(str(error))
    words = re.search(r"(?:FATAL|ERROR):\s+(.+)", message)
    hint = re.search(r"HINT:\s+(.+)", message)
    if double := re.search(r"duplicate column name (.+)", message):
        return SourceError(f"the database that {variable} names gives two columns {double[1]}. Remedy: rename one")
    if words is None or any(each in words[1] for each in PASSING):
        lines = message.replace("\t", " ").splitlines()
        return DroppedError(words[1] if words else re.sub(r'Unable to connect to Postgres at ".*?": ', "", lines[0]))
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
        return moment if moment.tzinfo else moment.replace(tzinfo=zone_of(selection.zone))

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
        zone = zone_of(selection.zone)
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
