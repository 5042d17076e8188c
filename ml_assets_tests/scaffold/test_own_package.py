"""A package of one's own, in fresh processes: made by `ml-assets new`, extended by `dg`, filled and seen by all."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def run(folder: Path, *words: str, path: Path = ROOT) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ML_ASSETS", "DAGSTER"))}
    program = [str(Path(sys.executable).parent / words[0])] if words[0] == "dg" else [sys.executable, "-m", words[0]]
    done = subprocess.run(
        [*program, *words[1:]], cwd=folder, env={**env, "PYTHONPATH": str(path), "COLUMNS": "200"},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_sales(file: Path) -> None:
    made = random.Random(1)
    lines = ["Area,Town,Price"]
    for _ in range(400):
        area = made.uniform(30, 150)
        lines.append(f'{area:.1f},{made.choice(["East", "West"])},"{2000 * area + made.gauss(0, 4000):,.0f}"')
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def test_an_empty_folder_becomes_a_package_whose_projects_run(tmp_path: Path) -> None:
    folder = tmp_path / "my-shop"
    folder.mkdir()
    write_sales(folder / "sales.csv")

    told = run(folder, "ml_assets.cli", "new", "sales", "--from", "sales.csv", "--target", "Price")
    assert "wrote " + str(folder / "my_shop" / "defs" / "sales" / "defs.yaml") in told
    assert "files: sales.csv" in (folder / "my_shop" / "defs" / "sales" / "defs.yaml").read_text(encoding="utf-8")
    assert "no mistake found in sales" in run(folder, "ml_assets.cli", "check")
    assert "version 1 promoted" in run(folder, "ml_assets.cli", "backfill", "sales")
    # Found from below, too.
    assert "no mistake found in sales" in run(folder / "my_shop", "ml_assets.cli", "check")
    assert (folder / ".ml_assets" / "lake").is_dir()

    run(folder, "dg", "scaffold", "defs", "ml_assets.ModelProject", "again", "--from", "sales.csv", "--target", "Price")
    assert (folder / "sql" / "again" / "clean.sql").is_file()
    listed = run(folder, "dg", "list", "defs")
    assert "again/champion" in listed
    assert "house_prices" not in listed


def test_in_the_repository_a_project_stands_beside_the_shipped_ones(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("ml_assets", "sql"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(ROOT / name, copy)
    (copy / "data").mkdir()
    write_sales(copy / "data" / "sales.csv")

    told = run(copy, "ml_assets.cli", "new", "sales", "--from", "data/sales.csv", "--target", "Price", path=copy)
    assert "wrote " + str(copy / "ml_assets" / "defs" / "sales" / "defs.yaml") in told
    assert (copy / "sql" / "sales" / "features.sql").is_file()
    checked = run(copy, "ml_assets.cli", "check", path=copy)
    assert "house_prices" in checked
    assert "sales" in checked
    assert "version 1 promoted" in run(copy, "ml_assets.cli", "backfill", "sales", path=copy)


def test_a_folder_with_a_pyproject_of_another_kind_is_told_what_to_add(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    write_sales(tmp_path / "sales.csv")
    with pytest.raises(AssertionError, match=r"\[tool\.ml-assets\]"):
        run(tmp_path, "ml_assets.cli", "new", "sales", "--from", "sales.csv", "--target", "Price")
    assert not (tmp_path / "sql").exists()
