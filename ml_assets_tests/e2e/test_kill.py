"""kill -9 at random moments: the same command again ends with the same counts and no half partition."""

from __future__ import annotations

import csv
import random
import signal
import time
from pathlib import Path

import dagster as dg
import pytest
from playing import run, start

from ml_assets.lake.connection import Lake, table_exists
from ml_assets.lake.sql import Table
from ml_assets.registry.ledger import Ledger, stages

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FIRST, LAST = "2020-06", "2021-03"
COMMAND = f"""

from ml_assets.projects import load_project
from ml_assets.runs import JUDGING, PREPARING, load_definitions, materialize_range, open_instance, run_job
instance, defs = open_instance(), load_definitions(load_project("house_prices"))
print("loaded", flush=True)
materialize_range(instance, defs, "house_prices", PREPARING, first="{FIRST}", last="{LAST}")
print("prepared", flush=True)
run_job(instance, defs, "house_prices_retrain")
print("trained", flush=True)
materialize_range(instance, defs, "house_prices", JUDGING, first="{FIRST}", last="{LAST}")
run_job(instance, defs, "house_prices_refresh", partition="2021-04")
"""


def records(data: Path) -> dict[str, int]:
    """Records per file, counted by hand."""
    counts = {}
    for path in sorted((data / "hdb_resale").glob("*.csv")):
        if FIRST <= path.stem <= "2021-04":
            with path.open(encoding="utf-8-sig", newline="") as file:
                counts[path.stem] = sum(1 for row in csv.reader(file) if row) - 1
    return counts


def repeated(data: Path) -> dict[str, int]:
    """Records per file that repeat another in all but their running number."""
    counts = {}
    for key in records(data):
        with (data / "hdb_resale" / f"{key}.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = [tuple(row[1:]) for row in csv.reader(file) if row]
        counts[key] = len(rows) - len(set(rows))
    return counts


def counted(home: Path, name: str) -> dict[str, int]:
    table = Table("house_prices", name)
    with Lake(home / "lake").reader() as cursor:
        if not table_exists(cursor, table):
            return {}
        sql = f"SELECT strftime(_partition, '%Y-%m'), count(*) FROM {table.path} GROUP BY 1"
        return dict(cursor.execute(sql).fetchall())


def runs_of(home: Path, status: dg.DagsterRunStatus) -> set[str]:
    """The runs that have a status, as they stand: nobody is asked to look after them."""
    instance = dg.DagsterInstance.from_config(str(home / "dagster"))
    return {one.run_id for one in instance.get_runs(dg.RunsFilter(statuses=[status]))}


def test_killed_at_random_moments_it_loses_and_doubles_nothing_and_holds_no_place(tmp_path: Path, data: Path) -> None:
    home = tmp_path / "home"
    expected = records(data)
    moments = random.Random(20261122)
    killed: set[str] = set()
    for wait_for, spread in (("loaded", 3.0), ("loaded", 5.0), ("prepared", 6.0), ("trained", 5.0)):
        process = start(COMMAND, home, data)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(wait_for):
                break
        time.sleep(moments.uniform(0, spread))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left = runs_of(home, dg.DagsterRunStatus.STARTED)
        assert len(left) <= 1
        # Those of the process before have been failed by this one, before it began.
        assert not left & killed
        killed |= left
        # Whatever is there is whole: a partition is all there or not at all, and what was made from it fits it.
        raw = counted(home, "raw")
        assert raw == {key: expected[key] for key in raw}
        features, predictions = counted(home, "features"), counted(home, "predictions")
        assert predictions == {key: features[key] for key in predictions}
    run(COMMAND, home, data)
    assert killed
    assert killed <= runs_of(home, dg.DagsterRunStatus.FAILURE)
    assert not runs_of(home, dg.DagsterRunStatus.STARTED)
    raw = counted(home, "raw")
    assert raw == expected
    validated, quarantine = counted(home, "validated"), counted(home, "quarantine")
    features, predictions = counted(home, "features"), counted(home, "predictions")
    assert features == validated == predictions
    duplicates = {key: count - validated[key] - quarantine.get(key, 0) for key, count in raw.items()}
    assert duplicates == repeated(data)
    entries = Ledger(Lake(home / "lake")).entries("house_prices")
    live = [entry.partition for entry in entries if entry.standing == "live"]
    assert live == ["2021-04"]
    # Versions that a kill left behind are candidates, and exactly one serves.
    assert list(stages(entries).values()).count("champion") == 1
