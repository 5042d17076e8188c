"""The platform's side of the history rows: all partitioned assets over all months, one run per range.

Prints one line of JSON: counts that must equal the peers', and how long each run took; with `--profile`, also what the
seconds were spent on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.sampler import sampled


def main(data: str, home: str, *options: str) -> None:
    """Fill the history in a fresh home and report it."""
    if "--profile" in options:
        with sampled() as seconds:
            report = fill(data, home)
        report["profile"] = seconds
    else:
        report = fill(data, home)
    sys.stdout.write(json.dumps(report) + "\n")


def fill(
    data: str, home: str, first: str = "2017-01", last: str = "2024-10", trained_through: str = "2020-12"
) -> dict[str, Any]:
    """Fill the history in a fresh home; return the counts and the seconds of each part."""
    began = time.perf_counter()
    os.environ |= {"ML_ASSETS_HOME": home, "ML_ASSETS_DATA": str(Path(data).parent)}
    from ml_assets.demo import PROJECT  # noqa: PLC0415 - the import is part of what is measured
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.runs import (  # noqa: PLC0415
        JUDGING,
        PREPARING,
        load_definitions,
        materialize_range,
        open_instance,
        run_job,
    )

    timings = {}

    def lap(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        timings[name], began = round(now - began, 3), now

    instance, defs = open_instance(), load_definitions()
    lap("import and load")
    materialize_range(instance, defs, PROJECT, PREPARING, first=first, last=last)
    lap("raw to profile")
    config = {"ops": {f"{PROJECT}__training_set": {"config": {"through": trained_through}}}}
    run_job(instance, defs, f"{PROJECT}_retrain", config=config)
    lap("train")
    materialize_range(instance, defs, PROJECT, JUDGING, first=first, last=last)
    lap("predictions to decision")
    with shared_lake().lake.reader() as cursor:
        counts = {
            table: cursor.execute(f"SELECT count(*) FROM lake.{PROJECT}.{table}").fetchall()[0][0]
            for table in ("raw", "validated", "quarantine")
        }
        months = cursor.execute(f"SELECT count(DISTINCT _partition) FROM lake.{PROJECT}.raw").fetchall()[0][0]
    raw, validated, quarantined = counts.values()
    return {
        "months": months,
        "rows_raw": raw,
        "rows_validated": validated,
        "rows_quarantined": quarantined,
        "rows_duplicate": raw - validated - quarantined,
        "timings": timings,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
