"""Real processes on real data: the commands that the end-to-end tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(home: Path, data: Path) -> dict[str, str]:
    return {**os.environ, "ML_ASSETS_HOME": str(home), "ML_ASSETS_DATA": str(data)}


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


DEMO = "from ml_assets.demo import demo; demo(print, history=('2018-12', '2020-12'), months=('2021-07', '2021-08'))"
