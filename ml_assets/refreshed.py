"""What a refreshed partition has come to, in lines for a terminal: rows, alarms with their causes, and the decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.history import accounted, downstream
from ml_assets.quarantine import read_quarantine
from ml_assets.registry.ledger import read_entries
from ml_assets.serving.queries import Moved, read_causes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry


def lines_of(lake: Lake, project: Project, partition: str, run: str) -> Iterator[str]:
    """What a run has made of a partition, and what follows.

    Args:
        lake: holds it.
        project: the project.
        partition: the partition's key.
        run: the id of the refresh.
    """
    found = downstream(lake, project, [partition])
    rows = found[partition]
    counts = ", ".join(f"{count:,.0f} {name.removesuffix(' rows')}" for name, count in rows.items() if " " in name)
    yield f"{project.name}, {partition}: run {run}: {counts}"
    with lake.reader() as cursor:
        if rows.get("quarantine rows"):
            kept = read_quarantine(cursor, project, partition=partition, examples=0)
            yield f"  {accounted(project, found)}"
            yield from (f"  in quarantine: {one.why}" for one in kept.partitions)
        (decision,) = [one for one in read_entries(cursor, project.name) if (one.kind, one.run_id) == ("decision", run)]
        causes = {one.column: one for one in read_causes(cursor, project, project.start_of(partition))}
    for column in decision.facts["alarms"]:
        # Of a column whose words or tokens alarm, it is the column that has moved.
        cause = causes.get(column.removesuffix(" (words)").removesuffix(" (tokens)"))
        yield f"  {_alarm(project, column, cause)}"
    yield f"{decision.action}: {decision.reason}"
    if decision.action != "hold":
        yield f"  {_to_do(decision)}"


def _alarm(project: Project, column: str, cause: Moved | None) -> str:
    if cause is None:
        return f"drift in {column}: not explained"
    harmful = ", which is harmful" if cause.harmful else ""
    known = "by an unknown amount" if cause.effect is None else f"by {cause.effect:.0%} of a typical error"
    does = f"moves predictions {known}{harmful}"
    told = f"drift in {column}: {'it is the target' if column == project.target else does}"
    if not cause.carriers:
        return f"{told}; all rows alike"
    first = cause.carriers[0]
    return f"{told}; {first.column} {first.value} carries {first.drift:.0%} of it with {first.rows:.0%} of the rows"


def _to_do(decision: Entry) -> str:
    """What follows of a decision to act."""
    if decision.standing != "live":
        why = "the partition was decided before" if decision.standing == "again" else "newer ones have been decided"
        return f"recorded only, for {why}: nothing starts"
    by_action: Mapping[str, str] = {
        "retrain": "the daemon of `ml-assets up` trains a challenger; where it does not run: "
        f"`ml-assets retrain {decision.project}`",
        "ask": f"to answer: `ml-assets decide {decision.project} {decision.id} --yes --why WHY`, or --no",
        "reinstate": "it is done: no training is needed",
    }
    return by_action[decision.action]
