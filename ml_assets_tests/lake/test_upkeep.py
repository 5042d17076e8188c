from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import duckdb
import pytest
from small_lake import COMMIT, LEFT, RIGHT, as_days, data_files, day, days, held, rows_of, write
from writing_tables import replace_window

from ml_assets.lake.connection import Lake
from ml_assets.lake.tables import PIECES, replace_rows
from ml_assets.lake.upkeep import Upkeep, compact

NOW, HOUR, YEAR = timedelta(0), timedelta(hours=1), timedelta(days=365)


def write_days(lake: Lake, count: int = 6) -> list[int]:
    """A day each time, in two tables: one small file per write and table; returns the snapshots."""
    return [
        replace_window(
            lake, {LEFT: rows_of({number: [number]}), RIGHT: rows_of({number: [-number]})},
            days(number, number + 1), COMMIT,
        )
        for number in range(count)
    ]  # fmt: skip


def make_old(lake: Lake) -> None:
    """All files were last written two hours ago."""
    for path in data_files(lake):
        os.utime(path, (time.time() - 7200,) * 2)


def test_small_files_become_one_and_hold_the_same_rows(fresh: Lake) -> None:
    write_days(fresh)
    assert len(data_files(fresh)) == 12
    assert compact(fresh, keep=YEAR, protected=()).files_merged == 12
    assert compact(fresh, keep=NOW, protected=()).files_deleted == 12
    assert len(data_files(fresh)) == 2
    assert held(fresh, LEFT) == as_days({number: [number] for number in range(6)})
    assert compact(fresh, keep=NOW, protected=()) == Upkeep(0, 0, 0)


def test_snapshots_are_forgotten_but_for_the_protected_and_the_current(fresh: Lake) -> None:
    snapshots = write_days(fresh)
    done = compact(fresh, keep=NOW, protected={snapshots[2], 10_000})
    assert (
        done.snapshots_expired == 6
    )  # the empty lake's own and five writes; merging has made a newer one than the last
    assert held(fresh, LEFT, snapshots[2]) == as_days({0: [0], 1: [1], 2: [2]})
    assert held(fresh, RIGHT, snapshots[2]) == as_days({0: [0], 1: [-1], 2: [-2]})
    for snapshot in (*snapshots[:2], *snapshots[3:]):
        with pytest.raises(duckdb.Error, match="No snapshot found at version"):
            held(fresh, LEFT, snapshot)
    assert held(fresh, LEFT) == as_days({number: [number] for number in range(6)})


def test_a_protected_version_of_replaced_rows_stays_readable_through_many_upkeeps(fresh: Lake) -> None:
    write_days(fresh)
    protected = write(fresh, LEFT, {1: [100], 2: [200]})
    for number in range(6):
        write(fresh, LEFT, {number: [1000 + number]})
        compact(fresh, keep=NOW, protected={protected})
    expected = as_days({0: [0], 1: [100], 2: [200], 3: [3], 4: [4], 5: [5]})
    assert held(fresh, LEFT, protected) == expected
    newcomer = Lake(fresh.folder)
    assert held(newcomer, LEFT, protected) == expected
    newcomer.close()
    assert held(fresh, LEFT) == as_days({number: [1000 + number] for number in range(6)})


def test_young_snapshots_stay(fresh: Lake) -> None:
    snapshots = write_days(fresh)
    assert compact(fresh, keep=HOUR, protected=()).snapshots_expired == 0
    for count, snapshot in enumerate(snapshots, 1):
        assert held(fresh, LEFT, snapshot) == as_days({number: [number] for number in range(count)})


def test_only_snapshots_older_than_keep_are_forgotten(fresh: Lake) -> None:
    old = write(fresh, LEFT, {0: [1]})
    time.sleep(2.1)
    young = [write(fresh, LEFT, {0: [2]}), write(fresh, LEFT, {0: [3]})]
    compact(fresh, keep=timedelta(seconds=2), protected=())
    with pytest.raises(duckdb.Error, match="No snapshot"):
        held(fresh, LEFT, old)
    assert [held(fresh, LEFT, snapshot)[day(0)] for snapshot in young] == [[2], [3]]


def test_the_current_version_is_never_forgotten(fresh: Lake) -> None:
    snapshot = write(fresh, LEFT, {0: [1]})
    time.sleep(0.01)
    assert compact(fresh, keep=NOW, protected=()).snapshots_expired == 1
    assert held(fresh, LEFT, snapshot) == held(fresh, LEFT) == as_days({0: [1]})


def test_the_disk_shrinks_when_replaced_rows_are_forgotten(fresh: Lake) -> None:
    for _ in range(4):
        write(fresh, LEFT, {0: list(range(5000))})
    before = sum(path.stat().st_size for path in data_files(fresh))
    compact(fresh, keep=NOW, protected=())
    assert sum(path.stat().st_size for path in data_files(fresh)) < before / 3
    assert held(fresh, LEFT) == as_days({0: list(range(5000))})


def test_a_reader_that_began_within_keep_still_finds_its_files(fresh: Lake) -> None:
    write_days(fresh)
    make_old(fresh)
    elsewhere = Lake(fresh.folder)  # has read nothing yet: nothing is in its caches
    with elsewhere.reader() as cursor:
        assert cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()
        write(fresh, LEFT, {0: [7]})
        for _ in range(2):
            compact(fresh, keep=HOUR, protected=())
        assert cursor.execute(f"SELECT sum(x) FROM {LEFT.path}").fetchall() == [(15,)]
        assert cursor.execute(f"SELECT sum(x) FROM {RIGHT.path}").fetchall() == [(-15,)]
    elsewhere.close()


def test_files_that_a_killed_writer_left_are_deleted_once_they_are_old(fresh: Lake) -> None:
    write_days(fresh, 1)
    stray, young = (data_files(fresh)[0].with_name(f"{name}.parquet") for name in ("stray", "young"))
    stray.write_bytes(b"half")
    make_old(fresh)
    young.write_bytes(b"of a writer that may still be at it")
    assert compact(fresh, keep=HOUR, protected=()).files_deleted == 1
    assert not stray.exists()
    assert young.exists()
    assert held(fresh, LEFT) == as_days({0: [0]})


def test_a_lake_of_nothing_is_compacted_without_ado(fresh: Lake) -> None:
    assert compact(fresh, keep=NOW, protected=()) == Upkeep(0, 0, 0)


def test_upkeep_waits_for_a_writer_and_never_deletes_what_it_is_about_to_commit(fresh: Lake) -> None:
    write(fresh, LEFT, {0: [1]})
    with ThreadPoolExecutor(1) as pool:
        with fresh.transaction(COMMIT) as transaction:
            replace_rows(transaction, LEFT, rows_of({0: [2]}), days(0, 1))
            upkeep = pool.submit(compact, fresh, keep=NOW, protected=())
            assert wait([upkeep], timeout=1).not_done
        upkeep.result()
    assert held(fresh, LEFT) == as_days({0: [2]})


def test_upkeep_and_writers_and_readers_do_not_disturb_each_other(fresh: Lake) -> None:
    write(fresh, LEFT, {number: [0] for number in range(3)})

    def writer(number: int) -> list[int]:
        return [write(fresh, LEFT, {number: [value]}) for value in range(1, 9)]

    def reader() -> list[int]:
        return [sum(map(len, held(fresh, LEFT).values())) for _ in range(20)]

    with ThreadPoolExecutor(5) as pool:
        writing = [pool.submit(writer, number) for number in range(3)]
        reading = pool.submit(reader)
        upkeeps = [pool.submit(compact, fresh, keep=HOUR, protected=()) for _ in range(4)]
        snapshots = sorted(snapshot for future in writing for snapshot in future.result())
        assert set(reading.result()) == {3}
        for future in upkeeps:
            future.result()
    assert len(set(snapshots)) == 24
    assert held(fresh, LEFT) == held(fresh, LEFT, snapshots[-1]) == as_days({0: [8], 1: [8], 2: [8]})


def test_pieces_that_a_killed_process_left_go_after_a_day(fresh: Lake) -> None:
    write_days(fresh, 1)
    left, fresh_one = (fresh.folder / PIECES / name for name in ("left", "fresh"))
    for folder in (left, fresh_one):
        folder.mkdir(parents=True)
        (folder / "0.parquet").touch()
    os.utime(left, (time.time() - 2 * 86_400,) * 2)
    compact(fresh, keep=YEAR, protected=())

    assert not left.exists()
    assert fresh_one.exists()
