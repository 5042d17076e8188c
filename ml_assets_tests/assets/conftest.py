from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from small_market import JUDGING, PREPARING, Market, open_market, sales

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHIFTED = ("2024-07", "2024-08", "2024-09", "2024-10")


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """A market with files for three months, and nothing materialized."""
    made = open_market(tmp_path)
    for month in ("2024-01", "2024-02", "2024-03"):
        made.write(month, sales(month))
    return made


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """One market for all tests that touch no other months than those of their own: opening a lake takes a second."""
    return open_market(tmp_path_factory.mktemp("shared"), partitions={"start": "2019-01"})


@pytest.fixture(scope="session")
def calendar() -> Iterator[str]:
    return (f"{year}-{month:02}" for year in range(2019, 2025) for month in range(1, 13))


@pytest.fixture
def month(calendar: Iterator[str]) -> str:
    """A month of the shared market that no other test has."""
    return next(calendar)


@pytest.fixture
def months(calendar: Iterator[str]) -> list[str]:
    """Three months of the shared market, one after the other, that no other test has."""
    return [next(calendar) for _ in range(3)]


@dataclass(frozen=True)
class Story:
    """A market that has been played; tests only read it.

    Five months are filled as a range and version 1 is trained on April and judged on May. From July on all prices have
    doubled: July asks for version 2, which cannot know better yet (trained on June) and fails the gates; August waits;
    September asks for version 3, trained on August, which takes over in October. Then July is decided again, and old
    predictions are made again.
    """

    market: Market
    predictions_of_july: object
    snapshot_of_july: int


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    market = open_market(tmp_path_factory.mktemp("story"))
    for number in range(1, 11):
        month = f"2024-{number:02}"
        market.write(month, sales(month, level=2 if month in SHIFTED else 1))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain()
    market.materialize(JUDGING, "2024-01", "2024-05")
    market.refresh("2024-06")
    market.refresh("2024-07")
    market.retrain(through="2024-07", decision=market.asked("2024-07"))
    market.refresh("2024-08")
    market.refresh("2024-09")
    market.retrain(through="2024-09", decision=market.asked("2024-09"))
    market.refresh("2024-10")
    july, snapshot = market.table("predictions", "2024-07"), market.metadata("predictions", "2024-07")["snapshot"]
    market.refresh("2024-07")
    return Story(market, july, snapshot)
