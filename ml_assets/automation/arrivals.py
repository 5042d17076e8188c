"""What has come: the job that looks for new, late and corrected rows, and the sensor that has their partitions read.

A tick of a schedule has a minute, and a source of gigabytes takes longer to compare. So the tick only asks for the job
`<project>_look`. What that finds it records as observations of `raw`, one for each partition, with the numbers; when it
has succeeded, the sensor `<project>_arrivals` asks for a refresh of each, oldest first. The run key is the look's run
and the partition: Dagster never launches a run key again, so each is launched once, whenever a daemon is killed.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ml_assets.assets.common import REFRESH_TAG, asset_key, register_blocks
from ml_assets.assets.source import Touched, changes, held_by_source, open_source, parts_of, to_be_read, touched
from ml_assets.automation.alerts import alert_of
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
from ml_assets.project import Project
from ml_assets.registry.alerts import add_alert
from ml_assets.sources.reading import Part, SourceError

FOUND = "found"


def build_look(project: Project) -> dg.JobDefinition:
    """The job `<project>_look`: compares the source with the lake, and records which partitions are to be read."""

    @dg.op(name=f"{project.name}__look", out=dg.Out(dg.Nothing))
    def look(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        done = context.instance.get_materialized_partitions(asset_key(project, "decision"))
        found = new(project, lake.lake, done, now)
        try:
            found += late(project, lake.lake, done)
        except SourceError as error:  # what is new is not held up by what cannot be compared
            message = f"late rows were not looked for: {error}"
            context.log.warning(message)
            add_alert(alert_of(context.run, message))
        register_blocks(context.instance, project, [one.key for one in found])
        for one in sorted(found, key=lambda one: project.start_of(one.key)):
            context.log_event(
                dg.AssetObservation(
                    asset_key(project, "raw"),
                    partition=one.key,
                    description=str(one),
                    metadata={
                        FOUND: str(one),
                        **({} if one.lake is None else {"rows_in_lake": one.lake}),
                        **({} if one.source is None else {"rows_in_source": one.source}),
                    },
                )
            )
        context.log.info("%s", "; ".join(map(str, found)) or "the source has nothing new, late or corrected")

    @dg.job(
        name=f"{project.name}_look",
        description=f"Looks in the source of {project.name} for partitions that are new or have other rows now.",
        executor_def=dg.in_process_executor,
        # In turn with the refreshes: what is being read at this moment is no longer new when it is looked at.
        tags={REFRESH_TAG: project.name},
    )
    def job() -> None:
        look()

    return job


def build_arrivals_sensor(project: Project, look: Any, refresh: Any) -> dg.SensorDefinition:
    """The sensor `<project>_arrivals`: a refresh of each partition that a look has found."""

    @dg.run_status_sensor(
        name=f"{project.name}_arrivals",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[look],
        request_job=refresh,
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Refreshes the partitions that {project.name}_look has found.",
    )
    def arrivals(context: dg.RunStatusSensorContext) -> dg.SkipReason | list[dg.RunRequest]:
        run = context.dagster_run.run_id
        observed = context.instance.all_logs(run, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
        keys = [entry.get_dagster_event().asset_observation_data.asset_observation.partition for entry in observed]
        if not keys:
            return dg.SkipReason("the source has nothing new, late or corrected")
        # In their order, and one after another (dagster.yaml), so that each is decided as the newest of its time.
        return [dg.RunRequest(run_key=f"{project.name}-{key}-{run}", partition_key=key) for key in keys]

    return arrivals


def new(project: Project, lake: Lake, done: Collection[str], now: datetime) -> list[Touched]:
    """The partitions that have ended and are not there, but in the source. Nothing where partitions have no time.

    Only those that are newer than the newest that is there, and gaps just before it: a history is filled by hand, as
    one run.

    Args:
        project: the project.
        lake: its lake.
        done: keys of the partitions that have been decided.
        now: naive UTC.

    Raises:
        SourceError: if the source cannot be read.
    """
    newest = project.newest_ended(now) if project.calendar.has_time else None
    due = [] if newest is None else due_parts(project, newest, done)
    there = open_source(project).there(due) if due else []
    if there and project.source.files and not project.source.by_partition:
        # Files of all partitions are there for each, also for those that they hold nothing of.
        held = held_by_source(project, lake, [part.start for part in there])
        return [Touched(part.key, None, held[part.start].rows) for part in there if part.start in held]
    return [Touched(part.key, None, None) for part in there]


def due_parts(project: Project, newest: datetime, done: Collection[str]) -> list[Part]:
    """The partitions that have ended and are not there: all after the newest that is, and gaps just before it."""
    if not done:
        return parts_of(project, [newest])
    last = max(map(project.start_of, done))
    first = max(project.step(last, 1 - project.source.lookback), project.start_of(min(done, key=project.start_of)))
    starts = project.starts(Window(min(first, project.step(last, 1)), project.step(newest, 1)))
    return parts_of(project, [start for start in starts if project.key_of(start) not in done])


def late(project: Project, lake: Lake, done: Collection[str]) -> list[Touched]:
    """Partitions that are there in which the source now holds other rows than the lake.

    Of partitions in time the newest few, `source.lookback`; and the first, where rows of all partitions come together:
    what has no readable time is placed there. Of blocks all, and new ones.

    Raises:
        SourceError: if the source cannot be read.
    """
    if not project.calendar.has_time:
        is_there = open_source(project).there(parts_of(project, [project.start_of(project.first)]))
        return to_be_read(project, changes(project, lake)) if is_there else []
    if not done:
        return []
    return [
        one
        for one in to_be_read(project, _compared(project, lake, max(map(project.start_of, done))))
        if one.lake is not None and one.key in done
    ]


def _compared(project: Project, lake: Lake, last: datetime) -> Sequence[Touched]:
    """The newest few partitions up to one, and the first, where they are touched."""
    first = project.start_of(project.first)
    compared = project.starts(
        Window(max(project.step(last, 1 - project.source.lookback), first), project.step(last, 1))
    )
    found = touched(project, lake, compared) if compared else []
    if (project.source.database or project.source.files) and not project.source.by_partition and first not in compared:
        found += touched(project, lake, [first])
    return found
