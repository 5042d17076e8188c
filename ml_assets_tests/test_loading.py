"""Loading the code location imports nothing heavy, and the package's public surface is what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_importing_the_package_imports_not_even_dagster(tmp_path: Path) -> None:
    assert "dagster" not in modules_after("import ml_assets, ml_assets.cli", tmp_path)


def test_the_public_surface_is_the_component() -> None:
    assert ml_assets.__all__ == ["ModelProject"]
    assert "ModelProject" in dir(ml_assets)
