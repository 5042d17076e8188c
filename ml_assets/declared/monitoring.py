"""When a change is an alarm, and when a model is trained again."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import Field, PositiveInt


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

    one_false_alarm_in: PositiveInt = Field(
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


class Retraining(dg.Model, dg.Resolvable):
    """When a model is trained again."""

    policy: Literal["performance"] = Field(
        default="performance", description="Retrain when the champion's error has grown."
    )
    metric: Literal["mse", "rmse", "mae", "mape", "log_loss", "brier", "error_rate"] | None = Field(
        default=None,
        description="The error that is watched: a mean over rows. By default mape, or log_loss for a classification.",
    )
    tolerance: float = Field(
        default=1.25, gt=1, description="Growth of the error over the champion's test error that is accepted."
    )
    cooldown: int = Field(default=3, ge=0, description="Partitions after a live retraining before the next.")
    minimum_rows: PositiveInt = Field(default=200, description="Labelled rows below which a partition decides nothing.")
