"""`training_set`, `model`, `evaluation`, `champion`: from the lake's rows to a version that serves, or to the reasons why not."""

import hashlib
import io
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets import settings
from ml_assets.assets.common import DECISION_TAG, asset_key, commit_of, ledger, registry, spec
from ml_assets.core.evaluation import check_gate, compare, regression_metrics
from ml_assets.core.profiles import choose_bins, count_values
from ml_assets.core.splitting import split_by_time
from ml_assets.core.training import as_inputs, build_pipeline, feature_kinds, fit, packages
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import read
from ml_assets.project import Project, digest
from ml_assets.registry.ledger import Draft, Entry, champion_at, stages
from ml_assets.registry.models import RegistryError, TrainingSet, Version
from ml_assets.schemas import source_of

if TYPE_CHECKING:
    import polars as pl


class TrainingSetConfig(dg.Config):
    """What a person, or a decision, may ask of a training set."""

    through: str = ""
    """Key of the newest partition to use; the newest that holds rows where it is empty."""


class TrainingDataError(Exception):
    """The rows of a training set are not those that were recorded."""


def build_training_set(project: Project) -> dg.AssetsDefinition:
    """The asset `training_set`."""
    text = f"The newest {project.training.window} partitions, the last {project.training.test} held out: not a copy, a snapshot of the lake."

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
            split = split_by_time(starts, window=project.training.window, test=project.training.test)
            keys = tuple(project.key_of(start) for start in (*split.train, *split.test))
            rows = read_partitions(lake.lake, project, keys, snapshot)
        chosen = TrainingSet(
            snapshot=snapshot,
            train=tuple(project.key_of(start) for start in split.train),
            test=tuple(project.key_of(start) for start in split.test),
            rows=rows.height,
            content_hash=content_hash(rows),
            run_id=context.run_id,
            decision=int(context.run.tags.get(DECISION_TAG, "0")),
            through=keys[-1],
        )
        registry().keep_training_set(project.name, chosen)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows.height,
                "snapshot": snapshot,
                "train": f"{chosen.train[0]} … {chosen.train[-1]}",
                "test": f"{chosen.test[0]} … {chosen.test[-1]}",
                "content_hash": chosen.content_hash,
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
                project, "model", f"A new, immutable version: `{project.training.estimator}` in a scikit-learn pipeline.",
                deps=["training_set"], kinds=["scikitlearn"], code=[project.training.model_dump_json(), project.target], partitioned=False,
            )
        ],
    )  # fmt: skip
    def model(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        training_set = registry().training_set(project.name, context.run_id)
        rows = training_rows(lake.lake, project, training_set)
        train = of_partitions(project, rows, training_set.train)
        kinds = feature_kinds(train.schema, target=project.target, time=project.partitions.time)
        training = project.training
        pipeline = build_pipeline(training.estimator, training.parameters, kinds, training.seed)
        context.log.info("training on %d rows", train.height)
        fit(pipeline, train, kinds, project.target)
        entries = ledger(lake.lake).entries(project.name)
        fields = {
            "project": project.name,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run_id": context.run_id,
            "parent": champion_at(entries, training_set.through) or 0,
            "estimator": training.estimator,
            "parameters": training.parameters,
            "seed": training.seed,
            "features": kinds,
            "target": project.target,
            "training_set": replace(training_set, run_id=context.run_id),
            "hashes": hashes(project),
            "packages": packages(),
            "reference": prediction_reference(pipeline.predict(as_inputs(train, kinds))),
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
                deps=["model"], kinds=["scikitlearn"], code=[gate.model_dump_json() for gate in project.gates], partitioned=False,
            )
        ],
        check_specs=gates,
    )  # fmt: skip
    def evaluation(context: dg.AssetExecutionContext, lake: LakeResource) -> Any:
        version = registry().newest(project.name, context.run_id)
        rows = training_rows(lake.lake, project, version.training_set)
        metrics = {
            "train": _metrics(project, version, of_partitions(project, rows, version.training_set.train)),
            "test": _metrics(project, version, of_partitions(project, rows, version.training_set.test)),
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
            metadata={"version": version.number, "metrics": dg.MetadataValue.md("\n".join(table)), **numbers}
        )
        for check, result in zip(gates, results, strict=True):
            yield dg.AssetCheckResult(
                check_name=check.name, asset_key=key, passed=result.passed, severity=dg.AssetCheckSeverity.WARN,
                metadata={"value": result.value, "demand": result.demand},
            )  # fmt: skip

    return evaluation


def build_champion(project: Project) -> dg.AssetsDefinition:
    """The asset `champion`."""

    @dg.multi_asset(
        name=f"{project.name}__champion",
        specs=[
            spec(
                project, "champion", "The version that serves. A challenger takes over only if it passes the gates and is better, by more "
                "than noise, on rows that neither has learnt from.", deps=["evaluation"], kinds=["scikitlearn"], partitioned=False,
            )
        ],
    )  # fmt: skip
    def champion(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        version = registry().newest(project.name, context.run_id)
        book = ledger(lake.lake)
        entries = book.entries(project.name)
        if stages(entries).get(version.number) == "candidate":
            draft = judge(project, lake.lake, version, champion_at(entries, version.training_set.through))

            def once(now: list[Entry]) -> Sequence[Draft]:
                return [draft] if stages(now).get(version.number) == "candidate" else []

            book.append(commit_of(context, project, "champion"), once)
            entries = book.entries(project.name)
        verdict = next(
            entry
            for entry in reversed(entries)
            if entry.version == version.number and entry.kind in {"promoted", "rejected"}
        )
        serving = next((entry.version for entry in reversed(entries) if entry.kind == "promoted"), None)
        context.log.info("version %d %s: %s", version.number, verdict.kind, verdict.reason)
        return dg.MaterializeResult(
            metadata={
                "challenger": version.number,
                "verdict": verdict.kind,
                "reason": verdict.reason,
                "champion": serving if serving is not None else "none",
                "evidence": dg.MetadataValue.json(verdict.facts),
            },
            # Predictions use the champion of their time: a later one does not make them out of date (ADR 0005).
            data_version=dg.DataVersion("champion"),
        )

    return champion


def judge(project: Project, lake: Lake, version: Version, champion: int | None) -> Draft:
    """Whether a version is promoted, and why.

    Args:
        project: the project.
        lake: where its rows are.
        version: the challenger, evaluated.
        champion: the version that serves, or None.
    """
    stored = registry().evaluation(project.name, version.number)
    if stored is None:
        raise RegistryError(
            f"{project.name} version {version.number} has no evaluation. Remedy: materialize {project.name}/evaluation"
        )
    failed = [gate for gate in stored["gates"] if not gate["passed"]]
    serves_from = project.key_of(project.step(project.start_of(version.training_set.through), 1))
    facts: dict[str, Any] = {
        "gates": stored["gates"],
        "test": stored["metrics"]["test"],
        "decision": version.training_set.decision,
    }
    if failed:
        reason = "; ".join(f"gate {gate['demand']}: it reached {gate['value']:.4g}" for gate in failed)
        return Draft(project.name, "rejected", reason, facts, version=version.number)
    if champion is None:
        return Draft(
            project.name, "promoted", "the first version that passes the gates", facts, serves_from, version.number
        )
    if champion == version.number:
        raise RegistryError(f"{project.name} version {version.number} already serves")
    incumbent = registry().version(project.name, champion)
    keys = [key for key in version.training_set.test if key > incumbent.training_set.train[-1]]
    rows = of_partitions(project, training_rows(lake, project, version.training_set), keys)
    if not rows.height:
        reason = f"there are no rows that neither it nor version {champion} has learnt from"
        return Draft(project.name, "rejected", reason, facts, version=version.number)
    actual = rows[project.target].to_numpy().astype(float)
    result = compare(project.retraining.metric, actual, predict(version, rows), predict(incumbent, rows))
    facts["comparison"] = asdict(result)
    name = result.metric.upper()
    words = (
        f"{name} {result.challenger:.4g} against {result.champion:.4g} of version {champion} on {result.rows} rows of "
        f"{keys[0]} … {keys[-1]} that neither has learnt from, p = {result.p_value:.2g}"
    )
    if result.better:
        return Draft(project.name, "promoted", words, facts, serves_from, version.number)
    return Draft(project.name, "rejected", f"not better by more than noise: {words}", facts, version=version.number)


def predict(version: Version, rows: "pl.DataFrame") -> Any:
    """Predictions of a version for rows of `features`, shape (n,), in the target's unit."""
    missing = [name for name in version.features if name not in rows.columns]
    if missing:
        raise RegistryError(
            f"version {version.number} of {version.project} needs the feature {missing[0]!r}, which features.sql no longer returns. "
            "Remedy: return it again, or train a new version"
        )
    return registry().load(version).predict(as_inputs(rows, version.features)).astype(float)


def read_partitions(lake: Lake, project: Project, keys: Sequence[str], snapshot: int) -> "pl.DataFrame":
    """Rows of `features` in some partitions, as a snapshot of the lake saw them, in the order of their lineage."""
    with lake.reader() as cursor:
        rows = read(cursor, project.table("features"), project.window(min(keys), max(keys)), snapshot)
    return of_partitions(project, rows, keys)


def of_partitions(project: Project, rows: "pl.DataFrame", keys: Sequence[str]) -> "pl.DataFrame":
    """The rows that stand in some partitions."""
    return rows.filter(rows["_partition"].is_in([project.start_of(key) for key in keys]))


def training_rows(lake: Lake, project: Project, training_set: TrainingSet) -> "pl.DataFrame":
    """The rows of a training set.

    Raises:
        TrainingDataError: if they are not the rows that were recorded.
    """
    rows = read_partitions(lake, project, (*training_set.train, *training_set.test), training_set.snapshot)
    found = content_hash(rows)
    if found != training_set.content_hash:
        raise TrainingDataError(
            f"{project.name}: snapshot {training_set.snapshot} of the lake holds other rows than were recorded "
            f"({found[:12]}… instead of {training_set.content_hash[:12]}…). Remedy: materialize {project.name}/training_set again"
        )
    return rows


def content_hash(rows: "pl.DataFrame") -> str:
    """SHA-256 over the names, types and values of a frame, in order."""
    import polars as pl  # noqa: PLC0415

    content = io.BytesIO()
    # The oldest layout keeps text in one run of bytes: the same rows are the same bytes however they were chunked.
    rows.rechunk().write_ipc(content, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return hashlib.sha256(content.getbuffer()).hexdigest()


def hashes(project: Project) -> dict[str, str]:
    """What code made a version: hashes of the declaration, the SQL, the schema and the lock, and the git commit."""
    found = {
        "declaration": project.declaration_hash,
        "sql": project.sql_hash,
        "schema": digest(source_of(project.schema)),
    }
    lock = settings.project_root() / "requirements.txt"
    if lock.is_file():
        found["lock"] = digest(lock.read_text(encoding="utf-8"))
    commit = git_commit(settings.project_root())
    return found | ({"git": commit} if commit else {})


@cache
def git_commit(folder: Path) -> str:
    """The commit that is checked out, with `+changes` where files differ from it; "" outside a repository."""
    if not (folder / ".git").exists():
        return ""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, env=environment
        )  # noqa: S603, S607 - fixed words, no shell
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def prediction_reference(predicted: Any) -> dict[str, Any]:
    """The profile of a version's predictions on its own training rows: what later predictions are held against."""
    import polars as pl  # noqa: PLC0415

    bins = choose_bins(pl.DataFrame({"prediction": predicted}), {"prediction": "number"})[0]
    counts = count_values(bins, predicted.astype(float))
    return {"edges": list(bins.edges), "bins": dict(counts.bins), "total": counts.total}


def _metrics(project: Project, version: Version, rows: "pl.DataFrame") -> Mapping[str, float]:
    return regression_metrics(rows[project.target].to_numpy().astype(float), predict(version, rows))
