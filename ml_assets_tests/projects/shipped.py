"""A shipped project on its real data, in a home of its own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from ml_assets.component import build_definitions
from ml_assets.lake.resource import open_lake, shared_lake
from ml_assets.lake.tables import read
from ml_assets.projects import load_projects, without_warnings_of_dagster_itself
from ml_assets.registry.models import Registry
from ml_assets.runs import materialize_range, run_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from ml_assets.project import Project

LINEAGE = ["_partition", "_source", "_row"]


def data_or_skip(folder: str) -> Path:
    """The data folder, or the test is skipped, saying why."""
    root = Path(os.environ.get("ML_ASSETS_DATA", "data")).absolute()
    if not (root / folder).is_dir():
        pytest.skip(f"{root} holds no {folder}: set ML_ASSETS_DATA to a folder that does")
    return root


@dataclass(frozen=True)
class Shipped:
    """A shipped project and a Dagster instance of its own."""

    home: Path
    data: Path
    project: Project
    defs: dg.Definitions
    instance: dg.DagsterInstance

    @contextmanager
    def settings(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ML_ASSETS_HOME", str(self.home))
            patch.setenv("ML_ASSETS_DATA", str(self.data))
            yield

    def materialize(self, names: Sequence[str], first: str, last: str | None = None) -> None:
        with self.settings():
            materialize_range(self.instance, self.defs, self.project.name, names, first=first, last=last or first)

    def retrain(self) -> None:
        with self.settings():
            run_job(self.instance, self.defs, f"{self.project.name}_retrain")

    def table(self, name: str) -> pl.DataFrame:
        with open_lake(self.home / "lake").reader() as cursor:
            return read(cursor, self.project.table(name))

    @property
    def registry(self) -> Registry:
        return Registry(self.home / "registry")


def open_shipped(name: str, home: Path, data: Path) -> Shipped:
    """A shipped project with nothing materialized."""
    shared_lake.cache_clear()
    with pytest.MonkeyPatch.context() as patch, without_warnings_of_dagster_itself():
        patch.setenv("ML_ASSETS_HOME", str(home))
        patch.setenv("ML_ASSETS_DATA", str(data))
        project = load_projects()[name]
        defs = build_definitions(project)
    home.mkdir(parents=True, exist_ok=True)
    return Shipped(home, data, project, defs, dg.DagsterInstance.ephemeral(tempdir=str(home)))
