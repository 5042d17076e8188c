"""What is kept of requests for predictions: rows as the statement saw them, their features, and what was said of them.

They are kept as JSON text, so that a schema which changes leaves the older ones readable.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a dataclass field
from typing import TYPE_CHECKING, Any

from ml_assets.lake.connection import Commit, create_schema, table_exists
from ml_assets.lake.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb

    from ml_assets.lake.connection import Lake
    from ml_assets.lake.sql import Table

COLUMNS = {
    "at": "TIMESTAMP", "version": "BIGINT", "engine": "VARCHAR", "snapshot": "BIGINT", "input": "VARCHAR",
    "features": "VARCHAR", "predicted": "VARCHAR",
}  # fmt: skip
SALT = "requests.salt"


@dataclass(frozen=True)
class Logged:
    """A row of a request.

    Attributes:
        at: when it was answered, naive UTC.
        version, engine: who answered.
        snapshot: the lake's version whose tables stood beside it.
        input: the row's columns as the statement saw them, personal ones hashed or left out.
        features: those made of it, without those that tell personal columns.
        predicted: what the version said: a number, or the probabilities of many classes.
    """

    at: datetime
    version: int
    engine: str
    snapshot: int
    input: Mapping[str, Any]
    features: Mapping[str, Any]
    predicted: Any


def write_requests(lake: Lake, table: Table, rows: Sequence[Logged]) -> None:
    """Add rows, in one transaction."""
    import polars as pl

    frame = pl.DataFrame(
        [
            (one.at, one.version, one.engine, one.snapshot, *map(as_text, (one.input, one.features, one.predicted)))
            for one in rows
        ],
        schema=list(COLUMNS),
        orient="row",
    )
    with lake.transaction(Commit(table.project, table.name)) as transaction:
        cursor = transaction.cursor
        if not table_exists(cursor, table):
            create_schema(cursor, table.project)
            listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in COLUMNS.items())
            cursor.execute(f"CREATE TABLE {table.path} ({listed})")
        cursor.register("incoming", frame)
        cursor.execute(f"INSERT INTO {table.path} BY NAME FROM incoming")
        cursor.unregister("incoming")


def as_text(value: Any) -> str:
    """A value as JSON; what JSON has no form for, in one that is the same each time."""
    from pydantic_core import to_json  # noqa: PLC0415

    return to_json(value, inf_nan_mode="constants", bytes_mode="base64", serialize_unknown=True).decode()


def read_requests(cursor: duckdb.DuckDBPyConnection, table: Table, most: int) -> list[Logged]:
    """The newest rows, at most so many, newest first; none where nothing was ever kept."""
    if not table_exists(cursor, table):
        return []
    sql = f'SELECT {", ".join(map(quoted, COLUMNS))} FROM {table.path} ORDER BY "at" DESC LIMIT {most:d}'
    return [
        Logged(at, version, engine, snapshot, *map(json.loads, texts))
        for at, version, engine, snapshot, *texts in cursor.execute(sql).fetchall()
    ]


def forget_requests(lake: Lake, table: Table, before: datetime) -> int:
    """Delete the rows that were answered before a moment, naive UTC; how many there were."""
    with lake.reader() as cursor:
        if not table_exists(cursor, table):
            return 0
        old = f'FROM {table.path} WHERE "at" < ?'
        (rows,) = cursor.execute(f"SELECT count(*) {old}", [before]).fetchall()[0]
    if rows:
        with lake.transaction(Commit(table.project, table.name)) as transaction:
            transaction.cursor.execute(f"DELETE {old}", [before])
    return int(rows)


def hashed(salt: bytes, value: Any) -> str | None:
    """A value that cannot be read back, the same for the same value: the first half of an HMAC-SHA256 over its text."""
    return None if value is None else hmac.new(salt, str(value).encode(), hashlib.sha256).hexdigest()[:32]


def salt_of(home: Path) -> bytes:
    """The salt of this home, made when it is first asked for; only its owner may read it."""
    path = home / SALT
    home.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{SALT}.{os.getpid()}-{secrets.token_hex(4)}")
    if not path.exists():
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            # Whoever comes second takes the salt of the first: a link never replaces a file.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()
