"""The reference tables that features.sql reads beside `validated`: whole, as text, the same for all partitions."""

from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.common import commit_of, data_origin, spec
from ml_assets.assets.source import open_files
from ml_assets.lake.connection import columns_of
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import Spool, described, replace_from
from ml_assets.project import Project
from ml_assets.sources.reading import MALFORMED, Reading, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl


def build_reference(project: Project, name: str) -> dg.AssetsDefinition:
    """The asset of one reference table."""
    declared = project.references[name]

    @dg.multi_asset(
        name=f"{project.name}__{name}",
        specs=[
            spec(
                project,
                name,
                f"A reference table that `{project.features_path}` reads, all text. Source: `{declared.files}`.",
                kinds=["duckdb", declared.format or "csv"],
                code=[declared.model_dump_json()],
                partitioned=False,
            )
        ],
    )
    def reference(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        table, reading, cursor = project.table(name), Reading(), lake.lake.cursor()
        spool = Spool(cursor, f"incoming {name}")
        for frame in open_files(declared).frames([], (), reading):
            _refuse_malformed(project, name, frame)
            spool.add(frame.drop(MALFORMED))
        with lake.lake.transaction(commit_of(context, project, name), cursor) as transaction:
            replace_from(transaction, table, spool.name, None)
            (rows,) = transaction.rows(f"SELECT count(*) FROM {table.path}")[0]
            columns = columns_of(transaction.cursor, table)
        facts = reading.facts[""]
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows,
                "dagster/table_name": f"lake.{project.name}.{name}",
                "dagster/column_schema": dg.TableSchema([dg.TableColumn(*column) for column in columns.items()]),
                "snapshot": transaction.snapshot,
                **facts,
                **data_origin(project, lake.lake),
            },
            # Its content, not its snapshot: read again unchanged, it makes no feature of the past look out of date.
            data_version=dg.DataVersion(facts["sha256"][:16]),
        )

    return reference


def read_references(
    cursor: duckdb.DuckDBPyConnection, project: Project, *, limit: int | None = None, snapshot: int | None = None
) -> "Mapping[str, pl.DataFrame]":
    """The reference tables of a project, by name, in the order of their files.

    Args:
        cursor: a reader's or a transaction's.
        project: the project.
        limit: rows of each at most; all where it is left out.
        snapshot: the lake's version; as they are now where it is left out.

    Raises:
        LakeError: if one has not been materialized yet, naming it.
    """
    found = {}
    for name in project.references:
        table = project.table(name)
        described(cursor, table, snapshot)
        rows = "" if limit is None else f"LIMIT {limit:d}"
        found[name] = cursor.execute(f"FROM {table.at(snapshot)} ORDER BY _source, _row {rows}").pl()
    return found


def _refuse_malformed(project: Project, name: str, frame: "pl.DataFrame") -> None:
    """A reference has no quarantine: a record that cannot be read would be missing in every join, and nobody told."""
    wrong = frame.filter(frame[MALFORMED].is_not_null())
    if wrong.height:
        source, row, said = wrong.select("_source", "_row", MALFORMED).row(0)
        raise SourceError(
            f"{project.name}, reference {name}: record {row} of {source}: {said}. "
            f"Remedy: repair the file, or correct references.{name}.dialect; nothing was written"
        )
