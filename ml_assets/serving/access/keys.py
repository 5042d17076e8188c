"""API keys: `mla_<id>_<secret>`, shown once when they are made.

The id is no secret: it finds the row, and stands in lists and in the record. A wrong secret and an unknown id take the
same way through the same comparison, so an answer's time tells neither.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.serving.access import record
from ml_assets.serving.access.caller import SCOPES, Caller, Scope

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from ml_assets.serving.access.store import Store

TOKEN = re.compile(r"mla_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
COLUMNS = "id, name, hash, projects, scopes, made, expires, revoked, used"
LISTED = ", ".join(f"keys.{name}" for name in COLUMNS.split(", "))
EVERYWHERE = "*"
LONGEST_NAME = 80
# What an unknown id is compared with: no secret has this hash that anybody could find.
UNKNOWN = "0" * 64


class AccessError(ValueError):
    """Something about keys that the caller can act on; the message says what to do."""


@dataclass(frozen=True)
class Key:
    """A key, without its secret.

    Attributes:
        id: eight hexadecimal digits.
        name: whose it is.
        hash: SHA-256 of the secret, in hexadecimal.
        projects: where it holds; None for every project.
        scopes: what it allows.
        made, expires, revoked: in seconds since 1970; None for what does not happen, or has not.
        used: the day it was last used, ISO 8601, UTC; "" for never.
    """

    id: str
    name: str
    hash: str
    projects: frozenset[str] | None
    scopes: frozenset[Scope]
    made: float
    expires: float | None
    revoked: float | None
    used: str

    def is_usable(self, now: float) -> bool:
        """Whether it opens anything at a moment."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def caller(self, form_token: str = "") -> Caller:
        """Who shows it."""
        return Caller(self.name, self.id, self.scopes, self.projects, form_token)


def make_key(
    store: Store, name: str, *, projects: Sequence[str], scopes: Sequence[str], expires: float | None
) -> tuple[Key, str]:
    """Make a key.

    Args:
        store: where it is kept.
        name: whose it is.
        projects: where it holds; `*` for every project.
        scopes: what it allows.
        expires: when it ends, in seconds since 1970; None for never.

    Returns:
        The key and its text, which is kept nowhere.

    Raises:
        AccessError: if the name, the projects or the scopes are none.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise AccessError(
            f"the name {name!r} names nobody: 1 to {LONGEST_NAME} printable characters. Remedy: whose key it is"
        )
    if not projects or not scopes:
        raise AccessError(
            "a key without project or scope opens nothing. Remedy: --project NAME or '*', and --scope SCOPE"
        )
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong:
        raise AccessError(f"there is no scope {wrong[0]!r}. Remedy: one of {', '.join(SCOPES)}")
    secret = secrets.token_urlsafe(32)
    held = None if EVERYWHERE in projects else frozenset(projects)
    allowed = frozenset(one for one in SCOPES if one in scopes)
    key = Key(secrets.token_hex(4), name, hash_of(secret), held, allowed, time.time(), expires, None, "")
    with store.writing() as database:
        told = json.dumps(sorted(held)) if held is not None else None
        row = (key.id, name, key.hash, told, " ".join(sorted(key.scopes)), key.made, expires, None, "")
        database.execute(f"INSERT INTO keys ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        detail = f"for {name}: {' '.join(sorted(key.scopes))} in {told or 'every project'}, {in_words(expires)}"
        record.append(database, "key made", who=settings.login(), key=key.id, detail=detail)
    return key, f"mla_{key.id}_{secret}"


def revoke_key(store: Store, number: str) -> Key:
    """End a key and every session that was begun with it, at once, in every running server.

    Raises:
        AccessError: if there is no such key, or it has been revoked.
    """
    with store.writing() as database:
        row = database.execute(f"SELECT {COLUMNS} FROM keys WHERE id = ?", [number]).fetchone()
        if row is None:
            raise AccessError(f"there is no key {number!r}. Remedy: `ml-assets keys list` shows their ids")
        key = key_of(row)
        if key.revoked is not None:
            raise AccessError(f"key {number} of {key.name} was revoked already")
        database.execute("UPDATE keys SET revoked = ? WHERE id = ?", [time.time(), number])
        database.execute("DELETE FROM sessions WHERE key = ?", [number])
        record.append(database, "key revoked", who=settings.login(), key=number, detail=f"that of {key.name}")
    return key


def list_keys(store: Store) -> list[Key]:
    """Every key that was ever made, oldest first."""
    with store.reading() as database:
        rows = database.execute(f"SELECT {COLUMNS} FROM keys ORDER BY made, id").fetchall() if database else []
    return [key_of(row) for row in rows]


def find_key(database: sqlite3.Connection, token: str, now: float) -> Key | None:
    """The key that a text is, if it is one and opens anything now."""
    parts = TOKEN.fullmatch(token)
    if parts is None:
        return None
    row = database.execute(f"SELECT {COLUMNS} FROM keys WHERE id = ?", [parts[1]]).fetchone()
    is_it = hmac.compare_digest(hash_of(parts[2]), row[2] if row else UNKNOWN)
    key = key_of(row) if row and is_it else None
    return key if key and key.is_usable(now) else None


def was_made(database: sqlite3.Connection) -> bool:
    """Whether any key was ever made; one that was revoked is still in the list."""
    return database.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None


def note_use(store: Store, key: Key, today: str) -> None:
    """Note the day on which a key was last used: once a day."""
    with store.writing() as database:
        database.execute("UPDATE keys SET used = ? WHERE id = ?", [today, key.id])


def refuse_unknown(projects: Collection[str], declared: Collection[str]) -> None:
    """Refuse a key for a project that is not declared: it would be a slip, and might open one of that name later.

    Raises:
        AccessError: naming the projects that there are.
    """
    for name in projects:
        if name != EVERYWHERE and name not in declared:
            raise AccessError(
                f"there is no project {name!r}. Remedy: one of {', '.join(declared) or 'none'}, or '*' for all"
            )


def parse_end(text: str, now: datetime) -> float | None:
    """When a key ends: `30m`, `12h`, `90d`, a day as `2027-01-31`, a moment (UTC, or the zone it says), or `never`.

    Raises:
        AccessError: if it is none of these, or not in the future.
    """
    if text == "never":
        return None
    length = re.fullmatch(r"([0-9]{1,4})([mhd])", text)
    try:
        if length:
            end = now + timedelta(**{{"m": "minutes", "h": "hours", "d": "days"}[length[2]]: int(length[1])})
        else:
            said = datetime.fromisoformat(text)
            end = said.astimezone(UTC) if said.tzinfo else said.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise AccessError(f"--expires {text}: expected 30m, 12h, 90d, a day such as 2027-01-31, or never") from None
    if end <= now:
        raise AccessError(f"--expires {text}: that is over already. Remedy: 30m, 12h, 90d, a later day, or never")
    return end.timestamp()


def in_words(expires: float | None) -> str:
    """When a key ends, for people."""
    return "for ever" if expires is None else f"until {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M} UTC"


def hash_of(secret: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def key_of(row: Sequence[Any]) -> Key:
    """A row of `keys`."""
    number, name, hashed, projects, scopes, *rest = row
    held = None if projects is None else frozenset(json.loads(projects))
    return Key(number, name, hashed, held, frozenset(scopes.split()), *rest)
