"""The code location: the projects under `defs/`, and what all projects share."""

from __future__ import annotations

import dagster as dg

import ml_assets.defs
from ml_assets import settings
from ml_assets.automation.alerts import build_failure_sensor
from ml_assets.automation.schedules import build_upkeep
from ml_assets.lake.resource import shared_lake


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this code location."""
    # Not load_from_defs_folder: it wants a pyproject.toml, which an installed package does not have.
    tree = dg.ComponentTree.from_module(defs_module=ml_assets.defs, project_root=settings.project_root())
    shared = dg.Definitions(
        sensors=[build_failure_sensor()],
        resources={"lake": shared_lake()},
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(tree.build_defs(), build_upkeep(), shared)
