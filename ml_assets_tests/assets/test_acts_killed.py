"""kill -9 and races, with real processes: never two champions, never none, and a record that is whole."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from going_back import go_back_and_forth
from small_market import PREPARING, Market, open_market, sales

from ml_assets.registry.audit import verify
from ml_assets.registry.ledger import champion_at, current_champion, stages

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 served until version 2 took over; the folder of both."""
    folder = tmp_path_factory.mktemp("two")
    market = open_market(folder)
    for number in range(1, 6):
        month = f"2024-{number:02}"
        market.write(month, sales(month, level=2 if number > 2 else 1))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain(through="2024-02")
    market.retrain(through="2024-04")
    market.lake.close()
    return folder


@pytest.fixture
def market(two_versions: Path, tmp_path: Path) -> Market:
    shutil.copytree(two_versions, tmp_path / "market")
    return open_market(tmp_path / "market")


def check(market: Market) -> None:
    entries = market.ledger()
    assert sorted(stages(entries).values()) == ["champion", "retired"]
    assert stages(entries)[current_champion(entries) or 0] == "champion"
    assert champion_at(entries, "2024-09") == current_champion(entries)
    assert verify(market.lake, market.registry).findings == ()


def test_killed_in_the_middle_of_going_back_one_version_serves_and_the_record_is_whole(market: Market) -> None:
    context, moments = multiprocessing.get_context("spawn"), random.Random(20261122)
    begun, done = 0, len(market.ledger("promoted"))
    for _ in range(3):
        here, there = context.Pipe()
        process = context.Process(target=go_back_and_forth, args=(market.folder, there, 10_000))
        process.start()
        for _ in range(moments.randint(1, 3)):
            assert here.poll(60)
            here.recv()
            begun += 1
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        process.join(60)
        while here.poll(0):
            here.recv()
            begun += 1
        check(market)
    # Whatever was begun before the last act of each process was done.
    assert begun - 3 <= len(market.ledger("promoted")) - done <= begun


def test_two_who_go_back_at_once_leave_one_champion_and_no_entry_without_effect(market: Market) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=go_back_and_forth, args=(market.folder, None, 6)) for _ in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    check(market)
    promoted = [entry.version for entry in market.ledger("promoted")]
    # Each act found the other version serving: they alternate, though two processes took turns as they liked.
    assert promoted == [1 + number % 2 for number in range(len(promoted))]
