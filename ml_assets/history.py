"""Filling a project's history, and bringing it up to date where its source has changed since."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ml_assets.assets.common import register_blocks
from ml_assets.assets.promotion import how_to_approve
from ml_assets.assets.source import in_question
from ml_assets.lake.connection import table_exists
from ml_assets.lake.resource import shared_lake
from ml_assets.registry.ledger import champion_at, current_champion, verdict_of
from ml_assets.registry.models import home_registry
from ml_assets.runs import JUDGING, PREPARING, materialize_range, run_job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import dagster as dg

    from ml_assets.assets.source import Touched
    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Ledger

VERSION = "version"


def backfill(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    ledger: Ledger,
    project: Project,
    *,
    first: str,
    last: str,
    say: Callable[[str], None],
) -> None:
    """Fill a range of a project's history: one run up to the profiles, a first version if there is none, one run after.

    Args:
        instance: where the runs are recorded.
        defs: the code location's definitions.
        ledger: says whether there is a champion.
        project: the project.
        first: key of the first partition.
        last: key of the last one.
        say: receives progress.

    Raises:
        RunFailedError: if a run fails.
        ValueError: if the range is empty or not of the project's partitions.
    """
    keys = check_range(project, first, last)
    register_blocks(instance, project, keys)

    def timed(what: str, action: Callable[[], str]) -> str:
        say(what)
        before = time.monotonic()
        run = action()
        say(f"  run {run[:8]}, {time.monotonic() - before:.1f} s")
        return run

    def part(names: Sequence[str]) -> None:
        timed(
            f"{project.name}, {first} … {last}: {', '.join(names)} in one run",
            lambda: materialize_range(instance, defs, project.name, names, first=first, last=last),
        )

    part([*project.references, *PREPARING])
    say(f"  {accounted(project, downstream(shared_lake().lake, project, keys))}")
    if champion_at(ledger.entries(project.name), last) is None:
        run = timed(
            f"{project.name}: training the first version", lambda: run_job(instance, defs, f"{project.name}_retrain")
        )
        tell_verdict(ledger, project, run, say)
    part(JUDGING)


def accounted(project: Project, found: Mapping[str, Mapping[str, float]]) -> str:
    """What became of the raw rows of some partitions, in words: see `downstream`."""
    names = ("raw", "validated", "quarantine")
    raw, validated, quarantine = (int(sum(one.get(f"{name} rows", 0) for one in found.values())) for name in names)
    words = f"{raw:,} rows: {validated:,} validated, {quarantine:,} in quarantine"
    if raw - validated - quarantine:
        words += f", {raw - validated - quarantine:,} duplicates"
    return words + (f"; why: `ml-assets quarantine show {project.name}`" if quarantine else "")


def tell_verdict(ledger: Ledger, project: Project, run_id: str, say: Callable[[str], None]) -> None:
    """Say what a retraining came to, and what follows where no version serves yet."""
    entries = ledger.entries(project.name)
    verdict = verdict_of(entries, run_id)
    if verdict is None:
        say(f"  run {run_id[:8]} came to no verdict")
    else:
        say(f"  version {verdict.version} {verdict.kind}: {verdict.reason}")
    if verdict is not None and verdict.kind == "awaiting":
        say(f"  it waits for a person: {how_to_approve(project.name, verdict.version)}")
    elif current_champion(entries) is None:
        say(
            "  there is no champion: nothing is predicted, measured for drift or retrained until a version passes the "
            "gates. Remedy: mend features.sql, the estimator or the gates in defs.yaml, then run the backfill again"
        )


def check_range(project: Project, first: str, last: str) -> list[str]:
    """The keys from a partition to another.

    Raises:
        ValueError: if they are not the project's, in the wrong order, or have not ended.
    """
    start, end = project.start_of(first), project.start_of(last)
    if start > end:
        raise ValueError(f"{first} is after {last}: give the earlier partition first")
    for key, moment in ((first, start), (last, end)):
        check_ended(project, key, moment)
    return [project.key_of(one) for one in project.starts(project.window(first, last))]


def check_ended(project: Project, key: str, start: datetime) -> None:
    """Refuse a partition before the first, or one that has not ended.

    Raises:
        ValueError: naming the partitions that there are.
    """
    if not project.calendar.has_time:
        return
    newest = project.newest_ended(datetime.now(UTC).replace(tzinfo=None))
    if newest is None or not project.start_of(project.first) <= start <= newest:
        until = "none has ended yet" if newest is None else f"they run from {project.first} to {project.key_of(newest)}"
        raise ValueError(f"{key} is no partition of {project.name}: {until}")


def catch_up(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    ledger: Ledger,
    project: Project,
    *,
    changes: Sequence[Touched],
    say: Callable[[str], None],
) -> None:
    """Materialize the partitions that late, corrected or removed rows have touched, and say what that changed.

    Only those, and newer blocks whose duplicates they decide. Neighbours are one run. Their decisions are recorded as
    made again; they launch nothing.

    Args:
        instance: where the runs are recorded.
        defs: the code location's definitions.
        ledger: the project's ledger.
        project: the project.
        changes: what `assets.source.changes` found.
        say: receives progress and the report.

    Raises:
        RunFailedError: if a run fails.
    """
    _read_again(instance, defs, ledger, project, changes=changes, say=say)
    # Blocks that were judged before an older one changed, a moment ago.
    newer = in_question(project, shared_lake().lake)
    for one in newer:
        say(f"  {one}")
    if newer:
        _read_again(instance, defs, ledger, project, changes=newer, say=say)


def _read_again(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    ledger: Ledger,
    project: Project,
    *,
    changes: Sequence[Touched],
    say: Callable[[str], None],
) -> None:
    """Materialize what was found, and say what that changed."""
    keys = [one.key for one in changes]
    register_blocks(instance, project, keys)
    before = downstream(shared_lake().lake, project, keys)
    for first, last in neighbours(project, keys):
        backfill(instance, defs, ledger, project, first=first, last=last, say=say)
    after = downstream(shared_lake().lake, project, keys)
    for key in keys:
        for line in differences(before[key], after[key]):
            say(f"  {key}: {line}")
    old_rows = {one.key for one in changes if one.lake is not None}
    stored = home_registry()
    for number in stored.numbers(project.name):
        learnt = sorted(old_rows & {*stored.version(project.name, number).training_set.train})
        if learnt:
            say(f"  version {number} had learnt from {', '.join(learnt)} as it was before")


def differences(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """What became of a partition, in words: see `downstream`. What was not measured is not called 0."""
    told = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if name.endswith(" rows"):
            old, new = old or 0, new or 0
        if old == new:
            continue
        if name == VERSION:
            by = "by no version" if new is None else f"by version {new:g}"
            told.append(f"scored {by} now" + ("" if old is None else f", by version {old:g} before"))
        elif old is None:
            told.append(f"{name} {new:,.6g}, not measured before")
        elif new is None:
            told.append(f"{name} not measured now, {old:,.6g} before")
        else:
            told.append(f"{name} {old:,.6g} → {new:,.6g}")
    return told


def neighbours(project: Project, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Ranges, first and last key, that together are some partitions and no others."""
    ranges: list[tuple[str, str]] = []
    for key in sorted(keys, key=project.start_of):
        if ranges and project.step(project.start_of(ranges[-1][1]), 1) == project.start_of(key):
            ranges[-1] = (ranges[-1][0], key)
        else:
            ranges.append((key, key))
    return ranges


def downstream(lake: Lake, project: Project, keys: Sequence[str]) -> dict[str, dict[str, float]]:
    """What stands in the lake about some partitions: rows of each table, who scored them, and the metrics of that."""
    found: dict[str, dict[str, float]] = {key: {} for key in keys}
    with lake.reader() as cursor:
        for name in ("raw", "validated", "quarantine", "features", "predictions"):
            table = project.table(name)
            if table_exists(cursor, table):
                counted = cursor.execute(f"SELECT _partition, count(*) FROM {table.path} GROUP BY ALL").fetchall()
                for start, count in counted:
                    if (key := project.key_of(start)) in found:
                        found[key][f"{name} rows"] = count
        sources = {
            "predictions": f"SELECT _partition, '{VERSION}', max(version) FROM {{}} GROUP BY ALL",
            "performance": "SELECT _partition, if(metric = 'rows', 'rows_measured', metric), value FROM {} "
            "WHERE value IS NOT NULL",
        }
        for name, sql in sources.items():
            table = project.table(name)
            for start, what, value in (
                cursor.execute(sql.format(table.path)).fetchall() if table_exists(cursor, table) else ()
            ):
                if (key := project.key_of(start)) in found:
                    found[key][what] = value
    return found
