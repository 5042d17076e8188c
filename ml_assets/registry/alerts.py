"""Alerts: one line for every run that failed, in a file that the pages show."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from ml_assets import settings
from ml_assets.core.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 20
KEPT = 1000


@dataclass(frozen=True)
class Alert:
    """A run that failed.

    Attributes:
        at: when, ISO 8601, UTC.
        run_id: the Dagster run.
        job: the job, or Dagster's own name for assets that were materialized by hand.
        projects: whose assets it was to materialize; none for the upkeep of the lake.
        partition: the partition's key or the ends of a range, "" where there is none.
        message: why.
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
    """Add an alert, unless its run has one; the newest `KEPT` stay."""
    file = alerts_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f"{file.name}.lock")):
        lines = _whole_lines(file)
        if any(json.loads(line)["run_id"] == alert.run_id for line in lines):
            return
        replace_file(file, "".join(f"{line}\n" for line in [*lines, json.dumps(asdict(alert))][-KEPT:]))


def read_alerts(project: str | None = None) -> tuple[Alert, ...]:
    """The newest alerts of a project, or of all, newest first."""
    return tuple(one for one in reversed(read_all_alerts()) if project is None or project in one.projects)[:SHOWN]


def read_all_alerts() -> tuple[Alert, ...]:
    """All alerts that are kept, oldest first."""
    fields = map(json.loads, _whole_lines(alerts_file()))
    return tuple(Alert(**one | {"projects": tuple(one["projects"])}) for one in fields)


def _whole_lines(file: Path) -> list[str]:
    """The lines of the file but a last one without its end, which a killed process left."""
    return file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if file.is_file() else []
