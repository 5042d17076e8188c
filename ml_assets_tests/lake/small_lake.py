"""Small tables for the tests of the lake, and what their processes do: these import no more than this module."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from writing_tables import replace_window

from ml_assets.lake.connection import Commit, Lake, create_schema
from ml_assets.lake.sql import Table, Window
from ml_assets.lake.tables import read, replace_rows
from ml_assets.lake.upkeep import compact
from ml_assets.registry.ledger import Draft, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import polars as pl

SPAWN = multiprocessing.get_context("spawn")
COMMIT = Commit("market", "sales", "run")
LEFT, RIGHT = Table("market", "left"), Table("market", "right")
PAIR_DAYS = 6
_numbers = itertools.count()


def day(number: int) -> datetime:
    """Day `number` of 2024: 31 lies in the next month, which is another partition of the files."""
    return datetime(2024, 1, 1) + timedelta(days=number)  # noqa: DTZ001 - partitions are naive UTC


def days(first: int, end: int) -> Window:
    return Window(day(first), day(end))


def rows_of(values: dict[int, list[Any]], kind: Any = None) -> pl.DataFrame:
    """A frame of `_partition` and `x` from day → values; integers where no polars type is named."""
    import polars as pl

    pairs = [(day(number), value) for number, listed in values.items() for value in listed]
    return pl.DataFrame(pairs, schema={"_partition": pl.Datetime("us"), "x": kind or pl.Int64}, orient="row")


def write(lake: Lake, table: Table, values: dict[int, list[Any]], kind: Any = None) -> int:
    """Replace the days that are named."""
    return replace_window(lake, {table: rows_of(values, kind)}, days(min(values), max(values) + 1), COMMIT)


def held(lake: Lake, table: Table, snapshot: int | None = None) -> dict[datetime, list[Any]]:
    """What a table of `rows_of` holds: day → sorted values."""
    with lake.reader() as cursor:
        rows = read(cursor, table, snapshot=snapshot)
    found: dict[datetime, list[Any]] = {}
    for partition, value in rows.select("_partition", "x").iter_rows():
        found.setdefault(partition, []).append(value)
    return {partition: sorted(values) for partition, values in found.items()}


def as_days(values: dict[int, list[Any]]) -> dict[datetime, list[Any]]:
    return {day(number): sorted(listed) for number, listed in values.items() if listed}


def new_table() -> Table:
    """A table in a project that no other test uses."""
    return Table(f"project_{next(_numbers)}", "sales")


def data_files(lake: Lake) -> list[Path]:
    return list((lake.folder / "data").rglob("*.parquet"))


def commits(lake: Lake) -> list[tuple[int, str]]:
    """Snapshot and run id of every commit that says who wrote it, in order."""
    with lake.reader() as cursor:
        found = cursor.execute(
            "SELECT snapshot_id, commit_extra_info FROM ducklake_snapshots('lake') "
            "WHERE commit_extra_info IS NOT NULL ORDER BY snapshot_id"
        ).fetchall()
    return [(snapshot, json.loads(details)["run_id"]) for snapshot, details in found]


# ---- processes


@contextmanager
def process(work: Callable[..., None], *arguments: object, **named: object) -> Iterator[Any]:
    """A real process that does `work`; killed at the end of the block if it still runs."""
    started = SPAWN.Process(target=work, args=arguments, kwargs=named)
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join(30)


def say(path: Path, line: str) -> None:
    """Append a line to a file in one system call: it is there whole, or not at all, whenever the process dies."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def said(folder: Path, pattern: str) -> list[list[str]]:
    return [line.split() for path in folder.glob(pattern) for line in path.read_text(encoding="utf-8").splitlines()]


def open_and_write(folder: Path, number: int, together: Any) -> None:
    """Open a fresh lake at the same moment as others do, and add a row."""
    lake = Lake(folder)
    together.wait(120)
    with lake.transaction(Commit("market", "opening", f"{number}")) as transaction:
        create_schema(transaction.cursor, LEFT.project)
        transaction.rows(f"CREATE TABLE IF NOT EXISTS {LEFT.path} (_partition TIMESTAMP, x BIGINT)")
        transaction.rows(f"INSERT INTO {LEFT.path} VALUES (?, ?)", [day(number), number])


def stay_in_transaction(folder: Path, inside: Any, leave: Any) -> None:
    """Write, say so, and only commit when told to."""
    with Lake(folder).transaction(COMMIT) as transaction:
        replace_rows(transaction, LEFT, rows_of({0: [2]}), days(0, 1))
        inside.set()
        leave.wait(60)


def hold_catalogue(catalogue: Path, held_now: Any, leave: Any) -> None:
    """Lock the catalogue without the lake's own lock, as a stranger would."""
    import sqlite3

    connection = sqlite3.connect(catalogue, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held_now.set()
    leave.wait(60)
    connection.close()


def fork_after_opening(folder: Path, *, closes: bool) -> None:
    """Exit code 0 if a forked child and its parent can both go on using the lake."""
    lake = Lake(folder)
    ledger = Ledger(lake)

    def append() -> None:
        ledger.append(Commit("market", "fork"), lambda _: [Draft("market", "decision", f"by {os.getpid()}", {})])

    append()
    child = os.fork()
    if child == 0:
        if closes:
            lake.close()
        append()
        lake.close()
        append()
        os._exit(0 if len(ledger.entries("market")) == 3 else 4)
    for _ in range(200):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        sys.exit(5)
    append()
    sys.exit(0 if status == 0 and len(ledger.entries("market")) == 4 else 6)


def write_pairs(folder: Path, notes: Path, name: str) -> None:
    """Replace random windows of two tables together, forever telling which commits came back.

    All rows of a write carry its marker and the count of rows that each day must have.
    """
    lake, dice = Lake(folder), random.Random(name)
    for number in itertools.count():
        if (notes / "stop").exists():
            return
        marker = f"{name}-{number}"
        first = dice.randrange(PAIR_DAYS)
        end = dice.randrange(first, PAIR_DAYS) + 1
        say(notes / f"{name}.intent", f"{marker} {first} {end}")
        frame = pair_rows(marker, range(first, end), dice.randrange(1, 40), wide=dice.random() < 0.2)
        snapshot = replace_window(lake, {LEFT: frame, RIGHT: frame}, days(first, end), Commit("market", "pair", marker))
        say(notes / f"{name}.commit", f"{marker} {snapshot}")


def pair_rows(marker: str, numbers: Sequence[int] | range, count: int, *, wide: bool = False) -> pl.DataFrame:
    import polars as pl

    frame = pl.DataFrame(
        {
            "_partition": [day(number) for number in numbers for _ in range(count)],
            "marker": marker,
            "count": count,
        }
    )
    return frame.with_columns(extra=pl.lit(marker)) if wide else frame


def read_pairs(folder: Path, notes: Path, name: str) -> None:
    """Read both tables again and again; say whatever is not whole."""
    lake = Lake(folder)
    sql = (
        'SELECT _partition, count(*), min("count"), max("count"), min(marker), max(marker) '
        "FROM {} GROUP BY ALL ORDER BY ALL"
    )
    while not (notes / "stop").exists():
        try:
            with lake.reader() as cursor:
                left = cursor.execute(sql.format(LEFT.path)).fetchall()
                time.sleep(0.01)
                right = cursor.execute(sql.format(RIGHT.path)).fetchall()
            torn = [row for row in left if not (row[1] == row[2] == row[3] and row[4] == row[5])]
            whole = left == right and not torn and len(left) == PAIR_DAYS
            say(notes / f"{name}.read", "whole" if whole else f"torn {left} {right}")
        except Exception as error:  # noqa: BLE001 - any error at all is what the test looks for
            say(notes / f"{name}.read", f"error {error!r}")


def compact_often(folder: Path, notes: Path) -> None:
    lake = Lake(folder)
    while not (notes / "stop").exists():
        done = compact(lake, keep=timedelta(hours=1), protected=())
        say(notes / "upkeep", f"{done.files_merged}")
        time.sleep(0.3)
