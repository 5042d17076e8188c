"""When a change is an alarm, and when a model is trained again."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import Field, PositiveInt


class Monitoring(dg.Model, dg.Resolvable):
    """When a statistic of a partition raises an alarm."""

    psi: float = Field(default=0.2, description="Population stability index above which a column alarms.")
    ks: float = Field(default=0.15, description="Kolmogorov-Smirnov statistic above which a numeric column alarms.")
    minimum_rows: int = Field(
        default=300,
        ge=0,
        description="Rows with a value below which a column is measured and does not alarm: few rows scatter. With "
        "the thresholds as they are, a large reference and no drift at all, a number alarms in 32 % of partitions of "
        "60 rows, 4 % of 100, none of 4,000 simulated ones of 200; 26 even categories in 8 % of 200, 0.05 % of 300.",
    )


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
