"""New, late and corrected rows are found by a job that the schedule asks for, and each is refreshed once."""

from __future__ import annotations

import csv
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from small_market import COLUMNS, NAME, PREPARING, Market, open_market, sales

from ml_assets.assets.common import blocks_name
from ml_assets.assets.source import touched
from ml_assets.automation.arrivals import due_parts, late, new
from ml_assets.registry.alerts import read_alerts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BLOCKS = {"grain": "block", "start": "", "time": "", "rows": 25}
WITHOUT_TIME = "SELECT _partition, _source, _row, town, area, price FROM validated"
ALL = {"files": "sales/all.csv", "time": "month || '-01'"}
LOOK = f"{NAME}_look"


def write_one(market: Market, rows: Sequence[Mapping[str, str]]) -> None:
    """All rows in one file."""
    with (market.folder / "data" / "sales" / "all.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def decide(market: Market, *months: str) -> None:
    for month in months:
        market.instance.report_runless_asset_event(dg.AssetMaterialization([NAME, "decision"], partition=month))


def asked_after(market: Market, run_id: str) -> list[dg.RunRequest]:
    """What the sensor asks for after a run of the look."""
    arrivals = next(sensor for sensor in market.defs.sensors or () if sensor.name == f"{NAME}_arrivals")
    run = market.instance.get_run_by_id(run_id)
    event = market.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_SUCCESS)[0].dagster_event
    asked = arrivals(dg.build_run_status_sensor_context("arrivals", event, market.instance, run))
    return asked if isinstance(asked, list) else []


def observed(market: Market, run_id: str) -> list[dict[str, object]]:
    """What a run of the look has left at `raw`, in its order."""
    events = market.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    seen = [entry.get_dagster_event().asset_observation_data.asset_observation for entry in events]
    assert {one.asset_key for one in seen} <= {market.key("raw")}
    return [{name: value.value for name, value in one.metadata.items()} for one in seen]


def looked(market: Market) -> tuple[list[str], list[dict[str, object]]]:
    """Which partitions a look has refreshed, and what it has observed."""
    run = market.run_job(LOOK)
    asked = asked_after(market, run)
    assert len({request.run_key for request in asked}) == len(asked)
    return [str(request.partition_key) for request in asked], observed(market, run)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Three months of files, and nothing of them in the lake."""
    market = open_market(tmp_path_factory.mktemp("three"))
    for month in ("2024-01", "2024-02", "2024-03"):
        market.write(month, sales(month, rows=1))
    return market


def test_a_tick_reads_nothing_and_asks_for_the_look(tmp_path: Path) -> None:
    market = open_market(tmp_path, source={"files": "", "function": "nothing.of:the_kind"})
    (schedule,) = (one for one in market.defs.schedules or () if one.job_name == LOOK)
    now = datetime.fromisoformat("2024-05-01T06:00:00+00:00")

    ticked = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=now))

    assert len(ticked.run_requests or ()) == 1


@pytest.mark.parametrize(
    ("decided", "day", "outcome"),
    [
        ([], "2024-01-31", []),
        ([], "2024-02-01", ["2024-01"]),
        ([], "2024-04-01", ["2024-03"]),
        (["2024-01"], "2024-02-01", []),
        (["2024-01"], "2024-04-01", ["2024-02", "2024-03"]),
        (["2024-01", "2024-02", "2024-03"], "2024-05-17", []),
    ],
)
def test_new_is_what_has_ended_and_has_its_file_and_is_not_there(
    three: Market, decided: list[str], day: str, outcome: list[str]
) -> None:
    with three.settings():
        found = new(three.project, three.lake, decided, datetime.fromisoformat(day))

    assert [one.key for one in found] == outcome


def test_new_and_late_months_are_observed_with_their_numbers_and_each_is_refreshed_once(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    for month in ("2024-01", "2024-02", "2024-03"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-02")
    decide(market, "2024-01", "2024-02")
    market.write("2024-02", sales("2024-02", rows=97))

    run = market.run_job(LOOK)

    assert observed(market, run) == [
        {"found": "2024-02: 60 rows, now 97", "rows_in_lake": 60, "rows_in_source": 97},
        {"found": "2024-03: new"},
    ]
    asked, again = asked_after(market, run), asked_after(market, run)
    assert [request.partition_key for request in asked] == ["2024-02", "2024-03"]
    # Dagster launches a run key once: a sensor that is killed and asks again changes nothing.
    assert [one.run_key for one in asked] == [one.run_key for one in again]
    for request in asked:
        market.refresh(str(request.partition_key))
    assert market.decision("2024-03").standing == "live"
    assert looked(market) == ([], [])


def test_a_source_that_cannot_be_compared_holds_up_nothing_new_and_is_an_alert(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01")
    decide(market, "2024-01")
    market.file("2024-01").write_bytes(b"")

    keys, _ = looked(market)

    assert keys == ["2024-02"]
    with market.settings():
        (alert,) = read_alerts(NAME)
    assert alert.job == LOOK
    assert "late rows were not looked for: " in alert.message
    assert "2024-01.csv" in alert.message


def test_a_block_that_grew_and_a_new_one_are_asked_for(tmp_path: Path) -> None:
    market = open_market(tmp_path, features=WITHOUT_TIME, source={"files": "sales/all.csv"}, partitions=BLOCKS)
    write_one(market, sales("2024-01", rows=40))
    market.instance.add_dynamic_partitions(blocks_name(market.project), ["block-000001", "block-000002"])
    market.materialize(("raw",), "block-000001", "block-000002")
    write_one(market, sales("2024-01", rows=60))

    keys, seen = looked(market)

    assert keys == ["block-000002", "block-000003"]
    assert [one["found"] for one in seen] == ["block-000002: 15 rows, now 25", "block-000003: new, 10 rows"]
    there = market.instance.get_dynamic_partitions(blocks_name(market.project))
    assert there == ["block-000001", "block-000002", "block-000003"]


def test_of_a_file_that_ends_long_ago_no_partition_after_its_rows_is_new(tmp_path: Path) -> None:
    market = open_market(tmp_path, source=ALL)
    write_one(market, sales("2024-01"))
    now = datetime.fromisoformat("2034-05-01T06:00")

    with market.settings():
        assert new(market.project, market.lake, [], now) == []
        write_one(market, [*sales("2024-01"), *sales("2034-04")])
        assert list(map(str, new(market.project, market.lake, [], now))) == ["2034-04: new, 60 rows"]


def test_blocks_whose_file_is_not_there_are_not_asked_for(tmp_path: Path) -> None:
    market = open_market(tmp_path, features=WITHOUT_TIME, source={"files": "sales/all.csv"}, partitions=BLOCKS)

    with market.settings():
        assert late(market.project, market.lake, []) == []


def test_a_row_without_a_readable_time_that_comes_later_is_found(tmp_path: Path) -> None:
    market = open_market(tmp_path, source={**ALL, "lookback": 1})
    rows = [*sales("2024-01", rows=30), *sales("2024-02", rows=30), *sales("2024-03", rows=30)]
    write_one(market, rows)
    market.materialize(PREPARING, "2024-01", "2024-03")
    stray = {**sales("2024-03", rows=1)[0], "nr": "77", "contract": "stray", "month": "March"}
    write_one(market, [*rows, stray])

    with market.settings():
        found = late(market.project, market.lake, ["2024-01", "2024-02", "2024-03"])
    assert list(map(str, found)) == ["2024-01: 30 rows, now 31"]


def test_a_month_whose_file_was_archived_stays_and_stops_nothing(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-02")
    market.file("2024-02").unlink()

    with market.settings():
        assert late(market.project, market.lake, ["2024-01", "2024-02"]) == []
        assert list(map(str, touched(market.project, market.lake))) == ["2024-02: 60 rows, gone from the source"]


def test_a_partition_that_failed_before_a_later_one_is_due_again(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    due = due_parts(market.project, market.project.start_of("2024-05"), ["2024-01", "2024-02", "2024-04"])

    assert [part.key for part in due] == ["2024-03", "2024-05"]
