"""From what was counted to what is declared: each guess with its reason. Pure but for the questions to the table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.core.partitioning import FORMATS, Calendar
from ml_assets.core.quoting import literal, quoted
from ml_assets.core.statement import nearest
from ml_assets.core.tasks import YES
from ml_assets.scaffold.formats import Format, decimal_sign, guess_format, may_be_thousands
from ml_assets.scaffold.looking import DUCKDB_TYPES
from ml_assets.scaffold.names import identifier, identifiers
from ml_assets.sources.reading import MALFORMED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.core.partitioning import Grain
    from ml_assets.core.tasks import Task
    from ml_assets.scaffold.looking import Table

# A partition of fewer rows says little of drift; of far more, little of when.
ROWS_OF_A_PARTITION = 200
MOST_PARTITIONS = 3_000
FEWEST_PARTITIONS = 4
# Without time: above so many rows they are cut into blocks.
ONE_PARTITION = 500_000
BLOCKS = 20
CATEGORIES, CLASSES = 20, 20
# Rows below which nothing is told from what has not been seen.
ENOUGH = 200
# Share of rows that may go to the quarantine before a column is rather left as text.
LOST = 0.08
WORDS = 4
# Values of a column that are named where they go to the quarantine, and letters of each.
NAMED, SHORT = 3, 24
_KEY = re.compile(r"(^|_)(id|key|nr|no|number|code|uuid|guid|index|identifier|pk|rowid)$|^unnamed|^column_1$")
_LATER = re.compile(
    r"(^|_)(after|outcome|outcomes|result|results|predicted|prediction|actual|closed|resolved|resolution|final)(_|$)"
)
_SIGNED = re.compile(r"temp|celsius|lat|lon|lng|change|delta|diff|profit|balance|delay|net|margin|return|score|dew")
_BOUNDS = {"latitude": (-90, 90), "lat": (-90, 90), "longitude": (-180, 180), "lon": (-180, 180), "lng": (-180, 180)}
GRAINS: tuple[Grain, ...] = ("hour", "day", "week", "month")
WINDOWS = {"hour": 24 * 60, "day": 180, "week": 52, "month": 24}
COOLDOWNS = {"hour": 24, "day": 7, "week": 3, "month": 3, "block": 3, "none": 0}


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


def guess(
    table: Table, *, target: str, time: str | None = None, grain: Grain | None = None, task: Task | None = None
) -> Guess:
    """Guess a project from the rows of its source; gates and suspicions of leakage are added by `trial`.

    Args:
        table: all rows. Receives the table `typed`, in which every column has its guessed type.
        target: a column, by its name in the source or in lower case with underscores.
        time: a column; guessed where it is None.
        grain: of the partitions; guessed where it is None.
        task: guessed where it is None.

    Raises:
        ValueError: if a named column is not there, or cannot be what it is named for.
    """
    columns, skipped, asked = _columns(table)
    wanted = find(columns, target, "--target")
    found = Guess(columns, wanted, questions=[*table.origin.questions, *asked], skipped=skipped)
    _type(table, found)
    if wanted.facts.present == 0:
        raise ValueError(f"--target {target}: the column holds no value")
    if grain not in {"none", "block"}:
        _choose_time(table, found, time)
    _choose_partitions(table, found, grain)
    _choose_task(table, found, task)
    for column in found.columns:
        _judge(column, found, table)
    _look_for_duplicates(table, found)
    if "database" in table.origin.declared:
        _order_database(table, found)
    return found


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


def _columns(table: Table) -> tuple[list[Column], dict[str, str], list[str]]:
    skipped = {raw: f"{lacking} of {table.origin.files} files lack it" for raw, lacking in table.lacking.items()}
    found: list[Column] = []
    questions: list[str] = []
    names = dict(zip(table.columns, identifiers(table.columns), strict=True))
    values, forms, blanks = {}, {}, {}
    for raw in (raw for raw in table.columns if raw not in skipped):
        values[raw], padded, blank = table.values(raw)
        blanks[raw] = {"padded": padded, "blank": blank}
        forms[raw] = guess_format(names[raw], values[raw])
    # A file has one decimal sign: what is 46.774 by itself is told by its neighbours.
    decimal = decimal_sign((form, values[raw]) for raw, form in forms.items())
    for raw, first in forms.items():
        unsure = bool(decimal) and may_be_thousands(first, values[raw])
        form = guess_format(names[raw], values[raw], decimal) if unsure else first
        if form.other and _runs_better(table, raw, form.other, form.sql):
            part = "day" if "month first" in form.reason else "month"
            reason = re.sub(r"(day|month) first", f"{part} first", form.reason)
            form = replace(
                form,
                sql=form.other,
                reason=reason,
                question=form.question.replace(
                    "the month first" if part == "day" else "the day first", f"the {part} first"
                ),
            )
        column = Column(raw, names[raw], form, "")
        _clean(column, **blanks[raw])
        if form.question:
            questions.append(f"{raw}: {form.question}")
        found.append(column)
    return found, skipped, questions


def _runs_better(table: Table, raw: str, sql: str, other: str) -> bool:
    """Whether dates run forward in the order of the rows more often if they are read one way."""

    def forward(form: str) -> float:
        read = form.replace("{0}", f"trim({quoted(raw)})")
        steps = f"SELECT {read} AS t, lag({read}) OVER (ORDER BY _source, _row) AS before FROM raw"
        (share,) = table.one(f"SELECT avg((t >= before)::INT) FROM ({steps})")
        return float(share or 0)

    return forward(sql) > forward(other)


def _clean(column: Column, *, padded: bool, blank: bool) -> None:
    """The SQL of a column's text, and what it does."""
    sql = quoted(column.raw) if column.raw != identifier(column.raw) else column.raw
    if padded:
        sql = f"trim({sql})"
        column.notes.append("Padded with blanks.")
    nulls = (*column.form.nulls, *([""] if blank else []))
    if len(nulls) == 1:
        sql = f"nullif({sql}, {literal(nulls[0])})"
    elif nulls:
        sql = f"CASE WHEN {sql} IN ({', '.join(map(literal, nulls))}) THEN NULL ELSE {sql} END"
    if column.form.why_nulls:
        column.notes.append(f"{column.form.why_nulls}.")
    if column.form.reason:
        column.notes.append(column.form.reason)
    column.base = sql


def _type(table: Table, found: Guess) -> None:
    """Read every column in its type, over all rows; what would send too many to the quarantine stays text."""
    for column in list(found.columns):
        column.facts = _facts(table, column)
        if not column.facts.present and not column.facts.lost and column is not found.target:
            found.columns.remove(column)
            found.skipped[column.raw] = "it holds nothing"
        if column.form.type == "int" and column.facts.not_whole:
            column.form = replace(column.form, type="float")
        if column.facts.lost > LOST * table.rows:
            _as_text(table, found, column)
        if (
            column.form.type == "str"
            and column.facts.folded < column.facts.distinct <= ENOUGH
            and not column.form.clock
        ):
            column.form = replace(column.form, sql="lower({})")
            column.notes.append(f"In lower case: {column.facts.distinct} spellings are {column.facts.folded} values.")
            column.facts = _facts(table, column)
        _tell_lost(table, found, column)
    make_typed(table, found.columns)
    _count_again(table, found)


def _as_text(table: Table, found: Guess, column: Column) -> None:
    share = column.facts.lost / table.rows
    found.questions.append(
        f"{column.raw}: is it {column.form.type}? {share:.0%} of its values do not read so, and it stays text"
    )
    column.form = Format(nulls=column.form.nulls, why_nulls=column.form.why_nulls)
    column.facts = _facts(table, column)


def _tell_lost(table: Table, found: Guess, column: Column) -> None:
    """Name the values that will not read, in the comment of their column and for the screen."""
    if not column.facts.lost:
        return
    worst = table.all(
        f"SELECT {column.base} AS x, count(*) FROM raw WHERE {_lost(column)} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 4"
    )
    told = ", ".join(f"'{_short(text)}'" + (f" ({times:,})" if len(worst) > 1 else "") for text, times in worst[:NAMED])
    told += " and others" if len(worst) > NAMED else ""
    lost = _rows(column.facts.lost)
    column.notes.append(f"{lost} will not read, and {'goes' if lost == '1 row' else 'go'} to the quarantine: {told}")
    found.quarantine.append(f"{lost}: {column.name} does not read: {told}")


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def _lost(column: Column) -> str:
    return f"{column.sql} IS NOT NULL AND TRY_CAST({column.sql} AS {DUCKDB_TYPES[column.form.type]}) IS NULL"


def make_typed(table: Table, columns: Sequence[Column]) -> None:
    """The table `typed`: every column of clean.sql in its type, without the rows that go to the quarantine."""
    listed = ", ".join(
        f"TRY_CAST({column.sql} AS {DUCKDB_TYPES[column.form.type]}) AS {quoted(column.name)}" for column in columns
    )
    bad = [f"{MALFORMED} IS NOT NULL", *(_lost(column) for column in columns if column.form.type != "str")]
    table.cursor.execute(
        f"CREATE OR REPLACE TABLE typed AS SELECT {listed}, _source, _row FROM raw WHERE NOT ({' OR '.join(bad)})"
    )


def _count_again(table: Table, found: Guess) -> None:
    """Facts of the rows that pass: what one line of totals says is true of no other."""
    for column in found.columns:
        counts = table.one(f"SELECT {_counts(column)} FROM (SELECT {quoted(column.name)} AS v FROM typed)")
        column.facts = _as_facts(*counts, column.facts.lost, column.facts.not_whole)


def _facts(table: Table, column: Column) -> Facts:
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
    present, distinct, folded, least, most, words, lost, not_whole = counts
    return Facts(rows, present, distinct, folded, least, most, float(words or 0), lost, not_whole)


# ---------------------------------------------------------------------------------------------------------- time


def _choose_time(table: Table, found: Guess, wanted: str | None) -> None:
    """The column that places a row in time, given or guessed; it may be made of several."""
    if wanted:
        column = find(found.columns, wanted, "--time")
        if not column.is_time:
            raise ValueError(
                f"--time {wanted}: its values do not read as dates or times; the first are "
                f"{', '.join(list(table.values(column.raw)[0])[:3])}. Remedy: name another column, or --grain none"
            )
        if "database" in table.origin.declared and column.sql not in {column.raw, quoted(column.raw)}:
            raise ValueError(
                f"--time {wanted}: the database cannot cut its rows by text such as "
                f"{next(iter(table.values(column.raw)[0]))}. Remedy: make a view with a date, or --grain none"
            )
        _take_time(table, found, _with_clock(found, column), "Said by you.")
        return
    candidates = [one for one in found.columns if one.is_time and one is not found.target]
    if "database" in table.origin.declared:
        # The database itself cuts the rows, by a column that it can compare.
        candidates = [one for one in candidates if one.sql in {one.raw, quoted(one.raw)}]
    candidates = [one for one in candidates if one.facts.present >= 0.9 * one.facts.rows and one.facts.distinct > 2]  # noqa: PLR2004
    if table.origin.pattern:
        candidates = [one for one in candidates if _in_files(table, one)]
        if not candidates:
            _take_time(table, found, _of_file(table), "No column lies in the partition of its file, so its name does.")
            return
    if candidates:
        chosen = min(candidates, key=lambda one: (_time_rank(one.name), found.columns.index(one)))
        others = [one.name for one in candidates if one is not chosen]
        reason = "The only column of dates or times." if not others else f"Chosen before {', '.join(others)}."
        if others:
            found.questions.append(f"Is {chosen.name} when a row is known, or rather {' or '.join(others)}?")
        _take_time(table, found, _with_clock(found, chosen), reason)
        return
    made = None if "database" in table.origin.declared else _of_parts(found)
    if made is not None:
        _take_time(table, found, made, "Put together from several columns.")


def _time_rank(name: str) -> int:
    ranks = (r"(^|_)(date_?time|timestamp|ts)($|_)", r"(^|_)(date|time|day|month|period)($|_)", r"date|time|_at$")
    return next((rank for rank, pattern in enumerate(ranks) if re.search(pattern, name)), len(ranks))


def _with_clock(found: Guess, column: Column) -> Column:
    """A date and a time of day beside it, together."""
    clocks = [one for one in found.columns if one.form.clock and one.facts.present >= 0.9 * one.facts.rows]
    if column.form.type != "date" or len(clocks) != 1:
        return column
    (clock,) = clocks
    sql = f"{column.sql} || 'T' || {clock.sql}"
    clock.left_out = column.left_out = "it is part of the time"
    return _made(found, "moment", sql, "datetime", f"{column.raw} and {clock.raw} together.")


def _made(found: Guess, name: str, sql: str, kind: Any, note: str) -> Column:
    taken = {one.name for one in found.columns}
    free = next(one for one in (name, f"{name}_of_row", f"{name}_of_the_row") if one not in taken)
    return Column("", free, Format(kind), sql, [note])


def _of_parts(found: Guess) -> Column | None:
    """A date of the columns year, month and day, with an hour where every row has one."""

    def part(names: Sequence[str], least: int, most: int) -> Column | None:
        for one in found.columns:
            fits = one.is_number and one.facts.present == one.facts.rows and one is not found.target
            if one.name in names and fits and one.facts.least >= least and one.facts.most <= most:
                return one if one.form.type == "int" else None
        return None

    year, month = (
        part(("year", "yr", "jahr"), 1900, 2100),
        part(("month", "month_number", "mnth", "mo", "monat"), 1, 12),
    )
    if year is None or month is None:
        return None
    day, hour = part(("day", "dayofmonth", "day_of_month", "mday", "tag"), 1, 31), part(("hour", "hr"), 0, 23)
    sql = f"{year.sql} || '-' || lpad({month.sql}, 2, '0') || '-' || " + (f"lpad({day.sql}, 2, '0')" if day else "'01'")
    used = [one.raw for one in (year, month, day) if one]
    if day is None or hour is None:
        return _made(found, "date", sql, "date", f"{', '.join(used)} together.")
    return _made(
        found, "moment", f"{sql} || 'T' || lpad({hour.sql}, 2, '0') || ':00'", "datetime",
        f"{', '.join([*used, hour.raw])} together.",
    )  # fmt: skip


def _in_files(table: Table, column: Column) -> bool:
    """Whether a column's times lie in the partitions that the files are named after."""
    grain = _grain_of_pattern(table.origin.pattern)
    day = f"date_trunc('{grain}', {quoted(column.name)})"
    (share,) = table.one(f"SELECT avg(({day} = date_trunc('{grain}', {_file_time(table)}))::INT) FROM typed")
    return float(share or 0) >= 0.95  # noqa: PLR2004 - the others go to the quarantine


def _of_file(table: Table) -> Column:
    return Column("", "file_date", Format("datetime"), f"strftime({_file_time(table)}, '%Y-%m-%dT%H:%M:%S')",
                  ["The files are named after it."])  # fmt: skip


def _file_time(table: Table) -> str:
    pattern = table.origin.pattern.lstrip("/")
    return f"strptime(_source, {literal(pattern)})"


def _grain_of_pattern(pattern: str) -> Grain:
    codes: dict[str, Grain] = {"%H": "hour", "%d": "day", "%j": "day"}
    return next((grain for code, grain in codes.items() if code in pattern), "month")


def _take_time(table: Table, found: Guess, column: Column, reason: str) -> None:
    if all(column is not one for one in found.columns):
        found.columns.insert(0, column)
        column.facts = _facts(table, column)
        make_typed(table, found.columns)
        _count_again(table, found)
    found.time = column
    found.reasons["time"] = reason
    plain = column.sql in {column.name, quoted(column.name)}
    found.source_time = "" if plain or table.origin.pattern else column.sql


# ---------------------------------------------------------------------------------------------------- partitions


@dataclass(frozen=True)
class Spread:
    """How rows lie in the partitions of a grain.

    Attributes:
        held: partitions with rows.
        all: partitions from the first to the last.
        median: rows of the median partition with rows.
    """

    held: int
    all: int
    median: float


def choose_grain(spreads: Mapping[Grain, Spread]) -> tuple[Grain, str]:
    """The finest grain whose partitions have some hundreds of rows; and why.

    Args:
        spreads: by grain, finest first.
    """
    for grain, spread in spreads.items():
        if spread.median >= ROWS_OF_A_PARTITION and spread.held >= FEWEST_PARTITIONS and spread.all <= MOST_PARTITIONS:
            median = f"{spread.median:,.0f} rows in the median {grain}"
            return grain, f"{median}: the finest grain with at least {ROWS_OF_A_PARTITION}."
    # Too few rows for any: the coarsest that leaves something to learn from and something to judge by.
    for grain, spread in reversed(list(spreads.items())):
        if spread.held >= FEWEST_PARTITIONS and spread.all <= MOST_PARTITIONS:
            return grain, (
                f"{spread.median:,.0f} rows in the median {grain}: few, but a coarser grain would leave fewer than "
                f"{FEWEST_PARTITIONS} partitions."
                if grain != "month"
                else f"{spread.median:,.0f} rows in the median month: few, and no grain is coarser."
            )
    return "none", "The times span too little to be cut: one partition, rows held out by chance."


def _choose_partitions(table: Table, found: Guess, wanted: Grain | None) -> None:
    rows = table.rows
    if found.time is None:
        if wanted in GRAINS:
            raise ValueError(f"--grain {wanted}: no column reads as a date or time. Remedy: name one with --time")
        _without_time(found, rows, wanted)
        return
    column = quoted(found.time.name)
    low, high = _extent(table, found, column)
    spreads = {grain: _spread(table, column, grain, low, high) for grain in GRAINS}
    if found.time.form.type == "date":
        del spreads["hour"]
    grain, reason = choose_grain(spreads)
    if table.origin.pattern:
        grain, reason = _grain_of_pattern(table.origin.pattern), "As the files are named."
    if wanted:
        grain, reason = wanted, "Said by you."
    if grain == "hour" and found.time.form.type == "date":
        raise ValueError(f"--grain hour: {found.time.name} is a date and has no hours. Remedy: --grain day")
    if grain == "none":
        found.time, found.source_time = None, ""
        _without_time(found, rows, None)
        found.reasons["grain"] = reason
        return
    calendar = Calendar(grain, "")
    start = calendar.holding(low)
    found.calendar = Calendar(grain, start.strftime(FORMATS[grain]))
    found.partitions, found.median = spreads[grain].held, int(spreads[grain].median)
    found.reasons["grain"] = reason
    found.reasons["start"] = f"The first row is of {low}."
    _drop_misplaced(table, found, low, high)
    if grain == "hour" or found.time.form.type == "datetime":
        found.questions.append(f"In which time zone is {found.time.name}? It is taken for UTC: see partitions.timezone")


def _drop_misplaced(table: Table, found: Guess, low: datetime, high: datetime) -> None:
    """Take out of `typed` what no partition holds: its rows go to the quarantine, or are mistaken."""
    called = found.time.name if found.time else ""
    name = quoted(called)
    rules = {
        f"{called} is missing": f"{name} IS NULL",
        f"{called} is far before or after all others": f"{name} NOT BETWEEN '{low}' AND '{high}'",
    }
    if table.origin.pattern:
        grain = found.calendar.grain
        places = (f"date_trunc('{grain}', {moment})" for moment in (name, _file_time(table)))
        rules[f"{called} is not in the partition that its file is named after"] = " <> ".join(places)
    for words, rule in rules.items():
        (rows,) = table.one(f"DELETE FROM typed WHERE {rule}")
        if rows:
            found.quarantine.append(f"{_rows(rows)}: {words}")
    _count_again(table, found)


def _extent(table: Table, found: Guess, column: str) -> tuple[datetime, datetime]:
    """The first and last time; single ones far off are left to the quarantine."""
    moments = [f"CAST({column} AS TIMESTAMP)", "typed"]
    low, high, one, ninety_nine = table.one(
        "SELECT min(t), max(t), quantile_disc(t, 0.001), quantile_disc(t, 0.999) "
        f"FROM (SELECT {moments[0]} AS t FROM {moments[1]})"
    )
    far = 3 * (ninety_nine - one) + timedelta(days=31)
    if one - low > far:
        found.questions.append(f"Are the times before {one} mistaken, such as {low}? They go to the quarantine")
        low = one
    if high - ninety_nine > far:
        found.questions.append(f"Are the times after {ninety_nine} mistaken, such as {high}?")
        high = ninety_nine
    return low, high


def _spread(table: Table, column: str, grain: Grain, low: datetime, high: datetime) -> Spread:
    held, median = table.one(
        f"SELECT count(*), median(n) FROM (SELECT count(*) AS n FROM typed WHERE {column} IS NOT NULL "
        f"AND {column} BETWEEN TIMESTAMP '{low}' AND TIMESTAMP '{high}' GROUP BY date_trunc('{grain}', {column}))"
    )
    calendar = Calendar(grain, "")
    hours = (calendar.holding(high) - calendar.holding(low)).total_seconds() / 3600
    length = {"hour": 1, "day": 24, "week": 168, "month": 730.5}[grain]
    return Spread(held, round(hours / length) + 1, float(median or 0))


def _without_time(found: Guess, rows: int, wanted: Grain | None) -> None:
    if wanted == "block" or (wanted is None and rows > ONE_PARTITION):
        size = max(1, rows // BLOCKS)
        # A round number: two digits that count.
        size = (
            int(f"{size:.1e}".partition("e")[0].replace(".", "")) * 10 ** max(0, len(str(size)) - 2)
            if size > 99  # noqa: PLR2004
            else size
        )
        found.calendar = Calendar("block", "", rows=size)
        found.partitions, found.median = -(-rows // size), size
        found.reasons["grain"] = f"No time; {rows:,} rows in their order make about {BLOCKS} blocks."
        found.questions.append("Are the rows in the order in which they came? Blocks of them are taken for history")
        return
    found.calendar, found.partitions, found.median = Calendar("none", ""), 1, rows
    found.reasons["grain"] = "Said by you." if wanted else "No column reads as a time that orders rows."


# ----------------------------------------------------------------------------------------------------------- task


def choose_task(column: Column) -> tuple[Task, str, str]:
    """The task of a target, why, and a question where it is unsure.

    Raises:
        ValueError: if it is nothing that can be predicted.
    """
    facts, kind = column.facts, column.form.type
    if facts.distinct < 2:  # noqa: PLR2004
        raise ValueError(f"--target {column.name}: all rows have the same value: there is nothing to predict")
    if column.is_time:
        raise ValueError(f"--target {column.name}: it is a date; a target is a number, a word or yes and no")
    if facts.distinct == 2 and kind != "float":  # noqa: PLR2004
        return "binary", "The target has two values.", ""
    if kind == "str":
        if facts.distinct > max(CLASSES, facts.present // 50):
            raise ValueError(
                f"--target {column.name}: it is text with {facts.distinct:,} different values. A target is a number, "
                "or one of a few words. Remedy: name another column"
            )
        return "multiclass", f"The target is one of {facts.distinct} words.", ""
    if kind == "int" and facts.distinct <= 10 and facts.most - facts.least < CLASSES:  # noqa: PLR2004
        question = f"Is {column.name} a class, or a quantity (--task regression)? It has {facts.distinct} values"
        return "multiclass", f"The target has {facts.distinct} values.", question
    return "regression", f"The target is a number with {facts.distinct:,} values.", ""


def _choose_task(table: Table, found: Guess, wanted: Task | None) -> None:
    target = found.target
    if wanted:
        found.task, found.reasons["task"] = wanted, "Said by you."
        if wanted == "regression" and not target.is_number:
            raise ValueError(f"--task regression: {target.name} is {target.form.type}, and a regression needs a number")
        if wanted != "regression" and target.form.type == "float":
            raise ValueError(
                f"--task {wanted}: {target.name} has fractions. Remedy: make classes of it in features.sql"
            )
    else:
        found.task, found.reasons["task"], question = choose_task(target)
        if question:
            found.questions.append(question)
    if found.task == "binary":
        name = quoted(target.name)
        counted = table.all(
            f"SELECT CAST({name} AS VARCHAR), count(*) FROM typed WHERE {name} IS NOT NULL GROUP BY 1 ORDER BY 2, 1"
        )
        labels = [label for label, _ in counted]
        if len(labels) > 2:  # noqa: PLR2004
            raise ValueError(f"--task binary: {target.name} has {len(labels)} values: {', '.join(labels[:6])}")
        says_yes = [label for label in labels if label.lower() in YES]
        found.positive = says_yes[0] if len(says_yes) == 1 else labels[0]
        if len(says_yes) == 1:
            found.reasons["positive"] = f"Of {' and '.join(sorted(labels))} it says yes."
        else:
            found.reasons["positive"] = f"The rarer of {' and '.join(sorted(labels))}."
            found.questions.append(f"Is {found.positive} what is to be found? It is the rarer label")
    missing = target.facts.rows - target.facts.present
    if missing:
        found.filter = f"{missing:,} rows have no {target.name}: nothing can be learnt from them."


# --------------------------------------------------------------------------------------------------- each column


def _judge(column: Column, found: Guess, table: Table) -> None:  # noqa: C901 - one case after the other
    """The checks of a column, and whether it is a feature."""
    facts = column.facts
    if facts.present == facts.rows and (facts.rows >= ENOUGH or column is found.target or column is found.time):
        column.why.append(f"never missing in {facts.rows:,} rows")
    elif column is not found.time:
        column.checks.append("nullable=True")
        missing = facts.rows - facts.present
        if missing:
            column.why.append(f"missing in {missing:,} of {facts.rows:,} rows")
    if column.is_number:
        _bound(column)
    if column.form.type == "str":
        _judge_text(column, found, table)
    if column is found.target or column is found.time or column.left_out:
        return
    if not facts.present:
        column.left_out = "it is empty"
    elif facts.distinct == 1:
        column.left_out = "it is the same in every row"
    elif _is_identifier(column):
        _judge_key(column, found)
    elif _LATER.search(column.name):
        found.leave_out(column, "its name speaks of what is known only afterwards")
        found.questions.append(f"Is {column.name} known when a prediction is made? Then add it to features.sql")


def _is_identifier(column: Column) -> bool:
    facts = column.facts
    if column.is_number and column.form.type == "float":
        return False
    if column.is_time or column.text or column.form.type == "bool":
        return False
    share = facts.distinct / max(1, facts.present)
    named = bool(_KEY.search(column.name))
    if column.form.type == "str":
        return facts.distinct > CATEGORIES and (share > 0.9 or (named and share > 0.5))  # noqa: PLR2004
    running = facts.most - facts.least + 1 == facts.distinct and share == 1 and facts.distinct > CATEGORIES
    return running or (named and share > 0.9 and facts.distinct > CATEGORIES)  # noqa: PLR2004


def _judge_key(column: Column, found: Guess) -> None:
    facts = column.facts
    found.leave_out(column, f"it names rows: {facts.distinct:,} values in {facts.present:,} rows")
    key = _KEY.search(column.name) or found.columns.index(column) <= 1
    if not key:
        return
    if facts.distinct == facts.present == facts.rows:
        column.checks.append("unique=True")
        column.why.append("no value comes twice: it looks like a key")
        if column.form.type == "int" and facts.most - facts.least + 1 == facts.distinct:
            found.questions.append(
                f"Is {column.name} a running number only? Then name it in source.ignore_in_duplicates: rows that "
                "differ in nothing else are one"
            )
    else:
        column.why.append(
            f"it looks like a key, but {facts.present - facts.distinct:,} values come again: not demanded"
        )


def _bound(column: Column) -> None:
    facts = column.facts
    if facts.least is None:
        return
    for name, (low, high) in _BOUNDS.items():
        if re.search(rf"(^|_){name}($|_)", column.name) and low <= facts.least and facts.most <= high:
            column.checks += [f"ge={low}", f"le={high}"]
            column.why.append("degrees")
            return
    if facts.least >= 0 and not _SIGNED.search(column.name) and facts.rows >= ENOUGH:
        column.checks.append("ge=0")
        column.why.append("never negative")


def _judge_text(column: Column, found: Guess, table: Table) -> None:
    facts = column.facts
    if column is not found.target and facts.words >= WORDS and facts.distinct > max(CATEGORIES, 0.2 * facts.present):
        column.text = True
        column.why.append(f"{facts.words:.0f} words on average: text")
        return
    few = facts.distinct <= CATEGORIES and facts.present >= max(ENOUGH, 10 * facts.distinct)
    if few and facts.distinct > 1 and (column is found.target or _is_stable(table, column)):
        name = quoted(column.name)
        values = [
            value for (value,) in table.all(f"SELECT DISTINCT {name} FROM typed WHERE {name} IS NOT NULL ORDER BY 1")
        ]
        column.checks.append(f"isin={values!r}")
        column.why.append("the labels" if column is found.target else "the same few values early and late")
    elif facts.distinct > 1:
        column.why.append(f"{facts.distinct:,} values; new ones may appear")


def _is_stable(table: Table, column: Column) -> bool:
    """Whether every value is there in the first and in the second half of the rows, and none is rare."""
    name = quoted(column.name)
    halves = f"SELECT {name} AS v, ntile(2) OVER (ORDER BY _source, _row) AS half FROM typed WHERE {name} IS NOT NULL"
    (least,) = table.one(
        "SELECT min(n) FROM (SELECT least(count(*) FILTER (half = 1), count(*) FILTER (half = 2)) AS n "
        f"FROM ({halves}) GROUP BY v)"
    )
    return bool(least and least >= 5)  # noqa: PLR2004


def _order_database(table: Table, found: Guess) -> None:
    """What cuts the rows of a database, or fixes their order."""
    declared = table.origin.declared["database"]
    if found.time is not None:
        declared["cursor"], found.source_time = found.time.raw, ""
        return
    keys = [one.raw for one in found.columns if "unique=True" in one.checks]
    declared["order_by"] = keys[:1] or table.columns


def _look_for_duplicates(table: Table, found: Guess) -> None:
    listed = ", ".join(map(quoted, table.columns))
    (different,) = table.one(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM raw)")
    if table.rows > different:
        found.questions.append(
            f"{table.rows - different:,} rows repeat another in every column, and are dropped as duplicates: are they "
            "one, or events of their own? Then give rows a column that tells them apart"
        )
