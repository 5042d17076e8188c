"""The code location: the declared projects, and what all projects share."""
# ruff: noqa: E402 - Dagster's objects are frozen before ours are imported.

from __future__ import annotations

import gc

import dagster as dg

# What is imported stays: without this each full collection looks through all of Dagster again, 60 ms each time.
gc.freeze()

from ml_assets.automation.alerts import build_failure_sensor
from ml_assets.automation.schedules import build_upkeep
from ml_assets.lake.resource import shared_lake
from ml_assets.projects import keep_loaded, load_trees, refuse_wrong_types, without_warnings_of_dagster_itself


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this code location."""
    with without_warnings_of_dagster_itself():
        refuse_wrong_types()
        trees = load_trees()
        # Of each tree its folder, not its root: that would add JSON schemas and samples of every component type
        # installed here, a third of the time that each process takes to load.
        declared = [tree.build_defs(tree.defs_module_path) for tree in trees]
        shared = dg.Definitions(
            sensors=[build_failure_sensor()],
            resources={"lake": shared_lake()},
            executor=dg.in_process_executor,
            component_tree=trees[0] if len(trees) == 1 else None,  # Dagster shows one
        )
        merged = dg.Definitions.merge(*declared, build_upkeep(), shared)
    keep_loaded()
    return merged
