"""Alerts: one line for every run that failed, in a file that the pages show."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ml_assets import settings

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 20


@dataclass(frozen=True)
class Alert:
    """A run that failed.

    Attributes:
        at: when, ISO 8601, UTC.
        run_id: the Dagster run.
        job: the job, or Dagster's own name for assets that were materialized by hand.
        projects: whose assets it was to materialize.
        partition: the partition's key, "" where there is none.
        message: what Dagster says of it.
    """

    at: str
    run_id: str
    job: str
    projects: tuple[str, ...]
    partition: str
    message: str


def alerts_file() -> Path:
    """Where alerts are written."""
    return settings.home() / "alerts.jsonl"


def add_alert(alert: Alert) -> None:
    """Add an alert."""
    file = alerts_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(alert)) + "\n")


def read_alerts(project: str | None = None) -> tuple[Alert, ...]:
    """The newest alerts of a project, or of all, newest first."""
    file = alerts_file()
    if not file.is_file():
        return ()
    # A last line without its end is still being written.
    lines = file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    fields = [one for one in map(json.loads, reversed(lines)) if project is None or project in one["projects"]]
    return tuple(Alert(**one | {"projects": tuple(one["projects"])}) for one in fields[:SHOWN])
