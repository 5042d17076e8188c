"""`predictions`: every row of `features`, scored by the champion of its time."""

from datetime import datetime  # noqa: TC003 - asset modules have no postponed annotations
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import (
    SINGLE_RUN,
    commit_of,
    counts_of,
    describe,
    in_pieces,
    ledger,
    registry,
    span_of,
    spec,
)
from ml_assets.assets.rows import read_partitions
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.profiles import ColumnBins, as_frame, profile_sql, read_profile
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, WindowWriter, described, read, replace_rows
from ml_assets.project import Project
from ml_assets.registry.ledger import champion_at
from ml_assets.registry.models import Version

if TYPE_CHECKING:
    import polars as pl

PREDICTION = "prediction"


def build_predictions(project: Project) -> dg.AssetsDefinition:
    """The asset `predictions`, and the profile of them beside it."""

    @dg.multi_asset(
        name=f"{project.name}__predictions",
        specs=[
            spec(
                project, "predictions",
                "Features scored by the champion of that time; `in_sample` where it has learnt from the row.",
                deps=["features", "champion"], kinds=["duckdb", "scikitlearn"], code=[project.target],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def predictions(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        import polars as pl

        span = span_of(context, project)
        entries = ledger(lake.lake).entries(project.name)
        champions = {start: champion_at(entries, key) for start, key in zip(span.starts, span.keys, strict=True)}
        versions = {
            number: registry().version(project.name, number) for number in set(champions.values()) if number is not None
        }
        table, profile = project.table("predictions"), project.table("prediction_profile")
        with lake.lake.transaction(commit_of(context, project, "predictions")) as transaction:
            cursor, source = transaction.cursor, project.table("features")
            counts: dict[datetime, int] = {}
            described(cursor, source)
            with WindowWriter(transaction, table, span.window) as writer:
                for piece in in_pieces(project, cursor, source, span):
                    features = read(cursor, source, piece.window)
                    parts = [_empty(features)]
                    for number, version in sorted(versions.items()):
                        starts = [start for start in piece.starts if champions[start] == number]
                        rows = features.filter(pl.col("_partition").is_in(starts))
                        if rows.height:
                            context.log.info("scoring %d rows with version %d", rows.height, number)
                            parts.append(score(lake.lake, project, version, rows))
                    scored = pl.concat(parts)
                    writer.add(scored)
                    counts |= counts_of(scored)
            profiles: dict[datetime, list[Any]] = {}
            for version in versions.values():
                bins = prediction_bins(version)
                scored_by = f"FROM {table.path} WHERE {span.window.condition()} AND version = {version.number}"
                profiles |= read_profile([bins], transaction.rows(profile_sql([bins], scored_by)))
            replace_rows(transaction, profile, as_frame(profiles), span.window)
        more = {
            key: {"version": champions[start] if champions[start] is not None else "none: there is no champion yet"}
            for start, key in zip(span.starts, span.keys, strict=True)
        }
        inputs = {ColumnRef("features", name) for version in versions.values() for name in version.features}
        lineage = {PREDICTION: inputs} | {name: {ColumnRef("features", name)} for name in LINEAGE}
        return describe(
            context, project, lake.lake, "predictions", counts,
            snapshot=transaction.snapshot, span=span, more=more, lineage=lineage,
        )  # fmt: skip

    return predictions


def prediction_bins(version: Version) -> ColumnBins:
    """How a version's predictions are counted: in bins of its predictions on its own training rows."""
    return ColumnBins(PREDICTION, "number", tuple(version.reference["edges"]))


def score(lake: Lake, project: Project, version: Version, rows: "pl.DataFrame") -> "pl.DataFrame":
    """Score rows of `features` with a version: lineage, `prediction`, `version`, `in_sample`, `hindsight`."""
    import polars as pl

    return rows.select(LINEAGE).with_columns(
        pl.Series(PREDICTION, registry().predict(version, rows), dtype=pl.Float64),
        pl.lit(version.number, dtype=pl.Int64).alias("version"),
        _seen(lake, project, version, rows).alias("in_sample"),
        # What a model says of a time before all that it has learnt from is hindsight: it is told, and judges nothing.
        (rows["_partition"] < project.start_of(version.training_set.train[0])).alias("hindsight"),
    )


def _seen(lake: Lake, project: Project, version: Version, rows: "pl.DataFrame") -> "pl.Series":
    """Which rows the version has learnt from, whatever has become of them since.

    A row is known by its values, because one that comes late moves the others to other lines of the file; one whose
    values were corrected is known by its place. So a late row may judge the model, a moved or corrected one may not.
    """
    import polars as pl

    training_set = version.training_set
    trained = rows["_partition"].is_in([project.start_of(key) for key in training_set.train])
    if not trained.any():
        return trained
    learnt = read_partitions(lake, project, training_set.train, training_set.snapshot)
    place, values = ["_source", "_row"], ["_partition", *version.features, project.target]
    # Rows of equal values are told apart by counting them.
    copy = pl.int_range(pl.len()).over(values).alias("_copy")
    new, old = rows.with_columns(copy), learnt.cast({name: rows.schema[name] for name in values}).with_columns(copy)
    corrected = old.join(new, on=[*values, "_copy"], how="anti", nulls_equal=True)
    known = pl.lit(value=True).alias("known")
    same = new.join(
        old.select(*values, "_copy", known), on=[*values, "_copy"], how="left", nulls_equal=True, maintain_order="left"
    )
    replaced = new.join(corrected.select(*place, known), on=place, how="left", maintain_order="left")
    return same["known"].fill_null(value=False) | replaced["known"].fill_null(value=False)


def _empty(features: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    columns = {name: features.schema[name] for name in LINEAGE}
    return pl.DataFrame(
        schema={
            **columns,
            PREDICTION: pl.Float64,
            "version": pl.Int64,
            "in_sample": pl.Boolean,
            "hindsight": pl.Boolean,
        }
    )
