"""The declared projects themselves, for those who need more of them than their definitions."""

from __future__ import annotations

import gc
import importlib
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
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

    from ml_assets.core.declaration import Declaration, Mistake
    from ml_assets.project import Project


@contextmanager
def without_warnings_of_dagster_itself() -> Iterator[None]:
    """Dagster's own component loader uses what Dagster calls beta and preview, and would say so four times an asset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        yield


@cache
def keep_loaded() -> None:
    """Have the garbage collector pass over what this process has loaded by now: it stays to the end.

    Whoever has the definitions is about to run steps. What these import makes the collector look through everything
    several times: through all of Dagster and the definitions that is 0.1 s each time, 0.3 s of a training.
    Once in a process: what is loaded again may be let go of.
    """
    gc.freeze()


@dataclass(frozen=True)
class _Declared:
    """A declared project, not read yet: its module, its defs.yaml, and the folder that holds `sql/`."""

    module: str
    file: Path
    root: Path


def load_trees() -> list[dg.ComponentTree]:
    """The component trees of all modules that hold projects: the shipped one, or those of a team's own package.

    Raises:
        ValueError: naming a module that does not import.
    """
    return [_tree(*place) for place in _modules()]


def _tree(module: ModuleType, root: Path) -> dg.ComponentTree:
    # Not load_from_defs_folder: it wants a pyproject.toml, which an installed package does not have.
    return dg.ComponentTree.from_module(defs_module=module, project_root=root)


def _modules() -> list[tuple[ModuleType, Path]]:
    """The modules that hold projects, each with the folder that holds `sql/`."""
    found = []
    for name in settings.defs_modules():
        root = settings.shipped_root() if name == settings.SHIPPED else settings.project_root()
        # A package of one's own need not be installed to be found.
        for folder in (root / "src", root):
            if (folder / name.partition(".")[0]).is_dir() and str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        try:
            found.append((importlib.import_module(name), root))
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{root / 'pyproject.toml'}: the module {name!r} does not import: {error}. Remedy: correct `defs` "
                "under [tool.ml-assets]"
            ) from error
    return found


def load_project(name: str) -> Project:
    """One declared project, whatever may be wrong with the others.

    Raises:
        DeclarationError: if its `defs.yaml` is wrong.
        ValueError: if there is no such project.
    """
    project = _load(name) if name in _folders() else None
    if project is None:
        raise ValueError(f"there is no project {name!r}. There are: {', '.join(_folders()) or 'none'}")
    return project


def load_projects() -> dict[str, Project]:
    """Every declared project, by name.

    Raises:
        DeclarationError: if any `defs.yaml` is wrong.
    """
    loaded = {name: _load(name) for name in _folders()}
    return {name: project for name, project in loaded.items() if project is not None}


def _folders() -> dict[str, _Declared]:
    found: dict[str, _Declared] = {}
    for module, root in _modules():
        for file in sorted(Path(module.__path__[0]).glob("*/defs.yaml")):
            name = file.parent.name
            if name in found:
                # They would share their tables.
                raise ValueError(f"two projects are called {name!r}: {found[name].file} and {file}. Remedy: rename one")
            found[name] = _Declared(f"{module.__name__}.{name}", file, root)
    return found


def _load(name: str) -> Project | None:
    """A project, or None where the folder declares another kind of component."""
    from ml_assets.component import ModelProject  # noqa: PLC0415

    declared = _folders()[name]
    if mistakes := _wrong_types(declared.file.parent, declared.root):
        raise DeclarationError("\n".join(map(str, mistakes)))
    try:
        with without_warnings_of_dagster_itself():
            # A tree of its own: a mistake in another folder is not its concern.
            component = _tree(importlib.import_module(declared.module), declared.root).load_component(
                declared.file.parent
            )
        if not isinstance(component, ModelProject):
            return None
        return component.resolve_project(name, declared.root)
    except DeclarationError:
        raise
    except (
        ComponentTreeException, ResolutionException, DagsterError, yaml.YAMLError, ImportError, TypeError, ValueError
    ) as error:  # fmt: skip
        raise DeclarationError(_in_a_sentence(error, declared.file)) from error


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
    files = [(file, tree.project_root) for tree in load_trees() for file in _files(tree)]
    mistakes = [mistake for file, root in files for mistake in _wrong_types(file.parent, root)]
    if mistakes:
        raise DeclarationError("\n".join(map(str, mistakes)))


def check_projects(name: str = "") -> dict[str, list[Mistake]]:
    """All mistakes of every declared project, or of one: project → mistakes. Imports what is declared.

    Raises:
        ValueError: if there is no project of this name.
    """
    with without_warnings_of_dagster_itself():
        folders = {file.parent.name: (tree, file.parent) for tree in load_trees() for file in _files(tree)}
        if name and name not in folders:
            raise ValueError(f"there is no project {name!r}; {nearest(name, folders)}")
        return {each: _mistakes(*place) for each, place in folders.items() if name in {"", each}}


def _files(tree: dg.ComponentTree) -> list[Path]:
    return sorted(tree.defs_module_path.glob("*/defs.yaml"))


def _mistakes(tree: dg.ComponentTree, folder: Path) -> list[Mistake]:
    from ml_assets.checking import check_estimator, check_leakage, check_project  # noqa: PLC0415
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
    mistakes = check_project(project, declaration)
    found = (mistakes or check_leakage(project)) + check_estimator(project, declaration)
    return found + against_the_lake(project, declaration)


def against_the_lake(project: Project, declaration: Declaration) -> list[Mistake]:
    """What the rows that are in the lake already, if there is one here, do not allow to be declared."""
    from ml_assets.assets.partitioning import changed_partitions  # noqa: PLC0415
    from ml_assets.lake.connection import Lake  # noqa: PLC0415

    lake = Lake(settings.home() / "lake")
    if not lake.catalogue.is_file():
        return []
    with lake.reader() as cursor:
        field, why = changed_partitions(project, cursor)
    return [declaration.mistake(["partitions", field], f"partitions.{field}: {why}")] if why else []


def _wrong_types(folder: Path, root: Path) -> list[Mistake]:
    from ml_assets.component import TYPE, ModelProject, read_declaration  # noqa: PLC0415

    declaration = read_declaration(folder, root)
    # Components of other types, a team's own among them, are Dagster's to judge.
    if not re.search(rf"^type:\s*{re.escape(TYPE)}\s*$", declaration.text, re.MULTILINE):
        return []
    return check_types(declaration, ModelProject)
