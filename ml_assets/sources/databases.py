"""Reading PostgreSQL and SQLite: the rows whose cursor column lies in some partitions, all fields as text.

The database itself selects the window and orders the rows. Here is what all databases have in common; how each is asked
stands in `postgres` and `sqlite`.

A row is placed by its cursor:

| the cursor's type | how it is read |
|---|---|
| `timestamptz` | as it is |
| `timestamp`, `date` | in the declared time zone |
| numbers | seconds since 1970 UTC |
| text | ISO 8601: `2024-01`, `2024-01-31`, `2024-01-31 09:30:00.5`, with `T` too; without `Z` or offset, in that zone |

PostgreSQL's columns have one type; in SQLite every value is read by its own. A time that the clocks showed twice is
taken for the first, as everywhere (ADR 0009).

Rows whose cursor is null, is no time (also `infinity`, NaN, the year 10000 or later) or lies before the project's first
partition are **strays**. They come with the first partition, and only there, so that validation puts them into
quarantine with a reason instead of nobody ever asking for them.

Nothing is written: the sessions are read only.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from time import sleep
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from ml_assets.sources.reading import Part, Reading, SourceError
from ml_assets.sources.staging import Spool
from ml_assets.sources.texts import check_columns, unasked, with_lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    import polars as pl

ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 30.0
# Beyond this nothing is a time that a project means, such as milliseconds taken for seconds.
NO_TIME = datetime(9999, 12, 31, tzinfo=UTC)
# No column of a database can have this name.
PLACE = "\0place"

ISO_TIME = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])"
    r"(?:-(?:0[1-9]|[12]\d|3[01])(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
    r"(?P<zone>Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?)?",
    re.ASCII,
)


class DroppedError(Exception):
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
        except DroppedError as dropped:
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
            except DroppedError as dropped:
                failures = self._wait(failures, dropped)

    def _wait(self, failures: int, dropped: DroppedError) -> int:
        failures += 1
        if failures == ATTEMPTS:
            # Without the cause: the driver's message may tell the address.
            raise self._gone(dropped, failures) from None
        sleep(min(self.backoff * 2 ** (failures - 1), LONGEST_WAIT_SECONDS))
        return failures

    def _gone(self, dropped: DroppedError, attempts: int) -> SourceError:
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


def zone_of(name: str) -> tzinfo:
    """The time zone of a name."""
    # Python's own UTC takes a third of the time.
    return UTC if name == "UTC" else ZoneInfo(name)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
