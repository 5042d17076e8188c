"""The refresh of a partition, the schedule that looks for partitions to refresh, and the upkeep of the lake."""

from datetime import timedelta
from typing import Any

import dagster as dg

from ml_assets.assets.common import REFRESH_TAG, asset_key, registry
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
# Every morning, also for months: a file may come days after its partition has ended.
CRON = "0 6 * * *"
HOURLY_CRON = "15 * * * *"
KEEP = timedelta(days=7)


def build_refresh(project: Project) -> Any:
    """The job `<project>_refresh`: one partition, from the source to the decision."""
    names = (*project.references, *PARTITIONED)
    return dg.define_asset_job(
        f"{project.name}_refresh",
        selection=dg.AssetSelection.assets(*(asset_key(project, name) for name in names)),
        description=f"One partition of {project.name}, from the source to the decision.",
        executor_def=dg.in_process_executor,
        tags={REFRESH_TAG: project.name},
    )


def build_schedule(project: Project, look: Any) -> dg.ScheduleDefinition:
    """The schedule `<project>_refresh`: asks for a look at the source, which has what it finds refreshed."""
    return dg.ScheduleDefinition(
        name=f"{project.name}_refresh",
        job=look,
        cron_schedule=HOURLY_CRON if project.partitions.grain == "hour" else CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Has the partitions of {project.name} refreshed that have ended, and those with late rows.",
    )


def build_skew_schedule(project: Project) -> dg.ScheduleDefinition:
    """The schedule `<project>_skew`: every night the kept requests are held against the training path."""
    job = dg.define_asset_job(
        f"{project.name}_skew",
        selection=dg.AssetSelection.assets(asset_key(project, "skew")),
        description=f"What was served of {project.name}, replayed through the training path.",
        executor_def=dg.in_process_executor,
    )
    return dg.ScheduleDefinition(
        name=f"{project.name}_skew",
        job=job,
        cron_schedule="0 4 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Has it certified that what {project.name} serves is what it was trained to say.",
    )


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
