"""`access.sqlite`: keys, sessions, and the record of what was done and refused, in one file that only its owner reads.

No secret is in it: of a key and of a session only the SHA-256 is kept. That is enough for a random secret of 256 bits,
which nobody can guess whatever a guess costs; slow, salted hashes are for passwords, which people choose (NIST SP
800-63B, 5.1.2.2: a secret of at least 112 random bits is hashed once, only one of fewer is salted and stretched).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from ml_assets import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The record is append-only for whoever goes through SQL; its chain shows what whoever does not has done (record.py).
SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, projects TEXT, scopes TEXT NOT NULL,
    made REAL NOT NULL, expires REAL, revoked REAL, used TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    hash TEXT PRIMARY KEY, key TEXT NOT NULL REFERENCES keys, made REAL NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL, key TEXT NOT NULL,
    detail TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON record
    BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON record
    BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
"""
# Each of us writes for some milliseconds: who waits for longer than this waits for something that hangs.
BUSY_SECONDS = 2.0


class BusyError(sqlite3.OperationalError):
    """Somebody else has been writing for longer than anybody waits: nothing was done."""


class Store:
    """The file. It is made when something is first written: looking at pages makes none.

    Args:
        file: where it is.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in, on the disk when it is over.

        Raises:
            BusyError: if somebody else writes all the time that is waited.
        """
        self._make()
        with closing(self._connect()) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:  # beyond a byte it says which kind of busy
                    raise BusyError(str(error)) from error
                raise
            with database:
                yield database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to read from; None where nothing has ever been written."""
        if not self.file.exists():
            yield None
            return
        with closing(self._connect()) as database:
            yield database

    def open(self) -> sqlite3.Connection | None:
        """A connection to keep, for whoever reads at every request; None where nothing has ever been written."""
        return self._connect() if self.file.exists() else None

    def _connect(self) -> sqlite3.Connection:
        # Transactions are begun by hand. Threads take turns: whoever keeps a connection guards it.
        return sqlite3.connect(self.file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def _make(self) -> None:
        if self.file.exists():
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Made whole under another name, so that nobody ever opens half of it, and never open to others; the files that
        # SQLite puts beside it get the same mode. A link does not replace what another process has made meanwhile.
        fresh = self.file.with_suffix(f".{secrets.token_hex(8)}")
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            with closing(sqlite3.connect(fresh, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(SCHEMA)
            with suppress(FileExistsError):
                os.link(fresh, self.file)
        finally:
            fresh.unlink()


def home_store() -> Store:
    """The store of this home."""
    return Store(settings.home() / "access.sqlite")
