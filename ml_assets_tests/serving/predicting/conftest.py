"""A small market with a champion, and the application over it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))  # where the small market is

from small_market import PREPARING, Market, open_market, sales
from small_service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

MONTHS = ("2024-01", "2024-02", "2024-03")


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market whose version 1 serves. Tests only read it."""
    market = open_market(tmp_path_factory.mktemp("town"))
    for month in MONTHS:
        market.write(month, sales(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    market.retrain()
    return market


@pytest.fixture(scope="session")
def service(town: Market) -> Iterator[Service]:
    """The application over the market, asked without a server in between."""
    with town.settings():
        yield Service(town.project)
