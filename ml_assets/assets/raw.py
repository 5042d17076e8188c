"""`raw`: the source's rows as they came."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import duckdb

from ml_assets import settings
from ml_assets.assets.common import SINGLE_RUN, commit_of, describe, span_of, spec
from ml_assets.core.lineage import required_columns
from ml_assets.lake.origin import SIMULATED
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import LINEAGE, replace_window
from ml_assets.project import Project
from ml_assets.sources.delimited import Dialect
from ml_assets.sources.files import FileReader
from ml_assets.sources.fill import read_origin
from ml_assets.sources.reading import MALFORMED, Part, Reading


def build_raw(project: Project) -> dg.AssetsDefinition:
    """The asset `raw`."""

    @dg.multi_asset(
        name=f"{project.name}__raw",
        specs=[
            spec(
                project,
                "raw",
                f"Source rows as they came, all text, with where each stood. Source: `{project.source.files}`.",
                kinds=["duckdb", "csv"],
                code=[project.source.model_dump_json(), project.clean_sql],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )
    def raw(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        import polars as pl

        span = span_of(context, project)
        parts = [part_of(project, start) for start in span.starts]
        known = {*LINEAGE, MALFORMED, "_ingested_at", SIMULATED}
        mentioned = required_columns(project.clean_sql, "raw", where=project.clean_path)
        required = sorted(name for name in mentioned if name.lower() not in known)
        context.log.info("reading %d files", len(parts))
        reading = Reading()
        frames = reader_of(project, lake.lake.cursor).frames(parts, required, reading)
        loaded = pl.concat(frames, how="diagonal")
        now = datetime.now(UTC).replace(tzinfo=None)
        # Said with the rows themselves: the folder they came from may hold others tomorrow.
        warning = read_origin(project.folder).warning
        rows = loaded.with_columns(
            pl.lit(now).cast(pl.Datetime("us")).alias("_ingested_at"),
            pl.lit(warning, dtype=pl.String).alias(SIMULATED),
        )
        snapshot = replace_window(
            lake.lake, {project.table("raw"): rows}, span.window, commit_of(context, project, "raw")
        )
        more: dict[str, dict[str, Any]] = {key: dict(facts) for key, facts in reading.facts.items()}
        for facts in more.values():
            if facts["source"] in reading.unexpected:
                facts["unused_columns"] = ", ".join(reading.unexpected[facts["source"]])
        return describe(context, project, lake.lake, "raw", rows, snapshot=snapshot, span=span, more=more)

    return raw


def part_of(project: Project, start: datetime) -> Part:
    """The partition that starts at a moment."""
    return Part(project.key_of(start), start, project.step(start, 1))


def reader_of(project: Project, cursor: Callable[[], duckdb.DuckDBPyConnection] = duckdb.connect) -> FileReader:
    """What reads the project's source.

    Args:
        project: the project.
        cursor: returns a cursor for whatever is read by DuckDB; it is closed after use.
    """
    source = project.source
    dialect = Dialect(**source.dialect.model_dump())
    return FileReader(source.files, settings.data_root(), cursor, format=source.format, dialect=dialect)
