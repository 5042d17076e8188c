"""An alert for every run that failed: a line in `alerts.jsonl` under the home folder, which the pages show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets import settings

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 20


def alerts_file() -> Path:
    """Where alerts are written."""
    return settings.home() / "alerts.jsonl"


def read_alerts() -> list[dict[str, Any]]:
    """The newest alerts, newest first."""
    file = alerts_file()
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()[-SHOWN:]
    return [json.loads(line) for line in reversed(lines)]


def build_failure_sensor() -> dg.SensorDefinition:
    """The sensor `failure_alerts`."""

    @dg.run_failure_sensor(
        name="failure_alerts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes an alert for every run that failed.",
    )
    def failure_alerts(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        alert = {
            "run_id": run.run_id,
            "job": run.job_name,
            "partition": run.tags.get("dagster/partition", ""),
            "message": context.failure_event.message,
        }
        file = alerts_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(alert) + "\n")
        context.log.error("run %s of %s failed: %s", run.run_id, run.job_name, context.failure_event.message)

    return failure_alerts
