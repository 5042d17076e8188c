"""What Dagster shows as out of date: by the resolver that its UI asks for the status of each partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from small_market import JUDGING, NAME, PREPARING, TRAINING, Market, sales

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conftest import Story


def stale(market: Market, months: Iterable[str]) -> dict[tuple[str, str], set[str]]:
    """Asset and partition → the assets because of which it is out of date; those that were never made are an error."""
    graph = market.defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(market.instance, graph, LoadingContextForTest(market.instance))
    found = {}
    for name, month in [(name, month) for name in (*PREPARING, *JUDGING) for month in months]:
        key = dg.AssetKey([NAME, name])
        status = resolver.get_status(key, month)
        assert status.value != "MISSING", (name, month)
        if status.value == "STALE":
            causes = resolver.get_stale_causes(key, month)
            found[name, month] = {cause.dependency.asset_key.path[1] for cause in causes if cause.dependency}
    return found


def test_a_later_champion_does_not_make_predictions_or_what_is_downstream_stale(story: Story) -> None:
    assert story.market.metadata("champion")["champion"] == 3, "there has been a later champion"

    assert stale(story.market, [f"2024-{number:02}" for number in range(1, 11)]) == {}


def test_nothing_of_the_training_is_stale_after_a_retraining(story: Story) -> None:
    market = story.market
    graph = market.defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(market.instance, graph, LoadingContextForTest(market.instance))

    assert {name: resolver.get_status(dg.AssetKey([NAME, name])).value for name in TRAINING} == dict.fromkeys(
        TRAINING, "FRESH"
    )


def test_what_is_really_out_of_date_is_shown(market: Market) -> None:
    months = ["2024-01", "2024-02", "2024-03"]
    market.materialize((*PREPARING, *JUDGING), months[0], months[2])
    assert stale(market, months) == {}

    market.retrain()
    assert stale(market, months) == {("predictions", month): {"champion"} for month in months}, "they are empty yet"

    market.materialize(JUDGING, months[0], months[2])
    assert stale(market, months) == {}

    market.write("2024-02", sales("2024-02", rows=50))
    market.materialize(["raw", "validated", "quarantine"], "2024-02")
    assert stale(market, months) == {("features", "2024-02"): {"validated"}}
