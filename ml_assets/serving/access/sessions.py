"""Sessions of people who have signed in with a key: a random token in a cookie, of which only the hash is kept.

A session never outlives its key, and allows what its key allows now. The token that a form must carry follows from the
session's own, so it needs no place of its own and is of no use without the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from ml_assets.serving.access import record
from ml_assets.serving.access.keys import LISTED, hash_of, key_of

if TYPE_CHECKING:
    import sqlite3

    from ml_assets.serving.access.caller import Caller
    from ml_assets.serving.access.keys import Key
    from ml_assets.serving.access.store import Store

SECONDS = 12 * 3600
LENGTH = 43
"""Characters of a token: 32 random bytes in base64."""


def begin(store: Store, key: Key, now: float, before: str = "") -> str:
    """Begin a session with a new token, whatever token the browser came with; that one's session ends.

    Returns:
        The token, for the cookie.
    """
    token = secrets.token_urlsafe(32)
    with store.writing() as database:
        database.execute("DELETE FROM sessions WHERE expires <= ? OR hash = ?", [now, hash_of(before)])
        database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", [hash_of(token), key.id, now, now + SECONDS])
        record.append(database, "signed in", who=key.name, key=key.id)
    return token


def end(store: Store, token: str, caller: Caller) -> None:
    """End a session."""
    with store.writing() as database:
        database.execute("DELETE FROM sessions WHERE hash = ?", [hash_of(token)])
        record.append(database, "signed out", who=caller.name, key=caller.key)


def find_session(database: sqlite3.Connection, token: str, now: float) -> Key | None:
    """The key with which a session was begun, if session and key hold now."""
    if len(token) != LENGTH:
        return None
    sql = f"SELECT {LISTED} FROM sessions AS one JOIN keys ON keys.id = one.key WHERE one.hash = ? AND one.expires > ?"
    row = database.execute(sql, [hash_of(token), now]).fetchone()
    key = key_of(row) if row else None
    return key if key and key.is_usable(now) else None


def form_token(token: str) -> str:
    """What a form of a session must carry: nobody can tell it without the session's token."""
    return hmac.new(token.encode(), b"a form of this session", hashlib.sha256).hexdigest()
