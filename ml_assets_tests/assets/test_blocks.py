"""Blocks have no time: what repeats a row of an older block is a duplicate, also where that block changes later."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_market import PREPARING, Market, counts, open_market, sales

from ml_assets.assets.blocks import judged_otherwise
from ml_assets.assets.common import register_blocks
from ml_assets.assets.source import changes, in_question
from ml_assets.history import catch_up

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from ml_assets.project import Project

BLOCKS = {"grain": "block", "start": "", "time": "", "rows": 25}
WITHOUT_TIME = "SELECT _partition, _source, _row, town, area, price FROM validated"
FILE = {"files": "sales/all.csv"}

Raw = tuple[datetime, str, int, str]


def open_blocks(folder: Path) -> Market:
    return open_market(folder, features=WITHOUT_TIME, source=FILE, partitions=BLOCKS)


@pytest.fixture(scope="module")
def blocks_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return open_blocks(tmp_path_factory.mktemp("blocks")).project


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """The three tables without a lake below them."""
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.flats")
        for name in ("raw", "validated", "quarantine"):
            connection.execute(
                f"CREATE TABLE lake.flats.{name} (_partition TIMESTAMP, _source VARCHAR, _row BIGINT, town VARCHAR)"
            )
        yield connection


def fill(connection: duckdb.DuckDBPyConnection, **rows: Collection[Raw]) -> None:
    for name in ("raw", "validated", "quarantine"):
        connection.execute(f"DELETE FROM lake.flats.{name}")
        if rows.get(name):
            connection.executemany(f"INSERT INTO lake.flats.{name} VALUES (?, ?, ?, ?)", list(map(list, rows[name])))


def test_a_row_of_an_older_block_is_a_duplicate_in_a_newer_one(tmp_path: Path) -> None:
    market = open_blocks(tmp_path)
    market.write("all", [*sales("2024-01", rows=25), *sales("2024-01", rows=30)])
    keys = ["block-000001", "block-000002", "block-000003"]
    register_blocks(market.instance, market.project, keys)

    market.materialize(PREPARING, keys[0], keys[-1])
    together = counts(market, "features")
    market.materialize(PREPARING[1:], keys[1])

    assert together == counts(market, "features") == {"block-000003": 5, "block-000001": 25}
    assert market.metadata("validated", keys[1])["duplicates_rows"] == 25


def test_newer_blocks_are_told_and_judged_again_after_an_older_one_has_changed(tmp_path: Path) -> None:
    market = open_blocks(tmp_path)
    first, second = sales("2024-01", rows=25), sales("2024-02", rows=25)
    keys = ["block-000001", "block-000002", "block-000003"]
    # Once the first is corrected the third repeats ten of its rows, and no longer the one that it then lost.
    third = [*first[:1], *sales("2024-03", rows=24)]
    market.write("all", [*first, *second, *third])
    register_blocks(market.instance, market.project, keys)
    market.materialize(PREPARING, keys[0], keys[-1])
    assert counts(market, "features") == {keys[0]: 25, keys[1]: 25, keys[2]: 24}
    assert "newer_blocks_in_question" not in market.metadata("validated", keys[0])
    market.write("all", [*third[1:11], *first[10:], *second, *third])

    market.materialize(PREPARING, keys[0])

    words = market.metadata("validated", keys[0])["newer_blocks_in_question"]
    assert words.startswith("block-000003 (11 rows): ")
    assert "`ml-assets catch-up flats`" in words
    with market.settings():
        assert list(map(str, in_question(market.project, market.lake))) == [
            "block-000003: 11 rows to judge again, as older blocks are now"
        ]
        assert [one.key for one in changes(market.project, market.lake)] == [keys[2]]
        market.materialize(PREPARING[1:], keys[2])
        assert changes(market.project, market.lake) == []
    assert counts(market, "features") == {keys[0]: 25, keys[1]: 25, keys[2]: 15}


def test_catching_up_judges_newer_blocks_in_the_same_breath(tmp_path: Path) -> None:
    market = open_blocks(tmp_path)
    rows = [*sales("2024-01", rows=25), *sales("2024-02", rows=25), *sales("2024-03", rows=25)]
    market.write("all", rows)
    register_blocks(market.instance, market.project, ["block-000003"])
    market.materialize(PREPARING, "block-000001", "block-000003")
    market.retrain()
    market.write("all", [*rows[25:35], *rows[10:]])
    untouched = market.event("raw", "block-000003")

    said: list[str] = []
    with market.settings():
        found = changes(market.project, market.lake)
        catch_up(market.instance, market.defs, market.book(), market.project, changes=found, say=said.append)

    assert [one.key for one in found] == ["block-000001"]
    assert "  block-000002: 10 rows to judge again, as older blocks are now" in said
    assert "  block-000002: validated rows 25 → 15" in said
    assert counts(market, "validated") == {"block-000001": 25, "block-000002": 15, "block-000003": 25}
    assert market.event("raw", "block-000003") == untouched


@given(blocks=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), min_size=1, max_size=4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_in_question_are_exactly_the_rows_that_would_be_judged_otherwise(
    tables: duckdb.DuckDBPyConnection, blocks_project: Project, blocks: list[list[int]], data: st.DataObject
) -> None:
    starts = [datetime(1970, 1, number + 1) for number in range(len(blocks))]  # noqa: DTZ001 - naive UTC, as all
    rows = [
        (start, "f", number + 1, str(value))
        for start, block in zip(starts, blocks, strict=True)
        for number, value in enumerate(block)
    ]
    validated = data.draw(st.sets(st.sampled_from(rows)))
    quarantine = data.draw(st.sets(st.sampled_from(rows))) - validated
    fill(tables, raw=rows, validated=validated, quarantine=quarantine)
    seen: set[str] = set()
    expected: dict[datetime, int] = {}
    for row in rows:
        if (row[3] in seen) is (row in validated | quarantine):
            expected[row[0]] = expected.get(row[0], 0) + 1
        seen.add(row[3])

    found = judged_otherwise(blocks_project, tables)
    newest = judged_otherwise(blocks_project, tables, starts[-1])

    assert {start: count for start, (_, count) in found.items()} == expected
    assert newest == {start: both for start, both in found.items() if start >= starts[-1]}
    assert {start: held for start, (held, _) in found.items()} == {
        start: len(block) for start, block in zip(starts, blocks, strict=True) if start in expected
    }


def test_nothing_is_in_question_where_nothing_was_validated_or_partitions_are_no_blocks(tmp_path: Path) -> None:
    market = open_blocks(tmp_path)
    market.write("all", sales("2024-01", rows=30))
    register_blocks(market.instance, market.project, ["block-000002"])
    market.materialize(("raw",), "block-000001", "block-000002")
    assert in_question(market.project, market.lake) == []

    months = open_market(tmp_path)
    assert in_question(months.project, months.lake) == []
