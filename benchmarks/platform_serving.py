"""What the rows about serving need: a home with a champion, the same model for MLflow, and what asks both.

    python -m benchmarks.platform_serving DATA HOME prepare|bare|bulk

`prepare` fills a home with all months and trains a champion; then it writes, beside the home, the champion's pipeline
as an MLflow model (`mlflow/`), and real rows as request bodies: `ours.jsonl`, fields of the schema, and `theirs.jsonl`,
the features that MLflow is given ready-made. `bare` is the pipeline's own `predict` of one row in this process, median
of many; `bulk` of a million rows. Each prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

BODIES, BULK, ONE_BY_ONE = 500, 1_000_000, 300
LINEAGE = ("_partition", "_source", "_row")


def main(data: str, home: str, what: str) -> None:
    """Do one of the three."""
    os.environ |= {"ML_ASSETS_HOME": home, "ML_ASSETS_DATA": str(Path(data).parent)}
    report = {"prepare": prepare, "bare": bare, "bulk": bulk}[what]()
    sys.stdout.write(json.dumps(report) + "\n")


def prepare() -> dict[str, Any]:
    """Fill the home, and write what both servers are asked with."""
    import mlflow.sklearn
    import polars as pl

    from benchmarks import platform_model  # noqa: PLC0415
    from ml_assets.core.training import as_inputs  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    platform_model.prepare()
    project, version, pipeline = _champion()
    folder = Path(os.environ["ML_ASSETS_HOME"]).parent
    mlflow.sklearn.save_model(pipeline, folder / "mlflow", serialization_format="cloudpickle")
    with shared_lake().lake.reader() as cursor:
        tables = [
            f"FROM {project.table(name).path} ORDER BY _partition, _source, _row" for name in ("validated", "features")
        ]
        rows, features = (cursor.execute(f"SELECT * {table} LIMIT {BODIES:d}").pl() for table in tables)
        many = cursor.execute(f"SELECT * {tables[0]}").pl()
    fields = [name for name in rows.columns if name not in LINEAGE and name != project.target]
    _write(folder / "ours.jsonl", rows.select(fields).with_columns(pl.col(pl.Date).cast(pl.String)).to_dicts())
    inputs = as_inputs(features, version.features)
    split = [json.loads(inputs.iloc[[each]].to_json(orient="split", index=False)) for each in range(len(inputs))]
    _write(folder / "theirs.jsonl", [{"dataframe_split": one} for one in split])
    repeated = pl.concat([many] * -(-BULK // many.height))[:BULK]
    repeated.select(fields).write_ipc_stream(folder / "bulk.arrow", compat_level=pl.CompatLevel.oldest())
    return {"rows": rows.height}


def bare() -> dict[str, Any]:
    """The pipeline's own `predict`, a row at a time."""
    inputs, pipeline = _inputs(BODIES)
    took = []
    for each in range(ONE_BY_ONE + 20):
        row = inputs.iloc[[each % len(inputs)]]
        began = time.perf_counter()
        pipeline.predict(row)
        took.append(time.perf_counter() - began)
    return {"seconds": statistics.median(took[20:])}


def bulk() -> dict[str, Any]:
    """The pipeline's own `predict` of a million rows whose features are ready."""
    import pandas as pd

    inputs, pipeline = _inputs(BULK)
    inputs = pd.concat([inputs] * -(-BULK // len(inputs)), ignore_index=True)[:BULK]
    began = time.perf_counter()
    pipeline.predict(inputs)
    return {"seconds": time.perf_counter() - began, "rows": len(inputs)}


def _inputs(rows: int) -> tuple[Any, Any]:
    from ml_assets.core.training import as_inputs  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    project, version, pipeline = _champion()
    with shared_lake().lake.reader() as cursor:
        table = project.table("features").path
        frame = cursor.execute(f"FROM {table} ORDER BY _partition, _source, _row LIMIT {rows:d}").pl()
    return as_inputs(frame, version.features), pipeline


def _champion() -> tuple[Any, Any, Any]:
    from ml_assets.assets.common import ledger, registry  # noqa: PLC0415
    from ml_assets.demo import PROJECT  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415
    from ml_assets.registry.ledger import current_champion  # noqa: PLC0415

    project = load_project(PROJECT)
    number = current_champion(ledger(shared_lake().lake).entries(PROJECT))
    version = registry().version(PROJECT, number or 0)
    return project, version, registry().load(version)


def _write(file: Path, bodies: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(body) + "\n" for body in bodies))


if __name__ == "__main__":
    main(*sys.argv[1:])
