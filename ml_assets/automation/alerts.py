"""The sensor that writes an alert for every run that failed."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from ml_assets.registry.alerts import Alert, add_alert


def build_failure_sensor() -> dg.SensorDefinition:
    """The sensor `failure_alerts`."""

    @dg.run_failure_sensor(
        name="failure_alerts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes an alert for every run that failed.",
    )
    def failure_alerts(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        # A project's jobs are named after it, and select their assets only when they are launched on some of them.
        keys = run.asset_selection or ()
        message = context.failure_event.message or "no message"
        add_alert(
            Alert(
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                run_id=run.run_id,
                job=run.job_name,
                projects=tuple(sorted({key.path[0] for key in keys})) or (run.job_name.rpartition("_")[0],),
                partition=run.tags.get("dagster/partition", ""),
                message=message,
            )
        )
        context.log.error("run %s of %s failed: %s", run.run_id, run.job_name, message)

    return failure_alerts
