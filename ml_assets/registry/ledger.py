"""The ledger: decisions and the lives of model versions, append-only, each entry carrying the hash of the one before.

It is one table of the lake for all projects, written under the lake's writer lock, so entries have one order. A stage
is never stored: it follows from the entries, so nothing can disagree with them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.lake.connection import Commit, Lake, Transaction, create_schema, table_exists
from ml_assets.lake.sql import Table, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import duckdb

# Project names start with a letter: no project can take this schema.
LEDGER = Table("_ledger", "events")
Kind = Literal["decision", "answered", "registered", "awaiting", "promoted", "rejected", "replayed"]
# What a judgement comes to: it waits for a person, serves, or never will.
VERDICTS = frozenset({"awaiting", "promoted", "rejected"})


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        id: 1, 2, 3, … without gaps.
        at: when it was written, ISO 8601, UTC.
        project: the project.
        kind: what happened.
        partition: the partition decided on, the newest one when a person answered, the one whose quarantined rows
            re-entered, or the first one that a promoted version serves; "" where there is none.
        version: the model version, 0 where there is none.
        action: for a decision: `hold`, `retrain` or `ask`; for the answer to one that asks: `yes`, `no` or `expire`;
            for a verdict that a person gave: `approve`, `decline`, `promote` or `rollback`; `supersede` where a newer
            version took the place of one that waited; else "".
        standing: for a decision: `live`, `backfill` or `again`; else "".
        reason: why, in one sentence.
        evidence: what it rests on, JSON.
        run_id: the Dagster run that wrote it.
        previous: hash of the entry before, "" for the first.
        hash: SHA-256 of all of the above.
    """

    id: int
    at: str
    project: str
    kind: Kind
    partition: str
    version: int
    action: str
    standing: str
    reason: str
    evidence: str
    run_id: str
    previous: str
    hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """The evidence, read."""
        return dict(json.loads(self.evidence))


@dataclass(frozen=True)
class Draft:
    """An entry that has no number yet. See `Entry`."""

    project: str
    kind: Kind
    reason: str
    evidence: Mapping[str, Any]
    partition: str = ""
    version: int = 0
    action: str = ""
    standing: str = ""


COLUMNS = tuple(Entry.__dataclass_fields__)
_LISTED = ", ".join(quoted(name) for name in COLUMNS)
_TYPES = {"id": "BIGINT", "version": "BIGINT"}


def seal(fields: Mapping[str, Any]) -> str:
    """The hash of an entry: SHA-256 over its other fields as canonical JSON."""
    content = {name: value for name, value in fields.items() if name != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Ledger:
    """The ledger of a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def append(self, commit: Commit, drafts: Callable[[list[Entry]], Sequence[Draft]]) -> list[Entry]:
        """Add entries, decided on what the ledger holds.

        Args:
            commit: who writes; its project's entries are read.
            drafts: gets the project's entries so far, oldest first, and returns what is to be added. It is called under
                the writer lock: what it saw is still true when its entries are written.

        Returns:
            The entries added.
        """
        with self._lake.transaction(commit) as transaction:
            new = drafts(read_entries(transaction.cursor, commit.project))
            added = self._write(transaction, commit, new) if new else []
        if added:
            _keep_head(self._lake, added[-1])
        return added

    def entries(self, project: str, kind: Kind | None = None) -> list[Entry]:
        """A project's entries, oldest first."""
        with self._lake.reader() as cursor:
            return [entry for entry in read_entries(cursor, project) if kind is None or entry.kind == kind]

    def _write(self, transaction: Transaction, commit: Commit, drafts: Sequence[Draft]) -> list[Entry]:
        cursor = transaction.cursor
        if not table_exists(cursor, LEDGER):
            create_schema(cursor, LEDGER.project)
            columns = ", ".join(f"{quoted(name)} {_TYPES.get(name, 'VARCHAR')}" for name in COLUMNS)
            cursor.execute(f"CREATE TABLE {LEDGER.path} ({columns})")
        last = transaction.rows(f"SELECT id, hash FROM {LEDGER.path} ORDER BY id DESC LIMIT 1")
        number, previous = last[0] if last else (0, "")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        added = []
        for draft in drafts:
            number += 1
            fields: dict[str, Any] = asdict(draft) | {
                "id": number, "at": now, "run_id": commit.run_id, "previous": previous,
                "evidence": json.dumps(draft.evidence, sort_keys=True),
            }  # fmt: skip
            previous = seal(fields)
            added.append(Entry(**fields, hash=previous))
        marks = ", ".join("?" for _ in COLUMNS)
        cursor.executemany(
            f"INSERT INTO {LEDGER.path} ({_LISTED}) VALUES ({marks})",
            [[getattr(entry, name) for name in COLUMNS] for entry in added],
        )
        return added


def heads_file(lake: Lake) -> Path:
    """Where the head of every append is kept: beside the lake, not in it, so that a ledger that was cut short shows."""
    return lake.folder.with_name("ledger.heads")


def _keep_head(lake: Lake, entry: Entry) -> None:
    # Added, never replaced, and only after the commit: a kill in between leaves a line out, and no line is ever wrong.
    # One short write at the end of a file is whole whoever else writes.
    with heads_file(lake).open("a", encoding="utf-8") as file:
        file.write(f"{entry.id}:{entry.hash}\n")
        file.flush()
        os.fsync(file.fileno())


def read_all(cursor: duckdb.DuckDBPyConnection) -> list[Entry]:
    """The whole ledger, of all projects, as a cursor's transaction sees it, in the order of its numbers."""
    if not table_exists(cursor, LEDGER):
        return []
    return [Entry(*row) for row in cursor.execute(f"SELECT {_LISTED} FROM {LEDGER.path} ORDER BY id").fetchall()]


def read_entries(cursor: duckdb.DuckDBPyConnection, project: str) -> list[Entry]:
    """A project's entries as a cursor's transaction sees them, oldest first."""
    if not table_exists(cursor, LEDGER):
        return []
    sql = f"SELECT {_LISTED} FROM {LEDGER.path} WHERE project = ? ORDER BY id"
    return [Entry(*row) for row in cursor.execute(sql, [project]).fetchall()]


def read_new(cursor: duckdb.DuckDBPyConnection, after: int, project: str = "") -> list[Entry]:
    """The entries after one, of a project or of all, oldest first. It reads the files of those alone."""
    if not table_exists(cursor, LEDGER):
        return []
    sql = f"SELECT {_LISTED} FROM {LEDGER.path} WHERE id > ? AND ? IN ('', project) ORDER BY id"
    return [Entry(*row) for row in cursor.execute(sql, [after, project]).fetchall()]


def read_page(
    cursor: duckdb.DuckDBPyConnection,
    projects: Sequence[str] | None,
    kind: str,
    ends: tuple[str, str],
    *,
    before: int,
    limit: int,
) -> list[Entry]:
    """Some entries, newest first.

    Args:
        cursor: inside a read transaction.
        projects: of these projects; None for all.
        kind: what happened; "" for all.
        ends: ISO 8601, UTC: entries since the first and before the second; "" where there is no such end.
        before: only entries with a lower number; 0 for all.
        limit: at most so many.
    """
    if not table_exists(cursor, LEDGER):
        return []
    sql = (
        f"SELECT {_LISTED} FROM {LEDGER.path} WHERE ($1 IS NULL OR list_contains($1, project)) "
        "AND $2 IN ('', kind) AND \"at\" >= $3 AND ($4 = '' OR \"at\" < $4) "
        "AND id BETWEEN $5 AND $6 ORDER BY id DESC LIMIT $7"
    )
    chosen = None if projects is None else list(projects)
    # By spans of numbers, each longer than the one before: only the files that hold them are read.
    last, span = (before or newest_id(cursor) + 1) - 1, 2 * limit
    found: list[Entry] = []
    while last > 0 and len(found) < limit:
        first = max(1, last - span + 1)
        rows = cursor.execute(sql, [chosen, kind, *ends, first, last, limit - len(found)]).fetchall()
        found += [Entry(*row) for row in rows]
        last, span = first - 1, 4 * span
    return found


def newest_id(cursor: duckdb.DuckDBPyConnection) -> int:
    """The number of the ledger's newest entry; 0 where it has none."""
    if not table_exists(cursor, LEDGER):
        return 0
    found = cursor.execute(f"SELECT max(id) FROM {LEDGER.path}").fetchone()
    return int(found[0] or 0) if found else 0


def verdict_on(cursor: duckdb.DuckDBPyConnection, project: str, decision: int) -> Entry | None:
    """The verdict that has come of a decision, or None."""
    # It is younger than the decision: what is older need not be read.
    return next(
        (
            one
            for one in read_new(cursor, decision, project)
            if one.kind in VERDICTS and one.facts.get("decision") == decision
        ),
        None,
    )


def champion_at(entries: Sequence[Entry], partition: str) -> int | None:
    """The version that serves a partition: the last promoted one that had not learnt from it or anything later.

    For partitions before the first promotion it is the first champion: a history can be scored, and rows that it has
    learnt from are marked.

    Args:
        entries: a project's entries, oldest first.
        partition: a key; keys sort by time.
    """
    promoted = [entry for entry in entries if entry.kind == "promoted"]
    if not promoted:
        return None
    serving = [entry for entry in promoted if entry.partition <= partition]
    return (serving[-1] if serving else promoted[0]).version


def current_champion(entries: Sequence[Entry]) -> int | None:
    """The version that serves whatever comes next, and that a challenger has to beat: the last promoted one."""
    return next((entry.version for entry in reversed(entries) if entry.kind == "promoted"), None)


def verdict_of(entries: Sequence[Entry], run_id: str) -> Entry | None:
    """The verdict that a run came to, whatever other runs have written since; None where it came to none."""
    return next(
        (one for one in entries if one.run_id == run_id and one.kind in VERDICTS and one.action != "supersede"), None
    )


def last_verdict(entries: Sequence[Entry], version: int) -> Entry | None:
    """What last became of a version; None while nobody has judged it."""
    return next((one for one in reversed(entries) if one.version == version and one.kind in VERDICTS), None)


def moved(entries: Sequence[Entry], verdict: Entry) -> set[int]:
    """The versions whose stage became another by a verdict: its own, the champion it retires, one that it supersedes.

    Args:
        entries: a project's entries, oldest first.
        verdict: one of them.
    """
    # Entries that are written together have one moment.
    before = stages([one for one in entries if one.id < verdict.id and one.at != verdict.at])
    after = stages([one for one in entries if one.id <= verdict.id])
    return {version for version, stage in after.items() if before.get(version) != stage}


def waiting(entries: Sequence[Entry]) -> int | None:
    """The version that waits for a person, or None; a newer one that passes takes its place."""
    return next((version for version, stage in stages(entries).items() if stage == "awaiting"), None)


def before_champion(entries: Sequence[Entry]) -> int | None:
    """The version that the champion took over from when it was first promoted, or None.

    Not the one that served a moment ago: whoever goes back twice arrives at the one before, not at the first again.
    """
    served = [entry.version for entry in entries if entry.kind == "promoted"]
    first = served.index(served[-1]) if served else 0
    return served[first - 1] if first else None


def champion_on(entries: Sequence[Entry], moment: datetime) -> int | None:
    """The version that was champion by the clock, whatever partitions it scored; None before the first.

    Args:
        entries: a project's entries, oldest first.
        moment: with its zone.
    """
    return current_champion([entry for entry in entries if datetime.fromisoformat(entry.at) <= moment])


def stages(entries: Sequence[Entry]) -> dict[int, str]:
    """Each version's stage: candidate, awaiting, champion, retired or rejected."""
    found: dict[int, str] = {}
    for entry in entries:
        if entry.kind == "registered":
            found[entry.version] = "candidate"
        elif entry.kind in {"awaiting", "rejected"}:
            found[entry.version] = entry.kind
        elif entry.kind == "promoted":
            found = {version: "retired" if stage == "champion" else stage for version, stage in found.items()}
            found[entry.version] = "champion"
    return found
