"""Letting rows out of quarantine: after a repaired source or changed rules, into their own partitions only.

Which rows pass is decided by the assets themselves, run again for the partitions that hold quarantined rows and for no
others; here is only chosen what is run again, and told what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.assets.common import register_blocks
from ml_assets.assets.partitioning import refuse_other_partitions
from ml_assets.assets.source import touched
from ml_assets.history import neighbours
from ml_assets.lake.connection import Commit, columns_of, table_exists
from ml_assets.lake.sql import quoted
from ml_assets.lake.tables import LINEAGE
from ml_assets.registry.ledger import Draft, Ledger, champion_at
from ml_assets.registry.models import home_registry
from ml_assets.runs import JUDGING, PREPARING, materialize_range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import dagster as dg

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project


@dataclass(frozen=True)
class Replayed:
    """What came of one partition.

    Attributes:
        key: the partition.
        read_again: whether its rows were read again from the source, which held others than the lake.
        before, after: rows in quarantine.
        reentered: rows that were in quarantine and are validated now. A row is known by its place, file and number:
            where lines were added to a repaired file or taken from it, rows after them have other places, and one that
            was valid before is not counted.
        missed_by: versions that had learnt from the partition without these rows.
    """

    key: str
    read_again: bool
    before: int
    after: int
    reentered: int
    missed_by: tuple[int, ...]

    @property
    def words(self) -> str:
        """What came of it."""
        how = "read again from the source" if self.read_again else "judged again"
        said = f"{how}: quarantine {self.before:,} → {self.after:,}, {self.reentered:,} rows re-entered"
        if self.missed_by:
            numbers = ", ".join(map(str, self.missed_by))
            said += f"; version{'s' if len(self.missed_by) > 1 else ''} {numbers} had learnt without them"
        return said

    def __str__(self) -> str:
        """In words."""
        return f"{self.key}: {self.words}"


def replay(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    lake: Lake,
    project: Project,
    *,
    keys: Sequence[str] = (),
    rules: bool = False,
    say: Callable[[str], None],
) -> list[Replayed]:
    """Judge the partitions that hold quarantined rows again, and tell what re-entered and who had missed it.

    Where the source holds other rows than the lake, they are read again, from `raw` on; else from `validated` on.
    Neighbours are one run. A row whose time lies in another partition is never moved there. Decisions are recorded, as
    those of a backfill; they launch nothing. Rows that re-entered are an entry of the ledger, `replayed`, for each
    partition, also if the run failed afterwards.

    Args:
        instance: where the runs are recorded.
        defs: the code location's definitions.
        lake: the project's lake.
        project: the project.
        keys: the partitions; all that hold quarantined rows where it is left out.
        rules: whether only the rules have changed: the source is not looked at.
        say: receives progress and the report.

    Raises:
        RunFailedError: if a run fails.
        SourceError: if the source cannot be read.
        ValueError: if a partition is not in the lake.
    """
    refuse_other_partitions(project, lake)
    chosen = _chosen(lake, project, keys)
    if not chosen:
        say(f"{project.name}: no row is in quarantine")
        return []
    changed = [] if rules else _changed(lake, project, chosen, say)
    register_blocks(instance, project, chosen)
    done = []
    for read_again in (True, False):
        group = [key for key in chosen if (key in changed) is read_again]
        for first, last in neighbours(project, group):
            names: tuple[str, ...] = PREPARING if read_again else PREPARING[1:]
            if champion_at(Ledger(lake).entries(project.name), last) is not None:
                names += JUDGING
            say(f"{project.name}, {first} … {last}: {', '.join(names)} in one run")
            before = _Before(lake, project, first, last, read_again=read_again)
            try:
                materialize_range(instance, defs, project.name, names, first=first, last=last)
            finally:
                # What the run wrote before it failed stands in the lake.
                done += before.told(say)
    return done


def _chosen(lake: Lake, project: Project, keys: Sequence[str]) -> list[str]:
    """The partitions to replay, in order.

    Raises:
        ValueError: naming one that the lake does not hold.
    """
    if not keys:
        return [project.key_of(start) for start in sorted(_rows(lake, project, "quarantine"))]
    starts = {project.start_of(key) for key in keys}
    held = _rows(lake, project, "raw")
    for start in starts - held.keys():
        there = f"{project.key_of(min(held))} … {project.key_of(max(held))}" if held else "none"
        raise ValueError(f"{project.name}: the lake holds no partition {project.key_of(start)}. It holds: {there}")
    return [project.key_of(start) for start in sorted(starts)]


def _changed(lake: Lake, project: Project, keys: Sequence[str], say: Callable[[str], None]) -> set[str]:
    """Those partitions for which the source holds other rows than the lake."""
    found = set()
    for first, last in neighbours(project, keys):
        for one in touched(project, lake, project.starts(project.window(first, last))):
            say(f"  {one}")
            if one.lake and (one.source or 0) < one.lake:
                find = f"`ml-assets catch-up {project.name}` finds them"
                say(f"  rows that have left {one.key} may belong elsewhere now: {find}")
            # What is gone from a source is judged as the lake holds it: a replay removes nothing.
            found |= {one.key} if one.source else set()
    return found


def _rows(lake: Lake, project: Project, name: str) -> dict[datetime, int]:
    table = project.table(name)
    with lake.reader() as cursor:
        if not table_exists(cursor, table):
            return {}
        return dict(cursor.execute(f"SELECT _partition, count(*) FROM {table.path} GROUP BY ALL").fetchall())


class _Before:
    """A range as it was before a run: afterwards it can tell what changed."""

    def __init__(self, lake: Lake, project: Project, first: str, last: str, *, read_again: bool) -> None:
        self._lake, self._project, self._read_again = lake, project, read_again
        self._window = project.window(first, last)
        self._quarantined = _rows(lake, project, "quarantine")
        with lake.reader() as cursor:
            (self._snapshot,) = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchone() or (-1,)
        registry = home_registry()
        self._learnt = {
            number: {*registry.version(project.name, number).training_set.train}
            for number in registry.numbers(project.name)
        }

    def told(self, say: Callable[[str], None]) -> list[Replayed]:
        """What came of each partition, said, and kept in the ledger where rows re-entered.

        Nothing where the run failed before it had judged any row.
        """
        if not self._judged():
            say("  the run failed before any row was judged: validated and quarantine are as they were")
            return []
        quarantined, reentered = _rows(self._lake, self._project, "quarantine"), self._reentered()
        found = []
        for start in self._project.starts(self._window):
            key, count = self._project.key_of(start), reentered.get(start, 0)
            missed = tuple(number for number, train in self._learnt.items() if count and key in train)
            before, after = self._quarantined.get(start, 0), quarantined.get(start, 0)
            found.append(Replayed(key, self._read_again, before, after, count, missed))
            say(f"  {found[-1]}")
        drafts = [self._draft(one) for one in found if one.reentered]
        Ledger(self._lake).append(Commit(self._project.name, "quarantine replay"), lambda _: drafts)
        return found

    def _judged(self) -> bool:
        """Whether the two tables, which are written together, were written since."""
        sql = "SELECT 1 FROM lake.snapshots() WHERE snapshot_id > ? AND commit_message = ? LIMIT 1"
        with self._lake.reader() as cursor:
            return bool(cursor.execute(sql, [self._snapshot, f"{self._project.name}.validated"]).fetchall())

    def _draft(self, one: Replayed) -> Draft:
        facts = {
            "quarantine": [one.before, one.after],
            "reentered": one.reentered,
            "read_again": one.read_again,
            "missed_by": list(one.missed_by),
            "snapshot_before": self._snapshot,
        }
        return Draft(self._project.name, "replayed", one.words, facts, partition=one.key)

    def _reentered(self) -> dict[datetime, int]:
        """Rows of each partition that are validated now and were in quarantine."""
        validated, quarantine = self._project.table("validated"), self._project.table("quarantine")
        within, key = self._window.condition(), f"({', '.join(LINEAGE)})"
        with self._lake.reader() as cursor:
            held = f"SELECT {key} FROM {quarantine.at(self._snapshot)} WHERE {within}"
            sql = f"SELECT _partition, count(*) FROM {validated.path} WHERE {within} AND {key} IN ({held})"
            if self._read_again:
                # Rows may stand elsewhere in a repaired file: one that was valid before has not re-entered.
                described = cursor.execute(f"DESCRIBE FROM {validated.at(self._snapshot)}").fetchall()
                present = columns_of(cursor, validated)
                both = [quoted(name) for name, *_ in described if name in present and name not in LINEAGE]
                values = f"hash(_partition, {', '.join(both)})"
                was = f"SELECT {values} FROM {validated.at(self._snapshot)} WHERE {within}"
                sql += f" AND {values} NOT IN ({was})"
            return dict(cursor.execute(f"{sql} GROUP BY ALL").fetchall())
