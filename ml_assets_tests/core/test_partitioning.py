"""Partitions on their axis: keys as Dagster writes them, and every moment in exactly one, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml_assets.core.partitioning import Calendar, Grain, in_utc, placed

# Clocks that change at two, at one, at midnight forwards and backwards, by day, and never.
ZONES = [
    "UTC", "America/Los_Angeles", "Europe/Berlin", "America/Havana", "Atlantic/Azores", "America/Sao_Paulo",
    "Asia/Singapore", "Asia/Kathmandu",
]  # fmt: skip
STARTS = {"hour": "2016-01-01-00:00", "day": "2016-01-01", "week": "2016-01-04", "month": "2016-01"}
DEFINITIONS = {
    "hour": dg.HourlyPartitionsDefinition,
    "day": dg.DailyPartitionsDefinition,
    "week": dg.WeeklyPartitionsDefinition,
    "month": dg.MonthlyPartitionsDefinition,
}
moments = st.datetimes(datetime(2016, 2, 1), datetime(2019, 12, 31))  # noqa: DTZ001 - naive UTC


@given(moment=moments, zone=st.sampled_from(ZONES), grain=st.sampled_from(list(STARTS)))
@example(moment=datetime(2018, 10, 28, 1, 30), zone="Atlantic/Azores", grain="day")  # noqa: DTZ001
@example(moment=datetime(2018, 11, 4, 12), zone="America/Havana", grain="month")  # noqa: DTZ001
@example(moment=datetime(2018, 11, 4, 3, 10), zone="America/Sao_Paulo", grain="day")  # noqa: DTZ001
@settings(max_examples=150, deadline=None)
def test_every_moment_lies_in_one_partition_that_all_ways_agree_on(moment: datetime, zone: str, grain: str) -> None:
    calendar = Calendar(grain, STARTS[grain], zone)  # type: ignore[arg-type]
    start = calendar.holding(moment)

    assert start <= moment < calendar.step(start, 1)
    assert calendar.start_of(calendar.key_of(start)) == start
    assert calendar.step(calendar.step(start, 1), -1) == start
    assert placed(pl.Series([moment]), calendar).to_list() == [start]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("grain", "first", "end"),
    [
        ("hour", "2018-11-02-00:00", "2018-11-06-00:00"),
        ("hour", "2018-10-27-00:00", "2018-10-30-00:00"),
        ("day", "2018-10-20", "2018-11-10"),
        ("week", "2018-10-01", "2018-12-03"),
        ("month", "2018-01", "2019-01"),
    ],
)
def test_keys_and_moments_are_those_of_dagster(zone: str, grain: str, first: str, end: str) -> None:
    week = {"day_offset": 1} if grain == "week" else {}
    fmt = {"hour": "%Y-%m-%d-%H:%M", "month": "%Y-%m"}.get(grain, "%Y-%m-%d")
    definition = DEFINITIONS[grain](start_date=first, end_date=end, timezone=zone, fmt=fmt, **week)  # type: ignore[arg-type]
    calendar = Calendar(grain, first, zone)  # type: ignore[arg-type]
    start = calendar.start_of(first)
    for key in definition.get_partition_keys():
        window = definition.time_window_for_partition_key(key)
        assert (calendar.key_of(start), start) == (
            key,
            datetime.fromtimestamp(window.start.timestamp(), UTC).replace(tzinfo=None),
        )
        start = calendar.step(start, 1)


def test_keys_sort_by_time_also_when_an_hour_comes_twice() -> None:
    calendar = Calendar("hour", "2024-11-02-00:00", "America/Los_Angeles")
    start = calendar.start_of("2024-11-03-00:00")
    keys = [calendar.key_of(calendar.step(start, hours)) for hours in range(4)]

    assert keys == ["2024-11-03-00:00", "2024-11-03-01:00", "2024-11-03-01:00-0800", "2024-11-03-02:00"]
    assert keys == sorted(keys)


def test_what_has_no_moment_or_lies_before_the_first_partition_is_placed_in_the_first() -> None:
    calendar = Calendar("month", "2024-03")
    found = placed(pl.Series([None, datetime(2023, 1, 1), datetime(2024, 5, 9)], dtype=pl.Datetime("us")), calendar)  # noqa: DTZ001

    assert [calendar.key_of(start) for start in found] == ["2024-03", "2024-03", "2024-05"]


def test_local_times_that_come_twice_are_the_first_and_skipped_ones_are_none() -> None:
    local = pl.Series([datetime(2024, 11, 3, 1, 30), datetime(2024, 3, 10, 2, 30)])  # noqa: DTZ001

    assert in_utc(local, "America/Los_Angeles").to_list() == [datetime(2024, 11, 3, 8, 30), None]  # noqa: DTZ001


@pytest.mark.parametrize(("grain", "start", "key"), [("block", "block-000001", "block-000003"), ("none", "all", "all")])
def test_partitions_without_time_have_keys_and_places(grain: str, start: str, key: str) -> None:
    calendar = Calendar(grain, start, rows=10)  # type: ignore[arg-type]
    place = calendar.step(calendar.start_of(start), 2 if grain == "block" else 0)

    assert calendar.key_of(place) == key
    assert calendar.start_of(key) == place
    assert calendar.step(place, 1) - place == timedelta(days=1)


@pytest.mark.parametrize("wrong", ["block-0", "block-", "block-1", "all", "2024-01"])
def test_a_text_that_is_no_block_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is no key of a block: keys look like 'block-000001'"):
        Calendar("block", "block-000001", rows=10).start_of(wrong)


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Europe/Berlim"):
        Calendar("day", "2024-01-01", "Europe/Berlim").start_of("2024-01-01")


@pytest.mark.parametrize(
    ("grain", "zone", "key"),
    [
        ("block", "UTC", "block-99999999999"),
        ("block", "UTC", "block-" + "9" * 5000),
        ("month", "Europe/Berlin", "0001-01"),
        ("month", "UTC", "9999-12"),
        ("week", "UTC", "9999-12-27"),
        ("day", "America/New_York", "9999-12-31"),
        ("hour", "UTC", "9999-12-31-23:00"),
        ("hour", "UTC", "9999-12-31-23:00-1400"),
    ],
)
def test_a_key_at_the_end_of_the_years_is_none(grain: Grain, zone: str, key: str) -> None:
    start = (
        "block-000001"
        if grain == "block"
        else {"month": "2024-01", "hour": "2024-01-01-00:00"}.get(grain, "2024-01-01")
    )
    with pytest.raises(ValueError, match=f"is no key of a {grain}: keys look like '{start}'") as refused:
        Calendar(grain, start, zone).start_of(key)
    assert len(str(refused.value)) < 200
