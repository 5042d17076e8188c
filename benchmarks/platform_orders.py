"""The platform's side of the rows about a whole file: a CSV of orders to `raw`, `validated` and `quarantine`, one run.

Prints one line of JSON: counts that must equal the peer's, and the seconds of the run. Imports and loading are left
out, as they are on the peer's side.

Usage: `python -m benchmarks.platform_orders FILE HOME [--profile]`
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.sampler import sampled

HERE = Path(__file__).parent / "orders"
NAME = "orders"
DECLARATION: dict[str, Any] = {
    "description": "What an order will cost.",
    "partitions": {"grain": "day", "start": "2024-01-01", "time": "day"},
    "schema": "benchmarks.orders.schema:Order",
    "clean": str(HERE / "clean.sql"),
    "features": str(HERE / "features.sql"),
    "target": "unit_price",
    "training": {"estimator": "sklearn.linear_model.LinearRegression", "window": 2, "test": 1, "seed": 7},
}


def main(file: str, home: str, *options: str) -> None:
    """Materialize all days of a file in a fresh home and report it."""
    os.environ |= {"ML_ASSETS_HOME": home}
    import dagster as dg  # noqa: PLC0415 - the home must be known before

    from benchmarks.orders.making import PER_DAY  # noqa: PLC0415
    from benchmarks.orders.schema import Order  # noqa: F401, PLC0415
    from ml_assets.component import ModelProject, build_definitions  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.runs import materialize_range, open_instance  # noqa: PLC0415

    declared = ModelProject.model_validate({**DECLARATION, "source": {"files": str(Path(file).absolute())}})
    project = declared.resolve_project(NAME, HERE)
    instance, defs = open_instance(), dg.Definitions.merge(build_definitions(project))
    with shared_lake().lake.reader():
        pass  # opens the lake
    days = -(-int(Path(file).stem.removeprefix("orders_")) // PER_DAY)
    first, last = project.first, project.key_of(project.step(project.start_of(project.first), days - 1))

    seconds: dict[str, float] = {}
    began = time.perf_counter()
    if "--profile" in options:
        with sampled() as seconds:
            materialize_range(instance, defs, NAME, ("raw", "validated", "quarantine"), first=first, last=last)
    else:
        materialize_range(instance, defs, NAME, ("raw", "validated", "quarantine"), first=first, last=last)
    report: dict[str, Any] = {"seconds": time.perf_counter() - began, "profile": seconds, "days": days}
    with shared_lake().lake.reader() as cursor:
        counts = {
            table: cursor.execute(f"SELECT count(*) FROM lake.{NAME}.{table}").fetchall()[0][0]
            for table in ("raw", "validated", "quarantine")
        }
    print(json.dumps({**report, **{f"rows_{table}": count for table, count in counts.items()}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
