"""Which partition each row of a source belongs to, where the source itself does not say."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import duckdb

from ml_assets.core.partitioning import EPOCH, Calendar, in_utc, placed
from ml_assets.core.quoting import quoted
from ml_assets.core.statement import check_select
from ml_assets.core.validation import cast_column
from ml_assets.sources.reading import Part, Reader, Reading, SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import polars as pl

PARTITION = "_partition"


def placed_frames(
    reader: Reader,
    calendar: Calendar,
    time: str,
    parts: Sequence[Part] | None,
    cursor: duckdb.DuckDBPyConnection,
    *,
    required: Collection[str] = (),
    reading: Reading | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of some partitions, each with its `_partition`.

    A row whose time does not read, or lies before the first partition, is in the first one: validation then says what
    is wrong with it. One that lies after the partitions asked for is not there yet.

    Args:
        reader: the source.
        calendar: the project's partitions.
        time: SQL over the source's columns that yields a row's time, where the source does not know partitions.
        parts: which partitions; None for all that the source holds.
        cursor: any cursor, for the SQL.
        required: columns that the source must have.
        reading: receives what else is to be told.

    Raises:
        SourceError: the source cannot be read, or the time's SQL fails.
    """
    import polars as pl

    counted = 0
    asked = parts
    if asked is None:
        # All rows: a database or an API wants to be asked for something.
        first = calendar.start_of(calendar.start)
        asked = [Part(calendar.start, first, calendar.step(first, 1))]
    for frame in reader.frames(asked, required, reading or Reading()):
        rows = frame
        if PARTITION not in frame.columns:
            if calendar.has_time:
                starts = placed(moments(frame, time, calendar, cursor), calendar)
            elif calendar.grain == "none":
                starts = pl.repeat(EPOCH, frame.height, dtype=pl.Datetime("us"), eager=True)
            else:
                blocks = pl.int_range(counted, counted + frame.height, eager=True) // calendar.rows
                starts = pl.Series([EPOCH]).dt.cast_time_unit("us") + blocks * timedelta(days=1)
            counted += frame.height
            rows = frame.with_columns(starts.cast(pl.Datetime("us")).alias(PARTITION))
            if parts is not None:
                inside = rows[PARTITION].is_between(parts[0].start, parts[-1].end, closed="left")
                rows = rows if inside.all() else rows.filter(inside)
        if rows.height or not frame.height:
            yield rows


def moments(frame: pl.DataFrame, time: str, calendar: Calendar, cursor: duckdb.DuckDBPyConnection) -> pl.Series:
    """When each row happened, naive UTC microseconds; null where that does not read.

    Raises:
        SourceError: if the SQL fails for all rows alike: it names a column that is not there, or does not parse.
    """
    import polars as pl

    # Mostly it is a column as it stands: no SQL is run for that.
    column = next((name for name in frame.columns if time == quoted(name)), None)
    found = _computed(frame, time, cursor) if column is None else frame[column]
    if found.dtype == pl.String:
        found = cast_column(found, pl.Datetime("us", "UTC"), calendar.timezone)
    return in_utc(found, calendar.timezone)


def _computed(frame: pl.DataFrame, time: str, cursor: duckdb.DuckDBPyConnection) -> pl.Series:
    sql = f"SELECT TRY({time}) AS moment FROM raw"
    check_select(sql, where="source.time", allowed=["raw"])
    cursor.register("_frame", frame)
    try:
        found = cursor.execute(f"WITH raw AS (FROM _frame) {sql}").pl()["moment"]
    except duckdb.Error as error:
        raise SourceError(
            f"source.time: {time!r} fails: {str(error).splitlines()[0]}. The source has: {', '.join(frame.columns)}"
        ) from error
    finally:
        cursor.unregister("_frame")
    if len(found) != frame.height:
        raise SourceError(
            f"source.time: {time!r} yields {len(found)} values for {frame.height} rows: expected one each"
        )
    return found
