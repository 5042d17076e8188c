"""Sending what is in the outbox, by Apprise: to chats, by mail, to webhooks; and the sensor that fills the outbox.

`ML_ASSETS_ALERTS` holds Apprise's URLs, apart by white space. They hold secrets: nothing here says more of one than its
scheme and its place in the list.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets import settings
from ml_assets.automation.messages import event_of, message_of, message_of_failure
from ml_assets.lake.resource import open_lake
from ml_assets.registry.alerts import read_all_alerts
from ml_assets.registry.ledger import newest_id, read_new
from ml_assets.registry.outbox import Message, outbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project

VARIABLE = "ML_ASSETS_ALERTS"
INTERVAL_SECONDS = 5
# A tick has a minute, and the last message may have to wait for its target.
SENDING_SECONDS = 20.0
# A failure is written a moment after the time that it carries.
MARGIN_SECONDS = 60.0


class AlertsError(Exception):
    """Nobody can be told; the message says what to do, and nothing of an address."""


def targets() -> dict[str, str]:
    """Hash of each target → its URL; none where the variable is not set."""
    found = os.environ.get(VARIABLE, "").split()
    return {hashlib.sha256(url.encode()).hexdigest()[:16]: url for url in found}


def send(url: str, message: Message) -> bool:
    """Send a message to one target.

    Returns:
        Whether it was taken.

    Raises:
        AlertsError: if the extra is missing, or the URL is none of Apprise's.
    """
    if importlib.util.find_spec("apprise") is None:
        raise AlertsError(f"{VARIABLE} is set, and the extra is not installed. Remedy: pip install 'ml-assets[alerts]'")
    import apprise

    # It logs what it is answered; we say ourselves what became of a message.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    asset = apprise.AppriseAsset(
        app_id="ml-assets", app_desc="ml-assets", app_url=settings.reports_url(), secure_logging=True
    )
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        place = list(targets().values()).index(url) + 1 if url in targets().values() else 0
        raise AlertsError(
            f"{VARIABLE}: Apprise does not understand URL {place}, {scheme_of(url)}. Remedy: write it as Apprise's "
            "documentation of that service says"
        )
    try:
        return bool(service.notify(title=message.title, body=message.body, body_format=apprise.NotifyFormat.TEXT))
    except Exception as error:  # noqa: BLE001 - of whatever service; its text may hold the address
        logging.getLogger(__name__).warning("%s raised %s", scheme_of(url), type(error).__name__)
        return False


def deliver(seconds: float = SENDING_SECONDS) -> list[str]:
    """Send what is due, and say what became of each; nothing while another process does.

    Args:
        seconds: after which nothing more is begun.
    """
    box, urls, said = outbox(), targets(), []
    end = time.monotonic() + seconds
    with box.sender() as may:
        for one in box.due(list(urls), time.time()) if may else []:
            if time.monotonic() > end:
                break
            box.begin(one)
            state = box.end(one, time.time(), taken=send(urls[one.target], one.message))
            said.append(f"{one.message.id} to {scheme_of(urls[one.target])}: {state}")
    return said


def collect(project: Project, lake: Lake, state: Mapping[str, Any]) -> tuple[list[Message], dict[str, Any]]:
    """What a project has to tell since the last time, and up to where it has been told.

    Args:
        project: the project.
        lake: where the ledger is.
        state: up to where: the newest entry of the ledger, and the moment of the last look at failed runs.
    """
    after, now = int(state["ledger"]), time.time()
    found = []
    if lake.catalogue.exists():
        with lake.reader() as cursor:
            for entry in read_new(cursor, after, project.name):
                after = entry.id
                event = event_of(entry)
                if event in project.alerts.on:
                    found.append(message_of(entry, event))
    if "failed" in project.alerts.on:
        # Of a run that is no project's, such as the lake's upkeep, every project tells: under one id, so once.
        failed = [one for one in read_all_alerts() if not one.projects or project.name in one.projects]
        found += [one for one in map(message_of_failure, failed) if one.at >= state["since"]]
    return found, {"ledger": after, "since": now - MARGIN_SECONDS}


def build_alerts_sensor(project: Project) -> dg.SensorDefinition:
    """The sensor `<project>_alerts`: tells people what the project declares that they are told of."""

    @dg.sensor(
        name=f"{project.name}_alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells of {project.name} by chat, mail or webhook, to whom {VARIABLE} names.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        lake = open_lake(settings.home() / "lake")
        if context.cursor is None or not targets():
            # What was before anybody was to be told is not told.
            context.update_cursor(json.dumps({"ledger": _newest(lake), "since": time.time()}))
            return dg.SkipReason(f"tells what happens from now on, to {len(targets())} targets in {VARIABLE}")
        messages, state = collect(project, lake, json.loads(context.cursor))
        outbox().add(messages, targets())
        # Written down first, then forgotten where it came from: killed in between, it is written down again, once.
        context.update_cursor(json.dumps(state))
        said = deliver()
        for line in said:
            context.log.info("%s", line)
        return dg.SkipReason("; ".join(said) or "there is nothing to tell")

    return alerts


def _newest(lake: Lake) -> int:
    if not lake.catalogue.exists():
        return 0
    with lake.reader() as cursor:
        return newest_id(cursor)


def scheme_of(url: str) -> str:
    """As much of a target's URL as may be told."""
    return f"{url.split(':', 1)[0][:20]}://…"
