"""`model`: from the rows of a training set to a new version."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import commit_of, data_origin, ledger, registry, spec
from ml_assets.assets.features import current_kinds
from ml_assets.assets.provenance import environment, hashes, sources
from ml_assets.assets.rows import rows_to_learn, training_rows
from ml_assets.core.profiles import choose_bins, count_values
from ml_assets.core.tasks import as_number, classes_of
from ml_assets.core.training import Words, build_pipeline, fit, packages, predict, threads_worth
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import Draft, current_champion

if TYPE_CHECKING:
    import polars as pl
    from sklearn.pipeline import Pipeline

    from ml_assets.core.tasks import Values


def build_model(project: Project) -> dg.AssetsDefinition:
    """The asset `model`."""

    @dg.multi_asset(
        name=f"{project.name}__model",
        specs=[
            spec(
                project, "model", f"A new, immutable version: `{project.training.estimator}` in a pipeline.",
                deps=["training_set"], kinds=["scikitlearn"],
                code=[project.training.model_dump_json(), project.target, project.task, project.positive or ""],
                partitioned=False,
            )
        ],
    )  # fmt: skip
    def model(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        training_set = registry().training_set(project.name, context.run.run_id)
        rows = training_rows(lake.lake, project, training_set)
        train = rows_to_learn(project, rows, training_set)
        with lake.lake.reader() as cursor:
            kinds = current_kinds(cursor, project)
        context.log.info("training on %d rows", train.height)
        trained = train_model(project, train, kinds, project.training.parameters)
        entries = ledger(lake.lake).entries(project.name)
        fields = {
            "project": project.name,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run_id": context.run.run_id,
            "parent": current_champion(entries) or 0,
            "estimator": project.training.estimator,
            "parameters": project.training.parameters,
            "seed": project.training.seed,
            "features": kinds,
            "target": project.target,
            "training_set": replace(training_set, run_id=context.run.run_id),
            "hashes": hashes(project),
            "packages": packages(),
            "reference": prediction_reference(as_number(trained.predicted)),
            "task": project.task,
            "classes": trained.classes,
            "sources": sources(project),
            "threads": trained.threads,
            "environment": environment(),
            "predictions": trained.digest,
        }
        version = registry().register(trained.pipeline, fields)
        ledger(lake.lake).append(
            commit_of(context, project, "model"),
            lambda _: [
                Draft(
                    project.name, "registered", f"trained through {training_set.train[-1]}",
                    {"decision": training_set.decision, "artefact": version.artefact}, version=version.number,
                )
            ],
        )  # fmt: skip
        return dg.MaterializeResult(
            metadata={
                "version": version.number,
                "rows_trained": train.height,
                "artefact_sha256": version.artefact,
                "training_snapshot": training_set.snapshot,
                "parent": version.parent,
                "features": ", ".join(kinds),
                **({"classes": ", ".join(trained.classes)} if trained.classes else {}),
                **data_origin(project, lake.lake),
            },
            data_version=dg.DataVersion(version.artefact[:16]),
        )

    return model


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline and what it says of the rows that it learnt from.

    Attributes:
        pipeline: fitted.
        classes: see `Version`.
        threads: in how many it was fitted and has predicted.
        predicted: as `core.training.predict` returns it.
    """

    pipeline: "Pipeline"
    classes: tuple[str, ...]
    threads: int
    predicted: "Values"

    @property
    def digest(self) -> str:
        """SHA-256 over the predictions' bytes."""
        return hashlib.sha256(self.predicted.tobytes()).hexdigest()


def train_model(
    project: Project,
    rows: "pl.DataFrame",
    kinds: Mapping[str, str],
    parameters: Mapping[str, Any],
    *,
    threads: int | None = None,
) -> Trained:
    """Train as declared: whoever trains again from a record calls this too.

    Args:
        project: the project, as it is or was declared.
        rows: those to learn from, in the order of their lineage.
        kinds: the features and their kinds.
        parameters: of the estimator.
        threads: in how many; as many as the rows are worth where it is left out.
    """
    training, task = project.training, project.task
    threads = threads or threads_worth(rows.height)
    words = Words(counts=training.text_features == "counts", stop_words=training.stop_words)
    pipeline = build_pipeline(training.estimator, parameters, kinds, training.seed, task=task, words=words)
    classes = tuple(classes_of(rows[project.target].drop_nulls(), task, project.positive))
    fit(pipeline, rows, kinds, project.target, task=task, classes=classes, threads=threads)
    return Trained(pipeline, classes, threads, predict(pipeline, rows, kinds, task, threads=threads))


def prediction_reference(predicted: Any) -> dict[str, Any]:
    """The profile of a version's predictions on its own training rows: what later predictions are held against."""
    import polars as pl

    bins = choose_bins(pl.DataFrame({"prediction": predicted}), {"prediction": "number"})[0]
    counts = count_values(bins, predicted.astype(float))
    return {"edges": list(bins.edges), "bins": dict(counts.bins), "total": counts.total}
