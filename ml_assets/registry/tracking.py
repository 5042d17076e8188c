"""Telling MLflow of a version: its parameters, metrics and tags, and its files as they are. Nothing is pickled.

A version is one MLflow run, however often it is told of: it is found again by its tag.
"""

from __future__ import annotations

import importlib.util
import math
import os
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml_assets.registry.cards import CARD
from ml_assets.registry.export import ONNX
from ml_assets.registry.models import EVALUATION, MODEL, RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_assets.registry.models import Registry, Version

VERSION_TAG = "ml_assets.version"
FILES = (MODEL, ONNX, CARD, RECORD, EVALUATION)
# Of a parameter; what MLflow refuses is more.
LONGEST = 6_000
# A server that is away is told of later: nobody waits two minutes, seven times.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}


class TrackingError(Exception):
    """MLflow could not be told; the message says what to do, and nothing of the server's address."""


def log_version(registry: Registry, version: Version, *, url_env: str, experiment: str, stage: str) -> str:
    """Tell an MLflow server of a version; told again, the same run is brought up to date.

    Args:
        registry: holds its files.
        version: the version.
        url_env: the environment variable that holds the server's address.
        experiment: the experiment's name; made where it is missing.
        stage: the version's.

    Returns:
        The id of the MLflow run.

    Raises:
        TrackingError: if the extra or the variable is missing, or the server is away or refuses.
    """
    address = os.environ.get(url_env, "")
    if not address:
        raise TrackingError(f"the environment variable {url_env} is not set. Remedy: set it to the address of MLflow")
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError("the extra is not installed. Remedy: pip install 'ml-assets[mlflow]'")
    with _patience():
        from mlflow.exceptions import MlflowException

        try:
            return _log(registry, version, address, experiment, stage)
        except (MlflowException, OSError) as error:
            # Its text would tell the address, and whatever secret stands in it: so does the chain of its causes.
            what = getattr(error, "error_code", None) or type(error).__name__
        raise TrackingError(f"the server at {url_env} does not answer, or refuses: {what}")


def _log(registry: Registry, version: Version, address: str, experiment: str, stage: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known else client.create_experiment(experiment)
    name = f"{version.project}@{version.number}"
    # The artefact too: another home may have a version of this name.
    same = f"tags.`{VERSION_TAG}` = '{name}' AND tags.`ml_assets.artefact` = '{version.artefact}'"
    found = client.search_runs([place], same, max_results=1)
    tags = _tags(version) | {"ml_assets.stage": stage, VERSION_TAG: name}
    if found:
        run = found[0].info.run_id
        for key, text in tags.items():
            client.set_tag(run, key, text)
    else:
        moment = round(datetime.fromisoformat(version.created_at).timestamp() * 1000)
        run = client.create_run(place, start_time=moment, tags=tags, run_name=name).info.run_id
    # Again where it is known: the server may have died in between, and the same value twice is no error.
    for key, text in _parameters(version).items():
        client.log_param(run, key, text)
    for key, value in _metrics(registry, version).items():
        client.log_metric(run, key, value, step=version.number)
    for file in FILES:
        path = registry.path(version, file)
        if path.is_file():
            client.log_artifact(run, str(path))
    client.set_terminated(run)
    return str(run)


def _tags(version: Version) -> dict[str, str]:
    chosen = version.training_set
    return {
        "ml_assets.artefact": version.artefact,
        "ml_assets.snapshot": str(chosen.snapshot),
        "ml_assets.content": chosen.content_hash,
        "ml_assets.parent": str(version.parent),
        "ml_assets.dagster_run": version.run_id,
        **{f"ml_assets.hash.{name}": value for name, value in version.hashes.items()},
        **{f"ml_assets.package.{name}": value for name, value in version.packages.items()},
    }


def _parameters(version: Version) -> dict[str, str]:
    chosen = version.training_set
    told: dict[str, Any] = {
        "estimator": version.estimator,
        "seed": version.seed,
        "target": version.target,
        "task": version.task,
        "features": ", ".join(version.features),
        "train": f"{chosen.train[0]} … {chosen.train[-1]}",
        "test": f"{chosen.test[0]} … {chosen.test[-1]}",
        "rows": chosen.rows,
        **{f"estimator.{name}": value for name, value in version.parameters.items()},
    }
    return {name: str(value)[:LONGEST] for name, value in told.items()}


def _metrics(registry: Registry, version: Version) -> dict[str, float]:
    stored = registry.evaluation(version.project, version.number) or {"metrics": {}}
    found = {
        f"{side}_{name}": value for side in ("train", "test") for name, value in stored["metrics"].get(side, {}).items()
    }
    return {
        name: float(value) for name, value in found.items() if isinstance(value, (int, float)) and math.isfinite(value)
    }


@contextmanager
def _patience() -> Iterator[None]:
    """How long MLflow waits, unless somebody has set it; and that it tells nobody of its use."""
    added = [name for name in PATIENCE if name not in os.environ]
    os.environ.update({name: PATIENCE[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
