"""Who gets through the door, to what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

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
