"""What a person is told of a backfill and of a retraining."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_market import NAME, entry, open_market, sales

from ml_assets.assets.promotion import chance
from ml_assets.errors import RunFailedError
from ml_assets.history import backfill
from ml_assets.registry.alerts import read_alerts
from ml_assets.registry.ledger import Ledger, verdict_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_backfill_whose_first_version_misses_its_gates_says_that_there_is_no_champion(tmp_path: Path) -> None:
    market = open_market(tmp_path, gates=[{"metric": "mape", "at_most": 1e-9}])
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    said: list[str] = []
    with market.settings():
        ledger = Ledger(market.lake)
        backfill(market.instance, market.defs, ledger, market.project, first="2024-01", last="2024-02", say=said.append)
    told = next(number for number, line in enumerate(said) if line.startswith("  version 1 rejected: gate mape"))
    assert said[told + 1].startswith("  there is no champion: ")
    assert "Remedy: " in said[told + 1]


def test_the_verdict_told_is_that_of_the_run_and_not_the_ledgers_last() -> None:
    other = replace(entry(4, "", kind="promoted"), run_id="theirs")
    own = replace(entry(3, "", kind="rejected"), run_id="ours")
    decided = replace(entry(2, "2024-01"), run_id="ours")
    assert verdict_of([decided, own, other], "ours") == own
    assert verdict_of([decided, other], "ours") is None


def test_the_alert_of_a_range_names_its_ends_and_its_project(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    market.write("2024-01", sales("2024-01"))
    with market.settings():
        with pytest.raises(RunFailedError, match=r"2024-02\.csv"):
            backfill(
                market.instance, market.defs, Ledger(market.lake), market.project,
                first="2024-01", last="2024-02", say=lambda _: None,
            )  # fmt: skip
        (alert,) = read_alerts(NAME)
    assert alert.partition == "2024-01 … 2024-02"
    assert "sales/2024-02.csv" in alert.message


def test_a_chance_that_underflowed_is_not_told_as_zero() -> None:
    assert chance(0.0) == "p < 1e-300"
    assert chance(0.0123) == "p = 0.012"
