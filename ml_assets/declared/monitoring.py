"""When a change is an alarm."""

from __future__ import annotations

import dagster as dg
from pydantic import Field


class Labels(dg.Model, dg.Resolvable):
    """When the labels of a partition count as there."""

    share: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Of the share of labels that past partitions reached in the end: from here on a partition's "
        "metrics are `matured`.",
    )
    delay: int | None = Field(
        default=None,
        ge=0,
        description="Partitions before which no metric is `matured`, whatever labels there are. By default it is "
        "learnt how long labels take.",
    )


class Monitoring(dg.Model, dg.Resolvable):
    """When a statistic of a partition raises an alarm, and when a metric counts."""

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
    labels: Labels = Field(default=Labels(), description="Labels that come late.")
