"""The declared projects themselves, for those who need more of them than their definitions."""

from __future__ import annotations

import importlib
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import yaml
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.resolved.errors import ResolutionException
from dagster_shared.error import DagsterError
from pydantic import ValidationError

from ml_assets import settings
from ml_assets.core.declaration import DeclarationError, check_types
from ml_assets.core.statement import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from ml_assets.core.declaration import Mistake
    from ml_assets.project import Project


@contextmanager
def without_warnings_of_dagster_itself() -> Iterator[None]:
    """Dagster's own component loader uses what Dagster calls beta and preview, and would say so four times an asset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        yield


def load_tree(module: ModuleType | None = None) -> dg.ComponentTree:
    """The component tree of this package's `defs/`, or of one folder in it."""
    import ml_assets.defs  # noqa: PLC0415

    # Not load_from_defs_folder: it wants a pyproject.toml, which an installed package does not have.
    return dg.ComponentTree.from_module(defs_module=module or ml_assets.defs, project_root=settings.project_root())


def load_project(name: str) -> Project:
    """One project under `defs/`, whatever may be wrong with the others.

    Raises:
        DeclarationError: if its `defs.yaml` is wrong.
        ValueError: if there is no such project.
    """
    project = _load(name) if name in _folders() else None
    if project is None:
        raise ValueError(f"there is no project {name!r}. There are: {', '.join(_folders()) or 'none'}")
    return project


def load_projects() -> dict[str, Project]:
    """Every project under `defs/`, by name.

    Raises:
        DeclarationError: if any `defs.yaml` is wrong.
    """
    loaded = {name: _load(name) for name in _folders()}
    return {name: project for name, project in loaded.items() if project is not None}


def _folders() -> dict[str, Path]:
    import ml_assets.defs  # noqa: PLC0415

    return {file.parent.name: file for file in sorted(Path(ml_assets.defs.__path__[0]).glob("*/defs.yaml"))}


def _load(name: str) -> Project | None:
    """A project, or None where the folder declares another kind of component."""
    from ml_assets.component import ModelProject  # noqa: PLC0415

    file = _folders()[name]
    if mistakes := _wrong_types(file.parent):
        raise DeclarationError("\n".join(map(str, mistakes)))
    try:
        with without_warnings_of_dagster_itself():
            # A tree of its own: a mistake in another folder is not its concern.
            component = load_tree(importlib.import_module(f"ml_assets.defs.{name}")).load_component(file.parent)
        if not isinstance(component, ModelProject):
            return None
        return component.resolve_project(name, settings.project_root())
    except DeclarationError:
        raise
    except (
        ComponentTreeException, ResolutionException, DagsterError, yaml.YAMLError, ImportError, TypeError, ValueError
    ) as error:  # fmt: skip
        raise DeclarationError(_in_a_sentence(error, file)) from error


def _in_a_sentence(error: BaseException, file: Path) -> str:
    """File, line and reason: what stands at the bottom of Dagster's errors, without its tree and its excerpts."""
    place = str(file)
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__
        if isinstance(error, ResolutionException):  # "FILE:LINE - PATH", then an excerpt and a traceback as text
            cause = cause or error.__context__
            place = str(error).partition("\n")[0].replace(" - ", ": ")
        elif isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            return f"{place}:{error.problem_mark.line + 1}: {error.problem}"
        elif isinstance(error, ValidationError):
            return "; ".join(_mistake(place, one["loc"], one["msg"]) for one in error.errors(include_url=False))
    return f"{place}: {error}"


def _mistake(place: str, where: tuple[int | str, ...], reason: str) -> str:
    # Dagster writes the place into pydantic's: "attributes.target at FILE:LINE".
    path, _, line = ".".join(map(str, where)).partition(" at ")
    return ": ".join(part for part in (line or place, path, reason.removeprefix("Value error, ")) if part)


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
