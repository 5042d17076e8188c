"""Where a server may listen, and what it demands there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ml_assets import cli
from ml_assets.serving.access.keys import AccessError, make_key, revoke_key
from ml_assets.serving.access.server import check_start
from ml_assets.serving.access.settings import demands_keys, limits
from ml_assets.serving.access.store import home_store

if TYPE_CHECKING:
    from pathlib import Path

BEYOND = ["0.0.0.0", "::", "203.0.113.7", "models.example.org", ""]  # noqa: S104 - not bound


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("ML_ASSETS_ACCESS", "")  # so that it is as before afterwards
    monkeypatch.delenv("ML_ASSETS_URL", raising=False)


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_nothing_starts_without_a_key_that_opens_something(host: str) -> None:
    said = (
        "there is no key that opens it. Remedy: `ml-assets keys add NAME --project '\\*' --scope look --scope decide`"
    )
    with pytest.raises(AccessError, match=said):
        check_start(host)
    key, _ = make_key(home_store(), "Ann", projects=["*"], scopes=["look"], expires=None)
    check_start(host)
    assert demands_keys(home_store())
    revoke_key(home_store(), key.id)
    with pytest.raises(AccessError, match=said):
        check_start(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_this_machine_it_starts_without(host: str) -> None:
    check_start(host)
    assert not demands_keys(home_store())


def test_up_for_others_starts_nothing_without_a_key() -> None:
    refused = CliRunner().invoke(cli.app, ["up", "--host", "0.0.0.0"])  # noqa: S104 - refused
    assert isinstance(refused.exception, AccessError)
    assert "ml-assets keys add NAME" in str(refused.exception)


def test_an_address_under_which_others_come_demands_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_URL", "https://models.example.org")
    with pytest.raises(AccessError, match="no key that opens it"):
        demands_keys(home_store())


def test_a_setting_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_ACCESS", "none")
    with pytest.raises(AccessError, match=r"ML_ASSETS_ACCESS is 'none'. Remedy: `keys`, or unset it"):
        demands_keys(home_store())
    monkeypatch.setenv("ML_ASSETS_KEY_RATE", "fast")
    with pytest.raises(AccessError, match=r"ML_ASSETS_KEY_RATE is 'fast'. Remedy: a number above 0"):
        limits()
    monkeypatch.setenv("ML_ASSETS_KEY_RATE", "5")
    monkeypatch.setenv("ML_ASSETS_MAX_BODY_MB", "1")
    assert (limits().key_rate, limits().rows_bytes) == (5.0, 2**20)


def test_the_program_says_in_one_sentence_why_it_does_not_start() -> None:
    command = [sys.executable, "-m", "ml_assets.serving.access.server", "--host=0.0.0.0", "--port=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 1
    assert done.stderr.startswith("ml-assets: others can reach this server, and there is no key that opens it.")
    assert len(done.stderr.splitlines()) == 1
