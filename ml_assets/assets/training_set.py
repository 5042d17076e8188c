"""`training_set`: which rows a model learns from and which judge it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import DECISION_TAG, data_origin, registry, spec
from ml_assets.assets.features import current_kinds
from ml_assets.assets.labels import to_learn_from
from ml_assets.assets.leakage import leakage_checks, look_for_leakage
from ml_assets.assets.made_by import refuse_other_code
from ml_assets.assets.partitioning import refuse_other_partitions
from ml_assets.assets.provenance import contents
from ml_assets.assets.rows import content_hash, read_partitions, rows_held_out, rows_to_learn, sides
from ml_assets.core.splitting import Split, split_by_time
from ml_assets.core.training import TrainingError
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import verdict_on
from ml_assets.registry.models import TrainingSet

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
    window = "newest partition" if training.window == 1 else f"newest {training.window} partitions"
    text = f"The {window}, {held_out} held out ({training.split_kind}): a snapshot, not a copy."

    @dg.multi_asset(
        name=f"{project.name}__training_set",
        specs=[
            spec(
                project, "training_set", text, deps=["features", "profile"], kinds=["duckdb"],
                code=[project.training.model_dump_json(), project.leakage.model_dump_json()], partitioned=False,
            )
        ],
        check_specs=leakage_checks(project),
    )  # fmt: skip
    def training_set(context: dg.AssetExecutionContext, config: TrainingSetConfig, lake: LakeResource) -> Iterator[Any]:
        refuse_other_partitions(project, lake.lake)
        decision = int(context.run.tags.get(DECISION_TAG, "0"))
        _refuse_settled(project, lake.lake, decision)
        with lake.lake.reader() as cursor:
            (snapshot,) = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchone() or (-1,)
            through = project.start_of(config.through) if config.through else None
            starts, waiting = to_learn_from(cursor, project, through)
            split = split_of(project, starts)
            parts: dict[str, Any] = {name: tuple(map(project.key_of, starts)) for name, starts in asdict(split).items()}
            keys = [key for part in parts.values() for key in part]
            kinds = current_kinds(cursor, project)
            refuse_other_code(project, cursor, keys, [*kinds, project.target], snapshot)
            rows = read_partitions(lake.lake, project, keys, snapshot)
            held = contents(cursor, project, sorted({*keys}), snapshot)
        chosen = TrainingSet(
            snapshot=snapshot,
            **parts,
            rows=rows.height,
            content_hash=content_hash(rows),
            run_id=context.run.run_id,
            decision=decision,
            through=max(keys, key=project.start_of),
            seed=training.seed,
            **lots_of(project),
            contents=held,
        )
        counts = _counts(project, rows, chosen)
        test = rows_held_out(project, rows, chosen)
        found = look_for_leakage(project, lake.lake, chosen, rows_to_learn(project, rows, chosen), test)
        # Kept with what was found: `model` learns from no rows that the gate has refused, in whatever run.
        registry().keep_training_set(project.name, replace(chosen, leakage=found.record))
        yield dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows.height,
                "snapshot": snapshot,
                **{name: f"{keys[0]} … {keys[-1]}" for name, keys in parts.items() if keys},
                "split": chosen.lots if chosen.test_share else "time",
                **{f"rows_{name}": count for name, count in counts.items()},
                "rows_held_out": counts["test"],
                "content_hash": chosen.content_hash,
                **({"labels_to_come": ", ".join(map(project.key_of, waiting))} if waiting else {}),
                **data_origin(project, lake.lake),
            },
            data_version=dg.DataVersion(chosen.content_hash[:16]),
        )
        for blocked in found.blocking:
            context.log.error(str(blocked))
        yield from found.results(project)

    return training_set


def _refuse_settled(project: Project, lake: Lake, decision: int) -> None:
    """Refuse to train for a decision that has its verdict: another attempt, believed dead, has come to it.

    Raises:
        TrainingError: naming the verdict.
    """
    if not decision:
        return
    with lake.reader() as cursor:
        verdict = verdict_on(cursor, project.name, decision)
    if verdict is not None:
        raise TrainingError(
            f"{project.name}: decision {decision} has its verdict: version {verdict.version} was {verdict.kind}. "
            f"Remedy: none is needed; to train anyway, launch {project.name}_retrain without the tag {DECISION_TAG}"
        )


def split_of(project: Project, starts: Sequence[datetime]) -> Split:
    """By time; rows that are parted by lot have their partitions on all sides but a holdout of the newest."""
    training = project.training
    if not training.by_chance:
        validation, holdout = int(training.split.validation), training.held_back
        split = split_by_time(
            starts, window=training.window, test=training.test, validation=validation, holdout=holdout
        )
        # Once its search is over a version learns from the validation too: the newest rows are worth the most.
        return replace(split, train=(*split.train, *split.validation))
    newest = tuple(sorted(starts)[-training.window :])
    dealt, held_back = newest[: len(newest) - training.held_back], newest[len(newest) - training.held_back :]
    if not dealt:
        raise TrainingError(
            f"{len(newest)} partitions hold rows, none beside the holdout. Remedy: materialize {project.name}/features"
        )
    return Split(train=dealt, test=dealt, holdout=held_back)


def lots_of(project: Project) -> dict[str, Any]:
    """How rows are parted that are not parted by time."""
    training = project.training
    if not training.by_chance:
        return {}
    return {
        "test_share": training.test_share,
        "validation_share": training.split.validation,
        "holdout_share": 0.0 if training.held_back else training.split.holdout,
        "lots": training.split_kind,
        "by": training.split.by or (project.target if training.split_kind == "stratified" else ""),
    }


def _counts(project: Project, rows: "pl.DataFrame", chosen: TrainingSet) -> dict[str, int]:
    """Rows of each side that was declared.

    Raises:
        TrainingError: if one of them has none.
    """
    split = project.training.split
    wanted = ["train", "test", *(["validation"] if split.validation else []), *(["holdout"] if split.holdout else [])]
    if chosen.by and chosen.by not in rows.columns:
        raise TrainingError(f"training.split.by: features.sql returns no column {chosen.by!r}. Remedy: return it")
    found = sides(project, rows, chosen)
    counts = {side: int((found == side).sum()) for side in wanted}
    empty = [side for side in wanted if not counts[side]]
    if empty:
        raise TrainingError(
            f"{chosen.through} has {rows.height} rows, of which {counts['test']} are held out: {empty[0]} has none, "
            "and every side needs some. Remedy: train on more rows, or change training.test_share or training.split"
        )
    return counts
