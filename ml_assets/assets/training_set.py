"""`training_set`: which rows a model learns from and which judge it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from ml_assets.assets.common import DECISION_TAG, data_origin, registry, spec
from ml_assets.assets.provenance import contents
from ml_assets.assets.rows import content_hash, read_partitions, rows_held_out
from ml_assets.core.splitting import Split, split_by_time
from ml_assets.core.training import TrainingError
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.models import TrainingSet


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
            held = contents(cursor, project, sorted({*keys}), snapshot)
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
            contents=held,
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


def _split(project: Project, starts: Sequence[datetime]) -> Split:
    """By time; a window of one partition stands on both sides, and its rows are split by chance."""
    training = project.training
    if not training.by_chance:
        return split_by_time(starts, window=training.window, test=training.test)
    if not starts:
        raise TrainingError(f"no partition holds rows. Remedy: materialize {project.name}/features")
    return Split((max(starts),), (max(starts),))
