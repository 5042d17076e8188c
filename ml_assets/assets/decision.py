"""`decision`: hold or retrain, with the evidence: what changed, and what it did to the metric."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.addresses import page_of
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
from ml_assets.assets.publishing import publish
from ml_assets.assets.retired import find_better, reinstatement
from ml_assets.core import policy
from ml_assets.core.maturity import Reading, usable
from ml_assets.core.policy import Evidence, standing
from ml_assets.core.wear import REMEMBERED, Tenure, measure_wear, still_needed
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import read
from ml_assets.project import Project
from ml_assets.registry.ledger import VERDICTS, Draft, Entry, current_champion, read_entries, stages

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
            # From the first: what champions could do when they were young is part of the evidence.
            so_far = Window(project.start_of(project.first), span.window.end)
            measured = read(cursor, project.table("performance"), so_far)
            known = Known(
                read(cursor, project.table("drift"), span.window),
                read(cursor, project.table("causes"), span.window),
                measured,
                _retired(project, cursor, span, measured, read_entries(cursor, project.name)),
            )

        def drafts(entries: Sequence[Entry]) -> list[Draft]:
            found = decide(project, span, known, entries)
            return [*found, *_reinstatements(project, lake.lake, found, known.retired, entries)]

        added = ledger(lake.lake).append(commit_of(context, project, "decision"), drafts)
        for entry in [one for one in added if one.kind == "promoted"]:
            context.log.info("version %d serves again: %s", entry.version, entry.reason)
            publish(project, lake.lake, entry)
        added = [one for one in added if one.kind == "decision"]
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
                    "page": dg.MetadataValue.url(page_of(project, f"/partitions/{entry.partition}")),
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


@dataclass(frozen=True)
class Known:
    """What decisions of a span rest on.

    Attributes:
        drift: rows of `drift` in the span.
        causes: rows of `causes` in the span.
        performance: rows of `performance`, from the first partition to the span's end.
        retired: a version that has served and is better again than the champion of the newest partition.
    """

    drift: "pl.DataFrame"
    causes: "pl.DataFrame"
    performance: "pl.DataFrame"
    retired: int | None = None


def decide(project: Project, span: Span, known: Known, entries: Sequence[Entry]) -> list[Draft]:
    """One draft for each partition of a run.

    Args:
        project: the project.
        span: the partitions.
        known: what has been measured.
        entries: the project's ledger so far.
    """
    decisions = [entry for entry in entries if entry.kind == "decision"]
    live = {entry.partition: entry for entry in decisions if entry.standing == "live"}
    newest = max((entry.partition for entry in decisions), default=None)
    drafts = []
    for start, key in zip(span.starts, span.keys, strict=True):
        evidence = _evidence(project, start, known, entries)
        verdict = policy.decide(evidence, project.retraining.rule())
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


def _evidence(project: Project, start: datetime, known: Known, entries: Sequence[Entry]) -> Evidence:
    metric, key = project.watched, project.key_of(start)
    of_drift = known.drift.filter(known.drift["_partition"] == start)
    of_metrics = known.performance.filter(known.performance["_partition"] == start)
    reading = usable(known.performance, metric, start, minimum_rows=project.retraining.minimum_rows)
    counted = dict(of_metrics.filter(of_metrics["metric"] == "rows").select("metric", "value").iter_rows())
    versions = [*of_drift["version"].unique(), *of_metrics["version"].unique()]
    champion = versions[0] if versions else None
    columns = tuple(sorted(set(of_drift.filter(of_drift["alarm"])["column_name"])))
    of_causes = known.causes.filter(known.causes["_partition"] == start)
    # An alarm that nobody has explained, of an older partition of a range, is taken at its word: it does not act.
    is_harmful = bool(of_causes["harmful"].fill_null(value=True).any()) if of_causes.height else True
    live = [one for one in entries if (one.kind, one.standing) == ("decision", "live") and one.partition < key]
    acted = max((one.partition for one in live if one.action != "hold"), default=None)
    evidence = Evidence(
        partition=key,
        champion=champion,
        rows=reading.rows if reading else int(counted.get("rows", 0)),
        metric=metric,
        # Of an estimate what it is at least: what only may be wrong is no reason to act.
        error=reading.at_least if reading else None,
        rests_on=_rests_on(project, reading, start),
        reference=_reference(project, champion),
        since_retraining=None if acted is None else _steps(project, acted, key),
        alarms=columns,
        drift_alarm=bool(columns) and is_harmful,
    )
    if champion is None:
        return evidence
    promoted = [one.partition for one in entries if (one.kind, one.version) == ("promoted", champion) and one.partition]
    served = _steps(project, promoted[-1], key) + 1 if promoted and promoted[-1] <= key else 0
    retired = known.retired if _is_retired(entries, known.retired) else None
    evidence = replace(evidence, served=served, retired=retired)
    if project.retraining.policy != "worth_it":
        return evidence
    return _with_wear(evidence, project, known.performance, start, entries)


def _is_retired(entries: Sequence[Entry], number: int | None) -> bool:
    """Whether a version is still one that has served and does not: others may have acted since it was found."""
    return number is not None and stages(entries).get(number) == "retired"


def _retired(
    project: Project, cursor: duckdb.DuckDBPyConnection, span: Span, measured: "pl.DataFrame", entries: Sequence[Entry]
) -> int | None:
    """A retired version that is better than the champion; asked where one partition is decided, by `worth_it`."""
    champion = current_champion(entries)
    if project.retraining.policy != "worth_it" or span.is_range or champion is None:
        return None
    is_its = (measured["version"] == champion) & (measured["metric"] == project.watched)
    served = measured.filter(is_its & (measured["standing"] == "matured") & measured["value"].is_not_null())
    return find_better(project, cursor, served.sort("_partition").select("_partition", "value"), entries)


def _reinstatements(
    project: Project, lake: Lake, decided: Sequence[Draft], number: int | None, entries: Sequence[Entry]
) -> list[Draft]:
    """What a live decision to reinstate does, in the same write: nothing is to be trained."""
    asked = [one for one in decided if (one.action, one.standing) == ("reinstate", "live")]
    if number is None or not asked:
        return []
    return [reinstatement(project, lake, number, asked[-1].reason, entries)]


def _rests_on(project: Project, reading: Reading | None, start: datetime) -> str:
    """What an error rests on, where that is not nearly all labels of the partition itself."""
    if reading is None or (reading.standing == "matured" and reading.partition == start):
        return ""
    where = "" if reading.partition == start else f"of {project.key_of(reading.partition)}, "
    least = f", at least, of {reading.value:.4g}" if reading.margin is not None else ""
    return f"({where}{reading.standing}{least}, {reading.labels:.0%} of labels)"


def _steps(project: Project, first: str, last: str) -> int:
    """Partitions from one to another."""
    return len(project.starts(project.window(first, last))) - 1


def _reference(project: Project, version: int | None) -> float | None:
    stored = registry().evaluation(project.name, version) if version is not None else None
    return stored["metrics"]["test"].get(project.watched) if stored else None


def _with_wear(
    evidence: Evidence, project: Project, measured: "pl.DataFrame", start: datetime, entries: Sequence[Entry]
) -> Evidence:
    """What keeping the champion has cost up to a partition, from the metrics of those that it and others served."""
    champion = evidence.champion
    # What counts is measured, on labels that have come: an estimate knows nothing of drift that it has not seen.
    known = measured.filter((measured["_partition"] <= start) & (measured["standing"] == "matured"))
    known = known.filter(known["value"].is_not_null())
    errors = known.filter(known["metric"] == project.watched).select("version", "_partition", "value")
    rows = known.filter(known["metric"] == "rows").select("version", "_partition", rows="value")
    table = errors.join(rows, on=["version", "_partition"]).sort("_partition")
    by_version = {
        version: table.filter(table["version"] == version)
        for version in dict.fromkeys([*table["version"].unique(maintain_order=True), champion])
    }
    # The champion last, also where it had served before.
    by_version[champion] = by_version.pop(champion)
    tenures = [
        Tenure(one["value"].to_list(), one["rows"].to_list(), _reference(project, version))
        for version, one in list(by_version.items())[-REMEMBERED - 1 :]
    ]
    served = by_version[champion]["_partition"]
    pending = len(project.starts(Window(served[-1], start))) + 1 if len(served) else 1
    # A retraining that a challenger came of and was rejected brought nothing.
    verdicts = [one.kind for one in entries if one.kind in {"promoted", "rejected"} and one.facts.get("decision")]
    futile = next((number for number, kind in enumerate(reversed(verdicts)) if kind == "promoted"), len(verdicts))
    wear = measure_wear(tenures, pending=pending)
    if wear is None:
        return replace(evidence, too_few=(len(served), still_needed(tenures)))
    return replace(evidence, wear=replace(wear, futile=futile))
