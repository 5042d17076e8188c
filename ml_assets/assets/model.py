"""`model`: from the rows of a training set to a new version."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import commit_of, data_origin, launched_by, ledger, registration, registry, spec
from ml_assets.assets.features import current_kinds
from ml_assets.assets.leakage import refuse_leakage
from ml_assets.assets.provenance import environment, hashes, sources
from ml_assets.assets.publishing import card_page
from ml_assets.assets.rows import rows_held_back, rows_to_learn, training_rows
from ml_assets.assets.searching import found_parameters
from ml_assets.core.evaluation import measure
from ml_assets.core.profiles import choose_bins, count_values
from ml_assets.core.tasks import as_actual, as_number, classes_of
from ml_assets.core.training import Recipe, Words, packages, predict, train
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import current_champion
from ml_assets.registry.models import TrainingSet

if TYPE_CHECKING:
    import polars as pl


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
        refuse_leakage(project, training_set)
        rows = training_rows(lake.lake, project, training_set)
        learnt = rows_to_learn(project, rows, training_set)
        with lake.lake.reader() as cursor:
            kinds = current_kinds(cursor, project)
        training = project.training
        classes = classes_of(learnt[project.target].drop_nulls(), project.task, project.positive)
        recipe = recipe_of(project, kinds, classes)
        with found_parameters(project, recipe, rows, training_set, context.log.info) as searched:
            if searched:
                recipe = replace(recipe, parameters={**recipe.parameters, **searched.parameters})
            context.log.info("training on %d rows", learnt.height)
            trained = train(recipe, learnt, project.target)
            entries = ledger(lake.lake).entries(project.name)
            fields = {
                "project": project.name,
                "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "run_id": context.run.run_id,
                "parent": current_champion(entries) or 0,
                "estimator": training.estimator,
                "parameters": dict(recipe.parameters),
                "seed": training.seed,
                "features": dict(recipe.kinds),
                "target": project.target,
                "training_set": replace(training_set, run_id=context.run.run_id),
                "hashes": hashes(project),
                "packages": packages(training.estimator),
                "reference": prediction_reference(as_number(trained.predicted)),
                "task": project.task,
                "classes": classes,
                "allowed": tuple(training.allowed),
                "sources": sources(project),
                "threads": trained.threads,
                "environment": environment(),
                "predictions": trained.digest,
                "search": searched.record if searched else {},
                "holdout": measured_at_last(project, trained.pipeline, rows, training_set, recipe),
            }
            version = registry().register(trained.pipeline, fields)
        ledger(lake.lake).append(
            commit_of(context, project, "model"),
            lambda _: [registration(version, launched_by(context.run))],
        )
        return dg.MaterializeResult(
            metadata={
                "version": version.number,
                "card": dg.MetadataValue.url(card_page(version)),
                "rows_trained": learnt.height,
                "artefact_sha256": version.artefact,
                "training_snapshot": training_set.snapshot,
                "parent": version.parent,
                "features": ", ".join(recipe.kinds),
                **({"classes": ", ".join(classes)} if classes else {}),
                **{f"holdout_{name}": value for name, value in version.holdout.get("metrics", {}).items()},
                **(searched.as_metadata() if searched else {}),
                **data_origin(project, lake.lake),
            },
            data_version=dg.DataVersion(version.artefact[:16]),
        )

    return model


def recipe_of(project: Project, kinds: Mapping[str, str], classes: Sequence[str]) -> Recipe:
    """What a project's pipeline is made from."""
    training = project.training
    return Recipe(
        estimator=training.estimator,
        parameters=training.parameters,
        kinds=kinds,
        seed=training.seed,
        task=project.task,
        words=Words(counts=training.text_features == "counts", stop_words=training.stop_words),
        allowed=tuple(training.allowed),
        preprocessing=training.preprocessing,
        classes=tuple(classes),
    )


def measured_at_last(
    project: Project, pipeline: Any, rows: "pl.DataFrame", training_set: TrainingSet, recipe: Recipe
) -> dict[str, Any]:
    """The metrics of a fitted pipeline on the holdout, and its rows: once, when nothing is left to choose."""
    if not (training_set.holdout or training_set.holdout_share):
        return {}
    held_back = rows_held_back(project, rows, training_set)
    if not held_back.height:
        return {}
    actual = as_actual(held_back[project.target], project.task, recipe.classes)
    predicted = predict(pipeline, held_back, recipe.kinds, project.task)
    return {"rows": held_back.height, "metrics": measure(project.task, actual, predicted)}


def prediction_reference(predicted: Any) -> dict[str, Any]:
    """The profile of a version's predictions on training rows of its own: what later predictions are held against."""
    import polars as pl

    bins = choose_bins(pl.DataFrame({"prediction": predicted}), {"prediction": "number"})[0]
    counts = count_values(bins, predicted.astype(float))
    return {"edges": list(bins.edges), "bins": dict(counts.bins), "total": counts.total}
