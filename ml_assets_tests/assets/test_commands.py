"""Commands of a project whose partition goes without saying, and of one whose rows are to be looked at."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import pytest
from small_market import COLUMNS, NAME, Market, open_market, sales
from typer.testing import CliRunner

from ml_assets import cli, projects
from ml_assets.lake.resource import shared_lake
from ml_assets.registry.explorations import read_exploration

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_TIME = "SELECT _partition, _source, _row, town, area, price FROM validated"


def ask(market: Market, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(projects, "load_project", lambda _: market.project)
    shared_lake.cache_clear()
    with market.settings():
        done = CliRunner().invoke(cli.app, list(words))
    shared_lake.cache_clear()
    return done


def test_a_project_without_time_is_refreshed_without_naming_its_partition_and_explored_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = {"grain": "none", "start": "", "time": ""}
    source = {"files": "sales/all.csv"}
    market = open_market(tmp_path, features=WITHOUT_TIME, source=source, partitions=partitions, training={"window": 1})
    with (tmp_path / "data" / "sales" / "all.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(sales("2024-01"))

    done = ask(market, monkeypatch, "refresh", NAME)
    assert f"{NAME}, all: run " in done.output, done.exception

    explored = ask(market, monkeypatch, "explore", NAME)
    assert f"/projects/{NAME}/exploration" in explored.output, explored.exception
    with market.settings():
        assert read_exploration(NAME) is not None


def test_a_project_with_time_is_asked_which_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ask(open_market(tmp_path), monkeypatch, "refresh", NAME)
    assert done.exit_code == 1
    assert "which partition of flats? Name one by its key, such as 2024-01" in str(done.exception)
