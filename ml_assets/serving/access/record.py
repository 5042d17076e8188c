"""What was done with keys, and what was refused: append-only, each entry carrying the hash of the one before.

Not in the ledger of decisions: that one is written under the lake's writer lock and belongs to projects, and what a
stranger tries must neither wait for a load of rows nor grow what every decision reads. Acts that are done stand there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from ml_assets.serving.access.store import Store

COLUMNS = ("id", "at", "what", "who", "key", "detail", "previous", "hash")


@dataclass(frozen=True)
class Happened:
    """One entry.

    Attributes:
        id: 1, 2, 3, … without gaps.
        at: when, ISO 8601, UTC.
        what: `key made`, `key revoked`, `signed in`, `sign-in refused`, `signed out`, `act refused`; and
            `refusals`, how many more of people unknown there were on a day (noting.py).
        who: the name of the key that asked; of whoever is logged in, for what is done on the command line.
        key: the id of the key that it is about, or that asked; "" where there is none. Never a secret.
        detail: what else is known, in words.
        previous: hash of the entry before, "" for the first.
        hash: SHA-256 of all of the above.
    """

    id: int
    at: str
    what: str
    who: str
    key: str
    detail: str
    previous: str
    hash: str


def append(database: sqlite3.Connection, what: str, *, who: str, key: str = "", detail: str = "") -> None:
    """Add an entry, within a write transaction of the store."""
    last = database.execute("SELECT id, hash FROM record ORDER BY id DESC LIMIT 1").fetchone()
    number, previous = last or (0, "")
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = (number + 1, at, what, who, key, detail, previous)
    database.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*fields, _seal(fields)))


def each(store: Store) -> Iterator[Happened]:
    """All entries, oldest first, one after another: there may be many."""
    with store.reading() as database:
        for row in database.execute("SELECT * FROM record ORDER BY id") if database else ():
            yield Happened(*row)


def read(store: Store, newest: int = 1000) -> list[Happened]:
    """The newest entries, oldest first."""
    sql = "SELECT * FROM record ORDER BY id DESC LIMIT ?"
    with store.reading() as database:
        rows = database.execute(sql, [newest]).fetchall() if database else []
    return [Happened(*row) for row in reversed(rows)]


def verify(entries: Iterable[Happened]) -> list[str]:
    """What is not as it was written, a sentence each; a record cut short at its end is still a chain."""
    found: list[str] = []
    previous = ""
    for expected, one in enumerate(entries, 1):
        if one.id != expected:
            return [*found, f"entry {one.id} stands where entry {expected} should: entries were removed or inserted"]
        if one.previous != previous or one.hash != _seal(
            (one.id, one.at, one.what, one.who, one.key, one.detail, one.previous)
        ):
            found.append(
                f"entry {one.id} ({one.what}, {one.at}) is not what was written, or does not follow the one before"
            )
        previous = one.hash
    return found


def _seal(fields: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(dict(zip(COLUMNS, fields, strict=False)), sort_keys=True).encode()).hexdigest()
