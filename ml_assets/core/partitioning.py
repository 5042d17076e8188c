"""Cutting rows into partitions: hours, days, weeks and months of a time zone, blocks of rows in their order, or one.

Every partition has a place on one axis, naive UTC: where there is time, the moment at which it begins; a block, which
has none, is given the place of a day of 1970 by its number, and the only partition of a table without any order that
of the first (ADR 0009). So a window of any of them is a range of one column, and everything else is written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    import polars as pl

Grain = Literal["hour", "day", "week", "month", "block", "none"]
# As Dagster writes keys. All of a grain are of one length and sort as text by time.
FORMATS = {"hour": "%Y-%m-%d-%H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}
TRUNCATIONS = {"day": "1d", "week": "1w", "month": "1mo"}
ONLY = "all"
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC throughout the lake
BLOCK_DIGITS, MOST_DIGITS = 6, 9
FIRST_YEAR, LAST_YEAR = 1000, 9000
LONGEST_KEY = 40
# Partitions after which a season may come again.
SEASONS = {"hour": 24, "day": 7, "week": 52, "month": 12}
NO_START = {"block": "block-000001", "none": ONLY}


def in_reach(moment: datetime) -> bool:
    """Whether partitions are cut at a moment: so far from the ends of `datetime` that windows around it fit."""
    return FIRST_YEAR <= moment.year <= LAST_YEAR


@dataclass(frozen=True)
class Calendar:
    """The partitions of a project.

    Attributes:
        grain: length of one.
        start: key of the first.
        timezone: IANA name of the zone in which days, weeks and months begin, and in which local times are meant.
        rows: rows of a block.
    """

    grain: Grain
    start: str
    timezone: str = "UTC"
    rows: int = 0

    @property
    def has_time(self) -> bool:
        """Whether partitions are spans of time."""
        return self.grain in FORMATS

    @property
    def zone(self) -> ZoneInfo:
        """The time zone.

        Raises:
            ValueError: if there is none of this name.
        """
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone: {self.timezone!r} is none; expected a name such as Europe/Berlin") from error

    def key_of(self, start: datetime) -> str:
        """The key of the partition that starts at a moment, naive UTC."""
        if self.grain == "none":
            return ONLY
        if self.grain == "block":
            return f"block-{self.number_of(start):0{BLOCK_DIGITS}d}"
        local = start.replace(tzinfo=UTC).astimezone(self.zone)
        # When clocks go back an hour comes twice: as in Dagster, the key of the second says its offset.
        return local.strftime(FORMATS[self.grain] + ("%z" if self.grain == "hour" and local.fold else ""))

    def position(self, start: datetime) -> int:
        """The number of a partition among all there may be: its remainder by a season's length is its place in it."""
        if not self.has_time:
            return (start - EPOCH).days
        local = start.replace(tzinfo=UTC).astimezone(self.zone)
        if self.grain == "month":
            return local.year * 12 + local.month
        if self.grain == "hour":
            return local.toordinal() * 24 + local.hour
        return local.toordinal() // (7 if self.grain == "week" else 1)

    def number_of(self, start: datetime) -> int:
        """The number of the block that has a place, from 1: where there is no time, that is all there is to show."""
        return (start - EPOCH).days + 1

    def start_of(self, key: str) -> datetime:
        """The first moment of a partition, naive UTC.

        Raises:
            ValueError: if the key is no partition's, saying how keys look.
        """
        try:
            start = self._read(key)
        except OverflowError:  # a moment beyond all that there are
            start = None
        if start is not None and not in_reach(start):
            start = None
        written = self._written(start) if start is not None else None
        if start is None or written != key:
            # Keys are compared as text: `2017-1` is not `2017-01`, and the 3rd is no week that begins on the 4th.
            meant = f"; did you mean {written!r}?" if written else ""
            example = NO_START.get(self.grain, self.start)
            shown = key if len(key) <= LONGEST_KEY else f"{key[:LONGEST_KEY]}…"
            raise ValueError(f"{shown!r} is no key of a {self.grain}: keys look like {example!r}{meant}")
        return start

    def step(self, start: datetime, partitions: int) -> datetime:
        """The start of the partition so many after (or before) another."""
        if not self.has_time:
            return start + timedelta(days=partitions)
        if self.grain == "hour":
            return start + timedelta(hours=partitions)
        local = start.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None)
        if self.grain == "month":
            month = local.year * 12 + local.month - 1 + partitions
            return self._utc(datetime(month // 12, month % 12 + 1, 1))  # noqa: DTZ001 - local
        # From midnight, though the day may begin at one o'clock, where the clocks skip midnight.
        midnight = local.replace(hour=0, minute=0)
        return self._utc(midnight + timedelta(days=partitions * (7 if self.grain == "week" else 1)))

    def holding(self, moment: datetime) -> datetime:
        """The start of the partition that holds a moment, both naive UTC."""
        local = moment.replace(tzinfo=UTC).astimezone(self.zone)
        if self.grain == "hour":
            return moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        if self.grain == "month":
            return self._utc(midnight.replace(day=1))
        return self._utc(midnight - timedelta(days=midnight.weekday() if self.grain == "week" else 0))

    def _utc(self, local: datetime) -> datetime:
        # A day whose midnight the clocks skip begins at the first moment that exists, which is that of fold 0.
        return local.replace(tzinfo=self.zone).astimezone(UTC).replace(tzinfo=None)

    def _written(self, start: datetime) -> str | None:
        """The key of a partition; None at the ends of the years that there are."""
        try:
            self.step(start, 1)
            return self.key_of(start)
        except (OverflowError, ValueError):
            return None

    def _read(self, key: str) -> datetime | None:
        if len(key) > LONGEST_KEY:
            return None
        if self.grain == "none":
            return EPOCH
        try:
            return self._moment(key)
        except OverflowError:  # beyond the years that there are
            return None

    def _moment(self, key: str) -> datetime | None:
        if self.grain == "block":
            number = key.removeprefix("block-")
            is_one = number.isdecimal() and len(number) <= MOST_DIGITS and int(number)
            return EPOCH + timedelta(days=int(number) - 1) if is_one else None
        for fmt in (FORMATS[self.grain], FORMATS[self.grain] + "%z"):
            try:
                read = datetime.strptime(key, fmt)  # noqa: DTZ007 - local, or with its offset
            except ValueError:
                continue
            local = read if read.tzinfo else read.replace(tzinfo=self.zone)
            return self.holding(local.astimezone(UTC).replace(tzinfo=None))
        return None


def in_utc(times: pl.Series, timezone: str) -> pl.Series:
    """Moments as naive UTC microseconds.

    Args:
        times: dates, local times (naive) or moments with a zone.
        timezone: the zone that local times are meant in.

    Returns:
        Shape (n,). A local time that comes twice, when clocks go back, is the first of the two; one that never was,
        when they go forward, is null.
    """
    import polars as pl

    if not isinstance(times.dtype, pl.Date | pl.Datetime):
        return pl.Series(times.name, [None] * len(times), dtype=pl.Datetime("us"))
    moments = times.cast(pl.Datetime("us")) if isinstance(times.dtype, pl.Date) else times.dt.cast_time_unit("us")
    if getattr(moments.dtype, "time_zone", None) is None:
        moments = _localized(moments, timezone)
    return moments.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def placed(moments: pl.Series, calendar: Calendar) -> pl.Series:
    """The starts of the partitions that hold some moments.

    Args:
        moments: naive UTC microseconds, shape (n,); null where unknown.
        calendar: a calendar with time.

    Returns:
        Naive UTC microseconds, shape (n,). What has no moment, or lies before the first partition, is placed in the
        first: validation then says what is wrong with it, and it is not lost.
    """
    import polars as pl

    first = calendar.start_of(calendar.start)
    local = moments.dt.replace_time_zone("UTC").dt.convert_time_zone(calendar.timezone)
    if calendar.grain == "hour":
        starts = local.dt.truncate("1h")
    else:
        # By the clock on the wall: a midnight that comes twice is the first of the two, as in `Calendar`, and a day
        # whose midnight the clocks skip begins an hour later.
        midnight = local.dt.replace_time_zone(None).dt.truncate(TRUNCATIONS[calendar.grain])
        starts = _localized(midnight, calendar.timezone).fill_null(
            _localized(midnight + timedelta(hours=1), calendar.timezone)
        )
    starts = starts.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return pl.select(pl.when(starts.is_null() | (starts < first)).then(pl.lit(first)).otherwise(starts)).to_series()


def _localized(times: pl.Series, timezone: str) -> pl.Series:
    return times.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
