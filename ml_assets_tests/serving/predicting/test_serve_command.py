"""`ml-assets serve`: a process of its own, ready soon, stopped by a signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.e2e
def test_it_serves_without_dagster_and_says_what_is_missing(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ml_assets.cli", "serve", "--port", str(port)]
    environment = os.environ | {"ML_ASSETS_HOME": str(tmp_path / "home"), "ML_ASSETS_DATA": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            ready = wait_for(f"{url}/readyz")
            assert ready.json()["ready"] is True
            answer = httpx.post(f"{url}/predict/house_prices", json={})
            assert (answer.status_code, answer.json()) == (
                404,
                {"error": "house_prices has no champion yet. Remedy: `ml-assets backfill house_prices`"},
            )
            assert httpx.get(f"{url}/metrics").status_code == 200
            assert httpx.get(f"{url}/").status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=20)[0].decode()
    assert f"ml-assets: http://127.0.0.1:{port}, predictions at /predict/PROJECT" in said
    assert "Traceback" not in said
    assert not (tmp_path / "home" / "lake").exists(), "looking makes no lake"


def wait_for(address: str) -> httpx.Response:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            found = httpx.get(address)
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if found.status_code == 200:
            return found
    raise TimeoutError(address)
