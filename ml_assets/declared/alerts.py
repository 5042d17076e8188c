"""Of what people are told at once. Whom, and where, is no part of a declaration: `ML_ASSETS_ALERTS` holds secrets."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import Field

Event = Literal["alarm", "retrain", "reinstate", "ask", "expired", "promoted", "rejected", "awaiting", "failed"]
ALWAYS: tuple[Event, ...] = (
    "retrain", "reinstate", "ask", "expired", "promoted", "rejected", "awaiting", "failed",
)  # fmt: skip


class Alerts(dg.Model, dg.Resolvable):
    """Of what people are told at once, by chat, mail or webhook; `ML_ASSETS_ALERTS` holds the addresses."""

    on: list[Event] = Field(
        default=list(ALWAYS),
        description="`retrain`, `reinstate`, `ask`: a live decision, with the alarms that it acts on. `alarm`: drift "
        "that is not acted on. `expired`: nobody has answered. `promoted`, `rejected`, `awaiting`: what came of a "
        "version. `failed`: a run.",
    )
