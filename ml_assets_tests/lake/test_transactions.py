from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from threading import Barrier
from typing import TYPE_CHECKING

import duckdb
import pytest
from small_lake import (
    COMMIT,
    LEFT,
    RIGHT,
    SPAWN,
    as_days,
    commits,
    day,
    days,
    held,
    hold_catalogue,
    process,
    rows_of,
    write,
)
from writing_tables import replace_window

from ml_assets.lake import connection
from ml_assets.lake.connection import Commit, Lake, create_schema, load_extension, table_exists
from ml_assets.lake.sql import Table
from ml_assets.lake.tables import replace_rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_transaction_leaves_the_version_before(
    lake: Lake, table: Table, error: type[BaseException]
) -> None:
    before = write(lake, table, {0: [1]})
    other = Table(table.project, "other")
    with pytest.raises(error, match="in the middle"), lake.transaction(COMMIT) as transaction:  # noqa: PT012
        replace_rows(transaction, table, rows_of({0: [2], 1: [3]}), days(0, 2))
        replace_rows(transaction, other, rows_of({0: [4]}), days(0, 1))
        raise error("in the middle")
    assert transaction.snapshot == -1
    assert held(lake, table) == held(lake, table, before) == as_days({0: [1]})
    with lake.reader() as cursor:
        assert not table_exists(cursor, other)
    assert write(lake, table, {0: [5]}) == before + 1


def test_a_statement_that_fails_leaves_the_version_before_and_its_own_error(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    with pytest.raises(duckdb.ConversionException, match="abc"), lake.transaction(COMMIT) as transaction:  # noqa: PT012
        replace_rows(transaction, table, rows_of({0: [2]}), days(0, 1))
        transaction.rows("SELECT 'abc'::INTEGER")
    assert held(lake, table) == as_days({0: [1]})


def test_a_commit_that_fails_says_why_and_leaves_the_version_before(
    fresh: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ATTACH_OPTIONS", connection.ATTACH_OPTIONS.replace("10000", "50"))
    write(fresh, LEFT, {0: [1]})
    locked, leave = SPAWN.Event(), SPAWN.Event()
    with process(hold_catalogue, fresh.catalogue, locked, leave):
        assert locked.wait(30)
        with pytest.raises(duckdb.TransactionException, match="database is locked"):
            write(fresh, LEFT, {0: [2]})
        assert held(fresh, LEFT) == as_days({0: [1]})
        leave.set()
    write(fresh, LEFT, {1: [3]})
    assert held(fresh, LEFT) == as_days({0: [1], 1: [3]})


def test_what_a_transaction_writes_is_seen_inside_it_and_by_nobody_else_before_its_end(
    lake: Lake, table: Table
) -> None:
    write(lake, table, {0: [1]})
    with lake.transaction(COMMIT) as transaction:
        replace_rows(transaction, table, rows_of({0: [2]}), days(0, 1))
        assert transaction.rows(f"SELECT x FROM {table.path} WHERE x = ?", [2]) == [(2,)]
        assert held(lake, table) == as_days({0: [1]})
    assert held(lake, table) == as_days({0: [2]})


def test_a_reader_sees_one_version_of_all_tables_while_others_commit(lake: Lake, table: Table) -> None:
    other, third = Table(table.project, "other"), Table(table.project, "third")
    both = lambda value: {table: rows_of({0: [value]}), other: rows_of({0: [value]})}  # noqa: E731
    replace_window(lake, both(1), days(0, 1), COMMIT)
    elsewhere = Lake(lake.folder)
    for writer in (lake, elsewhere):
        with lake.reader() as cursor:
            before = cursor.execute(f"SELECT x FROM {table.path}").fetchall()
            (version,) = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()
            replace_window(writer, both(before[0][0] + 1) | {third: rows_of({0: [9]})}, days(0, 1), COMMIT)
            assert cursor.execute(f"SELECT x FROM {other.path}").fetchall() == before
            assert cursor.execute(f"SELECT x FROM {table.path}").fetchall() == before
            assert cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall() == [version]
            assert table_exists(cursor, third) is (writer is elsewhere)
        assert held(lake, other) == held(lake, table) == as_days({0: [before[0][0] + 1]})
    elsewhere.close()


def test_a_reader_sees_one_state_of_the_catalogue_so_that_no_commit_can_take_deletions_from_its_sight(
    lake: Lake, table: Table
) -> None:
    elsewhere = Lake(lake.folder)
    write(lake, table, {number: [number] for number in range(6)})
    write(lake, table, {0: [10]})  # five of the file's six rows are left: from now on it has a file of deletions
    with elsewhere.reader() as cursor:
        version = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()
        catalogue = "FROM __ducklake_metadata_lake.ducklake_delete_file ORDER BY ALL"
        before = cursor.execute(catalogue).fetchall()
        write(lake, table, {1: [11]})  # replaces that file of deletions by another one
        assert cursor.execute(catalogue).fetchall() == before
        assert cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall() == version
        assert cursor.execute(f"SELECT sum(x) FROM {table.path}").fetchall() == [(10 + 1 + 2 + 3 + 4 + 5,)]
    with elsewhere.reader() as cursor:
        assert cursor.execute(catalogue).fetchall() != before
    elsewhere.close()


def test_what_is_written_through_a_reader_never_stays(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    with lake.reader() as cursor:
        cursor.execute(f"DELETE FROM {table.path}")
    assert held(lake, table) == as_days({0: [1]})


def test_a_transaction_inside_another_is_an_error_instead_of_waiting_for_itself(lake: Lake, table: Table) -> None:
    with pytest.raises(RuntimeError, match="Deadlock"), lake.transaction(COMMIT):
        write(lake, table, {0: [1]})
    write(lake, table, {0: [2]})
    assert held(lake, table) == as_days({0: [2]})


# ---- snapshots


def test_the_snapshot_of_a_write_by_one_of_many_threads_holds_that_write(fresh: Lake) -> None:
    together = Barrier(4)
    write(fresh, LEFT, {0: [0]})

    def writer(number: int) -> list[tuple[int, int]]:
        together.wait(30)
        return [
            (
                replace_window(
                    fresh, {LEFT: rows_of({number: [value]})}, days(number, number + 1), Commit("p", "a", f"{value}")
                ),
                value,
            )
            for value in range(100 * number, 100 * number + 5)
        ]

    with ThreadPoolExecutor(4) as pool:
        done = [pair for pairs in pool.map(writer, range(1, 5)) for pair in pairs]
    assert len({snapshot for snapshot, _ in done}) == 20
    assert commits(fresh)[1:] == sorted((snapshot, f"{value}") for snapshot, value in done)
    for snapshot, value in done:
        assert held(fresh, LEFT, snapshot)[day(value // 100)] == [value]


def test_a_write_that_changes_nothing_returns_a_snapshot_that_holds_it(fresh: Lake) -> None:
    write(fresh, LEFT, {0: [1]})
    elsewhere = Lake(fresh.folder)
    newest = write(elsewhere, LEFT, {1: [2]})
    elsewhere.close()
    for _ in range(2):
        assert replace_window(fresh, {LEFT: rows_of({})}, days(5, 6), COMMIT) == newest
    assert held(fresh, LEFT, newest) == as_days({0: [1], 1: [2]})
    with fresh.transaction(COMMIT) as transaction:
        pass
    assert transaction.snapshot == newest


def test_several_tables_of_one_write_are_in_its_one_snapshot(fresh: Lake) -> None:
    first = replace_window(fresh, {LEFT: rows_of({0: [1]}), RIGHT: rows_of({0: [2]})}, days(0, 1), COMMIT)
    second = replace_window(fresh, {LEFT: rows_of({0: [3]}), RIGHT: rows_of({0: [4]})}, days(0, 1), COMMIT)
    assert second == first + 1
    assert (held(fresh, LEFT, first), held(fresh, RIGHT, first)) == (as_days({0: [1]}), as_days({0: [2]}))
    assert (held(fresh, LEFT, second), held(fresh, RIGHT, second)) == (as_days({0: [3]}), as_days({0: [4]}))


def test_the_commit_message_says_who_wrote(lake: Lake, table: Table) -> None:
    commit = Commit('a "project"; --', "it's", "run-{1}")
    snapshot = replace_window(lake, {table: rows_of({0: [1]})}, days(0, 1), commit)
    with lake.reader() as cursor:
        sql = "SELECT author, commit_message, commit_extra_info FROM ducklake_snapshots('lake') WHERE snapshot_id = ?"
        [(author, message, details)] = cursor.execute(sql, [snapshot]).fetchall()
    assert (author, message) == ("ml-assets", 'a "project"; --.it\'s')
    assert json.loads(details) == asdict(commit)


# ---- opening


def test_a_lake_that_was_closed_opens_again(fresh: Lake) -> None:
    write(fresh, LEFT, {0: [1]})
    fresh.close()
    fresh.close()
    assert held(fresh, LEFT) == as_days({0: [1]})


def test_a_catalogue_that_was_never_finished_is_made_anew(fresh: Lake) -> None:
    fresh.folder.mkdir()
    fresh.catalogue.with_suffix(".new").write_bytes(b"half of one")
    assert write(fresh, LEFT, {0: [1]}) == 1
    assert not list(fresh.folder.glob("*.new*"))


def test_small_writes_are_parquet_files_because_old_versions_of_inlined_rows_break(fresh: Lake) -> None:
    write(fresh, LEFT, {0: [1]})
    assert len(list((fresh.folder / "data").rglob("*.parquet"))) == 1


def test_rows_lie_in_files_by_month(fresh: Lake) -> None:
    write(fresh, LEFT, {30: [1], 31: [2]})
    assert {path.parent.name for path in (fresh.folder / "data").rglob("*.parquet")} == {"month=1", "month=2"}


def test_a_missing_extension_is_an_error_that_names_the_package(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = str(tmp_path_factory.mktemp("extensions"))
    with (
        duckdb.connect(config={"extension_directory": empty}) as instance,
        pytest.raises(connection.LakeError, match="pip install duckdb-extension-no-such==1"),
    ):
        load_extension(instance, "no_such")


def test_nothing_is_installed_or_loaded_behind_the_users_back(lake: Lake) -> None:
    names = ("autoinstall_known_extensions", "autoload_known_extensions", "python_enable_replacements")
    with lake.reader() as cursor:
        for name in names:
            assert cursor.execute("SELECT current_setting(?)", [name]).fetchall() == [(False,)]


def test_a_schema_is_made_once(lake: Lake, table: Table) -> None:
    with lake.transaction(COMMIT) as transaction:
        create_schema(transaction.cursor, table.project)
        create_schema(transaction.cursor, table.project)
    write(lake, table, {0: [1]})


def test_a_moment_has_the_same_hour_in_sql_wherever_the_machine_stands(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ml_assets.lake.connection import Lake\n"
        "with Lake(Path(sys.argv[1])).reader() as cursor:\n"
        "    print(*cursor.execute(\"SELECT hour(TIMESTAMPTZ '2024-01-01 05:00:00+00')\").fetchone())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "lake")],
            env={**os.environ, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for zone in ("UTC", "Asia/Singapore", "America/New_York")
    }
    assert said == {"5"}
