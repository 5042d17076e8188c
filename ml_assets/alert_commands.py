"""`ml-assets alerts`: what people were told of, and whether they can be."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer


def alerts(
    *,
    test: Annotated[bool, typer.Option("--test", help="Send a test message to every target.")] = False,
    limit: Annotated[int, typer.Option(help="How many of the newest to show.", min=1)] = 24,
) -> None:
    """The newest alerts with what became of each. ML_ASSETS_ALERTS holds the targets, as Apprise URLs."""
    from ml_assets.automation.notify import AlertsError, scheme_of, send, targets  # noqa: PLC0415
    from ml_assets.registry.outbox import Message, outbox  # noqa: PLC0415

    if not test:
        for one in outbox().deliveries(limit=limit):
            at = datetime.fromtimestamp(one.message.at, UTC)
            typer.echo(f"{at:%Y-%m-%d %H:%M} UTC  {one.state:8}{one.message.id}  {one.message.title}")
        typer.echo(f"{len(targets())} targets in ML_ASSETS_ALERTS")
        return
    if not targets():
        raise ValueError("ML_ASSETS_ALERTS names no target. Remedy: set it to Apprise URLs, apart by white space")
    refused = 0
    for place, url in enumerate(targets().values(), 1):
        message = Message("test", time.time(), "", "test", "ml-assets: a test", "If you read this, alerts arrive.", "")
        try:
            taken = send(url, message)
        except AlertsError as error:
            typer.echo(str(error), err=True)
            taken = False
        typer.echo(f"target {place}, {scheme_of(url)}: {'taken' if taken else 'refused, or no answer'}")
        refused += not taken
    if refused:
        raise typer.Exit(1)
