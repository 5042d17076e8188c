"""Real processes on one lake: nobody waits who only reads, nothing is lost when a writer dies, no read is torn."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock, Timeout
from small_lake import (
    COMMIT,
    LEFT,
    PAIR_DAYS,
    RIGHT,
    SPAWN,
    as_days,
    commits,
    compact_often,
    day,
    days,
    fork_after_opening,
    held,
    open_and_write,
    pair_rows,
    process,
    read_pairs,
    said,
    stay_in_transaction,
    write,
    write_pairs,
)
from writing_tables import replace_window

from ml_assets.lake.connection import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_reader_gets_its_answer_while_another_process_is_inside_a_write(fresh: Lake) -> None:
    write(fresh, LEFT, {0: [1]})
    inside, leave = SPAWN.Event(), SPAWN.Event()
    with process(stay_in_transaction, fresh.folder, inside, leave) as writer:
        assert inside.wait(30)
        with pytest.raises(Timeout):
            FileLock(fresh.folder / "catalog.sqlite.lock").acquire(timeout=0)
        newcomer = Lake(fresh.folder)
        started = time.monotonic()
        assert held(fresh, LEFT) == held(newcomer, LEFT) == as_days({0: [1]})
        assert time.monotonic() - started < 30  # the writer stays for a minute; a busy machine takes seconds to open
        newcomer.close()
        assert writer.is_alive()
        leave.set()
        writer.join(30)
        assert writer.exitcode == 0
    assert held(fresh, LEFT) == as_days({0: [2]})


def test_a_writer_killed_in_its_transaction_leaves_the_version_before_and_no_lock(fresh: Lake) -> None:
    write(fresh, LEFT, {0: [1]})
    inside, leave = SPAWN.Event(), SPAWN.Event()
    with process(stay_in_transaction, fresh.folder, inside, leave) as writer:
        assert inside.wait(30)
        writer.kill()
        writer.join(30)
    assert held(fresh, LEFT) == as_days({0: [1]})
    write(fresh, LEFT, {1: [3]})
    assert held(fresh, LEFT) == as_days({0: [1], 1: [3]})


@pytest.mark.parametrize("closes", [False, True])
def test_a_forked_child_and_its_parent_both_go_on_using_the_lake(tmp_path: Path, *, closes: bool) -> None:
    with process(fork_after_opening, tmp_path / "lake", closes=closes) as parent:
        parent.join(60)
        assert parent.exitcode == 0


@pytest.mark.slow
def test_processes_that_open_a_fresh_lake_at_once_make_one_catalogue(tmp_path: Path) -> None:
    folder, together = tmp_path / "lake", SPAWN.Barrier(8)
    with ExitStack() as stack:
        started = [stack.enter_context(process(open_and_write, folder, number, together)) for number in range(8)]
        for one in started:
            one.join(150)
        assert [one.exitcode for one in started] == [0] * 8
    lake = Lake(folder)
    assert held(lake, LEFT) == as_days({number: [number] for number in range(8)})
    assert [snapshot for snapshot, _ in commits(lake)] == list(range(1, 9))
    lake.close()
    assert {path.name for path in folder.iterdir()} - {"catalog.sqlite-wal", "catalog.sqlite-shm"} == {
        "catalog.sqlite",
        "catalog.sqlite.lock",
        "data",
    }


def wait_for(happens: Callable[[], Any]) -> None:
    for _ in range(600):
        if happens():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within a minute")


@pytest.mark.slow
def test_no_commit_is_lost_and_no_read_torn_while_writers_are_killed_and_the_lake_is_compacted(tmp_path: Path) -> None:
    lake, dice = Lake(tmp_path / "lake"), random.Random(1)
    first = pair_rows("first", range(PAIR_DAYS), 3)
    replace_window(lake, {LEFT: first, RIGHT: first}, days(0, PAIR_DAYS), COMMIT)
    with ExitStack() as stack:

        def start(work: Callable[..., None], *name: str) -> Any:
            return stack.enter_context(process(work, lake.folder, tmp_path, *name))

        writers = {name: start(write_pairs, name) for name in ("writer0", "writer1", "writer2")}
        others = [start(compact_often), *(start(read_pairs, f"reader{number}") for number in range(4))]
        for name in ("upkeep", *(f"reader{number}.read" for number in range(4)), *(f"{one}.commit" for one in writers)):
            wait_for(lambda name=name: said(tmp_path, name))
        for number in range(3):
            time.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice([name for name in writers if said(tmp_path, f"{name}.commit")])
            writers.pop(victim).kill()
            writers[f"later{number}"] = start(write_pairs, f"later{number}")
        wait_for(lambda: said(tmp_path, "later0.commit"))
        time.sleep(3)
        (tmp_path / "stop").touch()
        for one in (*others, *writers.values()):
            one.join(60)
            assert one.exitcode == 0

    reads = said(tmp_path, "*.read")
    assert [line for line in reads if line != ["whole"]] == []
    assert len(reads) > 40
    assert sum(int(merged) for (merged,) in said(tmp_path, "upkeep"))

    # Every commit that its writer knows of is in the lake, under the snapshot that the writer was told.
    committed = dict(commits(lake))
    known = said(tmp_path, "*.commit")
    assert len(known) > 10
    assert {int(snapshot): marker for marker, snapshot in known}.items() <= committed.items()
    # And the lake holds what all commits, in their order, leave: also those of writers killed before they could say.
    extents = {marker: range(int(start), int(end)) for marker, start, end in said(tmp_path, "*.intent")}
    last = dict.fromkeys(range(PAIR_DAYS), "first")
    for _, marker in sorted(committed.items()):
        last |= dict.fromkeys(extents.get(marker, ()), marker)
    with lake.reader() as cursor:
        for table in (LEFT, RIGHT):
            found = cursor.execute(f"SELECT DISTINCT _partition, marker FROM {table.path}").fetchall()
            assert sorted(found) == sorted((day(number), marker) for number, marker in last.items())
    lake.close()
