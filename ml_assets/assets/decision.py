"""`decision`: hold or retrain, with the evidence: what changed, and what it did to the metric."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.answers import expire
from ml_assets.assets.common import (
    SINGLE_RUN,
    Span,
    asset_key,
    commit_of,
    data_origin,
    ledger,
    registry,
    span_of,
    spec,
)
from ml_assets.core.policy import Evidence, decide_by_performance, standing
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import read
from ml_assets.project import Project
from ml_assets.registry.ledger import VERDICTS, Draft, Entry

if TYPE_CHECKING:
    import polars as pl


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
        expire(project, lake.lake, context.run.run_id)
        entries = ledger(lake.lake).entries(project.name)
        key, acting, origin = asset_key(project, "decision"), acting_decision(entries), data_origin(project, lake.lake)
        for entry in added:
            context.add_asset_metadata(
                {
                    "action": entry.action,
                    "reason": entry.reason,
                    "standing": entry.standing,
                    "ledger_id": entry.id,
                    # For people: the decision to act on, 0 where there is nothing to do. The sensor reads the ledger.
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

    Every run of `decision` reports it, whatever partition it decides.
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
