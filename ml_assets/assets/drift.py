"""`drift`: how far the rows of a partition are from what its champion learnt from."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets import settings
from ml_assets.assets.common import (
    SINGLE_RUN,
    Span,
    commit_of,
    counts_of,
    describe,
    registry,
    span_of,
    spec,
)
from ml_assets.assets.features import read_bins
from ml_assets.assets.predictions import PREDICTION
from ml_assets.core.drift import Statistic, drift
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.profiles import Counts, add_up, from_frame
from ml_assets.lake.connection import Lake
from ml_assets.lake.profiling import take_profiles
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import read, replace_rows, window_of
from ml_assets.project import Project
from ml_assets.registry.models import Version

if TYPE_CHECKING:
    import polars as pl


def drift_page(project: Project, partition: str) -> str:
    """The address of a partition's drift report."""
    return f"{settings.reports_url()}/projects/{project.name}/drift/{partition}"


def build_drift(project: Project) -> dg.AssetsDefinition:
    """The asset `drift`."""

    @dg.multi_asset(
        name=f"{project.name}__drift",
        specs=[
            spec(
                project, "drift", "Statistics of inputs, target and predictions against what the champion learnt from.",
                deps=["profile", "predictions"], kinds=["duckdb", "evidently"],
                code=[project.monitoring.model_dump_json()], page="/drift",
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def build(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        with lake.lake.transaction(commit_of(context, project, "drift")) as transaction:
            found = measure_drift(project, lake.lake, transaction.cursor, span)
            rows = _statistics_frame(found)
            replace_rows(transaction, project.table("drift"), rows, span.window)
        snapshot = transaction.snapshot
        more: dict[str, dict[str, Any]] = {}
        for start, key in zip(span.starts, span.keys, strict=True):
            statistics = [statistic for _, statistic in found.get(start, [])]
            alarms = sorted({s.column for s in statistics if s.alarm})
            can_alarm = not statistics or any(s.threshold is not None for s in statistics)
            more[key] = {
                "alarms": len(alarms),
                "alarming_columns": ", ".join(alarms) or ("none" if can_alarm else "too few rows to alarm"),
                "report": dg.MetadataValue.url(drift_page(project, key)),
            }
        latest = {"report": dg.MetadataValue.url(drift_page(project, span.keys[-1]))}
        lineage = {"value": {ColumnRef("profile", "rows"), ColumnRef("predictions", PREDICTION)}}
        return describe(
            context,
            project,
            lake.lake,
            "drift",
            counts_of(rows),
            snapshot=snapshot,
            span=span,
            more=more,
            lineage=lineage,
            extra=latest,
        )

    return build


def measure_drift(
    project: Project, lake: Lake, cursor: duckdb.DuckDBPyConnection, span: Span
) -> dict[datetime, list[tuple[int, Statistic]]]:
    """The statistics of each partition, with the version they are against; partitions without a champion have none."""
    inputs = from_frame(read(cursor, project.table("profile"), span.window))
    outputs = from_frame(read(cursor, project.table("prediction_profile"), span.window))
    predictions = window_of(project.table("predictions"), span.window)
    sql = f"SELECT DISTINCT _partition, version FROM ({predictions})"
    champions = dict(cursor.execute(sql).fetchall())
    references = {
        number: reference_of(project, lake, registry().version(project.name, number))
        for number in set(champions.values())
    }
    found = {}
    for start, number in champions.items():
        current = {counts.column: counts for counts in (*inputs.get(start, []), *outputs.get(start, []))}
        limits = project.monitoring
        statistics = drift(
            references[number],
            current,
            psi_threshold=limits.psi,
            ks_threshold=limits.ks,
            minimum_rows=limits.minimum_rows,
        )
        found[start] = [(number, statistic) for statistic in statistics]
    return found


def reference_of(project: Project, lake: Lake, version: Version) -> dict[str, Counts]:
    """The profile of what a version learnt from, summed over its partitions, and of its predictions on it.

    Where rows were held out by chance, they are counted too: a profile knows partitions, not rows.
    """
    train = version.training_set.train
    window, snapshot = project.window(train[0], train[-1]), version.training_set.snapshot
    with lake.reader() as cursor:
        profiles = from_frame(read(cursor, project.table("profile"), window, snapshot))
        counts = add_up(counts for columns in profiles.values() for counts in columns)
        then, now = read_bins(cursor, project, snapshot), read_bins(cursor, project)
        # Bins that were chosen again since: the rows are counted in those of today, or there is nothing to compare.
        counts = {name: one for name, one in counts.items() if then.get(name) == now.get(name)}
        again = [one for name, one in now.items() if name in then and one != then[name] and one.kind == then[name].kind]
        if again:
            rows = window_of(project.table("features"), window, snapshot)
            counts |= add_up(one for columns in take_profiles(cursor, again, rows).values() for one in columns)
    reference = version.reference
    counts[PREDICTION] = Counts(PREDICTION, "number", 0, reference["total"], reference["bins"])
    return counts


def _statistics_frame(found: Mapping[datetime, Sequence[tuple[int, Statistic]]]) -> "pl.DataFrame":
    import polars as pl

    rows = [
        (start, number, s.column, s.name, s.value, s.threshold, s.alarm)
        for start, many in found.items()
        for number, s in many
    ]
    return pl.DataFrame(
        rows,
        schema={
            "_partition": pl.Datetime("us"), "version": pl.Int64, "column_name": pl.String, "statistic": pl.String,
            "value": pl.Float64, "threshold": pl.Float64, "alarm": pl.Boolean,
        },
        orient="row",
    )  # fmt: skip
