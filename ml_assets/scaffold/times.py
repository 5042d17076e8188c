"""Which column places a row in time, and how rows are cut into partitions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.core.partitioning import FORMATS, Calendar
from ml_assets.core.quoting import literal, quoted
from ml_assets.scaffold.formats import Format
from ml_assets.scaffold.guesses import Column, Guess, count_typed, facts_of, find, make_typed, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.core.partitioning import Grain
    from ml_assets.scaffold.looking import Table

# A partition of fewer rows says little of drift; of far more, little of when.
ROWS_OF_A_PARTITION = 200
MOST_PARTITIONS = 3_000
FEWEST_PARTITIONS = 4
# Without time: above so many rows they are cut into blocks.
ONE_PARTITION = 500_000
BLOCKS = 20
GRAINS: tuple[Grain, ...] = ("hour", "day", "week", "month")


def choose_time(table: Table, found: Guess, wanted: str | None) -> None:
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
        column.facts = facts_of(table, column)
        make_typed(table, found.columns)
    found.time = column
    found.reasons["time"] = reason
    plain = column.sql in {column.name, quoted(column.name)}
    found.source_time = "" if plain or table.origin.pattern else column.sql


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


def choose_partitions(table: Table, found: Guess, wanted: Grain | None) -> None:
    """The grain and start of the partitions, given or guessed.

    Raises:
        ValueError: if the grain does not fit the time column.
    """
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
            found.quarantine.append(f"{rows_of(rows)}: {words}")
    count_typed(table, found.columns)


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
