"""What all assets of a project share: their specs, their partitions, and what a materialization reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - asset modules have no postponed annotations
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.addresses import PAGES, page_of
from ml_assets.assets.partitioning import refuse_other_partitions
from ml_assets.core.partitioning import FORMATS, ONLY
from ml_assets.core.statement import check_select, is_row_wise, passed_on
from ml_assets.lake.connection import Commit, columns_of
from ml_assets.lake.origin import origin_warning
from ml_assets.lake.sql import Table, Window, quoted
from ml_assets.lake.tables import LINEAGE, PARTITION, run_select
from ml_assets.project import Project, digest
from ml_assets.registry.ledger import Draft, Ledger
from ml_assets.registry.models import Registry, RegistryError, home_registry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import polars as pl

    from ml_assets.core.lineage import ColumnRef
    from ml_assets.lake.connection import Lake
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Version

DECISION_TAG = "ml_assets/decision"
RETRAINING_TAG = "ml_assets/retraining"
REFRESH_TAG = "ml_assets/refresh"
BY_TAG = "ml_assets/by"
# Which attempt at a decision's retraining a run is, and the newest partition that it may use.
ATTEMPT_TAG = "ml_assets/attempt"
THROUGH_TAG = "ml_assets/through"
# A run that ended with its daemon: it has not failed by itself.
KILLED_TAG = "ml_assets/killed"
# A range of partitions runs in one process; the steps of a run follow each other, so starting a process for each would
# only pay for the imports again.
SINGLE_RUN = dg.BackfillPolicy.single_run()
# Rows that are worked on at a time: some hundred megabytes of text.
PIECE = 300_000


class PartitionGapError(Exception):
    """A run was asked for partitions that are no neighbours."""


class SqlFailure(Exception):  # noqa: N818 - says what happened
    """A project's SQL fails; the message names the file."""


@dataclass(frozen=True)
class Span:
    """The partitions that one run materializes.

    Attributes:
        window: from the first partition's start to the last one's end.
        starts: the start of each.
        keys: the key of each.
        is_range: whether the run was asked for a range, even of one.
    """

    window: Window
    starts: tuple[datetime, ...]
    keys: tuple[str, ...]
    is_range: bool


def partitions_of(project: Project) -> dg.PartitionsDefinition[Any]:
    """The project's partitions: by time up to the newest that has ended, blocks as they are found, or one."""
    grain, start, zone = project.partitions.grain, project.partitions.start, project.partitions.timezone
    if grain == "none":
        return dg.StaticPartitionsDefinition([ONLY])
    if grain == "block":
        return dg.DynamicPartitionsDefinition(name=blocks_name(project))
    if grain == "hour":
        return dg.HourlyPartitionsDefinition(start_date=start, fmt=FORMATS[grain], timezone=zone)
    if grain == "day":
        return dg.DailyPartitionsDefinition(start_date=start, fmt=FORMATS[grain], timezone=zone)
    if grain == "week":
        return dg.WeeklyPartitionsDefinition(start_date=start, fmt=FORMATS[grain], timezone=zone, day_offset=1)
    return dg.MonthlyPartitionsDefinition(start_date=start, fmt=FORMATS[grain], timezone=zone)


def blocks_name(project: Project) -> str:
    """Under which Dagster keeps the blocks that a project has."""
    return f"{project.name}_blocks"


def register_blocks(instance: dg.DagsterInstance, project: Project, keys: Collection[str]) -> None:
    """Tell Dagster which blocks there are; partitions of other grains are known by their definition.

    All up to the last of them, in their order: Dagster takes a range by the order in which it was told.
    """
    if project.partitions.grain == "block" and keys:
        last = max(map(project.start_of, keys))
        starts = project.starts(Window(project.start_of(project.first), project.step(last, 1)))
        instance.add_dynamic_partitions(blocks_name(project), [project.key_of(start) for start in starts])


def asset_key(project: Project, name: str) -> dg.AssetKey:
    """The key of an asset: project, then name."""
    return dg.AssetKey([project.name, name])


def spec(
    project: Project,
    name: str,
    description: str,
    *,
    deps: Sequence[str] = (),
    kinds: Iterable[str],
    code: Sequence[str] = (),
    partitioned: bool = True,
) -> dg.AssetSpec:
    """The spec of an asset.

    Args:
        project: the project.
        name: the asset's name, which is its table's.
        description: what it is, for people.
        deps: names of the project's assets that it reads.
        kinds: what it is made with, as Dagster shows it.
        code: texts that define it: its code version is their hash.
        partitioned: whether it has the project's partitions.
    """
    metadata: dict[str, Any] = {"page": dg.MetadataValue.url(page_of(project, PAGES.get(name, "")))}
    if partitioned and name != "decision":  # decisions are entries of the ledger
        metadata["dagster/table_name"] = f"lake.{project.name}.{name}"
    return dg.AssetSpec(
        asset_key(project, name),
        description=description,
        deps=[asset_key(project, dep) for dep in deps],
        group_name=project.name,
        owners=list(project.owners),
        kinds=set(kinds),
        code_version=digest(name, *code)[:12],
        partitions_def=partitions_of(project) if partitioned else None,
        metadata=metadata,
    )


def span_of(context: dg.AssetExecutionContext, project: Project, lake: Lake) -> Span:
    """The partitions that this run materializes.

    Raises:
        PartitionsChangedError: if the rows in the lake were cut into others.
        PartitionGapError: if they are no neighbours.
    """
    refuse_other_partitions(project, lake)
    keys = sorted(context.partition_keys, key=project.start_of)
    window = project.window(keys[0], keys[-1])
    if tuple(map(project.start_of, keys)) != tuple(project.starts(window)):
        raise PartitionGapError(
            f"{project.name}: a run's partitions must be neighbours, {keys[0]} … {keys[-1]} are {len(keys)} with gaps. "
            "Remedy: choose one range, or run each by itself"
        )
    tags = context.run.tags
    # A backfill of a job is one run for each partition, and no less a history.
    is_range = len(keys) > 1 or "dagster/asset_partition_range_start" in tags or "dagster/backfill" in tags
    return Span(window, tuple(project.starts(window)), tuple(keys), is_range)


def commit_of(context: dg.AssetExecutionContext, project: Project, name: str) -> Commit:
    """Who writes, for the commit message."""
    return Commit(project.name, name, context.run.run_id)


def registry() -> Registry:
    """The model versions of this home."""
    return home_registry()


def registration(version: Version, by: str) -> Draft:
    """The ledger's entry on a new version: what its folder must hold from now on, and who had it trained."""
    evidence = {
        "decision": version.training_set.decision,
        "artefact": version.artefact,
        "record": registry().record_hash(version.project, version.number),
        "by": by,
    }
    if version.training_set.waived:
        evidence["leakage_waived"] = version.training_set.waived
    reason = f"trained through {version.training_set.train[-1]}"
    return Draft(version.project, "registered", reason, evidence, version=version.number)


def require_registered(entries: Sequence[Entry], version: Version) -> None:
    """Refuse a version whose folder is not the one that the ledger has heard of.

    Raises:
        RegistryError: if its record or the hash of its model file is another.
    """
    told = next((one.facts for one in entries if (one.kind, one.version) == ("registered", version.number)), {})
    record = registry().record_hash(version.project, version.number)
    if told.get("artefact", version.artefact) != version.artefact or told.get("record", record) != record:
        raise RegistryError(
            f"{version.project} version {version.number}: its version.json is not the one that the ledger names: it "
            "was changed. Remedy: restore the folder from a backup; `ml-assets audit verify` tells what else differs"
        )


def launched_by(run: dg.DagsterRun) -> str:
    """Who launched a run: a person's login, a sensor or schedule, or somebody in Dagster's UI, which knows no names."""
    names = (BY_TAG, "dagster/sensor_name", "dagster/schedule_name")
    return next((run.tags[name] for name in names if name in run.tags), "somebody in Dagster's UI")


def ledger(lake: Lake) -> Ledger:
    """The ledger of a lake."""
    return Ledger(lake)


def run_sql(
    cursor: duckdb.DuckDBPyConnection,
    path: str,
    sql: str,
    name: str,
    rows: pl.DataFrame,
    *,
    references: Mapping[str, pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """Run a project's statement over its named inputs, one partition after another.

    A partition has the same result alone and within a range, whatever the statement does: an average over a town sees
    the rows of its month, never those of a later one.

    Args:
        cursor: any cursor.
        path: the statement's file, for messages.
        sql: the statement.
        name: the named input: `raw` or `validated`.
        rows: the input's rows, with `_partition`.
        references: further named inputs; each partition sees all their rows.

    Raises:
        SqlError: if it is anything but one SELECT over the named inputs: it reads no file and changes nothing.
        SqlFailure: what DuckDB says, and where; or the statement does not return the columns of lineage.
    """
    import polars as pl

    others = references or {}
    check_select(sql, where=path, allowed=[name, *others])
    together = is_row_wise(sql, table=name, where=path, kept=LINEAGE)
    sources = passed_on(sql, table=name, columns=rows.columns, where=path) if together else []
    parts = []
    # On a cursor of its own: an open transaction would keep the rows of every piece until its end.
    with cursor.cursor() as own:
        # Once, not for each partition.
        inputs = {other: f"FROM {quoted(f'_reference_{other}')}" for other in others}
        for other, frame in others.items():
            own.register(f"_reference_{other}", frame)
        try:
            for part in [rows] if together else rows.partition_by(PARTITION, maintain_order=True) or [rows]:
                found = _computed(own, sql, name, part, sources) if any(sources) else None
                if found is None:
                    own.register("_part", part)
                    found = run_select(own, sql, {name: "FROM _part", **inputs})
                parts.append(found)
        except duckdb.Error as error:
            raise SqlFailure(f"{path}: {error}") from error
    result = pl.concat(parts)
    missing = [column for column in LINEAGE if column not in result.columns]
    if missing:
        raise SqlFailure(f"{path} does not return {missing[0]!r}. Remedy: select {', '.join(LINEAGE)} in it")
    return result


def _computed(
    cursor: duckdb.DuckDBPyConnection, sql: str, name: str, rows: pl.DataFrame, sources: Sequence[str | None]
) -> pl.DataFrame | None:
    """The result of a statement of which only those columns are run that are not the input's as they stand.

    Handing a column to DuckDB and back costs more than what most statements do with it.

    Args:
        cursor: any cursor.
        sql: a row-wise statement.
        name: the named input.
        rows: the input's rows.
        sources: see `ml_assets.core.statement.passed_on`.

    Returns:
        None where it has to be run as a whole after all.
    """
    import polars as pl

    cursor.register("_part", rows.head(0))
    schema = run_select(cursor, f"FROM (\n{sql}\n) LIMIT 0", {name: "FROM _part"}).schema
    if len(schema) != len(sources) or not set(LINEAGE) <= schema.keys():
        return None
    taken = {
        column: rows[source].alias(column)
        for (column, kind), source in zip(schema.items(), sources, strict=True)
        if source is not None and rows.schema[source] == kind
    }
    wanted = [column for column in schema if column not in taken]
    if wanted:
        wanted += [column for column in LINEAGE if column in taken]
        cursor.register("_part", rows)
        select = f"SELECT {', '.join(map(quoted, wanted))} FROM (\n{sql}\n)"
        found = run_select(cursor, select, {name: "FROM _part"})
        # A row that comes twice, or not at all, is told where both are there.
        if not found.select(LINEAGE).equals(rows.select(LINEAGE)):
            return None
        taken = {column: found[column] for column in wanted} | taken
    return pl.DataFrame([taken[column] for column in schema])


def describe(
    context: dg.AssetExecutionContext,
    project: Project,
    lake: Lake,
    name: str,
    counts: Mapping[datetime, int],
    *,
    snapshot: int,
    span: Span,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    lineage: Mapping[str, Iterable[ColumnRef]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult[Any]:
    """Report a partitioned table's new version to Dagster.

    Args:
        context: of the step; gets the metadata of each partition.
        project: the project.
        lake: where the table is.
        name: the asset's and table's name.
        counts: start of a partition → rows that were written.
        snapshot: the lake's version that holds it: the data version.
        span: the partitions of this run.
        more: partition key → metadata of that partition.
        lineage: output column → the input columns it is computed from.
        extra: metadata of the whole run.
    """
    key = asset_key(project, name)
    origin = data_origin(project, lake)
    for start, partition in zip(span.starts, span.keys, strict=True):
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": counts.get(start, 0),
                "snapshot": snapshot,
                "page": dg.MetadataValue.url(page_of(project, f"/partitions/{partition}")),
                **origin,
                **(more or {}).get(partition, {}),
            },
            asset_key=key,
            partition_key=partition,
        )
    with lake.reader() as cursor:
        columns = columns_of(cursor, project.table(name))
    metadata: dict[str, Any] = {
        "rows": sum(counts.values()),
        "dagster/column_schema": dg.TableSchema([dg.TableColumn(column, kind) for column, kind in columns.items()]),
        **origin,
        **(extra or {}),
    }
    if lineage:
        metadata["dagster/column_lineage"] = column_lineage(project, lineage)
    return dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=dg.DataVersion(str(snapshot)))


def counts_of(rows: pl.DataFrame) -> dict[datetime, int]:
    """Rows per partition of a frame."""
    return dict(rows.group_by(PARTITION).len().iter_rows())


def partition_counts(cursor: duckdb.DuckDBPyConnection, table: Table, span: Span) -> dict[datetime, int]:
    """Rows per partition of a table, within a run's partitions."""
    sql = f"SELECT {PARTITION}, count(*) FROM {table.path} WHERE {span.window.condition()} GROUP BY ALL ORDER BY ALL"
    return dict(cursor.execute(sql).fetchall())


def in_pieces(project: Project, cursor: duckdb.DuckDBPyConnection, table: Table, span: Span) -> Iterator[Span]:
    """The partitions of a run, some at a time: as many as hold about `PIECE` rows, so that memory stays bounded."""
    counts = partition_counts(cursor, table, span)
    first, held = 0, 0
    for number, start in enumerate(span.starts):
        count = counts.get(start, 0)
        if held and held + count > PIECE:
            yield _piece(project, span, first, number)
            first, held = number, 0
        held += count
    yield _piece(project, span, first, len(span.starts))


def _piece(project: Project, span: Span, first: int, end: int) -> Span:
    window = Window(span.starts[first], project.step(span.starts[end - 1], 1))
    return Span(window, span.starts[first:end], span.keys[first:end], span.is_range)


def column_lineage(project: Project, lineage: Mapping[str, Iterable[ColumnRef]]) -> dg.TableColumnLineage:
    """Column lineage in Dagster's words; each input is an asset of the project."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key(project, ref.table), ref.column) for ref in sorted(refs)]
            for column, refs in lineage.items()
        }
    )


def data_origin(project: Project, lake: Lake) -> dict[str, Any]:
    """What every materialization says about its data: nothing where it is real, loudly where it is simulated."""
    with lake.reader() as cursor:
        warning = origin_warning(cursor, project.name)
    return {"data_origin": dg.MetadataValue.text(warning)} if warning else {}
