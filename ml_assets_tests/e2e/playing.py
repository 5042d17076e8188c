"""Real processes on real data: the commands that the end-to-end tests share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Chosen before anything runs: the links that assets report lead to the pages' port.
DAGSTER_PORT, REPORTS_PORT = _free_port(), _free_port()
# Long enough for real and for simulated prices to have left the first model behind.
HISTORY, MONTHS = ("2019-01", "2020-12"), ("2021-05", "2021-06", "2021-07", "2021-08")
DEMO = f"from ml_assets.demo import demo; demo(print, history={HISTORY}, months={MONTHS})"


def environment(home: Path, data: Path) -> dict[str, str]:
    url = f"http://127.0.0.1:{REPORTS_PORT}"
    return {**os.environ, "ML_ASSETS_HOME": str(home), "ML_ASSETS_DATA": str(data), "ML_ASSETS_URL": url}


def start(code: str, home: Path, data: Path) -> subprocess.Popen[str]:
    """Run Python code in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(home, data),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(code: str, home: Path, data: Path) -> str:
    """Run Python code to its end, and return what it printed."""
    process = start(code, home, data)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    return output
