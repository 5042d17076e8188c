"""The outbox: which messages are to be sent, to whom, and what became of each.

Every step is written down before it is made, so that a process that is killed at any point leaves a message that is
either still to be sent or has been; only one that was killed within the very call that sends leaves a doubt. A message
in doubt is not sent again, it is shown: nothing comes twice, and nothing is lost without a trace. A target that refuses
or does not answer is tried again, later and later, under the same id; had it taken the message all the same, it gets it
twice.

No address is kept here: a target is known by a hash.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from ml_assets import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

State = Literal["waiting", "sending", "sent", "doubt", "failed"]
# Seconds until a refused message is tried again; after the last it has failed.
DELAYS = (10, 60, 300, 1800, 7200)
KEPT_SECONDS = 90 * 24 * 3600
SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, at REAL, project TEXT, event TEXT, title TEXT, body TEXT, link TEXT
);
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT REFERENCES messages, target TEXT, state TEXT, tries INTEGER, due REAL, PRIMARY KEY (id, target)
);
"""


@dataclass(frozen=True)
class Message:
    """What people are told.

    Attributes:
        id: of what happened: `ledger-17`, `run-…`. What happened once is told once.
        at: when it was written, in seconds since 1970.
        project: whose it is, or "".
        event: what kind it is, as a project declares it.
        title, body: plain text.
        link: where to look.
    """

    id: str
    at: float
    project: str
    event: str
    title: str
    body: str
    link: str


@dataclass(frozen=True)
class Delivery:
    """A message to one target: the target's hash, what became of it, and how often it was tried."""

    message: Message
    target: str
    state: State
    tries: int


class Outbox:
    """The outbox in a file.

    Args:
        file: an SQLite database; made on first use.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def sender(self) -> Iterator[bool]:
        """Whether this process may send: one does at a time. What another left in the middle is in doubt from now."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self._file}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            with self._open() as database:
                database.execute("UPDATE deliveries SET state = 'doubt' WHERE state = 'sending'")
            yield True
        finally:
            lock.release()

    def add(self, messages: Iterable[Message], targets: Iterable[str]) -> None:
        """Write down what is to be sent, and to whom; a message that is known stays as it is."""
        targets = list(targets)
        with self._open() as database:
            for one in messages:
                fresh = database.execute("INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(one))
                if fresh.rowcount:
                    rows = [(one.id, target, "waiting", 0, one.at) for target in targets]
                    database.executemany("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?)", rows)
            old = "(SELECT max(at) FROM messages) - ?"
            for table, condition in (
                ("deliveries", f"id IN (SELECT id FROM messages WHERE at < {old})"),
                ("messages", f"at < {old}"),
            ):
                database.execute(f"DELETE FROM {table} WHERE {condition}", [KEPT_SECONDS])

    def due(self, targets: Sequence[str], now: float) -> list[Delivery]:
        """What is to be sent to some targets by now, oldest first."""
        waiting = self.deliveries("waiting", now)
        return [one for one in reversed(waiting) if one.target in targets]

    def begin(self, one: Delivery) -> None:
        """A delivery is being sent, from this moment on."""
        self._mark(one, "sending", one.tries + 1, one.message.at)

    def end(self, one: Delivery, now: float, *, taken: bool) -> State:
        """What became of a delivery that was sent, and its state from now on."""
        left = one.tries < len(DELAYS)
        state: State = "sent" if taken else "waiting" if left else "failed"
        self._mark(one, state, one.tries + 1, now + DELAYS[one.tries] if left else now)
        return state

    def deliveries(self, state: State | None = None, now: float = float("inf"), limit: int = 1000) -> list[Delivery]:
        """What became of the messages that are due by a moment, newest first."""
        if not self._file.is_file():
            return []
        names = ", ".join(f"m.{name}" for name in asdict(_NONE))
        sql = (
            f"SELECT {names}, target, state, tries FROM deliveries JOIN messages m USING (id) "
            "WHERE ? IN (state, '') AND due <= ? ORDER BY m.at DESC, m.rowid DESC, target LIMIT ?"
        )
        with self._open() as database:
            rows = database.execute(sql, [state or "", now, limit]).fetchall()
        return [Delivery(Message(*row[:-3]), *row[-3:]) for row in rows]

    def _mark(self, one: Delivery, state: State, tries: int, due: float) -> None:
        with self._open() as database:
            sql = "UPDATE deliveries SET state = ?, tries = ?, due = ? WHERE id = ? AND target = ?"
            database.execute(sql, [state, tries, due, one.message.id, one.target])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction, on the disk when it is over."""
        with closing(sqlite3.connect(self._file, timeout=30)) as database:
            database.executescript(SCHEMA)
            with database:
                yield database


_NONE = Message("", 0.0, "", "", "", "", "")


def outbox() -> Outbox:
    """The outbox of this home."""
    return Outbox(settings.home() / "outbox.sqlite")
