"""The nginx configuration that we ship, before our pages and Dagster's own UI: real programs on real ports."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from ml_assets.serving.access.keys import make_key, revoke_key
from ml_assets.serving.access.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = Path(__file__).parents[3] / "docs" / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(NGINX is None, reason="no nginx here (Debian: apt-get install nginx-light)"),
]
HTML = {"accept": "text/html"}
# A workspace of nothing: what is asked here is who gets to it.
DAGSTER = ["-m", "dagster_webserver", "--empty-workspace"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    """A program, once its port is open, until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        else:
            pytest.fail(log.read_text())
        yield
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Proxy:
    """The proxy, as a browser asks it."""

    base: str
    store: Store

    def key(self, *scopes: str, projects: tuple[str, ...] = ("*",)) -> str:
        return make_key(self.store, "Ann", projects=projects, scopes=scopes, expires=None)[1]

    def ask(self, path: str, key: str = "", method: str = "GET", **options: Any) -> httpx.Response:
        headers = {**options.pop("headers", {}), **({"authorization": f"Bearer {key}"} if key else {})}
        return httpx.request(method, self.base + path, headers=headers, timeout=60, **options)

    def graphql(self, path: str, key: str, query: str, **options: Any) -> httpx.Response:
        return self.ask(f"{path}/graphql", key, "POST", json={"query": query}, **options)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    dagster = folder / "dagster"
    dagster.mkdir()
    (dagster / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    home = {"ML_ASSETS_HOME": str(folder / "home"), "DAGSTER_HOME": str(dagster)}
    front, pages, look, act = (free_port() for _ in range(4))
    text = CONFIG.read_text()
    text = re.sub(r" *ssl_certificate.*\n", "", text).replace("listen 443 ssl", f"listen 127.0.0.1:{front}")
    text = text.replace("models.example.org", "localhost").replace("https://localhost", f"http://localhost:{front}")
    for shipped, here in (("3001", pages), ("3002", look), ("3000", act)):
        text = text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{here}")
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in names)
    events = f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
    (folder / "nginx.conf").write_text(f"{events}http {{ access_log off; {temporary}\n{text}}}\n")
    made = Proxy(f"http://localhost:{front}", Store(folder / "home" / "access.sqlite"))
    made.key("look")
    python = [sys.executable]
    with ExitStack() as stack:

        def start(name: str, command: list[str], port: int) -> None:
            stack.enter_context(running(command, port, folder / f"{name}.log", **home))

        server = [*python, "-m", "ml_assets.serving.access.server", f"--port={pages}"]
        start("pages", server, pages)
        start("look", [*python, *DAGSTER, "--read-only", "--path-prefix=/dagster", f"--port={look}"], look)
        home["DAGSTER_WEBSERVER_PATH_PREFIX"] = "/dagster-act"  # as `ml-assets up` hands it on
        start("act", [*python, *DAGSTER, f"--port={act}"], act)
        start(
            "nginx", [str(NGINX), "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"], front
        )
        yield made


VERSION = "{ version }"
MUTATION = 'mutation { deleteRun: deletePipelineRun(runId: "x") { __typename } }'


def test_nobody_reaches_dagster_without_a_key(proxy: Proxy) -> None:
    for path in ("/dagster/", "/dagster-act/", "/dagster/assets?a=1&b=%262&c=3"):
        sent = proxy.ask(path, headers=HTML)
        assert (sent.status_code, sent.headers["location"]) == (303, f"/sign-in?next={quote(path, safe='')}")
    assert proxy.graphql("/dagster", "", VERSION).status_code == 401
    assert proxy.graphql("/dagster-act", "", VERSION).status_code == 401


def test_who_may_look_reads_and_changes_nothing(proxy: Proxy) -> None:
    key = proxy.key("look")
    assert "Dagster" in proxy.ask("/dagster/", key, headers=HTML).text
    assert proxy.graphql("/dagster", key, VERSION).json()["data"]["version"]
    refused = proxy.graphql("/dagster", key, MUTATION).json()
    assert refused["data"]["deleteRun"]["__typename"] == "UnauthorizedError"
    assert proxy.ask("/dagster-act/", key, headers=HTML).status_code == 403
    assert proxy.graphql("/dagster-act", key, VERSION).status_code == 403


def test_who_may_decide_reaches_both(proxy: Proxy) -> None:
    key = proxy.key("decide")
    assert proxy.graphql("/dagster", key, VERSION).status_code == 200
    done = proxy.graphql("/dagster-act", key, MUTATION).json()
    assert done["data"]["deleteRun"]["__typename"] == "RunNotFoundError"


def test_a_key_of_one_project_does_not_open_what_shows_all(proxy: Proxy) -> None:
    key = proxy.key("look", "decide", projects=("house_prices",))
    assert proxy.ask("/dagster/", key).status_code == 403
    assert proxy.ask("/dagster-act/", key).status_code == 403
    assert proxy.ask("/projects/house_prices", key).status_code == 200


def test_a_revoked_key_opens_neither(proxy: Proxy) -> None:
    key = proxy.key("decide")
    assert proxy.ask("/dagster/", key).status_code == 200
    revoke_key(proxy.store, key[4:12])
    assert proxy.ask("/dagster/", key).status_code == 401


def test_a_page_elsewhere_reaches_no_graphql(proxy: Proxy) -> None:
    key = proxy.key("decide")
    for origin in ("https://evil.example", "null"):
        for path in ("/dagster", "/dagster-act"):
            assert proxy.graphql(path, key, VERSION, headers={"origin": origin}).status_code == 403


def test_what_the_proxy_asks_is_asked_by_it_alone(proxy: Proxy) -> None:
    assert proxy.ask("/auth/dagster", proxy.key("decide")).status_code == 404


def test_signed_in_by_the_pages_a_browser_is_known_to_dagster_too(proxy: Proxy) -> None:
    with httpx.Client(base_url=proxy.base, timeout=60, headers=HTML) as browser:
        fields = {"key": proxy.key("look"), "next": "/dagster/assets?a=1"}
        done = browser.post("/sign-in", data=fields, headers={"origin": proxy.base, "sec-fetch-site": "same-origin"})
        assert (done.status_code, done.headers["location"]) == (303, "/dagster/assets?a=1")
        assert browser.get("/dagster/").status_code == 200
        assert browser.get("/dagster-act/").status_code == 403


@pytest.mark.parametrize("scope", ["look", ""])
def test_dagsters_websocket_opens_to_who_may(proxy: Proxy, scope: str) -> None:
    host, port = proxy.base.removeprefix("http://").split(":")
    head = (
        f"GET /dagster/graphql HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: graphql-ws\r\n" + (f"Authorization: Bearer {proxy.key(scope)}\r\n" if scope else "")
    )
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as connection:
        connection.sendall(f"{head}\r\n".encode())
        status = connection.recv(4096).split(b"\r\n")[0]
    assert status.split()[1] == (b"101" if scope else b"401"), status


def test_the_pages_see_who_asks_and_by_what(proxy: Proxy) -> None:
    """nginx is on this machine, and what comes through it is not: before there was a key nobody would have got in."""
    assert proxy.ask("/").status_code == 401
    assert proxy.ask("/healthz").status_code == 200
    told = proxy.ask("/", headers={"x-forwarded-for": "127.0.0.1"})
    assert (told.status_code, json.loads(told.text)["error"][:12]) == (401, "show a key. ")


def test_nobodys_large_body_is_taken_before_it_is_known_who_asks(proxy: Proxy) -> None:
    assert proxy.ask("/sign-in", method="POST", content=b"a" * 70_000).status_code == 413
    host, port = proxy.base.removeprefix("http://").split(":")
    head = f"POST /predict/house_prices HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {400 * 2**20}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
        connection.sendall(head.encode() + b"a" * 1000)
        assert connection.recv(4096).split()[1] == b"401"  # though most of the body is still to come


def test_rows_of_more_than_a_form_may_carry_go_through_to_be_predicted(proxy: Proxy) -> None:
    key, body = proxy.key("predict"), b"a" * 200_000
    answer = proxy.ask("/predict/house_prices", key, "POST", content=body)
    assert answer.status_code not in {401, 403, 413}, answer.text


def test_dagster_never_sees_a_key_or_a_session() -> None:
    """Of both: what Dagster logs, or a page of its own sends elsewhere, opens nothing."""
    nginx, caddy = CONFIG.read_text(), CONFIG.with_name("Caddyfile").read_text()
    for name in ("Cookie", "Authorization"):
        assert nginx.count(f'proxy_set_header {name} "";') == 2
        assert caddy.count(f"header_up -{name}") == 2
