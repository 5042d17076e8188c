"""`performance`: how well past predictions fitted the labels that have come."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import (
    SINGLE_RUN,
    commit_of,
    counts_of,
    describe,
    registry,
    span_of,
    spec,
)
from ml_assets.assets.predictions import PREDICTION
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.performance import performance_sql, read_performance
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import replace_rows, window_of
from ml_assets.project import Project

if TYPE_CHECKING:
    import polars as pl


def build_performance(project: Project) -> dg.AssetsDefinition:
    """The asset `performance`."""

    @dg.multi_asset(
        name=f"{project.name}__performance",
        specs=[
            spec(
                project, "performance", "Metrics on rows that have a label and that the champion has not learnt from.",
                deps=["predictions", "features"], kinds=["duckdb"], code=[project.target, project.task],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def performance(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        predictions, features = project.table("predictions"), project.table("features")
        with lake.lake.transaction(commit_of(context, project, "performance")) as transaction:
            scored = window_of(predictions, span.window)
            numbers = transaction.rows(f"SELECT DISTINCT version FROM ({scored})")
            classes = {number: registry().version(project.name, number).classes for (number,) in numbers}
            sql = performance_sql(
                scored, window_of(features, span.window), project.target, task=project.task, classes=classes
            )
            found = read_performance(transaction.rows(sql), project.task)
            rows = _performance_frame(found)
            replace_rows(transaction, project.table("performance"), rows, span.window)
        snapshot = transaction.snapshot
        keys = dict(zip(span.starts, span.keys, strict=True))
        more = {keys[start]: dict(metrics) for (start, _), metrics in found.items()}
        lineage = {"value": {ColumnRef("predictions", PREDICTION), ColumnRef("features", project.target)}}
        return describe(
            context,
            project,
            lake.lake,
            "performance",
            counts_of(rows),
            snapshot=snapshot,
            span=span,
            more=more,
            lineage=lineage,
        )

    return performance


def _performance_frame(found: Mapping[tuple[datetime, int], Mapping[str, float]]) -> "pl.DataFrame":
    import polars as pl

    rows = [
        (start, version, name, value) for (start, version), metrics in found.items() for name, value in metrics.items()
    ]
    return pl.DataFrame(
        rows,
        schema={"_partition": pl.Datetime("us"), "version": pl.Int64, "metric": pl.String, "value": pl.Float64},
        orient="row",
    )
