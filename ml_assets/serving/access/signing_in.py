"""Signing in to the pages with a key, signing out, and what a proxy asks before it lets somebody at Dagster's UI."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from ml_assets import settings
from ml_assets.serving.access import sessions
from ml_assets.serving.access.door import COOKIE, SECURE_COOKIE, address_of, session_token
from ml_assets.serving.access.forms import local_path, read_form, read_own_form
from ml_assets.serving.access.keys import find_key
from ml_assets.serving.access.limits import Buckets
from ml_assets.serving.access.noting import Notes
from ml_assets.serving.access.store import BusyError, Store
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import APIRouter
    from starlette.requests import Request as AnyRequest
    from starlette.responses import HTMLResponse

    from ml_assets.serving.access.keys import Key

# Tries of an address: ten at once, then one in ten seconds.
TRIES_PER_SECOND, TRIES_AT_ONCE = 0.1, 10.0
REFUSED = "This key opens nothing: it is none, it was revoked, or it has expired."

# Seconds after which whoever came while the file was locked may come again.
AGAIN = "2"
T = TypeVar("T")


def build_signing_in(site: Site, store: Store, notes: Notes) -> "APIRouter":
    """The router of sign-in, sign-out and the questions of a proxy."""
    from fastapi import APIRouter, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse, RedirectResponse, Response

    router = APIRouter(include_in_schema=False)
    tries = Buckets(TRIES_PER_SECOND, TRIES_AT_ONCE)

    @router.get("/sign-in")
    def form(next: str = "/") -> HTMLResponse:  # noqa: A002 - the name in the address
        return site.page("sign_in.html", warnings=[], next=local_path(next), wrong="")

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        fields = await read_form(request)
        onward, wait = local_path(fields.get("next", "/")), tries.take(address_of(request.scope))
        if wait:
            told = f"Too many tries. Wait {wait:.0f} s."
            response = await run_in_threadpool(_form_again, site, onward, told, 429)
            response.headers["Retry-After"] = str(int(wait) + 1)
            return response
        before = session_token(request.headers.get("cookie", ""))
        key, token = await _written(_begin, store, fields.get("key", "").strip(), before)
        if not key:
            await notes.refused("sign-in refused", f"from {address_of(request.scope)}")
            return await run_in_threadpool(_form_again, site, onward, REFUSED, 401)
        # The start page is where one lands, not what one asked for: any other page says itself what it needs.
        answer = RedirectResponse(site.first_page(key.caller()) if onward == "/" else onward, 303)
        is_secure = _is_https(request)
        answer.set_cookie(
            SECURE_COOKIE if is_secure else COOKIE, token, max_age=sessions.SECONDS, httponly=True, secure=is_secure,
            samesite="strict", path="/",
        )  # fmt: skip
        return answer

    @router.get("/sign-out")
    def ask_out() -> HTMLResponse:
        return site.page("sign_out.html", warnings=[])

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await read_own_form(request)
        token = session_token(request.headers.get("cookie", ""))
        await _written(sessions.end, store, token, request.state.caller)
        answer = RedirectResponse("/sign-in", 303)
        for name in (COOKIE, SECURE_COOKIE):
            answer.delete_cookie(name, httponly=True, secure=name == SECURE_COOKIE, samesite="strict", path="/")
        return answer

    @router.get("/auth/dagster")
    @router.get("/auth/dagster/decide")
    def let_in() -> Response:
        # The door has answered already; a proxy reads the status alone.
        return Response(status_code=204)

    @router.get("/auth/sign-in")
    def send_to_sign_in(request: Request) -> RedirectResponse:
        # In a header, where nothing need be encoded: what a proxy writes into a query ends at the first `&`.
        wanted = local_path(request.headers.get("x-original-uri", "/"))
        return RedirectResponse(f"/sign-in?next={quote(wanted, safe='')}", 303)

    return router


async def _written(write: "Callable[..., T]", *values: Any) -> "T":
    """What a write to the store returns, in a thread.

    Raises:
        HTTPException: 503 if somebody else is writing all the while.
    """
    from fastapi import HTTPException
    from fastapi.concurrency import run_in_threadpool

    try:
        return await run_in_threadpool(write, *values)
    except BusyError as error:
        told = f"Somebody else is writing to access.sqlite. Nothing was done: go back and try again in {AGAIN} s."
        raise HTTPException(503, told, {"Retry-After": AGAIN}) from error


def _begin(store: Store, text: str, before: str) -> "tuple[Key | None, str]":
    """Begin a session: its key and its token; None and "" where the key opens nothing."""
    key = _find(store, text)
    return key, sessions.begin(store, key, time.time(), before) if key else ""


def _find(store: Store, text: str) -> "Key | None":
    with store.reading() as database:
        return find_key(database, text, time.time()) if database else None


def _form_again(site: Site, onward: str, wrong: str, status: int) -> "HTMLResponse":
    return site.page("sign_in.html", warnings=[], status=status, next=onward, wrong=wrong)


def _is_https(request: "AnyRequest") -> bool:
    """Whether the browser came by https: as the proxy says, or as the address says that people use."""
    return request.url.scheme == "https" or urlsplit(settings.reports_url()).scheme == "https"
