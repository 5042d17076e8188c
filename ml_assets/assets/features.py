"""`features`: the project's features.sql over validated rows; and `profile`: counts of them in fixed bins."""

from datetime import datetime  # noqa: TC003 - asset modules have no postponed annotations
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.common import (
    SINGLE_RUN,
    SqlFailure,
    commit_of,
    counts_of,
    describe,
    in_pieces,
    run_sql,
    span_of,
    spec,
)
from ml_assets.assets.references import read_references
from ml_assets.core.lineage import ColumnRef, column_lineage
from ml_assets.core.profiles import ColumnBins, as_frame, choose_bins, profile_sql, read_profile
from ml_assets.core.training import feature_kinds
from ml_assets.lake.connection import Transaction, create_schema, table_exists
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, WindowWriter, described, read, replace_rows, window_of
from ml_assets.project import Project

if TYPE_CHECKING:
    import polars as pl


def build_features(project: Project) -> dg.AssetsDefinition:
    """The asset `features`."""

    @dg.multi_asset(
        name=f"{project.name}__features",
        specs=[
            spec(
                project,
                "features",
                f"What a model learns from and the target `{project.target}`. Made by `{project.features_path}`.",
                deps=["validated", *project.references],
                kinds=["duckdb", "sql"],
                code=[project.features_sql, *(one.model_dump_json() for one in project.references.values())],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )
    def features(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project)
        table = project.table("validated")
        counts: dict[datetime, int] = {}
        with lake.lake.transaction(commit_of(context, project, "features")) as transaction:
            cursor = transaction.cursor
            references = read_references(cursor, project)
            columns = {"validated": described(cursor, table)}
            columns |= {name: frame.columns for name, frame in references.items()}
            lineage = column_lineage(project.features_sql, columns, where=project.features_path)
            with WindowWriter(transaction, project.table("features"), span.window) as writer:
                for piece in in_pieces(project, cursor, table, span):
                    validated = read(cursor, table, piece.window)
                    rows = run_sql(
                        cursor,
                        project.features_path,
                        project.features_sql,
                        "validated",
                        validated,
                        references=references,
                    )
                    _refuse_doubled_rows(project, validated, rows)
                    writer.add(rows)
                    counts |= counts_of(rows)
        return describe(
            context, project, lake.lake, "features", counts, snapshot=transaction.snapshot, span=span, lineage=lineage
        )

    return features


def current_kinds(cursor: duckdb.DuckDBPyConnection, project: Project) -> dict[str, str]:
    """The features that features.sql returns today, and of which kind each is.

    Not read off the table: the lake keeps a column that the statement no longer returns.
    """
    empty = cursor.execute(f"FROM {project.table('validated').path} LIMIT 0").pl()
    references = read_references(cursor, project, limit=0)
    columns = run_sql(
        cursor, project.features_path, project.features_sql, "validated", empty, references=references
    ).schema
    return feature_kinds(
        columns,
        target=project.target,
        time=project.partitions.time,
        task=project.task,
        text=project.training.text,
        group=project.training.group,
    )


def _refuse_doubled_rows(project: Project, validated: "pl.DataFrame", rows: "pl.DataFrame") -> None:
    """A row of `features` stands for one row of `validated`: metrics and training count it once."""
    lineage = list(LINEAGE)
    doubled = rows.filter(rows.select(lineage).is_duplicated())
    foreign = rows.join(validated, on=lineage, how="anti")
    for wrong, fate in ((doubled, "returned more than once"), (foreign, "returned, but is not in `validated`")):
        if wrong.height:
            raise SqlFailure(
                f"{project.features_path}: row {wrong['_row'][0]} of {wrong['_source'][0]} is {fate}. "
                "Remedy: return each row at most once, with the lineage it has (a join may match more than one row)"
            )


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
                code=[project.target, project.task, *project.training.text, project.training.group or ""],
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
            counts_of(rows),
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
    kinds = current_kinds(cursor, project)
    kinds[project.target] = "number" if project.task == "regression" else "category"
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
