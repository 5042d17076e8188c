"""The built wheel holds everything, and a project runs from it in a fresh environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from playing import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    # This environment's pip installs into the fresh one, which has none of its own: that takes seconds to set up.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    fresh = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(fresh), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    site = subprocess.run(
        [str(fresh), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # A path in a .pth file is searched, but the .pth files in it, the checkout's among them, are not followed.
    (Path(site.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return fresh


def test_every_file_that_a_project_needs_is_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    sql = {f"ml_assets/{path.relative_to(ROOT)}" for path in (ROOT / "sql").rglob("*.sql")}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ml_assets").rglob("*")
        if path.suffix in {".py", ".yaml", ".html", ".css"} or path.name == "py.typed"
    }
    assert sql
    assert (sql | package) - held == set()


def test_a_project_runs_from_the_wheel_in_a_fresh_environment(python: Path, tmp_path: Path, data: Path) -> None:
    code = """
import ml_assets, sys
assert ml_assets.__file__.startswith(sys.prefix), ml_assets.__file__
from ml_assets.runs import PREPARING, load_definitions, materialize_range, open_instance

materialize_range(open_instance(), load_definitions(), "house_prices", PREPARING, first="2020-04", last="2020-05")
from ml_assets.lake.resource import shared_lake
with shared_lake().lake.reader() as cursor:
    print(cursor.execute("SELECT count(*) > 0 FROM lake.house_prices.features").fetchall())
"""
    env = {**os.environ, "ML_ASSETS_HOME": str(tmp_path / "home"), "ML_ASSETS_DATA": str(data)}
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[(True,)]" in done.stdout


def test_the_command_line_of_the_wheel_names_its_commands(python: Path, tmp_path: Path) -> None:
    command = [str(python.parent / "ml-assets"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {"data", "demo", "up", "lake"} <= set(done.stdout.split())
