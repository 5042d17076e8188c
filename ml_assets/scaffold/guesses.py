"""What is guessed of a table: its columns, what was counted of them, and all that the four files are written from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_assets.core.partitioning import Calendar
from ml_assets.core.quoting import quoted
from ml_assets.core.statement import nearest
from ml_assets.scaffold.looking import DUCKDB_TYPES
from ml_assets.sources.reading import MALFORMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.core.tasks import Task
    from ml_assets.scaffold.formats import Format
    from ml_assets.scaffold.looking import Table


# Rows below which nothing is told from what has not been seen.
ENOUGH = 200


@dataclass(frozen=True)
class Facts:
    """Counts of a column, read as guessed: over all rows until they are typed, then without those of the quarantine.

    Attributes:
        rows: counted ones.
        present: rows with a value.
        distinct: different values.
        folded: different values whatever their letter case; text only.
        least, most: the range; of text, of its length.
        words: mean number of words; text only.
        lost: values of all rows that do not read.
        not_whole: values of all rows that are no whole number.
    """

    rows: int
    present: int
    distinct: int
    folded: int = 0
    least: Any = None
    most: Any = None
    words: float = 0
    lost: int = 0
    not_whole: int = 0


@dataclass
class Column:
    """A column of the source, and what is made of it.

    Attributes:
        raw: its name in the source; empty where it is made of others.
        name: its name from clean.sql on.
        form: how it reads.
        base: SQL of its text, without blanks and coded nulls.
        notes: what clean.sql does to it, and why.
        facts: counts.
        checks: arguments of its field in the schema.
        why: reasons of these.
        left_out: why it is no feature; empty where it is one.
        text: whether it is read word by word.
    """

    raw: str
    name: str
    form: Format
    base: str
    notes: list[str] = field(default_factory=list)
    facts: Facts = Facts(0, 0, 0)
    checks: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    left_out: str = ""
    text: bool = False

    @property
    def sql(self) -> str:
        """The expression of clean.sql."""
        return self.form.sql.replace("{0}", "{}").replace("{}", self.base)

    @property
    def is_number(self) -> bool:
        """Whether it is one."""
        return self.form.type in {"int", "float"}

    @property
    def is_time(self) -> bool:
        """Whether it is a date or a moment."""
        return self.form.type in {"date", "datetime"}


@dataclass
class Guess:
    """Everything that the four files are written from.

    Attributes:
        columns: of clean.sql and the schema, in order.
        target: one of them.
        time: one of them; None without time.
        source_time: SQL over the source for it; empty where the column's name says it.
        calendar: the partitions.
        partitions: how many hold rows.
        task: of the target.
        positive: label, as text.
        derived: features made of others: name → (SQL, why).
        reasons: field of defs.yaml → why.
        questions: what to ask.
        warnings: what to look at.
        skipped: columns that clean.sql does not mention → why.
        quarantine: how many rows go there, and why.
        filter: why rows without a target are left out of the features; empty where all have one.
        median: rows of the median partition.
    """

    columns: list[Column]
    target: Column
    time: Column | None = None
    source_time: str = ""
    calendar: Calendar = field(default_factory=lambda: Calendar("none", ""))
    partitions: int = 1
    task: Task = "regression"
    positive: str = ""
    derived: dict[str, tuple[str, str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    quarantine: list[str] = field(default_factory=list)
    filter: str = ""
    median: int = 0

    @property
    def features(self) -> list[Column]:
        """The columns that a model learns from."""
        others = (self.target, self.time)
        return [one for one in self.columns if not one.left_out and all(one is not other for other in others)]

    def leave_out(self, column: Column, why: str) -> None:
        """Take a column out of the features, with a warning."""
        column.left_out = why
        self.warnings.append(f"{column.name} is left out of features.sql: {why}")


def find(columns: Sequence[Column], name: str, option: str) -> Column:
    """The column of a name.

    Raises:
        ValueError: naming the nearest.
    """
    for column in columns:
        if name.strip().casefold() in {column.raw.strip().casefold(), column.name}:
            return column
    listed = [column.raw or column.name for column in columns]
    raise ValueError(
        f"{option} {name}: there is no such column; {nearest(name, listed).rstrip('.')} There are: {', '.join(listed)}"
    )


def make_typed(table: Table, columns: Sequence[Column]) -> None:
    """The table `typed`: every column of clean.sql in its type, without the rows that go to the quarantine."""
    listed = ", ".join(
        f"TRY_CAST({column.sql} AS {DUCKDB_TYPES[column.form.type]}) AS {quoted(column.name)}" for column in columns
    )
    bad = [f"{MALFORMED} IS NOT NULL", *(lost(column) for column in columns if column.form.type != "str")]
    table.cursor.execute(
        f"CREATE OR REPLACE TABLE typed AS SELECT {listed}, _source, _row FROM raw WHERE NOT ({' OR '.join(bad)})"
    )
    count_typed(table, columns)


def count_typed(table: Table, columns: Sequence[Column]) -> None:
    """Facts of the rows that pass: what one line of totals says is true of no other."""
    for column in columns:
        counts = table.one(f"SELECT {_counts(column)} FROM (SELECT {quoted(column.name)} AS v FROM typed)")
        column.facts = _as_facts(*counts, column.facts.lost, column.facts.not_whole)


def lost(column: Column) -> str:
    """SQL over `raw`: whether there is a value that does not read."""
    return f"({column.sql}) IS NOT NULL AND TRY_CAST({column.sql} AS {DUCKDB_TYPES[column.form.type]}) IS NULL"


def facts_of(table: Table, column: Column) -> Facts:
    """Counts over all rows of a column, read as guessed."""
    kind = DUCKDB_TYPES[column.form.type]
    values = f"SELECT CAST({column.sql} AS VARCHAR) AS x, TRY_CAST({column.sql} AS {kind}) AS v FROM raw"
    sql = (
        f"SELECT {_counts(column)}, count(*) FILTER (x IS NOT NULL AND v IS NULL), "
        r"count(*) FILTER (v IS NOT NULL AND NOT regexp_full_match(trim(x), '[+-]?\d{1,18}')) "
        f"FROM ({values})"
    )
    return _as_facts(*table.one(sql))


def _counts(column: Column) -> str:
    """SQL of what is counted of its values `v`."""
    text = column.form.type == "str"
    extent = "min(length(v)), max(length(v))" if text else "min(v), max(v)"
    lower = "count(DISTINCT lower(v))" if text else "0"
    words = "avg(length(v) - length(replace(v, ' ', '')) + 1)" if text else "0"
    return f"count(*), count(v), count(DISTINCT v), {lower}, {extent}, {words}"


def _as_facts(rows: int, *counts: Any) -> Facts:
    present, distinct, folded, least, most, words, unread, not_whole = counts
    return Facts(rows, present, distinct, folded, least, most, float(words or 0), unread, not_whole)


def rows_of(number: int) -> str:
    """A number of rows, in words."""
    return "1 row" if number == 1 else f"{number:,} rows"
