"""`training_set`, `model`, `evaluation`: from the lake's rows to a version and what it is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import DECISION_TAG, asset_key, commit_of, data_origin, ledger, registry, spec
from ml_assets.assets.features import current_kinds
from ml_assets.assets.provenance import hashes
from ml_assets.assets.rows import content_hash, read_partitions, rows_held_out, rows_to_learn, training_rows
from ml_assets.core.evaluation import check_gate, measure
from ml_assets.core.profiles import choose_bins, count_values
from ml_assets.core.splitting import Split, split_by_time
from ml_assets.core.tasks import as_actual, as_number, classes_of
from ml_assets.core.training import TrainingError, Words, build_pipeline, fit, packages, predict
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import Draft, current_champion
from ml_assets.registry.models import TrainingSet, Version

if TYPE_CHECKING:
    import polars as pl


class TrainingSetConfig(dg.Config):
    """What a person, or a decision, may ask of a training set."""

    through: str = ""
    """Key of the newest partition to use; the newest that holds rows where it is empty."""


def build_training_set(project: Project) -> dg.AssetsDefinition:
    """The asset `training_set`."""
    training = project.training
    held_out = f"{training.test_share:.0%} of its rows" if training.by_chance else f"{training.test} of them"
    window = "newest partition" if training.by_chance else f"newest {training.window} partitions"
    text = f"The {window}, {held_out} held out: a snapshot, not a copy."

    @dg.multi_asset(
        name=f"{project.name}__training_set",
        specs=[
            spec(
                project, "training_set", text, deps=["features", "profile"], kinds=["duckdb"],
                code=[project.training.model_dump_json()], partitioned=False,
            )
        ],
    )  # fmt: skip
    def training_set(
        context: dg.AssetExecutionContext, config: TrainingSetConfig, lake: LakeResource
    ) -> dg.MaterializeResult[Any]:
        table = project.table("features")
        with lake.lake.reader() as cursor:
            (snapshot,) = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchone() or (-1,)
            last = f"WHERE _partition <= TIMESTAMP '{project.start_of(config.through)}'" if config.through else ""
            starts = [
                start for (start,) in cursor.execute(f"SELECT DISTINCT _partition FROM {table.path} {last}").fetchall()
            ]
            split = _split(project, starts)
            keys = tuple(project.key_of(start) for start in (*split.train, *split.test))
            rows = read_partitions(lake.lake, project, keys, snapshot)
        chosen = TrainingSet(
            snapshot=snapshot,
            train=tuple(project.key_of(start) for start in split.train),
            test=tuple(project.key_of(start) for start in split.test),
            rows=rows.height,
            content_hash=content_hash(rows),
            run_id=context.run.run_id,
            decision=int(context.run.tags.get(DECISION_TAG, "0")),
            through=keys[-1],
            test_share=training.test_share if training.by_chance else 0.0,
            seed=training.seed,
        )
        held_out = rows_held_out(project, rows, chosen).height
        if held_out in {0, rows.height}:
            raise TrainingError(
                f"{keys[-1]} has {rows.height} rows, of which {held_out} are held out: both sides need some. "
                "Remedy: train on more rows, or change training.test_share"
            )
        registry().keep_training_set(project.name, chosen)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows.height,
                "snapshot": snapshot,
                "train": f"{chosen.train[0]} … {chosen.train[-1]}",
                "test": f"{chosen.test[0]} … {chosen.test[-1]}",
                "rows_held_out": held_out,
                "content_hash": chosen.content_hash,
                **data_origin(project, lake.lake),
            },
            data_version=dg.DataVersion(chosen.content_hash[:16]),
        )

    return training_set


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
                **({"classes": ", ".join(classes)} if classes else {}),
                **data_origin(project, lake.lake),
            },
            data_version=dg.DataVersion(version.artefact[:16]),
        )

    return model


def build_evaluation(project: Project) -> dg.AssetsDefinition:
    """The asset `evaluation`, with a check for every gate."""
    key = asset_key(project, "evaluation")
    gates = [
        dg.AssetCheckSpec(
            f"gate__{gate.metric}_{number}", asset=key, description=gate.model_dump_json(exclude_none=True)
        )
        for number, gate in enumerate(project.gates)
    ]

    @dg.multi_asset(
        name=f"{project.name}__evaluation",
        specs=[
            spec(
                project, "evaluation", "Metrics on the rows it learnt from and on those held out, and the gates.",
                deps=["model"], kinds=["scikitlearn"],
                code=[gate.model_dump_json() for gate in project.gates], partitioned=False,
            )
        ],
        check_specs=gates,
    )  # fmt: skip
    def evaluation(context: dg.AssetExecutionContext, lake: LakeResource) -> Any:
        version = registry().newest(project.name, context.run.run_id)
        rows = training_rows(lake.lake, project, version.training_set)
        metrics = {
            "train": _metrics(version, rows_to_learn(project, rows, version.training_set)),
            "test": _metrics(version, rows_held_out(project, rows, version.training_set)),
        }
        results = [check_gate(gate.metric, gate.at_most, gate.at_least, metrics["test"]) for gate in project.gates]
        registry().write_evaluation(version, {"metrics": metrics, "gates": [asdict(result) for result in results]})
        table = ["| metric | train | test |", "|---|---|---|"]
        table += [
            f"| {name} | {value:,.4g} | {metrics['test'][name]:,.4g} |"
            for name, value in metrics["train"].items()
            if name in metrics["test"]
        ]
        numbers = {f"test_{name}": value for name, value in metrics["test"].items()}
        yield dg.MaterializeResult(
            metadata={
                "version": version.number,
                "metrics": dg.MetadataValue.md("\n".join(table)),
                **numbers,
                **data_origin(project, lake.lake),
            }
        )
        for check, result in zip(gates, results, strict=True):
            yield dg.AssetCheckResult(
                check_name=check.name, asset_key=key, passed=result.passed, severity=dg.AssetCheckSeverity.WARN,
                metadata={"value": result.value, "demand": result.demand},
            )  # fmt: skip

    return evaluation


def prediction_reference(predicted: Any) -> dict[str, Any]:
    """The profile of a version's predictions on its own training rows: what later predictions are held against."""
    import polars as pl

    bins = choose_bins(pl.DataFrame({"prediction": predicted}), {"prediction": "number"})[0]
    counts = count_values(bins, predicted.astype(float))
    return {"edges": list(bins.edges), "bins": dict(counts.bins), "total": counts.total}


def _metrics(version: Version, rows: "pl.DataFrame") -> Mapping[str, float]:
    actual = as_actual(rows[version.target], version.task, version.classes)
    return measure(version.task, actual, registry().predict(version, rows))


def _split(project: Project, starts: Sequence[datetime]) -> Split:
    """By time; a window of one partition stands on both sides, and its rows are split by chance."""
    training = project.training
    if not training.by_chance:
        return split_by_time(starts, window=training.window, test=training.test)
    if not starts:
        raise TrainingError(f"no partition holds rows. Remedy: materialize {project.name}/features")
    return Split((max(starts),), (max(starts),))
