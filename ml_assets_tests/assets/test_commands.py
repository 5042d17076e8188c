"""Commands of a project whose partition goes without saying, and of one whose rows are to be looked at."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import pytest
from small_market import COLUMNS, JUDGING, NAME, PREPARING, Market, open_market, sales
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


def test_a_refresh_tells_of_bad_rows_of_what_has_moved_and_of_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = open_market(tmp_path, retraining={"policy": "periodic", "every": 1, "cooldown": 0})
    months = [f"2024-{month:02}" for month in range(1, 10)]
    for month in months[:-1]:
        market.write(month, sales(month))
    market.materialize(PREPARING, months[0], months[-2])
    market.retrain(through="2024-03")
    market.materialize(JUDGING, months[0], months[-2])
    moved = [{**row, "area": str(2 * int(row["area"]))} for row in sales(months[-1])]
    market.write(months[-1], [*moved[:-1], {**moved[-1], "area": "wide"}])

    done = ask(market, monkeypatch, "refresh", NAME, months[-1])
    assert done.exception is None, done.exception
    told = done.output
    assert "  60 rows: 59 validated, 1 in quarantine; why: `ml-assets quarantine show flats`\n" in told
    assert "  in quarantine: area__cast 1\n" in told
    (alarm,) = [line for line in told.splitlines() if line.startswith("  drift in area: ")]
    assert "of a typical error, which is harmful; " in alarm
    assert "\nretrain: " in told
    assert told.endswith(
        "  the daemon of `ml-assets up` trains a challenger; where it does not run: `ml-assets retrain flats`\n"
    )
    told = ask(market, monkeypatch, "refresh", NAME, months[-1]).output
    assert told.endswith("  recorded only, for the partition was decided before: nothing starts\n")
