"""`exploration`: what `features` and `validated` hold, in numbers, words and pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.common import data_origin, spec
from ml_assets.assets.showing import as_pictures
from ml_assets.core.columns import Column, summarize
from ml_assets.core.exploration import Exploration, Group, explore
from ml_assets.core.lineage import column_lineage
from ml_assets.core.pictures import pictures
from ml_assets.core.showing import escaped, markdown_table
from ml_assets.lake.connection import LakeError, columns_of
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, PARTITION
from ml_assets.project import Project
from ml_assets.registry.explorations import write_exploration

if TYPE_CHECKING:
    import polars as pl

SHOWN = 60
TITLES = {
    "target": "Distribution of the target",
    "columns": "Distributions of columns",
    "correlation": "Pearson correlation of numeric columns",
    "associations": "Association with the target",
    "relations": "Target against the columns that go with it most",
    "time": "Rows and target over time",
}


def build_exploration(project: Project) -> dg.AssetsDefinition:
    """The asset `exploration`."""

    @dg.multi_asset(
        name=f"{project.name}__exploration",
        specs=[
            spec(
                project,
                "exploration",
                "What features.sql returns: columns, target, associations, and what looks suspicious. For people: "
                "nothing downstream reads it.",
                deps=["features", "validated"],
                kinds=["duckdb"],
                code=[project.target],
                partitioned=False,
            )
        ],
    )
    def exploration(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        with lake.get_connection() as cursor:
            snapshot = _snapshot(cursor)
            found, others, validated = look_at(cursor, project)
        drawn = pictures(found)
        context.log.info("%d rows, %d columns", found.rows, len(found.columns))
        numbers = asdict(found) | {
            "snapshot": snapshot,
            "validated_rows": validated,
            "others": [asdict(column) for column in others],
        }
        write_exploration(project.name, numbers, drawn)
        metadata = data_origin(project, lake.lake) | in_words(found, others) | as_pictures(drawn, TITLES)
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(str(snapshot)))

    return exploration


def look_at(cursor: duckdb.DuckDBPyConnection, project: Project) -> tuple[Exploration, tuple[Column, ...], int]:
    """Explore what features.sql returns, and summarize the columns of `validated` that it leaves out; with its rows.

    Raises:
        LakeError: if either table is not there yet.
    """

    def query(sql: str) -> "pl.DataFrame":
        return cursor.execute(sql).pl()

    features, validated = (_columns(cursor, project, name) for name in ("features", "validated"))
    # The lake keeps a column that the statement no longer returns.
    inputs = {name: list(_columns(cursor, project, name)) for name in ("validated", *project.references)}
    today = column_lineage(project.features_sql, inputs, where=project.features_path)
    found = explore(
        query,
        project.table("features").path,
        {name: dtype for name, dtype in features.items() if name in today},
        target=project.target,
        hidden=LINEAGE,
        partition=PARTITION,
        label=lambda start: project.key_of(start) if isinstance(start, datetime) else str(start),
    )
    table = project.table("validated").path
    rows = int(query(f"SELECT count(*) FROM {table}").item())
    left = {name: dtype for name, dtype in validated.items() if name not in {*today, *LINEAGE}}
    return found, tuple(summarize(query, table, name, dtype, rows) for name, dtype in left.items()), rows


def in_words(found: Exploration, others: Sequence[Column]) -> dict[str, Any]:
    """The numbers as metadata: a table for each picture."""
    said = "\n".join(f"- {escaped(sentence)}" for sentence in found.suspicions) or "Nothing."
    tables = {
        "suspicions": said,
        "columns": _column_table(found.columns),
        "columns_left_out": _column_table(others),
        "associations": markdown_table(
            ("column", "measure", "value", "rows"),
            ((each.column, each.measure, f"{each.value:.3f}", f"{each.rows:,}") for each in found.associations),
        ),
        "over_time": markdown_table(
            ("partition", "rows", *(found.classes or ("quartile", "median", "quartile"))),
            ((group.label, f"{group.rows:,}", *_middle(group)) for group in found.over_time[: -SHOWN - 1 : -1]),
        ),
    }
    sampled = f"{found.sampled:,} of {found.rows:,} rows"
    return {
        "rows": found.rows,
        "associations_rest_on": "all rows" if found.sampled == found.rows else sampled,
        **{name: dg.MetadataValue.md(text) for name, text in tables.items() if text},
    }


def _middle(group: Group) -> list[str]:
    if group.shares:
        return [f"{share:.1%}" for share in group.shares]
    return ["" if value is None else f"{value:.6g}" for value in (group.low, group.middle, group.high)]


def _column_table(columns: Sequence[Column]) -> str:
    return markdown_table(
        ("column", "type", "missing", "distinct", "least", "median", "greatest", "most frequent"),
        (
            (
                each.name, f"{each.dtype} ({each.kind})", f"{each.missing:,}", f"{each.distinct:,}",
                each.least or "", each.median or "", each.greatest or "",
                ", ".join(f"{share.label[:30]} ({share.rows:,})" for share in each.shares[:3])
                if each.kind != "number" else "",
            )
            for each in columns
        ),
    )  # fmt: skip


def _columns(cursor: duckdb.DuckDBPyConnection, project: Project, name: str) -> dict[str, str]:
    found = columns_of(cursor, project.table(name))
    if not found:
        place = project.table(name)
        raise LakeError(f"the lake holds no table {place}. Remedy: materialize the asset {project.name}/{name}")
    return found


def _snapshot(cursor: duckdb.DuckDBPyConnection) -> int:
    row = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchone()
    return -1 if row is None or row[0] is None else int(row[0])
