"""What is made of a version once it has been judged: its ONNX file, its card, and an entry in MLflow.

The verdict stands, whatever becomes of these: what fails is told, and can be made later by a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets import settings
from ml_assets.assets.common import ledger, registry
from ml_assets.assets.rows import read_partitions
from ml_assets.registry.cards import subject_of, write_card
from ml_assets.registry.export import Exported, ExportRefusedError, export, is_installed, keep
from ml_assets.registry.ledger import moved, stages
from ml_assets.registry.models import RegistryError
from ml_assets.registry.tracking import TrackingError, log_version

if TYPE_CHECKING:
    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Version

# Partitions it has learnt from that an export is held against, beside those it was judged on.
LEARNT = 3


def publish(project: Project, lake: Lake, verdict: Entry) -> dict[str, Any]:
    """Make them once a verdict stands in the ledger, and say what came of it, as metadata.

    The ONNX file is made of the version that serves, where the extra is installed; MLflow is told where it is declared.
    Card and MLflow of every other version whose stage the verdict changed are brought up to date too.
    """
    entries = ledger(lake).entries(project.name)
    version = registry().version(project.name, verdict.version)
    told: dict[str, Any] = {"card": dg.MetadataValue.url(card_page(version))}
    if is_installed() and stages(entries).get(version.number) == "champion":
        try:
            told["onnx"] = in_words(export_onnx(project, lake, version))
            told["predictions_served_by"] = "ONNX"
        except (ExportRefusedError, RegistryError) as error:
            told["onnx"] = str(error)
            told["predictions_served_by"] = "scikit-learn: there is no ONNX file that agrees with it"
    told |= _tell_stage(project, lake, version)
    for number in sorted(moved(entries, verdict) - {version.number}):
        try:
            found = _tell_stage(project, lake, registry().version(project.name, number))
        except (RegistryError, OSError) as error:
            found = {"card": f"not written: {error}"}
        told |= {f"{what}_of_version_{number}": words for what, words in found.items()}
    return told


def _tell_stage(project: Project, lake: Lake, version: Version) -> dict[str, str]:
    """Bring a version's card up to date, and what MLflow knows of it; what came of the latter, as metadata."""
    make_card(project, lake, version)
    if project.tracking.mlflow is None:
        return {}
    try:
        return {"mlflow": f"run {log(project, lake, version)}"}
    except TrackingError as error:
        later = f"ml-assets models log {project.name}@{version.number}"
        return {"mlflow": f"not logged: {error}. To log it later: {later}"}


def card_page(version: Version) -> str:
    """The address of a version's card."""
    return f"{settings.reports_url()}/projects/{version.project}/versions/{version.number}/card"


def export_onnx(project: Project, lake: Lake, version: Version) -> Exported:
    """Export a version, held against it on the newest of its own rows, and keep the file beside it.

    Raises:
        ExportRefusedError: if it cannot be, or the two disagree.
        RegistryError: if the model file cannot be trusted.
    """
    chosen = version.training_set
    rows = read_partitions(lake, project, sorted({*chosen.train[-LEARNT:], *chosen.test}), chosen.snapshot)
    exported = export(registry(), version, rows)
    keep(registry(), version, exported)
    return exported


def in_words(exported: Exported) -> str:
    """How well an export agrees."""
    return f"agrees with the version on {exported.rows:,} rows, by {exported.greatest:.3g} at most"


def make_card(project: Project, lake: Lake, version: Version) -> str:
    """Write a version's card beside it, and return it as Markdown."""
    with lake.reader() as cursor:
        told = subject_of(cursor, registry(), version, description=project.description, owners=project.owners)
    return write_card(registry(), version, told)


def log(project: Project, lake: Lake, version: Version) -> str:
    """Tell MLflow of a version, and return the id of its run there.

    Raises:
        TrackingError: if none is declared, it is away, or it refuses.
    """
    declared = project.tracking.mlflow
    if declared is None:
        raise TrackingError(f"{project.name} declares no MLflow. Remedy: write tracking.mlflow in its defs.yaml")
    stage = stages(ledger(lake).entries(project.name)).get(version.number, "candidate")
    experiment = declared.experiment or project.name
    return log_version(registry(), version, url_env=declared.url_env, experiment=experiment, stage=stage)
