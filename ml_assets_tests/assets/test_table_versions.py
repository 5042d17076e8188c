"""What a materialization says about the table it wrote, and that the version it names holds exactly that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import pytest
from small_market import JUDGED, NAME, PREPARING, Market, open_market, sales

if TYPE_CHECKING:
    from conftest import Story

PARTITIONED = (*PREPARING, "predictions", "drift", "performance")


def lineage(market: Market, name: str, month: str) -> dict[str, set[tuple[str, str]]]:
    found = market.metadata(name, month)["dagster/column_lineage"].deps_by_column
    return {
        column: {(dep.asset_key.path[1], dep.column_name) for dep in deps}
        for column, deps in found.items()
        if not column.startswith("_")
    }


def test_column_lineage_leads_from_the_prediction_back_to_the_file(story: Story) -> None:
    market = story.market

    assert lineage(market, "validated", "2024-10") == {
        name: {("raw", name)} for name in ("month", "contract", "town", "area", "price")
    }
    assert lineage(market, "quarantine", "2024-10") == {
        name: {("raw", name)} for name in ("nr", "contract", "month", "town", "area", "price")
    }
    assert lineage(market, "features", "2024-10") == {
        name: {("validated", name)} for name in ("month", "town", "area", "price")
    }
    assert lineage(market, "predictions", "2024-10") == {"prediction": {("features", "town"), ("features", "area")}}
    assert lineage(market, "performance", "2024-10")["value"] == {("predictions", "prediction"), ("features", "price")}


@pytest.mark.parametrize("name", PARTITIONED)
def test_every_table_reports_its_columns_and_the_rows_of_each_partition(story: Story, name: str) -> None:
    metadata = story.market.metadata(name, "2024-10")
    rows = story.market.table(name, "2024-10").height

    columns = {column.name: column.type for column in metadata["dagster/column_schema"].columns}
    assert columns == story.market.columns(name)
    assert metadata["dagster/partition_row_count"] == rows
    assert rows > 0 or name == "quarantine"


@pytest.mark.parametrize("name", PARTITIONED)
def test_the_data_version_is_the_snapshot_that_holds_the_rows(story: Story, name: str) -> None:
    event = story.market.event(name, "2024-10")
    assert event is not None
    snapshot = event.metadata["snapshot"].value

    assert event.tags is not None
    assert event.tags["dagster/data_version"] == str(snapshot)
    now, then = (story.market.table(name, "2024-10", version) for version in (None, snapshot))
    assert then.equals(now)
    before = story.market.table(name, "2024-10", snapshot - 1)
    assert before.height == 0 or name == "quarantine"


def test_both_tables_of_one_write_have_one_snapshot(story: Story) -> None:
    of = [story.market.metadata(name, "2024-10")["snapshot"] for name in ("validated", "quarantine")]

    assert of[0] == of[1]


def test_an_old_version_reads_what_was_written_then_also_after_later_writes(shared: Market, months: list[str]) -> None:
    month, other, _ = months
    written = []
    for level in (1.0, 2.0, 3.0):
        shared.write(month, sales(month, level=level, rows=int(20 * level)))
        shared.materialize(["raw"], month)
        written.append((shared.metadata("raw", month)["snapshot"], shared.table("raw", month)))
    shared.write(other, sales(other))
    shared.materialize(["raw"], other)

    assert [rows.height for _, rows in written] == [20, 40, 60]
    for snapshot, rows in written:
        assert shared.table("raw", month, snapshot).equals(rows)


def test_a_range_has_one_data_version(shared: Market, months: list[str]) -> None:
    for month in months:
        shared.write(month, sales(month, rows=20))
    shared.materialize(["raw"], months[0], months[2])

    events = [shared.event("raw", month) for month in months]
    versions = {event.tags["dagster/data_version"] for event in events if event and event.tags}
    assert versions == {str(shared.metadata("raw", months[0])["snapshot"])}
    assert [event.metadata["dagster/partition_row_count"].value for event in events if event] == [20, 20, 20]


def test_simulated_data_says_so_on_every_materialization(tmp_path_factory: pytest.TempPathFactory) -> None:
    market = open_market(tmp_path_factory.mktemp("simulated"))
    market.write("2024-01", sales("2024-01"))
    (market.file("2024-01").parent / "ORIGIN.json").write_text('{"origin": "simulated", "seed": 7, "files": {}}')
    market.materialize(JUDGED, "2024-01")

    assert all("SIMULATED DATA" in market.metadata(name, "2024-01")["data_origin"] for name in JUDGED)


def test_real_data_says_nothing_of_the_kind(story: Story) -> None:
    assert "data_origin" not in story.market.metadata("raw", "2024-10")


def test_every_table_of_the_lake_belongs_to_an_asset_or_is_known_beside_it(story: Story) -> None:
    beside = {
        "bins", "causes", "features_code", "label_looks", "partitioning", "prediction_profile", "raw_sources",
        "validated_code",
    }  # fmt: skip
    assert story.market.tables() == {*PARTITIONED, *beside}
    assert dg.AssetKey([NAME, "bins"]) not in story.market.defs.resolve_asset_graph().get_all_asset_keys()
