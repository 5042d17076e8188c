"""`features`: the project's features.sql over validated rows; and `profile`: counts of them in fixed bins."""

from typing import Any

import dagster as dg

from ml_assets.assets.common import SINGLE_RUN, SqlFailure, commit_of, describe, run_sql, span_of, spec
from ml_assets.core.lineage import ColumnRef, column_lineage
from ml_assets.core.profiles import ColumnBins, as_frame, choose_bins, profile_sql, read_profile
from ml_assets.core.training import feature_kinds
from ml_assets.lake.connection import Transaction, columns_of, create_schema, table_exists
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, read, replace_rows, replace_window, window_of
from ml_assets.project import Project


def build_features(project: Project) -> dg.AssetsDefinition:
    """The asset `features`."""

    @dg.multi_asset(
        name=f"{project.name}__features",
        specs=[
            spec(
                project,
                "features",
                f"What a model learns from and the target `{project.target}`. Made by `{project.features_path}`.",
                deps=["validated"],
                kinds=["duckdb", "sql"],
                code=[project.features_sql],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )
    def features(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project)
        table = project.table("validated")
        with lake.lake.reader() as cursor:
            source = {"validated": window_of(table, span.window)}
            rows = run_sql(cursor, project.features_path, project.features_sql, source)
            inputs = list(columns_of(cursor, table))
        missing = [name for name in LINEAGE if name not in rows.columns]
        if missing:
            raise SqlFailure(
                f"{project.features_path} does not return {missing[0]!r}. Remedy: select {', '.join(LINEAGE)} in it"
            )
        snapshot = replace_window(
            lake.lake, {project.table("features"): rows}, span.window, commit_of(context, project, "features")
        )
        lineage = column_lineage(project.features_sql, {"validated": inputs}, where=project.features_path)
        return describe(context, project, lake.lake, "features", rows, snapshot=snapshot, span=span, lineage=lineage)

    return features


def build_profile(project: Project) -> dg.AssetsDefinition:
    """The asset `profile`."""

    @dg.multi_asset(
        name=f"{project.name}__profile",
        specs=[
            spec(
                project,
                "profile",
                "Per column, rows in bins that were fixed when the first rows were profiled. Profiles add up.",
                deps=["features"],
                kinds=["duckdb"],
                code=[project.target],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )
    def profile(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project)
        features = project.table("features")
        with lake.lake.transaction(commit_of(context, project, "profile")) as transaction:
            bins = fixed_bins(transaction, project)
            result = transaction.rows(profile_sql(bins, window_of(features, span.window)))
            rows = as_frame(read_profile(bins, result))
            replace_rows(transaction, project.table("profile"), rows, span.window)
        more = {key: {"columns_profiled": len(bins)} for key in span.keys}
        lineage = {
            name: frozenset({ColumnRef("features", column.name) for column in bins})
            for name in ("rows", "total", "bin")
        }
        return describe(
            context,
            project,
            lake.lake,
            "profile",
            rows,
            snapshot=transaction.snapshot,
            span=span,
            more=more,
            lineage=lineage,
        )

    return profile


def fixed_bins(transaction: Transaction, project: Project) -> list[ColumnBins]:
    """The bins of every feature and of the target; those of columns that have none yet are chosen and kept."""
    import polars as pl

    cursor = transaction.cursor
    table = project.table("bins")
    if not table_exists(cursor, table):
        create_schema(cursor, project.name)
        cursor.execute(f"CREATE TABLE {table.path} (name VARCHAR, kind VARCHAR, edges DOUBLE[], categories VARCHAR[])")
    kept = {
        name: ColumnBins(name, kind, tuple(edges), tuple(categories))
        for name, kind, edges, categories in transaction.rows(f"SELECT name, kind, edges, categories FROM {table.path}")
    }
    features = project.table("features")
    sample = cursor.execute(f"FROM {features.path} LIMIT 0").pl()
    kinds = feature_kinds(sample.schema, target=project.target, time=project.partitions.time)
    kinds[project.target] = "number"
    new = {name: kind for name, kind in kinds.items() if name not in kept}
    if new:
        rows = read(cursor, features).select(list(new))
        chosen = choose_bins(rows, new)
        frame = pl.DataFrame(
            [(bins.name, bins.kind, list(bins.edges), list(bins.categories)) for bins in chosen],
            schema={
                "name": pl.String,
                "kind": pl.String,
                "edges": pl.List(pl.Float64),
                "categories": pl.List(pl.String),
            },
            orient="row",
        )
        cursor.register("incoming_bins", frame)
        cursor.execute(f"INSERT INTO {table.path} BY NAME FROM incoming_bins")
        cursor.unregister("incoming_bins")
        kept |= {bins.name: bins for bins in chosen}
    return [kept[name] for name in kinds]
