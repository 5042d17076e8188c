"""Approving a version in Dagster's UI: the job `<project>_approve`, whose config says which, by whom and why."""

from typing import Any

import dagster as dg

from ml_assets.assets.acts import ActError, Person, approve, decline
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project


class Approval(dg.Config):
    """What a person says of a version that waits."""

    version: int
    """The version's number."""
    by: str
    """Who says it."""
    why: str
    """Why: a sentence that stays in the record."""
    decline: bool = False
    """Whether it is declined; else it is approved."""


def build_approval(project: Project) -> Any:
    """The job `<project>_approve`."""

    @dg.op(name=f"{project.name}__approve", description="Approves or declines the version that waits.")
    def act(context: dg.OpExecutionContext, config: Approval, lake: LakeResource) -> None:
        if not config.by.strip():
            # The login would be that of Dagster's own process.
            raise ActError(f"by is empty: say who acts. Remedy: ops: {project.name}__approve: config: by: a name")
        do = decline if config.decline else approve
        entry = do(project, lake.lake, config.version, Person(config.by, config.why), run_id=context.run_id)
        context.log.info("version %d %s: %s", entry.version, entry.kind, entry.reason)
        context.add_output_metadata({"verdict": entry.kind, "reason": entry.reason, "serves_from": entry.partition})

    @dg.job(
        name=f"{project.name}_approve",
        description=f"Approves or declines the version of {project.name} that waits: say which, by whom and why.",
        executor_def=dg.in_process_executor,
    )
    def approval() -> None:
        act()

    return approval
