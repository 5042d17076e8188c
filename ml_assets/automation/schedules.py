"""The refresh of a project's newest partition, and the upkeep of the lake."""

from datetime import UTC, timedelta
from typing import Any

import dagster as dg

from ml_assets.assets.common import REFRESH_TAG, asset_key, registry
from ml_assets.assets.raw import part_of, reader_of
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
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
KEEP = timedelta(days=7)


def build_refresh(project: Project) -> Any:
    """The job `<project>_refresh`: one partition, from the source to the decision."""
    return dg.define_asset_job(
        f"{project.name}_refresh",
        selection=dg.AssetSelection.assets(*(asset_key(project, name) for name in PARTITIONED)),
        description=f"One partition of {project.name}, from the source to the decision.",
        executor_def=dg.in_process_executor,
        tags={REFRESH_TAG: project.name},
    )


def build_schedule(project: Project, job: Any) -> dg.ScheduleDefinition:
    """The schedule `<project>_refresh`: every partition that has ended, is not there yet and whose file is.

    Only those newer than the newest that is there: a history is filled by hand, as one run.
    """

    @dg.schedule(
        name=f"{project.name}_refresh",
        job=job,
        cron_schedule=CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Refreshes the partitions of {project.name} that have ended and whose files are there.",
    )
    def refresh(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC).replace(tzinfo=None)
        newest = project.newest_ended(now)
        if newest is None:
            return dg.SkipReason(
                f"no partition of {project.name} has ended yet: the first is {project.partitions.start}"
            )
        done = context.instance.get_materialized_partitions(asset_key(project, "decision"))
        start = project.step(project.start_of(max(done)), 1) if done else newest
        due = [part_of(project, one) for one in project.starts(Window(start, project.step(newest, 1)))]
        there = reader_of(project).there(due)
        if not there:
            missing = ", ".join(part.start.strftime(project.source.files) for part in due)
            return dg.SkipReason(f"{missing} is not there yet" if due else f"{max(done)} is there")
        # In their order, and one after another (dagster.yaml), so that each is decided as the newest of its time.
        return [
            dg.RunRequest(run_key=f"{project.name}-{part.key}-{now:%Y-%m-%d}", partition_key=part.key) for part in there
        ]

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
