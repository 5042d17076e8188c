"""SQLite, read with Python's own sqlite3.

A column there may hold values of any type, whatever it was declared as, and DuckDB's scanner would refuse or cut them
(a text in an INTEGER column, the last digits of a REAL), where sqlite3 gives each as it is. So every value is read by
its own type. An index on the cursor is used.
"""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from ml_assets.lake.sql import quoted
from ml_assets.sources.databases import ISO_TIME, NO_TIME, PLACE, Selection, zone_of
from ml_assets.sources.reading import FRAME, MALFORMED, SourceError
from ml_assets.sources.storage import check_within
from ml_assets.sources.texts import nearest, series_of_texts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    import polars as pl

    from ml_assets.sources.databases import Session

BUSY_SECONDS = 30.0
# No clock on earth is further from UTC.
SHIFT = timedelta(hours=15)


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
        zone = zone_of(selection.zone)

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
        zone, column = zone_of(selection.zone), f"q.{quoted(selection.cursor)}"
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
