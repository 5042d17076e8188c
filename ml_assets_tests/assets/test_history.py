"""What a person is told of a backfill and of a retraining."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_market import NAME, entry, open_market, sales

from ml_assets.assets.promotion import chance
from ml_assets.errors import RunFailedError
from ml_assets.history import accounted, backfill, differences
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


def test_what_was_not_measured_is_not_called_zero() -> None:
    before = {"raw rows": 10.0, "mape": 0.175, "version": 1.0}
    after = {"raw rows": 12.0, "predictions rows": 12.0, "mape": 0.108, "version": 2.0, "r2": 0.98}
    assert differences(before, after) == [
        "raw rows 10 → 12",
        "mape 0.175 → 0.108",
        "scored by version 2 now, by version 1 before",
        "predictions rows 0 → 12",
        "r2 0.98, not measured before",
    ]
    assert differences({"r2": 0.98, "version": 1.0}, {}) == [
        "r2 not measured now, 0.98 before",
        "scored by no version now, by version 1 before",
    ]
    assert differences({}, {"version": 1.0}) == ["scored by version 1 now"]
    assert differences(after, after) == []


def test_the_rows_of_a_backfill_are_accounted_for(tmp_path: Path) -> None:
    project = open_market(tmp_path).project
    one = {"raw rows": 1500.0, "validated rows": 1480.0, "quarantine rows": 15.0}
    assert accounted(project, {"2024-01": one, "2024-02": {}}) == (
        "1,500 rows: 1,480 validated, 15 in quarantine, 5 duplicates; why: `ml-assets quarantine show flats`"
    )
    assert accounted(project, {}) == "0 rows: 0 validated, 0 in quarantine"
