"""Who gets through the door, to what."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from keyed_site import serving

from ml_assets.serving.access.keys import revoke_key

if TYPE_CHECKING:
    from keyed_site import Server


def test_without_any_key_everybody_here_looks_and_nobody_decides(server: Server) -> None:
    assert server.ask("/projects/houses").status_code == 200
    refused = server.ask("/projects/houses/rollback", method="POST")
    assert refused.status_code == 403
    assert "ml-assets keys add NAME --project 'houses' --scope decide" in refused.json()["error"]
    assert not server.store.file.exists() or server.store.file.stat().st_mode & 0o777 == 0o600


def test_the_first_key_closes_the_door_to_whoever_has_none(server: Server) -> None:
    assert server.ask("/").status_code == 200
    server.key("look")
    assert server.ask("/").status_code == 401


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/projects/houses", 200), ("/projects/boats", 403), ("/healthz", 200)]
)
def test_a_key_opens_its_projects_alone(server: Server, path: str, status: int) -> None:
    assert server.ask(path, server.key("look", projects=("houses",))).status_code == status


def test_a_revoked_key_opens_nothing_at_once(server: Server) -> None:
    key = server.key("look")
    assert server.ask("/", key).status_code == 200
    revoke_key(server.store, key.split("_")[1])
    assert server.ask("/", key).status_code == 401


def test_an_expired_key_opens_nothing(server: Server) -> None:
    assert server.ask("/", server.key("look", expires=time.time() - 1)).status_code == 401


BASIC = {"authorization": "Basic dTpw"}  # a proxy's own password, which the browser sends with every request


def test_a_password_for_a_proxy_hides_no_session_and_proves_nothing(server: Server) -> None:
    server.sign_in(server.key("look", "decide"))
    assert server.page("/", headers=BASIC).status_code == 200
    elsewhere = {**BASIC, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    form = {"why": "because"}
    refused = server.page("/projects/houses/rollback", method="POST", data=form, headers=elsewhere)
    assert (refused.status_code, "page of another site" in refused.text) == (403, True)
    unshown = server.page("/projects/houses/rollback", method="POST", data=form, headers=BASIC)
    assert (unshown.status_code, "not shown in your session" in unshown.text) == (403, True)


@pytest.mark.parametrize("path", ["/", "/healthz", "/ledger", "/projects/houses", "/static/style.css"])
def test_head_is_answered_as_get_without_the_body(server: Server, path: str) -> None:
    with serving(server.app) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while piece := connection.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert not body


def test_head_opens_what_get_opens_and_no_more(server: Server) -> None:
    server.key("look")
    assert server.ask("/", method="HEAD").status_code == 401


def test_whether_it_lives_is_told_under_any_name_and_nothing_else_is(server: Server) -> None:
    for path, status in (("/healthz", 200), ("/healthz/x", 400), ("/readyz", 400), ("/", 400)):
        assert server.ask(path, headers={"host": "10.0.0.5:3001"}).status_code == status, path
