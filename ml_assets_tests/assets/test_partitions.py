"""Partitions of every kind through the graph, from sources whose files know nothing of partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_market import COLUMNS, JUDGING, NAME, PREPARING, counts, open_market, sales

from ml_assets.assets.common import blocks_name, register_blocks
from ml_assets.assets.source import held_by_source, to_be_read, touched
from ml_assets.history import catch_up

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = {"grain": "block", "start": "", "time": "", "rows": 25}
WITHOUT_TIME = "SELECT _partition, _source, _row, town, area, price FROM validated"
LOCAL = """SELECT month, contract, town, area, price, _partition, _source, _row FROM raw"""


def test_a_file_of_many_months_is_cut_by_its_time_column(tmp_path: Path) -> None:
    market = open_market(tmp_path, source={"files": "sales/all.csv", "time": "month || '-01'"})
    late = [{**row, "nr": f"1{row['nr']}"} for row in sales("2023-12", rows=2)]
    unreadable = [{**sales("2024-01", rows=1)[0], "month": "January", "contract": "x"}]
    market.write("all", [*sales("2024-02", rows=40), *late, *sales("2024-01", rows=30), *unreadable])

    market.materialize(PREPARING, "2024-01", "2024-02")

    assert counts(market, "raw") == {"2024-01": 33, "2024-02": 40}
    assert counts(market, "validated") == {"2024-01": 30, "2024-02": 40}
    reasons = market.table("quarantine", "2024-01").explode("_reasons").unnest("_reasons")
    assert sorted(reasons.select("month", "check").iter_rows()) == [
        ("2023-12", "rows__in_partition"),
        ("2023-12", "rows__in_partition"),
        ("January", "month__cast"),
    ]


def test_one_partition_of_a_file_of_many_is_read_alone(tmp_path: Path) -> None:
    market = open_market(tmp_path, source={"files": "sales/all.csv", "time": "month || '-01'"})
    market.write("all", [*sales("2024-01", rows=30), *sales("2024-02", rows=40)])

    market.materialize(("raw",), "2024-02")

    assert counts(market, "raw") == {"2024-02": 40}
    assert sorted(market.table("raw")["_row"]) == list(range(31, 71))


def test_days_begin_at_midnight_of_their_zone(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        clean=LOCAL,
        schema="timed_flat_schema:Flat",
        source={"files": "sales/all.csv"},
        partitions={"grain": "day", "start": "2024-11-02", "time": "month", "timezone": "America/Los_Angeles"},
    )
    moments = {
        "2024-11-02T23:59:59": "2024-11-02",
        "2024-11-03T00:30:00": "2024-11-03",
        # Clocks go back at two: the hour from one comes twice.
        "2024-11-03T01:30:00": "2024-11-03",
        "2024-11-03T23:59:59": "2024-11-03",
        "2024-11-04T00:00:00": "2024-11-04",
        # With an offset it is that moment, whatever the zone: half past four in the afternoon of the third.
        "2024-11-04T00:30:00Z": "2024-11-03",
    }
    rows = sales("2024-11", rows=len(moments))
    market.write("all", [{**row, "month": moment} for row, moment in zip(rows, moments, strict=True)])

    market.materialize(PREPARING, "2024-11-02", "2024-11-04")

    assert counts(market, "validated") == {"2024-11-02": 1, "2024-11-03": 4, "2024-11-04": 1}
    window = market.project.window("2024-11-03", "2024-11-03")
    assert (window.end - window.start).total_seconds() == 25 * 60 * 60


def test_a_local_time_that_never_was_is_quarantined(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        clean=LOCAL,
        source={"files": "sales/all.csv"},
        partitions={"grain": "hour", "start": "2024-03-10-00:00", "time": "month", "timezone": "America/Los_Angeles"},
    )
    moments = ["2024-03-10T00:10:00", "2024-03-10T01:10:00", "2024-03-10T02:10:00", "2024-03-10T03:10:00"]
    rows = sales("2024-03", rows=len(moments))
    market.write("all", [{**row, "month": moment} for row, moment in zip(rows, moments, strict=True)])

    market.project.start_of("2024-03-10-03:00")
    with pytest.raises(ValueError, match="is no key of a hour"):
        market.project.start_of("2024-03-10-02:00")
    market.materialize(("raw",), "2024-03-10-00:00", "2024-03-10-03:00")

    assert counts(market, "raw") == {"2024-03-10-00:00": 2, "2024-03-10-01:00": 1, "2024-03-10-03:00": 1}


def test_rows_without_time_are_cut_in_blocks_and_a_model_is_trained_on_the_older(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        features=WITHOUT_TIME,
        source={"files": "sales/all.csv"},
        partitions=BLOCKS,
        retraining={"cooldown": 0},
    )
    market.write("all", sales("2024-01", rows=90))
    with market.settings():
        keys = [market.project.key_of(start) for start in held_by_source(market.project, market.lake)]
    assert keys == ["block-000001", "block-000002", "block-000003", "block-000004"]
    market.instance.add_dynamic_partitions(blocks_name(market.project), keys)

    market.materialize(PREPARING, keys[0], keys[2])
    market.retrain()
    market.refresh(keys[3])

    assert counts(market, "validated") == dict(zip(keys, (25, 25, 25, 15), strict=True))
    assert market.registry.newest(NAME, "").training_set.train == ("block-000002",)
    assert market.decision(keys[3]).standing == "live"


def test_only_touched_partitions_are_materialized_again_and_what_changed_is_told(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    months = ("2024-01", "2024-02", "2024-03", "2024-04")
    for month in months:
        market.write(month, sales(month))
    market.materialize(PREPARING, months[0], months[-1])
    market.retrain(through="2024-02")
    market.materialize(JUDGING, months[0], months[-1])
    runs = {month: market.event("raw", month) for month in months}

    late = [{**row, "nr": "9", "contract": f"late/{row['nr']}"} for row in sales("2024-02", rows=37)]
    market.write("2024-02", [*late, *sales("2024-02")])
    corrected = sales("2024-04")
    corrected[7]["price"] = "1"
    market.write("2024-04", corrected)
    said: list[str] = []
    with market.settings():
        found = touched(market.project, market.lake)
        catch_up(market.instance, market.defs, market.book(), market.project, changes=found, say=said.append)

    assert list(map(str, found)) == ["2024-02: 60 rows, now 97", "2024-04: 60 rows, some of them corrected"]
    changed = {month for month in months if market.event("raw", month) != runs[month]}
    assert changed == {"2024-02", "2024-04"}
    assert "  2024-02: raw rows 60 → 97" in said
    assert any(line.startswith("  2024-04: mape ") for line in said)
    assert not [line for line in said if "2024-01:" in line or "2024-03:" in line]
    with market.settings():
        assert touched(market.project, market.lake) == []


def test_the_order_of_rows_and_their_place_are_no_change(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    market.write("2024-01", sales("2024-01"))
    market.materialize(PREPARING, "2024-01")
    market.write("2024-01", sales("2024-01")[::-1], columns=COLUMNS[::-1])

    with market.settings():
        assert touched(market.project, market.lake) == []


def test_rows_that_a_file_of_many_lost_are_gone_after_catching_up(tmp_path: Path) -> None:
    market = open_market(tmp_path, features=WITHOUT_TIME, source={"files": "sales/all.csv"}, partitions=BLOCKS)
    rows = sales("2024-01", rows=75)
    market.write("all", rows)
    keys = ["block-000001", "block-000002", "block-000003"]
    market.instance.add_dynamic_partitions(blocks_name(market.project), keys)
    market.materialize(PREPARING, keys[0], keys[-1])
    market.retrain()
    market.write("all", rows[25:])

    with market.settings():
        found = to_be_read(market.project, touched(market.project, market.lake))
        catch_up(market.instance, market.defs, market.book(), market.project, changes=found, say=lambda _: None)
        assert touched(market.project, market.lake) == []
    assert counts(market, "features") == {keys[0]: 25, keys[1]: 25}


def test_padded_headers_are_no_change(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    market.write("2024-01", sales("2024-01"))
    padded = market.file("2024-01").read_text().replace("month,town", " month , town ", 1)
    market.file("2024-01").write_text(padded)
    market.materialize(PREPARING, "2024-01")

    with market.settings():
        assert touched(market.project, market.lake) == []


def test_blocks_are_known_in_their_order_whichever_is_asked_for_first(tmp_path: Path) -> None:
    market = open_market(tmp_path, features=WITHOUT_TIME, source={"files": "sales/all.csv"}, partitions=BLOCKS)
    market.write("all", sales("2024-01", rows=75))
    register_blocks(market.instance, market.project, ["block-000002"])
    register_blocks(market.instance, market.project, ["block-000001", "block-000003"])

    market.materialize(("raw",), "block-000001", "block-000003")

    assert counts(market, "raw") == {"block-000001": 25, "block-000002": 25, "block-000003": 25}
    assert market.instance.get_dynamic_partitions(blocks_name(market.project)) == [
        "block-000001", "block-000002", "block-000003"
    ]  # fmt: skip


def test_a_time_with_an_offset_is_that_moment_also_in_an_hour_that_comes_twice(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        clean=LOCAL,
        source={"files": "sales/all.csv"},
        partitions={"grain": "hour", "start": "2024-11-03-00:00", "time": "month", "timezone": "America/New_York"},
    )
    texts = ["2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00", "2024-11-03T06:30:00Z", "2024-11-03T01:30:00"]
    rows = sales("2024-11", rows=len(texts))
    market.write("all", [{**row, "month": text} for row, text in zip(rows, texts, strict=True)])

    market.materialize(("raw",), "2024-11-03-00:00", "2024-11-03-02:00")

    assert counts(market, "raw") == {"2024-11-03-01:00": 2, "2024-11-03-01:00-0500": 2}
