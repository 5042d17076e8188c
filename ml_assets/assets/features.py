"""`features`: the project's features.sql over validated rows; and `profile`: counts of them in fixed bins."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
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
from ml_assets.assets.made_by import note_features
from ml_assets.assets.references import read_references
from ml_assets.core.lineage import ColumnRef, column_lineage
from ml_assets.core.profiles import (
    ColumnBins,
    Counts,
    add_up,
    as_frame,
    counted_by_name,
    from_frame,
    has_left,
    with_derived,
)
from ml_assets.core.training import feature_kinds
from ml_assets.lake import profiling
from ml_assets.lake.connection import Transaction, create_schema, table_exists
from ml_assets.lake.profiling import choose_from, take_profiles
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
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
        span = span_of(context, project, lake.lake)
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
            note_features(project, transaction, span.window)
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
                "Per column, rows in bins that stay the same while its rows lie in them. Profiles add up.",
                deps=["features"],
                kinds=["duckdb"],
                code=[project.target, project.task, *project.training.text, project.training.group or ""],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )
    def profile(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        with lake.lake.transaction(commit_of(context, project, "profile")) as transaction:
            profiles, window, chosen_again = count_in_bins(project, transaction, span.window)
            rows = as_frame(profiles)
            replace_rows(transaction, project.table("profile"), rows, window)
            columns = list(read_bins(transaction.cursor, project))
        profiled = {start: len(profiles.get(start, ())) for start in span.starts}
        more = {key: {"columns_profiled": profiled[start]} for start, key in zip(span.starts, span.keys, strict=True)}
        lineage = {
            name: frozenset({ColumnRef("features", column) for column in columns}) for name in ("rows", "total", "bin")
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
            # Then the profiles of all partitions are others, though only those of this run are reported.
            extra={"bins_chosen_again": ", ".join(chosen_again)} if chosen_again else {},
        )

    return profile


def count_in_bins(
    project: Project, transaction: Transaction, window: Window
) -> tuple[dict[datetime, list[Counts]], Window | None, list[str]]:
    """The profiles of a window; of all partitions, where a column has left its bins and gets new ones.

    Profiles add up, so bins are changed for all partitions at once or for none: in one pass over `features`.

    Returns:
        Start of a partition → its profile; the window that they replace, None for the whole table; and the columns
        whose bins were chosen again.
    """
    cursor, features = transaction.cursor, project.table("features")
    kinds = current_kinds(cursor, project)
    kinds[project.target] = "number" if project.task == "regression" else "category"
    kinds = with_derived(kinds)
    kept = read_bins(cursor, project)
    # Of a column that has another type now, nothing that was counted says anything.
    changed = [name for name, kind in kinds.items() if name in kept and kept[name].kind != kind]
    bins = _fixed(transaction, project, kinds, {name: one for name, one in kept.items() if name not in changed})

    def profiles(within: Window | None) -> dict[datetime, list[Counts]]:
        return take_profiles(cursor, bins, window_of(features, within))

    if not changed:
        found = profiles(window)
        sums = add_up([*_elsewhere(project, cursor, window), *(one for columns in found.values() for one in columns)])
        left = [one.name for one in bins if one.name in sums and has_left(one, sums[one.name])]
        # All values of a category that has outgrown its names have just been counted.
        grown = {
            one.name: counted_by_name(one, sums[one.name].bins)
            for one in bins
            if one.name in left and not one.is_number and not one.categories
        }
        bins = _fixed(transaction, project, kinds, {one.name: one for one in bins if one.name not in left}, grown)
        changed = [one.name for one in bins if one.name in left and one != kept.get(one.name)]
        if not changed:
            return found, window, []
    return profiles(None), None, changed


def _elsewhere(project: Project, cursor: duckdb.DuckDBPyConnection, window: Window) -> list[Counts]:
    """The profile of all rows outside a window, summed where it is: it is as long as there are partitions."""
    table = project.table("profile")
    if not table_exists(cursor, table):
        return []
    sql = (
        "SELECT TIMESTAMP 'epoch' AS _partition, column_name, kind, bin, "
        "sum(rows)::BIGINT AS rows, sum(total) AS total "
        f"FROM {table.path} WHERE NOT ({window.condition()}) GROUP BY ALL"
    )
    return [counts for columns in from_frame(cursor.execute(sql).pl()).values() for counts in columns]


def read_bins(
    cursor: duckdb.DuckDBPyConnection, project: Project, snapshot: int | None = None
) -> dict[str, ColumnBins]:
    """How each column is counted, or was when a snapshot was taken; nothing where no column was."""
    return profiling.read_bins(cursor, project.table("bins"), snapshot)


def _fixed(
    transaction: Transaction,
    project: Project,
    kinds: Mapping[str, str],
    kept: Mapping[str, ColumnBins],
    given: Mapping[str, ColumnBins] = MappingProxyType({}),
) -> list[ColumnBins]:
    """The bins of some columns; those that have none to keep are counted as given, or chosen from rows in the lake."""
    import polars as pl

    cursor, table = transaction.cursor, project.table("bins")
    new = {name: kind for name, kind in kinds.items() if name not in kept}
    if not new:
        return [kept[name] for name in kinds]
    asked = {name: kind for name, kind in new.items() if name not in given}
    chosen = dict(given)
    if asked:
        chosen |= {bins.name: bins for bins in choose_from(cursor, project.table("features"), asked)}
    frame = pl.DataFrame(
        [(bins.name, bins.kind, list(bins.edges), list(bins.categories)) for bins in chosen.values()],
        schema={
            "name": pl.String,
            "kind": pl.String,
            "edges": pl.List(pl.Float64),
            "categories": pl.List(pl.String),
        },
        orient="row",
    )
    if not table_exists(cursor, table):
        create_schema(cursor, project.name)
        cursor.execute(f"CREATE TABLE {table.path} (name VARCHAR, kind VARCHAR, edges DOUBLE[], categories VARCHAR[])")
    cursor.execute(f"DELETE FROM {table.path} WHERE name IN (SELECT unnest(?))", [list(new)])
    cursor.register("incoming_bins", frame)
    cursor.execute(f"INSERT INTO {table.path} BY NAME FROM incoming_bins")
    cursor.unregister("incoming_bins")
    return [{**kept, **chosen}[name] for name in kinds]
