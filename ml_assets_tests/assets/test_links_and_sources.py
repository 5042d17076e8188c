"""What leads from Dagster to the pages, and from a row back to the very file that it came from."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import httpx
import pytest
from small_market import JUDGING, NAME, Market, open_market, sales

from ml_assets.serving.app import create_app
from ml_assets.sources.reading import Reading

if TYPE_CHECKING:
    import dagster as dg

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
PAGES = "http://127.0.0.1:3001"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Four months, of which a version was trained."""
    market = open_market(tmp_path_factory.mktemp("linked"))
    market.found(MONTHS)
    market.materialize(JUDGING, MONTHS[0], MONTHS[-1])
    return market


def links_of(market: Market, asset: dg.AssetKey) -> set[str]:
    """Every address in the metadata of an asset: declared, and of its materializations."""
    import dagster as dg

    declared = market.defs.resolve_assets_def(asset).specs_by_key[asset].metadata
    records = market.instance.fetch_materializations(dg.AssetRecordsFilter(asset), limit=50).records
    told = [record.asset_materialization.metadata for record in records if record.asset_materialization]
    return {
        one.url
        for metadata in (declared, *told)
        for one in metadata.values()
        if isinstance(one, dg.UrlMetadataValue) and one.url
    }


def test_every_layer_links_to_a_page_that_answers_and_every_partition_to_its_own(market: Market) -> None:
    graph = market.defs.resolve_asset_graph()
    links = {key.path[1]: links_of(market, key) for key in graph.get_all_asset_keys()}

    assert all(links.values()), "each layer has one"
    for name in ("raw", "validated", "features", "predictions", "drift", "performance", "decision"):
        assert {f"{PAGES}/projects/{NAME}/partitions/{month}" for month in MONTHS} <= links[name], name
    for name in ("model", "champion"):
        assert f"{PAGES}/projects/{NAME}/versions/1/card" in links[name], name
    with market.settings():
        app = create_app({NAME: market.project})

    async def ask() -> dict[str, int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=PAGES, timeout=60) as client:
            return {link: (await client.get(link)).status_code for link in sorted(set().union(*links.values()))}

    assert {link: status for link, status in asyncio.run(ask()).items() if status != 200} == {}


def hash_in_lake(market: Market, month: str) -> list[tuple[str, str]]:
    return market.table("raw_sources", month).select("_source", "sha256").rows()


def test_raw_keeps_the_hash_of_the_file_that_it_was_read_from(market: Market) -> None:
    def on_disk(month: str) -> list[tuple[str, str]]:
        return [(f"sales/{month}.csv", hashlib.sha256(market.file(month).read_bytes()).hexdigest())]

    first, other = hash_in_lake(market, MONTHS[0]), hash_in_lake(market, MONTHS[1])
    assert (first, other) == (on_disk(MONTHS[0]), on_disk(MONTHS[1]))
    market.write(MONTHS[0], sales(MONTHS[0], level=1.1))
    assert hash_in_lake(market, MONTHS[0]) == first, "what was read is not what lies there now"
    market.materialize(["raw"], MONTHS[0])
    assert hash_in_lake(market, MONTHS[0]) == on_disk(MONTHS[0]) != first
    assert hash_in_lake(market, MONTHS[1]) == other


def test_a_hash_is_that_of_the_partition_else_of_the_whole_source_else_unknown() -> None:
    reading = Reading(
        facts={"2024-01": {"source": "orders", "sha256": "one"}, "": {"source": "all", "sha256": "whole"}},
        digests={"a.csv": "file"},
    )
    assert reading.sha256_of("2024-01", "orders") == "one"
    assert reading.sha256_of("2024-02", "orders") is None
    assert reading.sha256_of("2024-02", "all") == "whole"
    assert reading.sha256_of("2024-02", "a.csv") == "file"
    assert reading.sha256_of("2024-02", "other") is None
