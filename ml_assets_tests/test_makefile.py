"""The recipes of the Makefile that are more than one command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The parts of the repository that `make` reads, set up already, with a second project."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "setup.cfg"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "ml_assets" / "defs", tmp_path / "ml_assets" / "defs")
    shutil.copy(ROOT / "ml_assets" / "__init__.py", tmp_path / "ml_assets")
    shutil.copytree(tmp_path / "ml_assets" / "defs" / "house_prices", tmp_path / "ml_assets" / "defs" / "coffee")
    (tmp_path / "ready").touch()
    return tmp_path


def make(folder: Path, target: str, binaries: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", target, f"BIN={binaries}", "READY=ready"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("broken", ["coffee", "house_prices"])
def test_every_declaration_is_checked_whichever_comes_last(copy: Path, broken: str) -> None:
    file = copy / "ml_assets" / "defs" / broken / "defs.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("  target:", "  targett:"), encoding="utf-8")
    done = make(copy, "check-yaml", Path(sys.executable).parent)
    assert done.returncode != 0
    assert "targett" in done.stdout
    assert f"{broken}/defs.yaml" in done.stdout


@pytest.mark.parametrize(("code", "is_fine"), [(0, True), (130, True), (1, False), (137, False)])
def test_ending_what_is_up_by_ctrl_c_is_no_error(copy: Path, code: int, is_fine: bool) -> None:  # noqa: FBT001
    program = copy / "bin" / "ml-assets"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
    program.chmod(0o755)
    assert (make(copy, "up", program.parent).returncode == 0) is is_fine
