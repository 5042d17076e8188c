"""`raw`: the source's rows as they came."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import duckdb

from ml_assets.assets.common import SINGLE_RUN, Span, commit_of, describe, partition_counts, span_of, spec
from ml_assets.assets.partitioning import note_partitions
from ml_assets.assets.source import forget_staged, parts_of, source_frames
from ml_assets.core.lineage import required_columns
from ml_assets.lake.connection import Transaction
from ml_assets.lake.origin import SIMULATED
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, Spool, replace_from, replace_rows
from ml_assets.project import Project
from ml_assets.sources.fill import read_origin
from ml_assets.sources.month_files import ORIGIN_FILE
from ml_assets.sources.reading import MALFORMED, Reading


def build_raw(project: Project) -> dg.AssetsDefinition:
    """The asset `raw`."""

    @dg.multi_asset(
        name=f"{project.name}__raw",
        specs=[
            spec(
                project,
                "raw",
                f"Source rows as they came, all text, with where each stood. Source: `{project.source.words}`.",
                kinds=["duckdb", project.source.kind],
                code=[project.source.model_dump_json(), project.clean_sql],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )
    def raw(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        context.log.info("reading %d partitions of %s", len(span.keys), project.source.words)
        reading = Reading()
        cursor = lake.lake.cursor()
        # All is read before the lake's writer lock is taken: a slow source makes nobody wait, one that fails changes
        # nothing.
        spool = read_source(project, span, cursor, reading)
        with lake.lake.transaction(commit_of(context, project, "raw"), cursor) as transaction:
            replace_from(transaction, project.table("raw"), spool.name, span.window)
            note_partitions(project, transaction)
            note_sources(project, transaction, span, reading)
            counts = partition_counts(transaction.cursor, project.table("raw"), span)
        forget_staged(project, span.starts)
        more: dict[str, dict[str, Any]] = {key: dict(reading.facts.get(key, {})) for key in span.keys}
        for key, facts in more.items():
            extra = reading.unexpected.get(facts.get("source", ""), ())
            if extra:
                more[key]["unused_columns"] = ", ".join(extra)
        return describe(
            context, project, lake.lake, "raw", counts,
            snapshot=transaction.snapshot, span=span, more=more, extra=reading.facts.get(""),
        )  # fmt: skip

    return raw


def read_source(project: Project, span: Span, cursor: duckdb.DuckDBPyConnection, reading: Reading) -> Spool:
    """Read the partitions of a run.

    Args:
        project: the project.
        span: the partitions.
        cursor: the rows are kept in a temporary table of it.
        reading: receives what else is to be told.

    Returns:
        The source's columns as text, with lineage and the platform's own columns.

    Raises:
        SourceError: if the source cannot be read.
    """
    import polars as pl

    known = {*LINEAGE, MALFORMED, "_ingested_at", SIMULATED}
    mentioned = required_columns(project.clean_sql, "raw", where=project.clean_path)
    required = sorted(name for name in mentioned if name.lower() not in known)
    # Said with the rows themselves: the folder they came from may hold others tomorrow.
    folder = project.folder
    warning = read_origin(folder, project.name).warning if (folder / ORIGIN_FILE).is_file() else None
    now = datetime.now(UTC).replace(tzinfo=None)
    own = [
        pl.lit(now).cast(pl.Datetime("us")).alias("_ingested_at"),
        pl.lit(warning, dtype=pl.String).alias(SIMULATED),
    ]
    spool = Spool(cursor, "incoming rows")
    for frame in source_frames(project, parts_of(project, span.starts), cursor, reading, required, staged=True):
        spool.add(frame.with_columns(own))
    if spool.empty:
        empty = dict.fromkeys([*required, *project.source.ignore_in_duplicates, "_source", MALFORMED], pl.String)
        frame = pl.DataFrame(schema={**empty, "_row": pl.Int64, "_partition": pl.Datetime("us")})
        spool.add(frame.with_columns(own))
    return spool


def note_sources(project: Project, transaction: Transaction, span: Span, reading: Reading) -> None:
    """Keep the SHA-256 of what each source of a run's rows was, so that a row leads back to the very file it came from.

    A source without one, such as what a function hands over bit by bit, is left out.
    """
    import polars as pl

    sql = f"SELECT DISTINCT _partition, _source FROM {project.table('raw').path} WHERE {span.window.condition()}"
    pairs = transaction.rows(f"{sql} ORDER BY ALL")
    rows = [(start, source, reading.sha256_of(project.key_of(start), source)) for start, source in pairs]
    schema: dict[str, Any] = {"_partition": pl.Datetime("us"), "_source": pl.String, "sha256": pl.String}
    known = pl.DataFrame(rows, schema=schema, orient="row").drop_nulls()
    replace_rows(transaction, project.table("raw_sources"), known, span.window)
