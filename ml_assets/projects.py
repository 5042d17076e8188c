"""The declared projects themselves, for those who need more of them than their definitions."""

from __future__ import annotations

import importlib
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from ml_assets.project import Project


class DeclarationError(ValueError):
    """A `defs.yaml` cannot be read as a project; the message names file and line, and says why."""


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
    try:
        with without_warnings_of_dagster_itself():
            # A tree of its own: a mistake in another folder is not its concern.
            component = load_tree(importlib.import_module(f"ml_assets.defs.{name}")).load_component(file.parent)
        if not isinstance(component, ModelProject):
            return None
        return component.resolve_project(name, settings.project_root())
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
