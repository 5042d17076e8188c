"""The application as programs and browsers ask it, with keys and without."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from small_site import PROJECT

from ml_assets.serving.access.keys import make_key
from ml_assets.serving.access.store import Store
from ml_assets.serving.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@contextmanager
def serving(app: Any, **changes: Any) -> Iterator[int]:
    """An application on a port of this machine, served as we serve it but for some changes."""
    import uvicorn

    from ml_assets.serving.access.server import options

    config = uvicorn.Config(app, port=0, loop="asyncio", **{**options(), "log_level": "error", **changes})
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.should_exit = True
        thread.join()


OTHER = replace(PROJECT, name="boats", description="Prices of boats.")


@dataclass
class Server:
    """The application, asked without a server in between, as from an address.

    Attributes:
        store: where its keys are.
        address: that asks.
        cookies: of the browser.
    """

    store: Store
    address: str = "127.0.0.1"
    base: str = "http://127.0.0.1:3001"
    cookies: dict[str, str] = field(default_factory=dict)
    projects: Any = None

    def __post_init__(self) -> None:
        self.app = create_app(self.projects or {"houses": PROJECT, "boats": OTHER})

    def key(
        self, *scopes: str, projects: tuple[str, ...] = ("*",), expires: float | None = None, name: str = "Ann"
    ) -> str:
        """The text of a new key."""
        return make_key(self.store, name, projects=projects, scopes=scopes, expires=expires)[1]

    def ask(self, path: str, key: str = "", method: str = "GET", **options: Any) -> httpx.Response:
        """Ask for a path, with a key in the header where one is given."""
        headers = dict(options.pop("headers", {}))
        if key:
            headers["authorization"] = f"Bearer {key}"
        if self.cookies:
            headers.setdefault("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        return asyncio.run(self._ask(method, path, headers, options))

    def page(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Ask for a path as a browser does."""
        headers = {"accept": "text/html", **options.pop("headers", {})}
        return self.ask(path, method=method, headers=headers, **options)

    def sign_in(self, key: str, next_: str = "/", **options: Any) -> httpx.Response:
        """Sign in, and keep the cookie as a browser does."""
        answer = self.page("/sign-in", method="POST", data={"key": key, "next": next_}, **options)
        for name, value in answer.cookies.items():
            self.cookies[name] = value
        return answer

    def act(self, path: str, **fields: str) -> httpx.Response:
        """Open the page of an act, and send its form, as a browser does."""
        token = re.search(r'name="form_token" value="([0-9a-f]{64})"', self.page(path).text)
        data = {"form_token": token[1] if token else "", **fields}
        headers = {"origin": self.base, "sec-fetch-site": "same-origin"}
        return self.page(path.partition("?")[0], method="POST", data=data, headers=headers)

    async def _ask(self, method: str, path: str, headers: dict[str, str], options: dict[str, Any]) -> httpx.Response:
        import httpx

        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(self.address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=self.base, timeout=60) as client:
            return await client.request(method, path, headers=headers, **options)
