"""Reference tables: read whole into the lake, and joined by features.sql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from small_market import JUDGED, NAME, PREPARING, Market, RunFailed, open_market, sales

if TYPE_CHECKING:
    from pathlib import Path

MONTH = "2024-01"
TOWNS = "town,distance\nEAST,12.5\nWEST,3\n"
FEATURES = """\
SELECT v._partition, v._source, v._row, v.month, v.town, v.area, TRY_CAST(t.distance AS DOUBLE) AS distance, v.price
FROM validated AS v LEFT JOIN towns AS t USING (town)
"""
REFERENCES: dict[str, Any] = {"towns": {"files": "towns.csv"}}


def with_towns(folder: Path, text: str = TOWNS, **changes: Any) -> Market:
    made = open_market(folder, **{"features": FEATURES, "references": REFERENCES, **changes})
    (folder / "data" / "towns.csv").write_text(text, encoding="utf-8")
    for month in ("2024-01", "2024-02"):
        made.write(month, sales(month))
    return made


def version_of(event: dg.AssetMaterialization | None) -> str:
    assert event is not None
    assert event.tags is not None
    return event.tags["dagster/data_version"]


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return with_towns(tmp_path)


def test_features_are_joined_to_a_reference_in_the_same_run(market: Market) -> None:
    market.materialize(["towns", *PREPARING], "2024-01", "2024-02")

    features = market.table("features")
    assert dict(features.select("town", "distance").unique().iter_rows()) == {"EAST": 12.5, "WEST": 3.0}
    assert features.height == 120
    told = market.metadata("towns")
    assert told["dagster/row_count"] == 2
    assert {one.name: one.type for one in told["dagster/column_schema"].columns} == {
        "town": "VARCHAR", "distance": "VARCHAR", "_source": "VARCHAR", "_row": "BIGINT",
    }  # fmt: skip
    of_distance = market.metadata("features")["dagster/column_lineage"].deps_by_column["distance"]
    assert [(dep.asset_key, dep.column_name) for dep in of_distance] == [(market.key("towns"), "distance")]


def test_a_refresh_reads_its_references_anew(market: Market) -> None:
    market.refresh(MONTH)
    first = market.event("towns")
    market.refresh("2024-02")
    unchanged = market.event("towns")
    (market.folder / "data" / "towns.csv").write_text("town,distance\nEAST,20\n", encoding="utf-8")
    market.refresh(MONTH)

    assert market.table("towns").height == 1
    assert dict(market.table("features", MONTH).select("town", "distance").unique().iter_rows()) == {
        "EAST": 20.0, "WEST": None,
    }  # fmt: skip
    # Features of the past look out of date when the reference has changed, not whenever it was read.
    assert version_of(first) == version_of(unchanged) != version_of(market.event("towns"))


def test_features_without_their_reference_say_what_to_materialize(market: Market) -> None:
    with pytest.raises(RunFailed, match=f"the lake holds no table {NAME}.towns. Remedy: .* asset {NAME}/towns"):
        market.materialize([*JUDGED, "features"], MONTH)


def test_a_reference_with_a_broken_record_is_refused_and_the_old_one_stays(market: Market) -> None:
    market.rerun("towns")
    (market.folder / "data" / "towns.csv").write_text(f"{TOWNS}NORTH,1,2\n", encoding="utf-8")

    with pytest.raises(RunFailed, match=r"reference towns: record 3 of towns.csv: .*nothing was written"):
        market.rerun("towns")
    assert market.table("towns").height == 2


def test_the_declaration_of_a_reference_is_part_of_what_made_a_version(tmp_path: Path) -> None:
    plain, read = open_market(tmp_path).project, with_towns(tmp_path).project
    other = with_towns(tmp_path, references={"towns": {"files": "others.csv"}}).project

    assert len({one.declaration_hash for one in (plain, read, other)}) == 3


@pytest.mark.parametrize(
    ("name", "told"), [("raw", "taken by the project"), ("bins", "taken by the project"), ("Towns", "no name")]
)
def test_a_reference_cannot_have_the_name_of_another_table(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"references.{name}: this is {told}"):
        with_towns(tmp_path, references={name: {"files": "towns.csv"}})


def test_a_reference_has_no_partitions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="strftime codes: a reference has no partitions"):
        with_towns(tmp_path, references={"towns": {"files": "towns/%Y-%m.csv"}})
