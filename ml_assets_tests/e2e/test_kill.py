"""kill -9 at random moments: the same command again ends with the same counts and no half partition."""

from __future__ import annotations

import csv
import random
import signal
import time
from pathlib import Path

import pytest
from playing import run, start

from ml_assets.lake.connection import Lake, table_exists
from ml_assets.lake.sql import Table

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FIRST, LAST = "2020-06", "2021-03"
COMMAND = f"""

from ml_assets.runs import JUDGING, PREPARING, load_definitions, materialize_range, open_instance, run_job
instance, defs = open_instance(), load_definitions()
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


def counted(home: Path, name: str) -> dict[str, int]:
    table = Table("house_prices", name)
    with Lake(home / "lake").reader() as cursor:
        if not table_exists(cursor, table):
            return {}
        sql = f"SELECT strftime(_partition, '%Y-%m'), count(*) FROM {table.path} GROUP BY 1"
        return dict(cursor.execute(sql).fetchall())


def test_killed_at_random_moments_it_loses_and_doubles_nothing(tmp_path: Path, data: Path) -> None:
    home = tmp_path / "home"
    expected = records(data)
    moments = random.Random(20261122)
    for wait_for, spread in (("loaded", 3.0), ("loaded", 5.0), ("prepared", 6.0), ("trained", 5.0)):
        process = start(COMMAND, home, data)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(wait_for):
                break
        time.sleep(moments.uniform(0, spread))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        # Whatever is there is whole.
        for name in ("raw", "predictions"):
            whole = {key: count for key, count in counted(home, name).items() if name == "raw"}
            assert all(count == expected[key] for key, count in whole.items())
    run(COMMAND, home, data)
    raw = counted(home, "raw")
    assert raw == expected
    validated, quarantine = counted(home, "validated"), counted(home, "quarantine")
    features, predictions = counted(home, "features"), counted(home, "predictions")
    assert features == validated == predictions
    for key, count in raw.items():
        assert count - validated[key] - quarantine.get(key, 0) >= 0
