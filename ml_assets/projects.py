"""The declared projects themselves, for those who need more of them than their definitions."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from ml_assets import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_assets.project import Project


@contextmanager
def without_warnings_of_dagster_itself() -> Iterator[None]:
    """Dagster's own component loader uses what Dagster calls beta and preview, and would say so four times an asset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        yield


def load_tree() -> dg.ComponentTree:
    """The component tree of this package's `defs/`."""
    import ml_assets.defs  # noqa: PLC0415

    # Not load_from_defs_folder: it wants a pyproject.toml, which an installed package does not have.
    return dg.ComponentTree.from_module(defs_module=ml_assets.defs, project_root=settings.project_root())


def load_projects() -> dict[str, Project]:
    """Every project under `defs/`, by name."""
    from ml_assets.component import ModelProject  # noqa: PLC0415

    with without_warnings_of_dagster_itself():
        tree = load_tree()
        folders = sorted(file.parent for file in tree.defs_module_path.glob("*/defs.yaml"))
        components = {folder.name: tree.load_component(folder) for folder in folders}
    return {
        name: component.resolve_project(name, settings.project_root())
        for name, component in components.items()
        if isinstance(component, ModelProject)
    }
