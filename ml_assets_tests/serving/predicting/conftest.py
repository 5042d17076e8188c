"""A small market with a champion, and the application over it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))  # where the small market is

from small_market import Market, open_market
from small_service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

# A column of every kind and limit, on clocks that are not UTC.
EVERY_KIND = """\
SELECT
    0 AS whole, 1 AS small, CAST(area AS DOUBLE) / 200 AS share, trim(town) AS town,
    'abc' AS other, 'A1' AS code, true AS known,
    month || '-01' AS day, month || '-01T05:00:00' AS at, month || '-01T05:00:00.5' AS moment, 2 AS even, price,
    _partition, _source, _row
FROM raw
"""
OF_EVERY_KIND = """\
SELECT
    _partition, _source, _row, day, town, share, small, even, hour(moment) AS o_clock, hour("at") AS shown, known, price
FROM validated
"""
MONTHS = ("2024-01", "2024-02", "2024-03")


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market whose version 1 serves. Tests only read it."""
    market = open_market(tmp_path_factory.mktemp("town"))
    market.found(MONTHS)
    return market


# Not for the whole session: the market's settings would be those of all tests that come later.
@pytest.fixture(scope="module")
def service(town: Market) -> Iterator[Service]:
    """The application over the market, asked without a server in between."""
    with town.settings():
        yield Service(town.project)


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market with a column of every kind and limit, in Singapore. Tests only add requests."""
    market = open_market(
        tmp_path_factory.mktemp("kinds"), clean=EVERY_KIND, features=OF_EVERY_KIND,
        schema="every_limit_schema:EveryLimit", partitions={"timezone": "Asia/Singapore", "time": "day"},
    )  # fmt: skip
    market.found(MONTHS)
    return market


@pytest.fixture(scope="module")
def every_kind(kinds: Market) -> Iterator[Service]:
    """The application over the market with every kind."""
    with kinds.settings():
        yield Service(kinds.project)
