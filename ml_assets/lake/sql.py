"""Building SQL safely: identifiers are quoted here, values are bound or rendered here, nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - dataclass fields are read at run time by pydantic users


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string literal in single quotes, for the places where DuckDB takes no parameter."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True, order=True)
class Window:
    """A half-open range of time, `start <= t < end`, naive UTC: the partitions that one write replaces."""

    start: datetime
    end: datetime

    def condition(self, column: str = "_partition", of: str = "") -> str:
        """The range as a SQL condition on a column, of a relation; rendered from datetimes: nothing to inject."""
        name = f"{quoted(of)}.{quoted(column)}" if of else quoted(column)
        start, end = self.start.isoformat(sep=" "), self.end.isoformat(sep=" ")
        return f"{name} >= TIMESTAMP '{start}' AND {name} < TIMESTAMP '{end}'"


@dataclass(frozen=True, order=True)
class Piece(Window):
    """Some rows of a window: those of consecutive sources, or some of one source.

    Attributes:
        sources: the first and the last `_source`, both included.
        rows: the first `_row`, and the one after the last.
    """

    sources: tuple[str, str]
    rows: tuple[int, int]

    def condition(self, column: str = "_partition", of: str = "") -> str:
        """See `Window`."""
        prefix = f"{quoted(of)}." if of else ""
        return (
            f"{super().condition(column, of)} "
            f"AND {prefix}_source BETWEEN {literal(self.sources[0])} AND {literal(self.sources[1])} "
            f"AND {prefix}_row >= {int(self.rows[0])} AND {prefix}_row < {int(self.rows[1])}"
        )


@dataclass(frozen=True, order=True)
class Table:
    """A table's place in the lake: one schema per project."""

    project: str
    name: str

    @property
    def path(self) -> str:
        """The quoted, fully qualified name."""
        return f"lake.{quoted(self.project)}.{quoted(self.name)}"

    def at(self, snapshot: int | None) -> str:
        """The table as a snapshot saw it, or as it is now."""
        return self.path if snapshot is None else f"{self.path} AT (VERSION => {int(snapshot)})"

    def __str__(self) -> str:
        return f"{self.project}.{self.name}"
