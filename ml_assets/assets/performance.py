"""`performance`: how well past predictions fitted the labels that have come, and what to expect of the others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

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
from ml_assets.assets.labels import Labels, look_at_labels
from ml_assets.assets.predictions import PREDICTION
from ml_assets.core.estimates import CONFIDENCE, Estimate, anchored, margin
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.maturity import REMEMBERED, Maturity, Reading
from ml_assets.core.performance import Measured, performance_sql, read_performance
from ml_assets.core.tasks import title_of
from ml_assets.lake.connection import columns_of
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import described, replace_rows, window_of
from ml_assets.project import Project

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class _Met:
    """An estimate that has met its labels: what was measured, what was expected by the inputs, and what was said."""

    start: datetime
    version: int
    metric: str
    measured: float
    expected: float
    estimate: Estimate


def build_performance(project: Project) -> dg.AssetsDefinition:
    """The asset `performance`."""

    @dg.multi_asset(
        name=f"{project.name}__performance",
        specs=[
            spec(
                project, "performance",
                "Metrics on rows that have a label and that the champion has not learnt from: matured, provisional, or "
                "estimated where labels are missing.",
                deps=["predictions", "features"], kinds=["duckdb"],
                code=[project.target, project.task, project.monitoring.labels.model_dump_json()],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def performance(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        with lake.lake.transaction(commit_of(context, project, "performance")) as transaction:
            labels = look_at_labels(transaction, project, span.window)
            found = measure_performance(project, transaction.cursor, span.window)
            told = list(_told(project, transaction.cursor, span, found, labels))
            rows = _performance_frame(told)
            replace_rows(transaction, project.table("performance"), rows, span.window)
        lineage = {
            "value": {ColumnRef("predictions", PREDICTION), ColumnRef("features", project.target)},
            "estimate": {ColumnRef("predictions", PREDICTION)},
        }
        return describe(
            context,
            project,
            lake.lake,
            "performance",
            counts_of(rows),
            snapshot=transaction.snapshot,
            span=span,
            more={key: _as_metadata(project, start, told) for start, key in zip(span.starts, span.keys, strict=True)},
            lineage=lineage,
            extra={"labels": _in_words(labels.maturity)},
        )

    return performance


def measure_performance(
    project: Project, cursor: duckdb.DuckDBPyConnection, window: Window
) -> dict[tuple[datetime, int], Measured]:
    """What is known per partition and version, in one pass over predictions and features."""
    scored, features = window_of(project.table("predictions"), window), window_of(project.table("features"), window)
    numbers = [number for (number,) in cursor.execute(f"SELECT DISTINCT version FROM ({scored})").fetchall()]
    classes = {number: registry().version(project.name, number).classes for number in numbers}
    there = described(cursor, project.table("features"))
    learnt = {number: kept for number in numbers if (kept := _learnt(project, number, there))}
    sql = performance_sql(scored, features, project.target, task=project.task, classes=classes, learnt=learnt)
    return read_performance(cursor.execute(sql).fetchall(), project.task, learnt)


def _learnt(project: Project, number: int, there: Sequence[str]) -> dict[str, Any] | None:
    """What the evaluation of a version has learnt about its losses, if the features that it looks at are there."""
    evaluation = registry().evaluation(project.name, number) or {}
    kept: dict[str, Any] | None = evaluation.get("losses")
    return kept if kept and set(kept.get("by", ())) <= set(there) else None


def _told(
    project: Project,
    cursor: duckdb.DuckDBPyConnection,
    span: Span,
    found: Mapping[tuple[datetime, int], Measured],
    labels: Labels,
) -> Iterator[dict[str, Any]]:
    """The rows of the table, in order. An estimate rests on those that had met their labels by then."""
    past = _met_before(project, cursor, span.window, labels)
    tested = _tested(project, {version for _, version in found})
    wait = max(1, labels.maturity.delay or 0)
    for (start, version), measured in sorted(found.items()):
        standing = labels.standing(start, measured.rows)
        row = {"_partition": start, "version": version, "standing": standing, "labels": labels.share(start)}
        counts = {"rows": measured.rows, "scored": measured.scored}
        yield from ({**row, "metric": name, "value": float(count)} for name, count in counts.items())
        # What a handful of labels gives is no metric.
        metrics = measured.metrics if standing != "estimated" else {}
        until = project.step(start, -wait)
        for name in dict.fromkeys((*metrics, *measured.expected)):
            value, expected = metrics.get(name), measured.expected.get(name)
            told = {**row, "metric": name, "value": value}
            if expected is None:
                yield told
                continue
            known = [one for one in past if one.metric == name and one.start <= until]
            of_version = [(one.measured, one.expected) for one in known if one.version == version]
            estimate = anchored(of_version, expected)
            half = margin([(one.measured, one.estimate) for one in known], estimate.noise)
            numbers = {"estimate": estimate.value, "noise": estimate.noise, "margin": half}
            yield {**told, "expected": expected.value, **numbers}
            if value is not None and standing == "matured" and (start, version) not in tested:
                past.append(_Met(start, version, name, value, expected.value, estimate))


def _met_before(project: Project, cursor: duckdb.DuckDBPyConnection, window: Window, labels: Labels) -> list[_Met]:
    """The estimates of before a window that have met their labels, oldest first: where those came since, too.

    Not on the rows that a version was tested on: from those its losses were learnt.
    """
    table = project.table("performance")
    if "expected" not in columns_of(cursor, table):
        return []
    before = Window(project.step(window.start, -REMEMBERED), window.start)
    sql = (
        "SELECT _partition, version, metric, value, expected, estimate, noise, max(value) FILTER (metric = 'rows') "
        f"OVER (PARTITION BY _partition, version) FROM ({window_of(table, before)}) ORDER BY ALL"
    )
    met = [row for row in cursor.execute(sql).fetchall() if row[3] is not None and row[5] is not None]
    # Of a version whose record is gone nobody knows what it was tested on.
    there = {version for _, version, *_ in met} & {*registry().numbers(project.name)}
    tested = _tested(project, there)
    return [
        _Met(start, version, metric, value, expected, Estimate(estimate, noise))
        for start, version, metric, value, expected, estimate, noise, rows in met
        if version in there and (start, version) not in tested and labels.standing(start, int(rows)) == "matured"
    ]


def _tested(project: Project, numbers: Collection[int]) -> set[tuple[datetime, int]]:
    """The partitions that some versions were tested on, each with the version."""
    versions = [registry().version(project.name, number) for number in numbers]
    return {(project.start_of(key), one.number) for one in versions for key in one.training_set.test}


def _performance_frame(told: Sequence[Mapping[str, Any]]) -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(
        told,
        schema={
            "_partition": pl.Datetime("us"), "version": pl.Int64, "metric": pl.String, "value": pl.Float64,
            "standing": pl.String, "labels": pl.Float64, "expected": pl.Float64, "estimate": pl.Float64,
            "noise": pl.Float64, "margin": pl.Float64,
        },
    )  # fmt: skip


def _as_metadata(project: Project, start: datetime, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the metadata of a partition says."""
    of_it = [row for row in told if row["_partition"] == start]
    if not of_it:
        return {"said": "no row counts: there is no champion, or it has learnt from them all, or all is hindsight"}
    found: dict[str, Any] = {"standing": of_it[0]["standing"], "share_of_labels": of_it[0]["labels"]}
    for row in of_it:
        if row["value"] is not None:
            found[row["metric"]] = row["value"]
        if row.get("estimate") is not None:
            found[f"estimated_{row['metric']}"] = row["estimate"]
    watched = next((row for row in of_it if row["metric"] == project.watched), None)
    if watched and (words := _said(watched)):
        found["said"] = words
    return found


def _said(row: Mapping[str, Any]) -> str:
    parts = []
    if row["value"] is not None:
        reading = Reading(
            row["_partition"], row["version"], row["metric"], row["standing"], row["value"], 0, row["labels"]
        )
        parts.append(reading.said())
    if row.get("estimate") is not None:
        known = f"± {row['margin']:.2g} ({CONFIDENCE:.0%})" if row["margin"] is not None else "of unknown error"
        parts.append(f"{title_of(row['metric'])} estimated without labels {row['estimate']:.4g} {known}")
    return "; ".join(parts)


def _in_words(maturity: Maturity) -> str:
    """How labels come, in a sentence."""
    if maturity.delay is None:
        return "too few partitions to know how long labels take: all are waited for"
    when = "at once" if not maturity.delay else f"after {maturity.delay} partition{'s' * (maturity.delay != 1)}"
    return f"there {when}: {maturity.end:.0%} of rows have a label in the end"
