"""The declared projects, from the same component tree as the code location: the pages and Dagster cannot disagree.

Loading it costs about what importing Dagster costs, once, when the server starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster.components.core.defs_module import ComponentPath

import ml_assets.defs
from ml_assets import ModelProject, settings
from ml_assets.sources.fill import SourceMissingError, read_origin

if TYPE_CHECKING:
    from ml_assets.project import Project


def load_projects() -> dict[str, Project]:
    """All projects under `defs/`, by name, in the order of their names.

    Raises:
        ValueError: naming what is wrong with a declaration.
    """
    root = settings.project_root()
    tree = dg.ComponentTree.from_module(defs_module=ml_assets.defs, project_root=root)
    projects = {}
    for location, _ in tree.find_root_decl().iterate_loc_component_decl_pairs():
        if isinstance(location, ComponentPath):
            component = tree.load_component(location)
            if isinstance(component, ModelProject):
                name = location.file_path.name
                projects[name] = component.resolve_project(name, root)
    return dict(sorted(projects.items()))


def origin_warning(project: Project, *, has_rows: bool) -> str | None:
    """What every page about a project must say of where its rows came from; None for real data.

    Args:
        project: the project.
        has_rows: whether there are any in the lake. Where there are, a data folder that is gone is a warning too: it
            would have said whether they are real.
    """
    folder = settings.data_root() / project.source.files.split("%")[0].rpartition("/")[0]
    try:
        return read_origin(folder).warning
    except SourceMissingError as error:
        return f"Whether the rows of {project.name} are real or simulated cannot be told: {error}" if has_rows else None
