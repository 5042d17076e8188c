"""The code location: the declared projects, and what all projects share."""

from __future__ import annotations

import dagster as dg

from ml_assets.automation.alerts import build_failure_sensor
from ml_assets.automation.schedules import build_upkeep
from ml_assets.lake.resource import shared_lake
from ml_assets.projects import load_trees, refuse_wrong_types, without_warnings_of_dagster_itself


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this code location."""
    shared = dg.Definitions(
        sensors=[build_failure_sensor()],
        resources={"lake": shared_lake()},
        executor=dg.in_process_executor,
    )
    with without_warnings_of_dagster_itself():
        refuse_wrong_types()
        return dg.Definitions.merge(*(tree.build_defs() for tree in load_trees()), build_upkeep(), shared)
