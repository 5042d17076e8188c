"""`predictions`: every row of `features`, scored by the champion of its time."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime  # noqa: TC003 - asset modules have no postponed annotations
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import (
    SINGLE_RUN,
    commit_of,
    counts_of,
    describe,
    in_pieces,
    registry,
    require_registered,
    span_of,
    spec,
)
from ml_assets.assets.features import current_kinds
from ml_assets.assets.rows import learnt_from
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.profiles import ColumnBins, as_frame
from ml_assets.core.tasks import as_number
from ml_assets.core.training import unfit
from ml_assets.lake.connection import Lake
from ml_assets.lake.profiling import take_profiles
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, WindowWriter, described, read, replace_rows
from ml_assets.project import Project
from ml_assets.registry.ledger import Entry, champion_at, read_entries
from ml_assets.registry.models import RegistryError, Version

if TYPE_CHECKING:
    import polars as pl

PREDICTION = "prediction"
SAID = frozenset({PREDICTION, "predicted_class", "probabilities"})


def build_predictions(project: Project) -> dg.AssetsDefinition:
    """The asset `predictions`, and the profile of them beside it."""

    @dg.multi_asset(
        name=f"{project.name}__predictions",
        specs=[
            spec(
                project, "predictions",
                "Features scored by the champion of that time; `in_sample` where it has learnt from the row.",
                deps=["features", "champion"], kinds=["duckdb", "scikitlearn"], code=[project.target, project.task],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def predictions(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        import polars as pl

        span = span_of(context, project, lake.lake)
        table, profile = project.table("predictions"), project.table("prediction_profile")
        with lake.lake.transaction(commit_of(context, project, "predictions")) as transaction:
            cursor, source = transaction.cursor, project.table("features")
            # Under the lock: a promotion made while this waited for it is seen.
            entries = read_entries(cursor, project.name)
            champions = {start: champion_at(entries, key) for start, key in zip(span.starts, span.keys, strict=True)}
            counts: dict[datetime, int] = {}
            described(cursor, source)
            served = {number for number in champions.values() if number is not None}
            scorers = scored_by(project, entries, served, current_kinds(cursor, project)) if served else {}
            versions = {version.number: version for version in scorers.values()}
            for version in versions.values():
                require_registered(entries, version)
            with WindowWriter(transaction, table, span.window) as writer:
                for piece in in_pieces(project, cursor, source, span):
                    features = read(cursor, source, piece.window)
                    parts = [_empty(project, features)]
                    for number, version in sorted(scorers.items()):
                        starts = [start for start in piece.starts if champions[start] == number]
                        rows = features.filter(pl.col("_partition").is_in(starts))
                        if rows.height:
                            context.log.info("scoring %d rows with version %d", rows.height, version.number)
                            scored = score(lake.lake, project, version, rows)
                            if version.number != number:
                                scored = scored.with_columns(pl.lit(value=True).alias("hindsight"))
                            parts.append(scored)
                    scored = pl.concat(parts)
                    writer.add(scored)
                    counts |= counts_of(scored)
            profiles: dict[datetime, list[Any]] = {}
            for version in versions.values():
                bins = prediction_bins(version)
                by_it = f"FROM {table.path} WHERE {span.window.condition()} AND version = {version.number}"
                profiles |= take_profiles(cursor, [bins], by_it)
            replace_rows(transaction, profile, as_frame(profiles), span.window)
        more = {key: _told_of(champions[start], scorers) for start, key in zip(span.starts, span.keys, strict=True)}
        inputs = {ColumnRef("features", name) for version in versions.values() for name in version.features}
        lineage = dict.fromkeys(set(scored.columns) & SAID, inputs) | {
            name: {ColumnRef("features", name)} for name in LINEAGE
        }
        return describe(
            context, project, lake.lake, "predictions", counts,
            snapshot=transaction.snapshot, span=span, more=more, lineage=lineage,
        )  # fmt: skip

    return predictions


def scored_by(
    project: Project, entries: Sequence[Entry], champions: Collection[int], returned: Mapping[str, str]
) -> dict[int, Version]:
    """Which version scores for each champion: itself; or, where a feature of it is gone, the oldest later one that can.

    Args:
        project: the project.
        entries: its ledger.
        champions: versions that serve some partition.
        returned: the features that features.sql returns now, name → kind.

    Raises:
        RegistryError: if neither a champion nor any that was promoted after it can score, saying the way out.
    """
    promoted = [entry.version for entry in entries if entry.kind == "promoted"]
    found = {}
    for champion in sorted(champions):
        later = [registry().version(project.name, number) for number in promoted[promoted.index(champion) :]]
        able = [version for version in later if not unfit(version.features, returned)]
        if not able:
            raise RegistryError(
                f"version {champion} of {project.name} {unfit(later[0].features, returned)}, and no version since can "
                f"do without. Remedy: train one with `ml-assets retrain {project.name}`, then do this again; or return "
                "the feature as it was"
            )
        found[champion] = able[0]
    return found


def _told_of(champion: int | None, scorers: Mapping[int, Version]) -> dict[str, Any]:
    """What the metadata of a partition says of who scored it."""
    if champion is None:
        return {"version": "none: there is no champion yet"}
    number = scorers[champion].number
    if number == champion:
        return {"version": number}
    return {"version": number, "in_place_of": champion, "why": "a feature of that version is gone: this is hindsight"}


def prediction_bins(version: Version) -> ColumnBins:
    """How a version's predictions are counted: in bins of its predictions for training rows of its own."""
    return ColumnBins(PREDICTION, "number", tuple(version.reference["edges"]))


def score(lake: Lake, project: Project, version: Version, rows: "pl.DataFrame") -> "pl.DataFrame":
    """Score rows of `features` with a version.

    Returns:
        Lineage, `prediction`, `version`, `in_sample`, `hindsight`. Of a classification, `prediction` is the probability
        of the positive label, or of the likeliest of many classes; then there are also `predicted_class`, and
        `probabilities` in the order of the classes in the version's record.

    Raises:
        RegistryError: if the version was trained for another task than the project's.
    """
    import polars as pl

    if version.task != project.task:
        raise RegistryError(
            f"version {version.number} of {project.name} was trained for {version.task} and the project's task is now "
            f"{project.task}. Remedy: declare the other task as a project of its own"
        )
    predicted = registry().predict(version, rows)
    scored = rows.select(LINEAGE).with_columns(
        pl.Series(PREDICTION, as_number(predicted), dtype=pl.Float64),
        pl.lit(version.number, dtype=pl.Int64).alias("version"),
        learnt_from(lake, project, version, rows).alias("in_sample"),
        # What a model says of a time before all that it has learnt from is hindsight: it is told, and judges nothing.
        (rows["_partition"] < project.start_of(version.training_set.train[0])).alias("hindsight"),
    )
    if project.task != "multiclass":
        return scored
    likeliest = pl.Series(version.classes, dtype=pl.String).gather(predicted.argmax(axis=1))
    return scored.with_columns(
        likeliest.alias("predicted_class"),
        pl.Series(predicted).arr.to_list().alias("probabilities"),
    )


def _empty(project: Project, features: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    columns = {name: features.schema[name] for name in LINEAGE}
    of_classes: dict[str, Any] = {"predicted_class": pl.String, "probabilities": pl.List(pl.Float64)}
    return pl.DataFrame(
        schema={
            **columns,
            PREDICTION: pl.Float64,
            "version": pl.Int64,
            "in_sample": pl.Boolean,
            "hindsight": pl.Boolean,
            **(of_classes if project.task == "multiclass" else {}),
        }
    )
