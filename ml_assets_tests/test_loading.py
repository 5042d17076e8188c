"""Loading the code location imports nothing heavy, and the package's public surface is what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ml_assets

HEAVY = ("evidently", "fastapi", "matplotlib", "pandas", "pandera", "polars", "pyarrow", "sklearn", "skops", "sqlglot")


def modules_after(code: str, home: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"],
        env={**os.environ, "ML_ASSETS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_loading_the_code_location_again_imports_no_heavy_library(tmp_path: Path) -> None:
    load = "from ml_assets.definitions import defs; defs()"
    modules_after(load, tmp_path)
    loaded = modules_after(load, tmp_path)
    assert "dagster" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("load", ["definitions.defs()", "runs.load_definitions(projects.load_project('house_prices'))"])
def test_what_is_loaded_is_not_looked_through_for_garbage_again(tmp_path: Path, load: str) -> None:
    # Definitions of a process before a run, and what it loads once more: that may be let go of.
    code = f"import gc\nfrom ml_assets import definitions, projects, runs\n{load}\nprint(gc.get_freeze_count())\n"
    code += f"{load}\nprint(gc.get_freeze_count(), len(gc.get_objects()))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "ML_ASSETS_HOME": str(tmp_path)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    first, second, left = map(int, done.stdout.split())
    assert first > 10 * left
    assert second <= first


def test_importing_the_package_imports_not_even_dagster(tmp_path: Path) -> None:
    assert "dagster" not in modules_after("import ml_assets, ml_assets.cli", tmp_path)


def test_the_public_surface_is_the_component() -> None:
    assert ml_assets.__all__ == ["ModelProject"]
    assert "ModelProject" in dir(ml_assets)
