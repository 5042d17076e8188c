"""What a person decides in Dagster's UI: the jobs `<project>_approve` and `<project>_decide`.

Their config says which version or decision, by whom and why.
"""

from typing import Any

import dagster as dg

from ml_assets.assets.acts import ActError, Person, approve, decline
from ml_assets.assets.answers import answer
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


class Answer(dg.Config):
    """What a person says to a decision that asks."""

    decision: int
    """The decision's number in the ledger."""
    yes: bool
    """Whether a model is trained."""
    by: str
    """Who says it."""
    why: str
    """Why: a sentence that stays in the record."""


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


def build_answer(project: Project) -> Any:
    """The job `<project>_decide`."""

    @dg.op(name=f"{project.name}__decide", description="Answers the decision that waits for a person.")
    def act(context: dg.OpExecutionContext, config: Answer, lake: LakeResource) -> None:
        person = Person(config.by, config.why)
        entry = answer(project, lake.lake, config.decision, person, yes=config.yes, run_id=context.run_id)
        context.log.info("decision %d: %s", config.decision, entry.reason)
        context.add_output_metadata({"answer": entry.action, "reason": entry.reason, "trains_through": entry.partition})

    @dg.job(
        name=f"{project.name}_decide",
        description=f"Answers the decision on {project.name} that asks: which, yes or no, by whom and why.",
        executor_def=dg.in_process_executor,
    )
    def deciding() -> None:
        act()

    return deciding
