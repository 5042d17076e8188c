"""The door: plain ASGI, before every route. It finds out who asks, and lets through what the table lets them.

What it lets through carries who asks in `request.state.caller`. Keys and sessions are looked up at every request, some
microseconds each, so that one which is revoked opens nothing from that moment on.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from ml_assets.serving.access.caller import ANYBODY_HERE, CURRENT, NOBODY, Caller
from ml_assets.serving.access.keys import find_key, was_made
from ml_assets.serving.access.limits import Buckets, Limits, neighbourhood, patient, too_large
from ml_assets.serving.access.sessions import find_session, form_token
from ml_assets.serving.access.settings import is_loopback
from ml_assets.serving.access.shield import name_in, shielded
from ml_assets.serving.access.table import READING, Demand, demand_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ml_assets.serving.access.noting import Notes
    from ml_assets.serving.access.store import Store

# A browser keeps a cookie of the second name only if it came by https, from this very host, for all of it.
COOKIE, SECURE_COOKIE = "ml_assets_session", "__Host-ml_assets_session"
READ = frozenset({b"host", b"authorization", b"cookie", b"accept", b"origin", b"sec-fetch-site", b"content-length"})
# What a proxy leaves: then whoever asks is not on this machine, though the connection is.
FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
LONGEST_TOKEN = 200
CHALLENGE = 'Bearer realm="ml-assets"'


@dataclass(frozen=True)
class Asked:
    """What the headers of a request say; of one that stands twice, `twice` names it.

    `bearer` is the key that is shown in a header, None where none is: no browser shows one by itself.
    """

    values: Mapping[bytes, str]
    is_forwarded: bool
    has_body: bool
    bearer: str | None = None
    twice: str = ""

    @classmethod
    def of(cls, scope: Scope) -> Asked:
        """Read the headers once."""
        values: dict[bytes, str] = {}
        is_forwarded = has_body = False
        twice = ""
        for name, value in scope["headers"]:
            if name in READ:
                if name in values and name != b"accept":
                    twice = name.decode()
                values[name] = value.decode("latin-1")
            elif name in FORWARDED:
                is_forwarded = True
            has_body = has_body or name in {b"content-length", b"transfer-encoding"}
        kind, _, shown = values.get(b"authorization", "").partition(" ")
        # Any other kind is not for us: a proxy's own password, say, which a browser sends with every request by itself.
        bearer = shown.strip() if kind.lower() == "bearer" else None
        return cls(values, is_forwarded, has_body, bearer, twice)

    def get(self, name: bytes) -> str:
        """A header's value, "" where there is none."""
        return self.values.get(name, "")

    @property
    def wants_page(self) -> bool:
        """Whether a person looks, rather than a program."""
        return "text/html" in self.get(b"accept")


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further; and whether it is an act, whose refusal stands in the record."""

    status: int
    title: str
    message: str
    is_of_act: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


class Door:
    """The middleware.

    Args:
        app: what is behind it.
        store: keys and sessions.
        notes: where use and refusals are written down.
        names: the hosts under which it answers.
        page: renders a refusal for a person: status, title, message.
        limits: what it bears.
        demands_keys: whether a key must be shown although none has ever been made.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        notes: Notes,
        names: frozenset[str],
        page: Callable[[int, str, str], Response],
        limits: Limits,
        demands_keys: bool,
    ) -> None:
        self._app, self._store, self._names, self._page, self._limits = app, store, names, page, limits
        self._notes, self._demands_keys = notes, demands_keys
        self._keys = Buckets(limits.key_rate, 2 * limits.key_rate)
        self._addresses = Buckets(limits.address_rate, 10 * limits.address_rate)
        self._acts = Buckets(limits.act_rate, 20 * limits.act_rate)
        self._opened: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "websocket":  # there is none here
            await send({"type": "websocket.close", "code": 1008, "reason": "there is no WebSocket here"})
            return
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                self._notes.close()
                self.close()
            return
        send, asked = shielded(send), Asked.of(scope)
        caller, found = self._judge(scope, asked)
        CURRENT.set(caller)
        scope.setdefault("state", {})["caller"] = caller
        if isinstance(found, Refusal):
            if found.is_of_act:
                await self._note(caller, scope, found)
            await self._refuse(found, asked, scope, receive, send)
            return
        if asked.has_body:
            receive = patient(receive, self._limits.bytes_of(found.body))
        if scope["method"] == "HEAD":  # what answers GET answers it too: the server leaves the body out
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _judge(self, scope: Scope, asked: Asked) -> tuple[Caller, Refusal | Demand]:
        """Who asks, and what they demand; or why they are refused."""
        if asked.twice:
            return NOBODY, Refusal(400, "Refused", f"the header {asked.twice} stands there twice")
        # A load balancer asks by our number whether we live, and learns nothing else.
        if name_in(asked.get(b"host")) not in self._names and scope["path"] != "/healthz":
            told = "this server does not answer under that name. Remedy: its own, or set ML_ASSETS_URL to it"
            return NOBODY, Refusal(400, "Refused", told)
        caller = self._identify(scope, asked)
        method, demand = scope["method"], demand_of(scope["method"], scope["path"])
        is_act = demand is not None and demand.scope == "decide" and method not in READING
        if wait := self._wait(scope, caller, is_act=is_act):
            told = f"too many requests. Remedy: wait {wait:.1f} s"
            return caller, Refusal(429, "Too many requests", told, headers={"Retry-After": str(int(wait) + 1)})
        refusal = self._refusal(demand, caller, asked)
        if refusal is None and method not in READING and asked.bearer is None:
            refusal = _foreign(asked)
        if demand is not None and refusal is None:
            most, length = self._limits.bytes_of(demand.body), asked.get(b"content-length")
            if length.isdecimal() and int(length) > most:
                return caller, Refusal(413, "Too large", too_large(most), headers={"Connection": "close"})
            return caller, demand
        refusal = refusal or Refusal(404, "Not found", "There is no such page.")
        return caller, replace(refusal, is_of_act=is_act)

    def _identify(self, scope: Scope, asked: Asked) -> Caller:
        """Who asks."""
        database = self._database()
        if not self._demands_keys:
            with self._lock:
                self._demands_keys = database is not None and was_made(database)
        if database is None or not self._demands_keys:
            return NOBODY if self._demands_keys or not _is_here(scope, asked) else ANYBODY_HERE
        now, key, token = time.time(), None, ""
        with self._lock:
            if asked.bearer is not None:
                key = find_key(database, asked.bearer, now) if len(asked.bearer) < LONGEST_TOKEN else None
            elif token := session_token(asked.get(b"cookie")):
                key = find_session(database, token, now)
        if key is None:
            return NOBODY
        self._notes.use(key)
        return key.caller(form_token(token) if token else "")

    def _wait(self, scope: Scope, caller: Caller, *, is_act: bool) -> float:
        """How long a caller has to wait, in seconds."""
        # Acts of people unknown are refused anyway, so that all of them, from everywhere, wait for one another.
        if is_act and (wait := self._acts.take(caller.key)):
            return wait
        if caller is ANYBODY_HERE:
            return 0.0
        return self._keys.take(caller.key) if caller.key else self._addresses.take(address_of(scope))

    def _refusal(self, demand: Demand | None, caller: Caller, asked: Asked) -> Refusal | None:
        """Why somebody may not; None where they may."""
        if demand is not None and demand.is_met(caller):
            return None
        if not caller.name:
            return _unknown(asked)
        if demand is None:
            return Refusal(404, "Not found", "There is no such page.")
        return Refusal(403, "Not allowed", _missing(demand, caller))

    def _database(self) -> sqlite3.Connection | None:
        """The open file; None until something has been written to it."""
        if self._opened is None:
            with self._lock:
                self._opened = self._opened or self._store.open()
        return self._opened

    async def _note(self, caller: Caller, scope: Scope, refusal: Refusal) -> None:
        """Write down that an act was refused."""
        path = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in scope["path"][:200])
        detail = f"{scope['method']} {path} from {address_of(scope)}: {refusal.status}, {refusal.message}"
        await self._notes.refused("act refused", detail, who=caller.name, key=caller.key)

    async def _refuse(self, refusal: Refusal, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415
        from starlette.responses import JSONResponse, RedirectResponse  # noqa: PLC0415

        # A proxy that asks for a person reads the status alone, whatever the person's browser wants.
        is_person = asked.wants_page and not scope["path"].startswith("/auth/")
        response: Response
        if is_person and refusal.status == 401:  # noqa: PLR2004
            response = RedirectResponse(f"/sign-in?next={quote(_address(scope), safe='')}", 303)
        elif is_person and refusal.status in {403, 404}:
            response = await run_in_threadpool(self._page, refusal.status, refusal.title, refusal.message)
        else:
            response = JSONResponse({"error": refusal.message}, refusal.status)
        response.headers.update(refusal.headers)
        await response(scope, receive, send)


def session_token(cookies: str) -> str:
    """The session's token in a Cookie header, "" where there is none; the one that only https can have set counts."""
    found = dict(one.strip().partition("=")[::2] for one in cookies.split(";"))
    return found.get(SECURE_COOKIE) or found.get(COOKIE, "")


def address_of(scope: Scope) -> str:
    """The address that asks, as it is counted."""
    client = scope.get("client")
    return neighbourhood(client[0]) if client else ""


def _is_here(scope: Scope, asked: Asked) -> bool:
    """Whether somebody on this machine asks this machine, with nothing in between."""
    ends = (scope.get("client"), scope.get("server"))
    return not asked.is_forwarded and all(end is not None and is_loopback(end[0]) for end in ends)


def _foreign(asked: Asked) -> Refusal | None:
    """Why a request that changes something is not taken from where it comes from: another site's page has sent it."""
    site, origin, host = asked.get(b"sec-fetch-site"), asked.get(b"origin"), asked.get(b"host")
    # By http or https: behind a proxy we see the other one.
    if site in {"", "same-origin", "none"} and origin in {"", f"http://{host}", f"https://{host}"}:
        return None
    return Refusal(403, "Not allowed", "this request was sent by a page of another site. Remedy: send it from ours")


def _unknown(asked: Asked) -> Refusal:
    if b"authorization" in asked.values:
        told = "this key opens nothing: it is none, it was revoked, or it has expired. Remedy: ask for another"
        return Refusal(401, "Not known", told, headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'})
    told = "show a key. Remedy: `Authorization: Bearer mla_…`, or sign in at /sign-in; `ml-assets keys add` makes one"
    return Refusal(401, "Sign in", told, headers={"WWW-Authenticate": CHALLENGE})


def _missing(demand: Demand, caller: Caller) -> str:
    """Which scope is missing."""
    where = "every project" if demand.where == "every" else demand.project or "a project"
    if caller is ANYBODY_HERE:
        return (
            f"nobody may {demand.scope} in {where} while no key has been made. Remedy: `ml-assets keys add NAME "
            f"--project '{demand.project or '*'}' --scope {demand.scope}`, then sign in with it"
        )
    return f"this needs the scope {demand.scope} in {where}, which key {caller.key} of {caller.name} has not"


def _address(scope: Scope) -> str:
    """Path and query as they were asked for."""
    query: str = scope.get("query_string", b"").decode("latin-1")
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~-._")
    return f"{path}?{query}" if query else path
