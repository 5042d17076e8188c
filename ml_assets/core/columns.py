"""One column of a table, counted over all its rows in SQL that is written here and run by the caller."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.core.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    Query = Callable[[str], pl.DataFrame]
# Above this many rows distinct values and quantiles are approximate: exact ones hold every value in memory.
EXACT = 1_000_000
BINS = 30
TOP = 10
TEXT_VALUES = 100  # distinct values above which a column may be free text
TEXT_SHARE = 0.2  # and distinct values per row above which it is
Kind = Literal["number", "boolean", "category", "text", "time", "other"]
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER")


@dataclass(frozen=True)
class Share:
    """Rows of one value, or of one bin.

    Attributes:
        label: the value, or the bin's range.
        rows: how many.
    """

    label: str
    rows: int


@dataclass(frozen=True)
class Column:
    """One column over all rows.

    Attributes:
        name, dtype: name and DuckDB type.
        kind: how it is looked at. `text` is free text: its lengths are told, not its values.
        missing: rows without a value; NaN and infinity are none.
        distinct: different values.
        least, median, greatest: of numbers and times; of the length in characters where the kind is `text`.
        shares: most frequent values first, or bins of a number from low to high; empty for text and others.
    """

    name: str
    dtype: str
    kind: Kind
    missing: int
    distinct: int
    least: str | None = None
    median: str | None = None
    greatest: str | None = None
    shares: tuple[Share, ...] = ()


def summarize(query: Query, source: str, name: str, dtype: str, rows: int) -> Column:
    """One column over all rows; of more than a million, distinct values and quantiles approximately.

    Source:
        Approximate ones: HyperLogLog (Flajolet et al., 2007) and t-digest (Dunning & Ertl, 2019), as DuckDB has them.
    """
    kind, value = _kind(dtype), value_of(name, dtype)
    distinct = f"count(DISTINCT {value})" if not is_approximate(rows) else f"approx_count_distinct({value})"
    # One query for each column: never more than one column's distinct values are in memory.
    ((present, different),) = query(f"SELECT count({value}), {distinct} FROM {source}").rows()
    different = min(different, present)
    if kind == "category" and different > max(TEXT_VALUES, TEXT_SHARE * present):
        kind = "text"
    missing = rows - present
    if kind in {"number", "time", "text"}:
        measured = f"length({value})" if kind == "text" else value
        limits = _limits(query, source, measured, rows)
        bins = _bins(query, source, value, distinct=different, rows=rows) if kind == "number" and present else ()
        return Column(name, dtype, kind, missing, different, *limits, bins)
    if kind == "other":
        return Column(name, dtype, kind, missing, different)
    sql = (
        f"SELECT CAST({value} AS VARCHAR), count(*) FROM {source} WHERE {value} IS NOT NULL "
        f"GROUP BY ALL ORDER BY 2 DESC, 1 LIMIT {TOP}"
    )
    shares = tuple(Share(text, count) for text, count in query(sql).rows())
    return Column(name, dtype, kind, missing, different, shares=shares)


def _bins(query: Query, source: str, value: str, *, distinct: int, rows: int) -> tuple[Share, ...]:
    """Bins of equal width from the first to the last percentile; the outer two hold what lies beyond.

    A column of few values has one for each value.
    """
    if distinct <= 2 * TOP:  # which may be approximate
        counts = query(f"SELECT {value} AS v, count(*) FROM {source} WHERE {value} IS NOT NULL GROUP BY v ORDER BY v")
        if counts.height <= TOP:
            return tuple(Share(_figure(number), count) for number, count in counts.rows())
    edges = ", ".join(quantile(value, share, rows) for share in (0.01, 0.99))
    ((low, high),) = query(f"SELECT {edges} FROM {source}").rows()
    width = (high - low) / BINS
    if not (math.isfinite(width) and width > 0):
        return ()
    # As doubles from text: DuckDB reads 0.1 in a statement as a decimal.
    place = f"floor(({value} - '{low!r}'::DOUBLE) / '{width!r}'::DOUBLE)"
    sql = (
        f"SELECT CAST(least(greatest({place}, 0), {BINS - 1}) AS INTEGER) AS bin, count(*) "
        f"FROM {source} WHERE {value} IS NOT NULL GROUP BY bin"
    )
    found = dict(query(sql).rows())
    return tuple(
        Share(range_of(low + index * width, low + (index + 1) * width), found.get(index, 0)) for index in range(BINS)
    )


def _limits(query: Query, source: str, value: str, rows: int) -> tuple[str | None, str | None, str | None]:
    middle = f"approx_quantile({value}, 0.5)" if is_approximate(rows) else f"quantile_disc({value}, 0.5)"
    row = query(f"SELECT min({value}), {middle}, max({value}) FROM {source}").row(0)
    least, median, greatest = (_figure(each) if isinstance(each, float | int) else _moment(each) for each in row)
    return least, median, greatest


def is_approximate(rows: int) -> bool:
    """Whether distinct values and quantiles of so many rows are."""
    return rows > EXACT


def quantile(value: str, share: float, rows: int) -> str:
    """SQL for a quantile of a value, by its share of the rows below; of many rows approximately."""
    return f"approx_quantile({value}, {share})" if is_approximate(rows) else f"quantile_cont({value}, {share})"


def _kind(dtype: str) -> Kind:
    if _NUMBER.fullmatch(dtype):
        return "number"
    if dtype == "BOOLEAN":
        return "boolean"
    if dtype == "DATE" or dtype.startswith("TIMESTAMP"):
        return "time"
    if dtype == "VARCHAR" or dtype.startswith("ENUM("):
        return "category"
    return "other"


def value_of(name: str, dtype: str) -> str:
    """A column's value, NULL where it is none."""
    column, kind = quoted(name), _kind(dtype)
    if kind == "number":
        return f"(CASE WHEN isfinite({column}::DOUBLE) THEN {column}::DOUBLE END)"
    if kind == "time":
        # Infinity is a date in DuckDB, and so are years that Python does not know; times are UTC throughout the lake.
        return f"(CASE WHEN isfinite({column}) AND year({column}) BETWEEN 1 AND 9999 THEN {column}::TIMESTAMP END)"
    return f"CAST({column} AS VARCHAR)" if kind == "category" else column


def range_of(low: float, high: float, kind: Kind = "number") -> str:
    """The range between two values, as people read it."""
    return f"{named(low, kind)} – {named(high, kind)}"  # noqa: RUF001 - an en dash between numbers that may be negative


def named(value: Any, kind: Kind) -> str:
    """A value as people read it; times are days since 1970."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    if kind == "time":
        return _moment(datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(days=value)) or ""
    if kind == "boolean":
        return "true" if value else "false"
    return _figure(value) if isinstance(value, float | int) else str(value)


def _figure(value: float) -> str:
    """A number in at most six digits, whole numbers whole."""
    if float(value).is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - a double knows whole numbers up to here
        return str(int(value))
    return f"{value:.6g}"


def _moment(value: Any) -> str | None:
    return None if value is None else str(value).removesuffix(" 00:00:00")
