"""`drift`, `performance`, `decision`: what changed, what it did to the metric, and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets import settings
from ml_assets.assets.common import (
    SINGLE_RUN,
    Span,
    asset_key,
    commit_of,
    counts_of,
    data_origin,
    describe,
    ledger,
    registry,
    span_of,
    spec,
)
from ml_assets.assets.features import read_bins
from ml_assets.assets.predictions import PREDICTION
from ml_assets.core.drift import Statistic, drift
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.performance import performance_sql, read_performance
from ml_assets.core.policy import Evidence, decide_by_performance, standing
from ml_assets.core.profiles import Counts, add_up, from_frame, profile_sql, read_profile
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import read, replace_rows, window_of
from ml_assets.project import Project
from ml_assets.registry.ledger import VERDICTS, Draft, Entry
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
            result = read_profile(again, cursor.execute(profile_sql(again, rows)).fetchall())
            counts |= add_up(one for columns in result.values() for one in columns)
    reference = version.reference
    counts[PREDICTION] = Counts(PREDICTION, "number", 0, reference["total"], reference["bins"])
    return counts


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


def build_decision(project: Project) -> dg.AssetsDefinition:
    """The asset `decision`."""

    @dg.multi_asset(
        name=f"{project.name}__decision",
        specs=[
            spec(
                project, "decision", "Hold or retrain, with the evidence: one entry of the ledger for each partition.",
                deps=["drift", "performance"], kinds=["duckdb"], code=[project.retraining.model_dump_json()],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def decision(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        with lake.lake.reader() as cursor:
            drifted = read(cursor, project.table("drift"), span.window)
            measured = read(cursor, project.table("performance"), span.window)
        added = ledger(lake.lake).append(
            commit_of(context, project, "decision"), lambda entries: decide(project, span, drifted, measured, entries)
        )
        entries = ledger(lake.lake).entries(project.name)
        key, acting, origin = asset_key(project, "decision"), acting_decision(entries), data_origin(project, lake.lake)
        for entry in added:
            context.add_asset_metadata(
                {
                    "action": entry.action,
                    "reason": entry.reason,
                    "standing": entry.standing,
                    "ledger_id": entry.id,
                    # The sensor reads this: the id of the decision to act on, 0 where there is nothing to do.
                    "acting_decision": acting.id if acting else 0,
                    "acting_partition": acting.partition if acting else "",
                    "evidence": dg.MetadataValue.json(entry.facts),
                    **origin,
                },
                asset_key=key,
                partition_key=entry.partition,
            )
        return dg.MaterializeResult(
            asset_key=key,
            metadata={"decided": len(added), **origin},
            data_version=dg.DataVersion(str(added[-1].id)),
        )

    return decision


def decide(
    project: Project, span: Span, drifted: "pl.DataFrame", measured: "pl.DataFrame", entries: Sequence[Entry]
) -> list[Draft]:
    """One draft for each partition of a run.

    Args:
        project: the project.
        span: the partitions.
        drifted: rows of `drift` in the span.
        measured: rows of `performance` in the span.
        entries: the project's ledger so far.
    """
    decisions = [entry for entry in entries if entry.kind == "decision"]
    live = {entry.partition: entry for entry in decisions if entry.standing == "live"}
    newest = max((entry.partition for entry in decisions), default=None)
    drafts = []
    for start, key in zip(span.starts, span.keys, strict=True):
        retrained = [entry.partition for entry in live.values() if entry.action == "retrain" and entry.partition < key]
        evidence = _evidence(project, start, drifted, measured, max(retrained, default=None))
        settled = project.retraining
        verdict = decide_by_performance(
            evidence, tolerance=settled.tolerance, cooldown=settled.cooldown, minimum_rows=settled.minimum_rows
        )
        drafts.append(
            Draft(
                project.name,
                "decision",
                verdict.reason,
                asdict(evidence),
                partition=key,
                version=evidence.champion or 0,
                action=verdict.action,
                # A table without partitions is decided anew with every state of its rows.
                standing=standing(
                    key,
                    is_range=span.is_range,
                    decided=key in live and project.partitions.grain != "none",
                    newest=newest,
                ),
            )
        )
    return drafts


def acting_decision(entries: Sequence[Entry]) -> Entry | None:
    """The newest live decision to retrain, if no verdict has come of it yet.

    Every run of `decision` reports it, whatever partition it decides: where a run was killed after its decision stood
    in the ledger and before Dagster heard of it, the next run tells. Told twice it is launched once: by its run key.
    """
    asked = [one for one in entries if one.kind == "decision" and one.standing == "live" and one.action == "retrain"]
    done = {one.facts.get("decision") for one in entries if one.kind in VERDICTS}
    return asked[-1] if asked and asked[-1].id not in done else None


def _evidence(
    project: Project,
    start: datetime,
    drifted: "pl.DataFrame",
    measured: "pl.DataFrame",
    retrained: str | None,
) -> Evidence:
    metric, key = project.watched, project.key_of(start)
    of_drift = drifted.filter(drifted["_partition"] == start)
    of_metrics = measured.filter(measured["_partition"] == start)
    values = dict(of_metrics.select("metric", "value").iter_rows())
    versions = [*of_drift["version"].unique(), *of_metrics["version"].unique()]
    champion = versions[0] if versions else None
    reference = None
    if champion is not None:
        stored = registry().evaluation(project.name, champion)
        reference = stored["metrics"]["test"].get(metric) if stored else None
    since = None
    if retrained is not None:
        since = len(project.starts(project.window(retrained, key))) - 1
    return Evidence(
        partition=key,
        champion=champion,
        rows=int(values.get("rows", 0)),
        metric=metric,
        error=values.get(metric),
        reference=reference,
        since_retraining=since,
        alarms=tuple(sorted(set(of_drift.filter(of_drift["alarm"])["column_name"]))),
    )


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
