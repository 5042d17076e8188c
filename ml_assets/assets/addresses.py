"""The pages that Dagster's assets link to: one for each layer, one for each partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets import settings

if TYPE_CHECKING:
    from ml_assets.project import Project

# Under the project's page; the page itself for all others.
PAGES = {
    "raw": "/lineage", "validated": "/partitions", "quarantine": "/quarantine", "features": "/lineage",
    "profile": "/drift", "exploration": "/exploration", "training_set": "/versions", "model": "/versions",
    "evaluation": "/versions", "champion": "/versions", "predictions": "/partitions", "drift": "/drift",
    "decision": "/ledger", "replay": "/replay",
}  # fmt: skip


def page_of(project: Project, path: str) -> str:
    """The address of a page of a project, by its path under that."""
    return f"{settings.reports_url()}/projects/{project.name}{path}"
