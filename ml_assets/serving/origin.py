"""Whether the rows behind a page are real: what is made from simulated rows must say so wherever it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.sources.fill import SourceMissingError, read_origin

if TYPE_CHECKING:
    from ml_assets.project import Project


def origin_warning(project: Project, *, has_rows: bool) -> str | None:
    """What every page about a project must say of where its rows came from; None for real data.

    Args:
        project: the project.
        has_rows: whether there are any in the lake. Where there are, a data folder that is gone is a warning too: it
            would have said whether they are real.
    """
    try:
        return read_origin(project.folder).warning
    except SourceMissingError as error:
        return f"Whether the rows of {project.name} are real or simulated cannot be told: {error}" if has_rows else None
