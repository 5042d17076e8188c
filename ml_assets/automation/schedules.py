"""The refresh of a project's newest partition, and the upkeep of the lake."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from ml_assets.assets.common import REFRESH_TAG, asset_key, register_blocks, registry
from ml_assets.assets.source import held_by_source, open_source, parts_of, to_be_read, touched
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
from ml_assets.lake.upkeep import compact
from ml_assets.project import Project
from ml_assets.sources.reading import Part, SourceError

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


def build_schedule(project: Project, job: Any) -> dg.ScheduleDefinition:
    """The schedule `<project>_refresh`: partitions that have ended and are not there yet, and those with late rows.

    Of new ones only those that the source holds and that are newer than the newest that is there: a history is filled
    by hand, as one run. Of old ones the newest few, where the source now holds other rows than the lake.
    """

    @dg.schedule(
        name=f"{project.name}_refresh",
        job=job,
        cron_schedule=HOURLY_CRON if project.partitions.grain == "hour" else CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Refreshes the partitions of {project.name} that have ended, and those with late rows.",
    )
    def refresh(context: dg.ScheduleEvaluationContext, lake: LakeResource) -> dg.SkipReason | list[dg.RunRequest]:
        now = context.scheduled_execution_time.astimezone(UTC).replace(tzinfo=None)
        done = context.instance.get_materialized_partitions(asset_key(project, "decision"))
        if project.calendar.has_time:
            newest = project.newest_ended(now)
            if newest is None:
                return dg.SkipReason(f"no partition of {project.name} has ended yet: the first is {project.first}")
            due = due_parts(project, newest, done)
            keys = set(new_keys(project, lake.lake, due))
            try:
                keys |= set(late_keys(project, lake.lake, done))
            except SourceError as error:  # what is new is not held up by what cannot be compared
                context.log.warning("late rows were not looked for: %s", error)
            missing = ", ".join(part.key for part in due) or "newer partition"
        else:
            is_there = open_source(project).there(parts_of(project, [project.start_of(project.first)]))
            changed = to_be_read(project, touched(project, lake.lake)) if is_there else []
            keys, missing = {one.key for one in changed}, "other rows"
            register_blocks(context.instance, project, keys)
        if not keys:
            return dg.SkipReason(f"the source has no {missing} yet")
        # In their order, and one after another (dagster.yaml), so that each is decided as the newest of its time.
        tick = f"{now:%Y-%m-%d-%H}" if project.partitions.grain == "hour" else f"{now:%Y-%m-%d}"
        return [dg.RunRequest(run_key=f"{project.name}-{key}-{tick}", partition_key=key) for key in sorted(keys)]

    return refresh


def due_parts(project: Project, newest: datetime, done: Collection[str]) -> list[Part]:
    """The partitions that have ended and are not there: all after the newest that is, and gaps just before it."""
    if not done:
        return parts_of(project, [newest])
    last = max(map(project.start_of, done))
    first = max(project.step(last, 1 - project.source.lookback), project.start_of(min(done, key=project.start_of)))
    starts = project.starts(Window(min(first, project.step(last, 1)), project.step(newest, 1)))
    return parts_of(project, [start for start in starts if project.key_of(start) not in done])


def new_keys(project: Project, lake: Lake, due: Sequence[Part]) -> list[str]:
    """Those of some new partitions that the source holds."""
    there = open_source(project).there(due) if due else []
    if there and project.source.files and not project.source.by_partition:
        # Files of all partitions are there for each, also for those that they hold nothing of.
        held = held_by_source(project, lake, [part.start for part in there])
        there = [part for part in there if part.start in held]
    return [part.key for part in there]


def late_keys(project: Project, lake: Lake, done: Collection[str]) -> list[str]:
    """The newest of the partitions that are there in which the source now holds other rows than the lake.

    And the first, where rows of all partitions come together: what has no readable time is placed there.
    """
    if not done:
        return []
    first, last = project.start_of(project.first), max(map(project.start_of, done))
    compared = project.starts(
        Window(max(project.step(last, 1 - project.source.lookback), first), project.step(last, 1))
    )
    changed = touched(project, lake, compared) if compared else []
    if (project.source.database or project.source.files) and not project.source.by_partition:
        changed += touched(project, lake, [first]) if first not in compared else []
    return [one.key for one in to_be_read(project, changed) if one.lake is not None and one.key in done]


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
