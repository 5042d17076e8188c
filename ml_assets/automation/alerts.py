"""Alerts for runs that failed: what is said of one, and the sensor that says it of those that the daemon launched.

Dagster's sensor does not see runs that a command line executed itself: `runs` writes their alerts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg

from ml_assets.assets.common import REFRESH_TAG, RETRAINING_TAG
from ml_assets.registry.alerts import Alert, add_alert


class Failure(NamedTuple):
    """Why a run failed: the step's key, "" where none failed, and what its error says."""

    step: str
    message: str


def build_failure_sensor() -> dg.SensorDefinition:
    """The sensor `failure_alerts`."""

    @dg.run_failure_sensor(
        name="failure_alerts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes an alert for every run that failed.",
    )
    def failure_alerts(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        failure = failure_of(context.instance, run.run_id) or Failure("", context.failure_event.message or "no message")
        add_alert(alert_of(run, failure.message))
        context.log.error("run %s of %s failed: %s", run.run_id, run.job_name, failure.message)

    return failure_alerts


def alert_of(run: dg.DagsterRun, message: str) -> Alert:
    """The alert for a failed run."""
    tags = run.tags
    # A project's jobs carry its name, and select their assets only when they are launched on some of them.
    named = {tags[name] for name in (REFRESH_TAG, RETRAINING_TAG) if name in tags}
    ends = [tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end")]
    return Alert(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run.run_id,
        job=run.job_name,
        projects=tuple(sorted({key.path[0] for key in run.asset_selection or ()} or named)),
        partition=tags.get("dagster/partition") or " … ".join(dict.fromkeys(filter(None, ends))),
        message=message,
    )


def failure_of(instance: dg.DagsterInstance, run_id: str) -> Failure | None:
    """The failure of the step that failed first, in its own words; None where no step failed."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        error = event.step_failure_data.error
        cause = error.cause if error is not None and error.cause is not None else error
        if cause is not None and cause.cls_name == "DagsterAssetCheckFailedError":
            # It only counts them; each check says what it found.
            return Failure(str(event.step_key), "; ".join(_failed_checks(instance, run_id)) or cause.message.strip())
        message = "" if cause is None else cause.message.strip()
        # The name of an error of ours tells the reader nothing that its message does not.
        name, _, own = message.partition(": ")
        return Failure(str(event.step_key), own if name.startswith("ml_assets.") and " " not in name else message)
    return None


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.get_dagster_event().asset_check_evaluation_data for entry in events]
    return [
        one.description or one.check_name
        for one in found
        if not one.passed and one.severity is dg.AssetCheckSeverity.ERROR
    ]
