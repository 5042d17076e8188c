"""The platform's side of the rows `model` and `retraining`, and the other: rows read and fitted, and nothing else.

    python -m benchmarks.platform_model DATA HOME prepare|ours|retraining|bare

`prepare` fills a home with all months and chooses a training set of nearly all rows. `ours` materializes the asset
`model` on it: read and compared with what was recorded, fitted, profiled, saved, registered, in one Dagster run.
`retraining` runs the whole of it, from the choice of rows with the leakage gate to the verdict against a champion:
baselines, intervals, slices, the learning curve, the challenger's test, the card and the ONNX file among it. `bare`
opens the lake, reads the same rows and fits the same pipeline. All print one line of JSON; imports of what reads and
fits count, those of Dagster do not.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

TRAINING = ("training_set", "model", "evaluation", "champion")
FIRST, LAST, MONTHS = "2017-01", "2024-10", 94
# The champion that a retraining has to beat has learnt up to here.
CHAMPION = "2024-06"


def main(data: str, home: str, what: str) -> None:
    """Do one of the three."""
    os.environ |= {"ML_ASSETS_HOME": home, "ML_ASSETS_DATA": str(Path(data).parent)}
    report = {"prepare": prepare, "ours": ours, "retraining": retraining, "bare": bare}[what]()
    sys.stdout.write(json.dumps(report) + "\n")


def definitions() -> tuple[Any, Any, Any]:
    """The shipped project with a window of all months, its definitions, and the instance."""
    from dataclasses import replace  # noqa: PLC0415

    from ml_assets.demo import PROJECT  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415
    from ml_assets.runs import load_definitions, open_instance  # noqa: PLC0415

    project = load_project(PROJECT)
    project = replace(project, training=project.training.model_copy(update={"window": MONTHS}))
    # The instance first, as the commands open it: what is loaded by then is not looked through again.
    instance = open_instance()
    return project, load_definitions(project), instance


def prepare() -> dict[str, Any]:
    """Fill the home."""
    from ml_assets.runs import PREPARING, materialize_range  # noqa: PLC0415

    project, defs, instance = definitions()
    materialize_range(instance, defs, project.name, PREPARING, first=FIRST, last=LAST)
    _materialize(project, defs, instance, *TRAINING, through=CHAMPION)
    _materialize(project, defs, instance, "training_set")
    return {}


def ours() -> dict[str, Any]:
    """Materialize `model`."""
    from ml_assets.assets.common import registry  # noqa: PLC0415

    project, defs, instance = definitions()
    began = time.perf_counter()
    fitted = _materialize(project, defs, instance, "model")
    seconds = time.perf_counter() - began
    version = registry().newest(project.name, "")
    return {"seconds": seconds, "rows": version.training_set.rows, "rows_fitted": fitted}


def retraining() -> dict[str, Any]:
    """Materialize all from `training_set` to `champion`."""
    from ml_assets.assets.common import ledger, registry  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.registry.ledger import last_verdict  # noqa: PLC0415

    project, defs, instance = definitions()
    began = time.perf_counter()
    fitted = _materialize(project, defs, instance, *TRAINING)
    seconds = time.perf_counter() - began
    version = registry().newest(project.name, "")
    verdict = last_verdict(ledger(shared_lake().lake).entries(project.name), version.number)
    evaluation = registry().evaluation(project.name, version.number)
    # None of the checks was skipped.
    if verdict is None or "comparison" not in verdict.facts or not (evaluation and evaluation["baselines"]):
        raise RuntimeError(f"version {version.number} was not held against the champion and baselines: {verdict}")
    sys.stderr.write(f"{seconds:.2f} s, of the evaluation {evaluation['seconds']}\n")
    return {"seconds": seconds, "rows": version.training_set.rows, "rows_fitted": fitted}


def bare() -> dict[str, Any]:
    """Read and fit."""
    from ml_assets.assets.common import registry  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    project, _, _ = definitions()
    chosen = registry().training_set(project.name, "")
    # With the lake opened, which the asset does within its time too.
    began = time.perf_counter()
    with shared_lake().lake.reader() as cursor:
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OrdinalEncoder

        window = project.window(chosen.train[0], chosen.test[-1])
        table = project.table("features").at(chosen.snapshot)
        rows = cursor.execute(f"FROM {table} WHERE {window.condition()}").df()
    train = rows[rows["_partition"] <= project.start_of(chosen.train[-1])]
    categories = ["town", "flat_type", "flat_model"]
    numbers = ["floor_area_sqm", "storey", "lease_commence_year", "remaining_lease_months"]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))
    columns = ColumnTransformer([("categories", encoder, categories), ("numbers", "passthrough", numbers)])
    estimator = HistGradientBoostingRegressor(**project.training.parameters, random_state=project.training.seed)
    pipeline = Pipeline([("columns", columns), ("estimator", estimator)])
    pipeline.fit(train[[*categories, *numbers]], train[project.target].to_numpy())
    return {"seconds": time.perf_counter() - began, "rows": len(rows), "rows_fitted": len(train)}


def _materialize(project: Any, defs: Any, instance: Any, *names: str, through: str = "") -> int:
    """Materialize assets in one run, and tell how many rows a model was fitted on."""
    import dagster as dg  # noqa: PLC0415

    job = defs.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey([project.name, name]) for name in names]
    asked = {"ops": {f"{project.name}__training_set": {"config": {"through": through}}}} if through else None
    done = job.execute_in_process(instance=instance, asset_selection=keys, run_config=asked)
    if not done.success:
        raise RuntimeError(str(names))
    told = [event.step_materialization_data.materialization for event in done.get_asset_materialization_events()]
    return sum(int(one.metadata["rows_trained"].value) for one in told if "rows_trained" in one.metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
