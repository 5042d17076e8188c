"""The declared projects themselves, for those who need more of them than their definitions."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from ml_assets import settings
from ml_assets.core.declaration import DeclarationError, check_types
from ml_assets.core.statement import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ml_assets.core.declaration import Mistake
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


def refuse_wrong_types() -> None:
    """Hold every declaration against its types, before Dagster does, which tells less of where a mistake is.

    Raises:
        DeclarationError: listing all mistakes.
    """
    folders = sorted(file.parent for file in load_tree().defs_module_path.glob("*/defs.yaml"))
    mistakes = [mistake for folder in folders for mistake in _wrong_types(folder)]
    if mistakes:
        raise DeclarationError("\n".join(map(str, mistakes)))


def check_projects(name: str = "") -> dict[str, list[Mistake]]:
    """All mistakes of every declared project, or of one: project → mistakes. Imports what is declared.

    Raises:
        ValueError: if there is no project of this name.
    """
    with without_warnings_of_dagster_itself():
        tree = load_tree()
        folders = {file.parent.name: file.parent for file in sorted(tree.defs_module_path.glob("*/defs.yaml"))}
        if name and name not in folders:
            raise ValueError(f"there is no project {name!r}; {nearest(name, folders)}")
        return {each: _mistakes(tree, folder) for each, folder in folders.items() if name in {"", each}}


def _mistakes(tree: dg.ComponentTree, folder: Path) -> list[Mistake]:
    from ml_assets.checking import check_estimator, check_project  # noqa: PLC0415
    from ml_assets.component import ModelProject, read_declaration  # noqa: PLC0415

    if mistakes := _wrong_types(folder):
        return mistakes
    root = settings.project_root()
    declaration = read_declaration(folder, root)
    try:
        component = tree.load_component(folder)
        if not isinstance(component, ModelProject):
            return []
        if mistakes := component.missing_files(declaration):
            return mistakes
        project = component.resolve_project(folder.name, root)
    except (ValueError, dg.DagsterError) as error:
        # A message begins with the field that it is about.
        field = str(error).partition(":")[0].split(".")
        return [declaration.mistake(field, str(error))]
    return check_project(project, declaration) + check_estimator(project, declaration)


def _wrong_types(folder: Path) -> list[Mistake]:
    from ml_assets.component import TYPE, ModelProject, read_declaration  # noqa: PLC0415

    declaration = read_declaration(folder, settings.project_root())
    # Components of other types, a team's own among them, are Dagster's to judge.
    if not re.search(rf"^type:\s*{re.escape(TYPE)}\s*$", declaration.text, re.MULTILINE):
        return []
    return check_types(declaration, ModelProject)
