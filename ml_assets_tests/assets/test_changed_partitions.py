"""Partitions that are declared otherwise once rows are in the lake are refused before anything is written."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from small_market import COLUMNS, PREPARING, Market, RunFailed, open_market, sales

from ml_assets.assets.common import register_blocks
from ml_assets.assets.partitioning import PartitionsChangedError, refuse_other_partitions
from ml_assets.assets.source import changes
from ml_assets.component import build_definitions
from ml_assets.core.declaration import Declaration
from ml_assets.errors import RunFailedError
from ml_assets.history import backfill
from ml_assets.lake.connection import Commit
from ml_assets.projects import against_the_lake, without_warnings_of_dagster_itself
from ml_assets.reentry import replay
from ml_assets.registry.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = {"files": "sales/all.csv", "time": "month || '-01'"}
MONTHS = ("2024-01", "2024-02", "2024-03")
WITHOUT_TIME = "SELECT _partition, _source, _row, town, area, price FROM validated"
SINGAPORE = {"timezone": "Asia/Singapore"}
# A change of `partitions`, and what is said of it.
CHANGES: list[tuple[dict[str, Any], str]] = [
    (SINGAPORE, "partitions.timezone: 'Asia/Singapore' is declared, and the rows in the lake are cut by 'UTC'"),
    ({"grain": "day", "start": "2024-01-01"}, "partitions.grain: 'day' is declared, and the rows in the lake are cut"),
    ({"start": "2024-02"}, "partitions.start: '2024-02' is declared, and the lake holds rows of 2024-01-01 00:00"),
]  # fmt: skip


def write(market: Market) -> None:
    with (market.folder / "data" / "sales" / "all.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(row for month in MONTHS for row in sales(month))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Market:
    market = open_market(tmp_path_factory.mktemp("filled"), source=SOURCE)
    write(market)
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    return market


def otherwise(market: Market, **partitions: Any) -> Market:
    """The same project with other partitions, in the same home."""
    return replace(open_market(market.folder, source=SOURCE, partitions=partitions), instance=market.instance)


def fill(market: Market, first: str, last: str) -> None:
    with market.settings():
        backfill(
            market.instance,
            market.defs,
            Ledger(market.lake),
            market.project,
            first=first,
            last=last,
            say=lambda _: None,
        )


def state(market: Market) -> tuple[int, list[int]]:
    """The lake's newest snapshot, and the versions that there are."""
    with market.lake.reader() as cursor:
        (snapshot,) = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()[0]
    return snapshot, market.registry.numbers(market.project.name)


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=["zone", "grain", "start"])
def test_every_way_in_refuses_and_nothing_is_written(filled: Market, change: dict[str, Any], said: str) -> None:
    changed = otherwise(filled, **change)
    key, before = changed.project.key_of(changed.project.start_of(changed.project.first)), state(filled)

    with pytest.raises(RunFailedError) as failure:
        fill(changed, key, key)
    assert f"flats: {said}" in str(failure.value)
    with pytest.raises(RunFailed, match="Remedy: declare it as it was"):
        changed.refresh(key)
    with pytest.raises(RunFailed, match="rows would stand twice"):
        changed.retrain()
    with changed.settings():
        with pytest.raises(PartitionsChangedError):
            changes(changed.project, changed.lake)  # `ml-assets catch-up`, and the look
        with pytest.raises(PartitionsChangedError):
            replay(changed.instance, changed.defs, changed.lake, changed.project, rules=True, say=lambda _: None)
        text = "attributes:\n  partitions:\n    grain: month\n    timezone: X\n    start: x\n"
        (mistake,) = against_the_lake(changed.project, Declaration(text, "defs.yaml"))
    assert said in str(mistake)
    field = said.partition(":")[0].removeprefix("partitions.")
    assert f"    {field}:" in text.splitlines()[mistake.line - 1]
    assert state(filled) == before


def test_as_it_was_all_goes_on_and_an_earlier_start_does_no_harm(filled: Market) -> None:
    with filled.settings():
        assert against_the_lake(filled.project, Declaration("", "defs.yaml")) == []
    filled.materialize(PREPARING, MONTHS[-1])
    earlier = otherwise(filled, start="2023-06")
    earlier.materialize(PREPARING, MONTHS[-1])


def test_rows_that_are_older_than_the_note_of_their_partitions_tell_by_where_they_begin(tmp_path: Path) -> None:
    market = open_market(tmp_path, source=SOURCE)
    write(market)
    market.materialize(("raw",), MONTHS[0])
    with market.lake.transaction(Commit("flats", "test")) as transaction:
        transaction.cursor.execute(f"DROP TABLE {market.project.table('partitioning').path}")
    refuse_other_partitions(market.project, market.lake)

    changed = otherwise(market, start="2023-01", **SINGAPORE)
    with pytest.raises(PartitionsChangedError, match="a month of Asia/Singapore never begins at 2024-01-01 00:00:00"):
        refuse_other_partitions(changed.project, changed.lake)


def test_blocks_of_another_size_are_refused(tmp_path: Path) -> None:
    blocks = {"grain": "block", "start": "", "time": "", "rows": 25}
    declared = {"features": WITHOUT_TIME, "source": {"files": "sales/all.csv"}}
    market = open_market(tmp_path, partitions=blocks, **declared)
    write(market)
    register_blocks(market.instance, market.project, ["block-000002"])
    market.materialize(("raw",), "block-000001", "block-000002")

    larger = open_market(tmp_path, partitions={**blocks, "rows": 50}, **declared)
    with pytest.raises(PartitionsChangedError, match=r"partitions.rows: 50 is declared, .* are cut by 25"):
        refuse_other_partitions(larger.project, larger.lake)


def test_the_remedy_works_a_project_of_another_name_is_filled_beside_it(filled: Market) -> None:
    changed = otherwise(filled, **SINGAPORE)
    project = replace(changed.project, name="flats_of_singapore")
    with changed.settings(), without_warnings_of_dagster_itself():
        other = replace(changed, project=project, defs=build_definitions(project))
    fill(other, MONTHS[0], MONTHS[-1])

    predictions = other.table("predictions")
    learnt = other.registry.version(project.name, 1).training_set.train
    seen = {project.start_of(key) for key in learnt}
    assert {start for start, known in predictions.select("_partition", "in_sample").iter_rows() if known} == seen
    assert other.table("raw").height == 180
    assert filled.table("raw").height == 180
