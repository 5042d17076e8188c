"""What the record says of versions: which there are, what one was made of, how two differ, what served when.

Everything is read from the ledger, the registry and the lake, and is plain values: a terminal shows tables of them, and
`--json` prints them as they are.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.core.partitioning import in_reach
from ml_assets.lake.connection import table_exists
from ml_assets.lake.sql import Window
from ml_assets.registry.cards import gates_of
from ml_assets.registry.ledger import champion_at, champion_on, current_champion, last_verdict, read_entries, stages
from ml_assets.registry.models import RegistryError, as_stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry

ACTS = ("by", "login", "why")


def list_versions(project: Project, registry: Registry, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Each version of a project, oldest first: stage, what it learnt from, its watched error, the last word on it.

    Of one whose folder is lost or broken `broken` says why, and what stands in its folder is None.
    """
    return [_summary(project, registry, entries, number, stage) for number, stage in sorted(stages(entries).items())]


def _summary(project: Project, registry: Registry, entries: Sequence[Entry], number: int, stage: str) -> dict[str, Any]:
    verdict = last_verdict(entries, number)
    try:
        facts = _facts(project, registry, number)
    except RegistryError as error:
        facts = dict.fromkeys(("made", "learnt_from", "tested_on", "error", "size_mb")) | {"broken": str(error)}
    return {
        "version": number,
        "stage": stage,
        **facts,
        "metric": project.watched,
        "serves_from": verdict.partition if verdict and verdict.kind == "promoted" else None,
        "by": verdict.facts.get("by") if verdict else None,
        "reason": verdict.reason if verdict else "not judged yet",
    }


def _facts(project: Project, registry: Registry, number: int) -> dict[str, Any]:
    """What stands in a version's folder."""
    version, evaluation = registry.version(project.name, number), registry.evaluation(project.name, number)
    return {
        "made": version.created_at,
        "learnt_from": [version.training_set.train[0], version.training_set.train[-1]],
        "tested_on": [version.training_set.test[0], version.training_set.test[-1]],
        "error": evaluation["metrics"]["test"].get(project.watched) if evaluation else None,
        "size_mb": registry.size(version) / 1e6,
        "broken": None,
    }


def show_version(project: Project, registry: Registry, entries: Sequence[Entry], number: int) -> dict[str, Any]:
    """All that is recorded of a version: its record, its evaluation, the gates, and its life as the ledger tells it."""
    record = as_stored(registry.version(project.name, number))
    # The profile of its predictions is for machines.
    record.pop("reference")
    evaluation = registry.evaluation(project.name, number)
    return {
        "stage": stages(entries).get(number, "candidate"),
        "record": record,
        "record_sha256": registry.record_hash(project.name, number),
        "evaluation": evaluation,
        "gates": gates_of(entries, number, evaluation),
        "life": [_event(entry) for entry in entries if entry.version == number and entry.kind != "decision"],
    }


def _event(entry: Entry) -> dict[str, Any]:
    facts = entry.facts
    return {
        "id": entry.id,
        "at": entry.at,
        "kind": entry.kind,
        "action": entry.action,
        "serves_from": entry.partition,
        "reason": entry.reason,
        "run_id": entry.run_id,
        **{name: facts[name] for name in ACTS if name in facts},
    }


def diff_versions(project: Project, registry: Registry, first: int, second: int) -> dict[str, list[Any]]:
    """What differs between the records and the test metrics of two versions: name → the value of each, or None."""

    def flat(number: int) -> dict[str, Any]:
        record = as_stored(registry.version(project.name, number))
        record.pop("reference")
        evaluation = registry.evaluation(project.name, number)
        return dict(leaves({"test": evaluation["metrics"]["test"] if evaluation else {}, **record}))

    one, other = flat(first), flat(second)
    names = dict.fromkeys([*one, *other])
    return {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}


def leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with its path: `training_set.rows`."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def parse_moment(text: str) -> tuple[datetime, datetime]:
    """A day or a moment, in UTC unless it says another zone: its start and its end.

    Raises:
        ValueError: if it is neither.
    """
    try:
        day = datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        day = None
    try:
        start = day or datetime.fromisoformat(text)
        start = (start if start.tzinfo else start.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        start = None
    # The partitions around it must have their ends too.
    if start is None or not in_reach(start):
        raise ValueError(f"--on {text[:40]}: expected a day or a moment, such as 2024-05-03 or 2024-05-03T14:30")
    return start, start + timedelta(days=1) if day is not None else start


def served(
    cursor: duckdb.DuckDBPyConnection, project: Project, start: datetime, end: datetime
) -> dict[str, list[dict[str, Any]]]:
    """What served on a day: two answers, which may differ, since rows of a day are scored when they have come.

    Args:
        cursor: inside a read transaction.
        project: the project.
        start: of the day, or a moment; with its zone.
        end: of the day, or the same moment.

    Returns:
        `by_partition`: for the partitions that hold the day, the version that the ledger names and those that have
        made the predictions in the lake. `by_clock`: the champion when the day began and at every change until its end.
    """
    entries = read_entries(cursor, project.name)
    return {
        "by_partition": _by_partition(cursor, project, entries, start, end) if project.calendar.has_time else [],
        "by_clock": _by_clock(entries, start, end),
    }


def _by_partition(
    cursor: duckdb.DuckDBPyConnection, project: Project, entries: Sequence[Entry], start: datetime, end: datetime
) -> list[dict[str, Any]]:
    last = end - timedelta(microseconds=1) if end > start else end
    holding = [project.calendar.holding(one.astimezone(UTC).replace(tzinfo=None)) for one in (start, last)]
    window, table = Window(holding[0], project.step(holding[1], 1)), project.table("predictions")
    found: dict[datetime, list[int]] = {}
    if table_exists(cursor, table):
        sql = f"SELECT DISTINCT _partition, version FROM {table.path} WHERE {window.condition()} ORDER BY ALL"
        for partition, version in cursor.execute(sql).fetchall():
            found.setdefault(partition, []).append(version)
    keys = {project.key_of(one): found.get(one, []) for one in project.starts(window)}
    return [{"partition": key, "champion": champion_at(entries, key), "scored_by": by} for key, by in keys.items()]


def _by_clock(entries: Sequence[Entry], start: datetime, end: datetime) -> list[dict[str, Any]]:
    first = {"since": start.isoformat(), "champion": champion_on(entries, start), "why": _why(entries, start)}
    changes = [
        {"since": one.at, "champion": one.version, "why": one.reason}
        for one in entries
        if one.kind == "promoted" and start < datetime.fromisoformat(one.at) < end
    ]
    return [first, *changes]


def _why(entries: Sequence[Entry], moment: datetime) -> str:
    before = [one for one in entries if one.kind == "promoted" and datetime.fromisoformat(one.at) <= moment]
    return f"since {before[-1].at}: {before[-1].reason}" if before else "no version had been promoted"


def parse_name(text: str) -> tuple[str, int | None]:
    """The project, and the number of the version, that `PROJECT` or `PROJECT@N` names.

    Raises:
        ValueError: if it is neither.
    """
    found = re.fullmatch(r"([a-z][a-z0-9_]*)(?:@([0-9]+))?", text)
    if not found:
        raise ValueError(
            f"{text!r} names no version. Expected PROJECT@N with the number of a version after @, as in house_prices@3"
        )
    return found[1], int(found[2]) if found[2] else None


def version_named(project: Project, number: int | None, entries: Sequence[Entry]) -> int:
    """The version of a number, else the champion.

    Raises:
        RegistryError: if there is no champion.
    """
    named = current_champion(entries) if number is None else number
    if named is None:
        raise RegistryError(f"{project.name} has no champion yet. Remedy: name a version, as in {project.name}@1")
    return named
