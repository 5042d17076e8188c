"""The refresh of a project's newest partition, and the upkeep of the lake."""

from datetime import UTC, timedelta
from typing import Any

import dagster as dg

from ml_assets.assets.common import asset_key, registry
from ml_assets.assets.raw import source_file
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.upkeep import compact
from ml_assets.project import Project

PARTITIONED = (
    "raw",
    "validated",
    "quarantine",
    "features",
    "profile",
    "predictions",
    "drift",
    "performance",
    "decision",
)
# Early in the morning after the partition has ended, when publishers have usually written their files.
CRON = {"month": "0 6 1 * *", "day": "0 6 * * *"}
KEEP = timedelta(days=7)


def build_refresh(project: Project) -> Any:
    """The job `<project>_refresh`: one partition, from the source to the decision."""
    return dg.define_asset_job(
        f"{project.name}_refresh",
        selection=dg.AssetSelection.assets(*(asset_key(project, name) for name in PARTITIONED)),
        description=f"One partition of {project.name}, from the source to the decision.",
        executor_def=dg.in_process_executor,
    )


def build_schedule(project: Project, job: Any) -> dg.ScheduleDefinition:
    """The schedule `<project>_refresh`, at the partitions' cadence; it skips while the file is not there."""

    @dg.schedule(
        name=f"{project.name}_refresh",
        job=job,
        cron_schedule=CRON[project.partitions.grain],
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Refreshes the partition of {project.name} that ended last.",
    )
    def refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC).replace(tzinfo=None)
        start = project.newest_ended(now)
        if start is None:
            return dg.SkipReason(
                f"no partition of {project.name} has ended yet: the first is {project.partitions.start}"
            )
        file = source_file(project, start)
        if not file.path.is_file():
            return dg.SkipReason(f"{file.name} is not there yet")
        return dg.RunRequest(run_key=f"{project.name}-{file.key}", partition_key=file.key)

    return refresh


def build_upkeep() -> dg.Definitions:
    """The job `lake_compact` and its nightly schedule."""

    @dg.op
    def compact_lake(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        done = compact(lake.lake, keep=KEEP, protected=registry().snapshots())
        context.log.info("%s", done)

    @dg.job(
        executor_def=dg.in_process_executor, description="Merges small files and forgets old snapshots of the lake."
    )
    def lake_compact() -> None:
        compact_lake()

    schedule = dg.ScheduleDefinition(
        name="lake_compact",
        job=lake_compact,
        cron_schedule="30 3 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return dg.Definitions(jobs=[lake_compact], schedules=[schedule])
