"""What people are told: a message for an entry of the ledger, or for a run that failed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ml_assets import settings
from ml_assets.registry.outbox import Message

if TYPE_CHECKING:
    from ml_assets.declared.alerts import Event
    from ml_assets.registry.alerts import Alert
    from ml_assets.registry.ledger import Entry

LONGEST = 1_000
SAID: dict[Event, str] = {
    "alarm": "drift in {partition}, not acted on",
    "retrain": "a model is trained again, because of {partition}",
    "reinstate": "a retired version comes back, because of {partition}",
    "ask": "shall a model be trained? {partition} asks",
    "expired": "nobody has answered in time",
    "promoted": "version {version} serves from {partition}",
    "rejected": "version {version} was rejected",
    "awaiting": "version {version} waits for approval",
}


def event_of(entry: Entry) -> Event | None:
    """What kind of event an entry of the ledger is; None where nobody is told of it."""
    if entry.kind == "decision":
        if entry.standing != "live":
            return None
        if entry.action in {"retrain", "reinstate", "ask"}:
            return entry.action  # type: ignore[return-value] # one of the three
        return "alarm" if entry.facts.get("alarms") else None
    if entry.kind == "answered":
        return "expired" if entry.action == "expire" else None
    if entry.kind in {"promoted", "rejected", "awaiting"} and entry.action != "supersede":
        return entry.kind
    return None


def message_of(entry: Entry, event: Event) -> Message:
    """The message for an entry of the ledger: what happened, why, what to do, and where to look."""
    facts, page = entry.facts, f"{settings.reports_url()}/projects/{entry.project}"
    alarms = facts.get("alarms") if entry.kind == "decision" else None
    link = f"{page}/drift/{entry.partition}" if alarms else page
    if event in {"promoted", "rejected", "awaiting"}:
        link = f"{page}/versions/{entry.version}"
    lines = [
        f"Why: {entry.reason}",
        f"Drift alarms: {', '.join(alarms)}" if alarms else "",
        _to_do(entry, event),
        f"Look: {link}",
        f"Event ledger-{entry.id} of {entry.at[:16]} UTC",
    ]
    title = f"{entry.project}: {SAID[event].format(partition=entry.partition, version=entry.version)}"
    at = datetime.fromisoformat(entry.at).timestamp()
    return Message(f"ledger-{entry.id}", at, entry.project, event, title, _text(lines), link)


def message_of_failure(alert: Alert) -> Message:
    """The message for a run that failed."""
    project = alert.projects[0] if len(alert.projects) == 1 else ""
    link = f"{settings.reports_url()}/projects/{project}" if project else settings.reports_url()
    of = f" of {alert.partition}" if alert.partition else ""
    title = f"{', '.join(alert.projects) or 'ml-assets'}: {alert.job}{of} failed"
    lines = [
        f"Why: {alert.message[:LONGEST]}",
        f"Look: {link}",
        f"Event run-{alert.run_id} of {alert.at[:16]} UTC",
    ]
    at = datetime.fromisoformat(alert.at).timestamp()
    return Message(f"run-{alert.run_id}", at, project, "failed", title, _text(lines), link)


def _to_do(entry: Entry, event: Event) -> str:
    if event == "ask":
        return f"To do: ml-assets decide {entry.project} {entry.id} --yes --why WHY, or --no"
    if event == "awaiting":
        return f"To do: ml-assets approve {entry.project}@{entry.version} --why WHY, or decline"
    return ""


def _text(lines: list[str]) -> str:
    return "\n".join(filter(None, lines))
