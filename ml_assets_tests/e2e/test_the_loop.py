"""The main job on a short range: history, training, refreshes, a decision, a retraining that the sensor launches."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from playing import DEMO, run

from ml_assets.lake.connection import Lake
from ml_assets.registry.ledger import Ledger, stages
from ml_assets.registry.models import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def instance_of(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(home / "dagster"))


def test_a_decision_is_acted_on_by_the_sensor_and_a_better_champion_is_promoted(played: tuple[Path, str]) -> None:
    home, printed = played
    entries = Ledger(Lake(home / "lake")).entries("house_prices")
    asked = {entry.id for entry in entries if entry.standing == "live" and entry.action == "retrain"}
    promoted = [entry for entry in entries if entry.kind == "promoted" and entry.facts["decision"] in asked]
    assert promoted
    comparison = promoted[-1].facts["comparison"]
    assert comparison["challenger"] < comparison["champion"]
    assert stages(entries)[promoted[-1].version] == "champion"
    run_record = instance_of(home).get_run_by_id(promoted[-1].run_id)
    assert run_record is not None
    assert run_record.tags["dagster/sensor_name"] == "house_prices_retraining"
    assert "launched by sensor house_prices_retraining" in printed


def test_each_decision_that_asks_for_it_has_exactly_one_retraining(played: tuple[Path, str]) -> None:
    home, _ = played
    asked = [
        entry.id
        for entry in Ledger(Lake(home / "lake")).entries("house_prices", "decision")
        if entry.standing == "live" and entry.action == "retrain"
    ]
    runs = instance_of(home).get_runs(dg.RunsFilter(job_name="house_prices_retrain"))
    launched = sorted(int(one.tags["ml_assets/decision"]) for one in runs if "ml_assets/decision" in one.tags)
    assert launched == sorted(asked)


def test_a_range_is_one_run_and_decisions_of_a_history_launch_nothing(played: tuple[Path, str]) -> None:
    home, _ = played
    history = [
        entry
        for entry in Ledger(Lake(home / "lake")).entries("house_prices", "decision")
        if entry.partition <= "2020-12"
    ]
    assert len(history) == 24
    assert {entry.standing for entry in history} == {"backfill"}
    assert len({entry.run_id for entry in history}) == 1


def test_the_same_command_again_repeats_nothing(played: tuple[Path, str], data: Path) -> None:
    home, first = played
    versions = Registry(home / "registry").numbers("house_prices")
    entries = len(Ledger(Lake(home / "lake")).entries("house_prices"))
    again = run(DEMO, home, data)
    assert Registry(home / "registry").numbers("house_prices") == versions
    assert len(Ledger(Lake(home / "lake")).entries("house_prices")) == entries
    rows = [line for line in first.splitlines() if line.startswith("2021-")]
    assert [line for line in again.splitlines() if line.startswith("2021-")] == rows


def test_every_version_that_was_made_can_be_made_again(played: tuple[Path, str], data: Path) -> None:
    home, _ = played
    versions = Registry(home / "registry").numbers("house_prices")
    code = "from ml_assets.cli import app; app(['rebuild', 'house_prices'])"
    said = run(code, home, data)
    assert said.count("every bit is the same") == len(versions) > 1
