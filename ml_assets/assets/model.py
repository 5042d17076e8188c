"""`model`: from the rows of a training set to a new version."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ml_assets.assets.common import commit_of, data_origin, launched_by, ledger, registration, registry, spec
from ml_assets.assets.features import current_kinds
from ml_assets.assets.provenance import hashes
from ml_assets.assets.rows import rows_to_learn, training_rows
from ml_assets.core.profiles import choose_bins, count_values
from ml_assets.core.tasks import as_number, classes_of
from ml_assets.core.training import Words, build_pipeline, fit, packages, predict
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import current_champion


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
        training = project.training
        words = Words(counts=training.text_features == "counts", stop_words=training.stop_words)
        pipeline = build_pipeline(
            training.estimator, training.parameters, kinds, training.seed, task=project.task, words=words
        )
        context.log.info("training on %d rows", train.height)
        classes = classes_of(train[project.target].drop_nulls(), project.task, project.positive)
        fit(pipeline, train, kinds, project.target, task=project.task, classes=classes)
        predicted = as_number(predict(pipeline, train, kinds, project.task))
        entries = ledger(lake.lake).entries(project.name)
        fields = {
            "project": project.name,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run_id": context.run.run_id,
            "parent": current_champion(entries) or 0,
            "estimator": training.estimator,
            "parameters": training.parameters,
            "seed": training.seed,
            "features": kinds,
            "target": project.target,
            "training_set": replace(training_set, run_id=context.run.run_id),
            "hashes": hashes(project),
            "packages": packages(),
            "reference": prediction_reference(predicted),
            "task": project.task,
            "classes": classes,
        }
        version = registry().register(pipeline, fields)
        ledger(lake.lake).append(
            commit_of(context, project, "model"),
            lambda _: [registration(version, launched_by(context.run))],
        )
        return dg.MaterializeResult(
            metadata={
                "version": version.number,
                "rows_trained": train.height,
                "artefact_sha256": version.artefact,
                "training_snapshot": training_set.snapshot,
                "parent": version.parent,
                "features": ", ".join(kinds),
                **({"classes": ", ".join(classes)} if classes else {}),
                **data_origin(project, lake.lake),
            },
            data_version=dg.DataVersion(version.artefact[:16]),
        )

    return model


def prediction_reference(predicted: Any) -> dict[str, Any]:
    """The profile of a version's predictions on its own training rows: what later predictions are held against."""
    import polars as pl

    bins = choose_bins(pl.DataFrame({"prediction": predicted}), {"prediction": "number"})[0]
    counts = count_values(bins, predicted.astype(float))
    return {"edges": list(bins.edges), "bins": dict(counts.bins), "total": counts.total}
