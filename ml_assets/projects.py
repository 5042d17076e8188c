"""The declared projects themselves, for those who need more of them than their definitions."""

from __future__ import annotations

import importlib
import re
import sys
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


def load_trees() -> list[dg.ComponentTree]:
    """The component trees of all modules that hold projects: the shipped one, or those of a team's own package.

    Raises:
        ValueError: naming a module that does not import.
    """
    return [_load_tree(module) for module in settings.defs_modules()]


def _load_tree(module: str) -> dg.ComponentTree:
    root = settings.shipped_root() if module == settings.SHIPPED else settings.project_root()
    # A package of one's own need not be installed to be found.
    for folder in (root / "src", root):
        if (folder / module.partition(".")[0]).is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{root / 'pyproject.toml'}: the module {module!r} does not import: {error}. Remedy: correct `defs` under "
            "[tool.ml-assets]"
        ) from error
    # Not load_from_defs_folder: it wants a pyproject.toml, which an installed package does not have.
    return dg.ComponentTree.from_module(defs_module=imported, project_root=root)


def _folders() -> dict[str, tuple[dg.ComponentTree, Path]]:
    """The folder of every declared project, by name, and the tree that it is in.

    Raises:
        ValueError: if two have the same name: they would share their tables.
    """
    found: dict[str, tuple[dg.ComponentTree, Path]] = {}
    for tree in load_trees():
        for file in sorted(tree.defs_module_path.glob("*/defs.yaml")):
            name = file.parent.name
            if name in found:
                raise ValueError(f"two projects are called {name!r}: {found[name][1]} and {file.parent}: rename one")
            found[name] = tree, file.parent
    return found


def load_projects() -> dict[str, Project]:
    """Every declared project, by name."""
    from ml_assets.component import ModelProject  # noqa: PLC0415

    with without_warnings_of_dagster_itself():
        components = {
            name: (tree.load_component(folder), tree.project_root) for name, (tree, folder) in _folders().items()
        }
    return {
        name: component.resolve_project(name, root)
        for name, (component, root) in components.items()
        if isinstance(component, ModelProject)
    }


def refuse_wrong_types() -> None:
    """Hold every declaration against its types, before Dagster does, which tells less of where a mistake is.

    Raises:
        DeclarationError: listing all mistakes.
    """
    mistakes = [one for tree, folder in _folders().values() for one in _wrong_types(folder, tree.project_root)]
    if mistakes:
        raise DeclarationError("\n".join(map(str, mistakes)))


def check_projects(name: str = "") -> dict[str, list[Mistake]]:
    """All mistakes of every declared project, or of one: project → mistakes. Imports what is declared.

    Raises:
        ValueError: if there is no project of this name.
    """
    with without_warnings_of_dagster_itself():
        folders = _folders()
        if name and name not in folders:
            raise ValueError(f"there is no project {name!r}; {nearest(name, folders)}")
        return {each: _mistakes(*place) for each, place in folders.items() if name in {"", each}}


def _mistakes(tree: dg.ComponentTree, folder: Path) -> list[Mistake]:
    from ml_assets.checking import check_estimator, check_project  # noqa: PLC0415
    from ml_assets.component import ModelProject, read_declaration  # noqa: PLC0415

    root = tree.project_root
    if mistakes := _wrong_types(folder, root):
        return mistakes
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


def _wrong_types(folder: Path, root: Path) -> list[Mistake]:
    from ml_assets.component import TYPE, ModelProject, read_declaration  # noqa: PLC0415

    declaration = read_declaration(folder, root)
    # Components of other types, a team's own among them, are Dagster's to judge.
    if not re.search(rf"^type:\s*{re.escape(TYPE)}\s*$", declaration.text, re.MULTILINE):
        return []
    return check_types(declaration, ModelProject)
