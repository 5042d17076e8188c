"""When a change is an alarm."""

from __future__ import annotations

import dagster as dg
from pydantic import Field


class Monitoring(dg.Model, dg.Resolvable):
    """When a statistic of a partition raises an alarm."""

    one_false_alarm_in: int = Field(
        default=24,
        ge=2,
        description="Partitions in which the whole project may raise one false alarm. Thresholds follow from it and "
        "from the project's own history; with little history, from theory.",
    )
    harm: float = Field(
        default=0.2,
        ge=0,
        description="Effect from which drift is harmful, as a share of the champion's typical error: how much "
        "predictions move with a column that has drifted. What is below is told and not acted on.",
    )
