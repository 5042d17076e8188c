"""One lake per process: DuckLake attached once to an in-memory DuckDB, a cursor per use, one lock around every write.

DuckLake alone is not safe under concurrent writers (ADR 0002): every write transaction, DDL and upkeep included, holds
a file lock beside the catalogue. Readers take no lock: they read a snapshot, so a writer never makes them wait.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
from filelock import FileLock

from ml_assets.lake.sql import Table, literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXTENSIONS = ("sqlite_scanner", "ducklake")
# A name that SQL does not know must be an error, never a Python variable that happens to be in scope; and nothing is
# fetched from the internet behind the user's back.
DUCKDB_SETTINGS = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Of a frame DuckDB does not know how many rows it has, takes them for few, and joins AS OF by comparing each with
    # each: 160,000 flights with 17,000 observations took 100 s, without that way of joining 1 s.
    "asof_loop_join_threshold": "0",
    # The rest of a process's memory is for frames and models. What does not fit is spilled to the lake's folder.
    "memory_limit": os.environ.get("ML_ASSETS_DUCKDB_MEMORY", "1GiB"),
}
# The catalogue names its data folder absolutely: a home that was moved, or restored from a backup, is another one.
ATTACH_OPTIONS = "OVERRIDE_DATA_PATH true, META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 10000, DATA_INLINING_ROW_LIMIT 0"

# The catalogue is read through the transaction's own connection. Otherwise each of its tables is scanned through a new
# one, up to the last row that was there a moment before: a commit in between took files of deletions from a reader's
# sight, and rows that had been replaced reappeared.
ONE_STATE = "sqlite_disable_multithreaded_scans = true"


class LakeError(Exception):
    """Something about the lake that the caller can act on."""


@dataclass(frozen=True)
class Commit:
    """Who writes: stands in the snapshot's commit message.

    Attributes:
        project: the project's name.
        asset: the asset, or the command, that writes.
        run_id: Dagster's run id, or an empty string outside a run.
    """

    project: str
    asset: str
    run_id: str = ""


class Lake:
    """A DuckLake with a SQLite catalogue in a folder.

    Args:
        folder: holds `catalog.sqlite`, its lock and the Parquet files; created on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalogue = folder / "catalog.sqlite"
        self._lock_path = folder / "catalog.sqlite.lock"
        self._process = -1
        self._instance: duckdb.DuckDBPyConnection | None = None
        self._inherited: list[duckdb.DuckDBPyConnection] = []
        self._opening = threading.Lock()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor on the process's DuckDB, the lake attached as `lake`."""
        with self._opening:
            self._disown()
            if self._instance is None:
                self._instance, self._process = self._open(), os.getpid()
            return self._instance.cursor()

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor inside one read transaction: all its queries see the same version of every table."""
        cursor = self.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION")
            yield cursor
        finally:
            cursor.close()

    @contextmanager
    def transaction(self, commit: Commit, cursor: duckdb.DuckDBPyConnection | None = None) -> Iterator[Transaction]:
        """One write transaction under the writer lock: all of it is visible at its end, or none of it.

        Args:
            commit: goes into the snapshot's commit message.
            cursor: a cursor of this lake, with temporary tables to write from; a new one where it is left out.

        Yields:
            The transaction; after the block its `snapshot` is the version that holds what was written.
        """
        cursor = self.cursor() if cursor is None else cursor
        try:
            with self._lock():
                before = _snapshot(cursor, "current_snapshot")
                cursor.execute("BEGIN TRANSACTION")
                try:
                    transaction = Transaction(cursor)
                    yield transaction
                    details = {"run_id": commit.run_id, "project": commit.project, "asset": commit.asset}
                    cursor.execute(
                        "CALL lake.set_commit_message(?, ?, extra_info => ?)",
                        ["ml-assets", f"{commit.project}.{commit.asset}", json.dumps(details)],
                    )
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
                # A commit that fails has rolled back already: a second rollback would hide why.
                cursor.execute("COMMIT")
                # Still inside the lock, so that another writer's commit is not taken for ours. A write that changes
                # nothing makes no snapshot: then the one before holds it.
                transaction.snapshot = max(before, _snapshot(cursor, "last_committed_snapshot"))
        finally:
            cursor.close()

    @contextmanager
    def exclusive(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor under the writer lock without a transaction, for upkeep."""
        cursor = self.cursor()
        try:
            with self._lock():
                yield cursor
        finally:
            cursor.close()

    def close(self) -> None:
        """Let go of the catalogue; the next use opens it again."""
        with self._opening:
            self._disown()
            if self._instance is not None:
                self._instance.close()
                self._instance = None

    def _disown(self) -> None:
        # A forked child must neither use its parent's DuckDB nor destroy it: its threads were not forked along.
        if self._instance is not None and self._process != os.getpid():
            self._inherited.append(self._instance)
            self._instance = None

    def _lock(self) -> FileLock:
        # A FileLock object is not shared between threads: one for each transaction.
        return FileLock(self._lock_path)

    def _open(self) -> duckdb.DuckDBPyConnection:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as failed:
            instance = failed.enter_context(open_duckdb(temp_directory=str(self.folder / "spill")))
            for extension in EXTENSIONS:
                load_extension(instance, extension)
            instance.execute(f"SET GLOBAL {ONE_STATE}")
            if not self.catalogue.exists():
                with self._lock():
                    self._create(instance)
            self._attach(instance, self.catalogue)
            failed.pop_all()  # nothing has: it stays open
        return instance

    def _create(self, instance: duckdb.DuckDBPyConnection) -> None:
        """Make the catalogue under another name and rename it, so that nobody ever opens half of one."""
        if self.catalogue.exists():
            return
        fresh = self.catalogue.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        self._attach(instance, fresh)
        instance.execute("DETACH lake")
        fresh.rename(self.catalogue)

    def _attach(self, instance: duckdb.DuckDBPyConnection, catalogue: Path) -> None:
        data = literal(str(self.folder / "data"))
        source = literal(f"ducklake:sqlite:{catalogue}")
        instance.execute(f"ATTACH {source} AS lake (DATA_PATH {data}, {ATTACH_OPTIONS})")


class Transaction:
    """An open write transaction.

    Attributes:
        cursor: runs statements inside the transaction.
        snapshot: the version that holds what was written; set when the transaction has been committed.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self.cursor = cursor
        self.snapshot = -1

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """The result of a query inside the transaction."""
        return self.cursor.execute(sql, parameters).fetchall()


def open_duckdb(database: str = ":memory:", **more: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB of our settings, in which moments are told in UTC wherever the machine stands.

    Else `hour(sold)` of a moment with a zone would be another number on a machine in another zone.

    Args:
        database: its file.
        more: further settings.
    """
    opened = duckdb.connect(database, config={**DUCKDB_SETTINGS, **more})
    # Not among the settings: DuckDB has no zones yet when it reads those.
    opened.execute("SET GLOBAL TimeZone = 'UTC'")
    return opened


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension: the installed one, else the signed binary that its wheel carries.

    Raises:
        LakeError: if neither is there, with the package to install.
    """
    try:
        connection.load_extension(name)
    except duckdb.IOException:
        import duckdb_extensions  # noqa: PLC0415 - needed only the first time on a machine

        try:
            duckdb_extensions.import_extension(name, con=connection)
        except (ImportError, RuntimeError) as error:
            package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
            raise LakeError(f"DuckDB's extension {name!r} is not installed. Remedy: pip install {package}") from error
        connection.load_extension(name)


def table_exists(cursor: duckdb.DuckDBPyConnection, table: Table) -> bool:
    """Whether the lake holds the table, as the cursor's transaction sees it."""
    return bool(columns_of(cursor, table))


def columns_of(cursor: duckdb.DuckDBPyConnection, table: Table) -> dict[str, str]:
    """The table's columns and DuckDB types in order; empty where there is no such table."""
    try:
        # Not from duckdb_columns(), which goes through all tables of the catalogue to tell of one.
        found = cursor.execute(f"DESCRIBE FROM {table.path}").fetchall()
    except duckdb.CatalogException:
        return {}
    return {name: kind for name, kind, *_ in found}


def refuse_other_spelling(cursor: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Make sure that a table of the lake is the one that is meant: SQL takes `Raw` and `raw` for one.

    Raises:
        LakeError: if the table that is there differs in the case of its letters.
    """
    sql = "SELECT 1 FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = ? AND table_name = ?"
    if not cursor.execute(sql, [table.project, table.name]).fetchall():
        raise LakeError(f"{table} already exists in another spelling. Remedy: another name, or drop the old table")


def create_schema(cursor: duckdb.DuckDBPyConnection, project: str) -> None:
    """Make the project's schema where it is missing."""
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{quoted(project)}")


def _snapshot(cursor: duckdb.DuckDBPyConnection, function: str) -> int:
    row = cursor.execute(f"FROM lake.{function}()").fetchone()
    return -1 if row is None or row[0] is None else int(row[0])
