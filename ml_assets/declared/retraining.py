"""When a model is trained again."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import Field, PositiveInt

from ml_assets.core.policy import Policy, Rule

# Policies that look at one partition need time to see what a retraining did; the others wait by themselves.
COOLDOWNS = {"drift": 3, "performance": 3}


class Retraining(dg.Model, dg.Resolvable):
    """When a model is trained again."""

    policy: Policy = Field(
        default="performance",
        description="`never`. `periodic`: after `every` partitions. `drift`: when drift alarms that does harm. "
        "`performance`: when the error is greater than `tolerance` times that of the test. `worth_it`: when keeping "
        "the champion has cost as much as a retraining (`price`); a retired version that is better again comes back.",
    )
    metric: Literal["mse", "rmse", "mae", "mape", "log_loss", "brier", "error_rate"] | None = Field(
        default=None,
        description="The error that is watched: a mean over rows. By default mape, or log_loss for a classification.",
    )
    price: float = Field(
        default=1.0,
        gt=0,
        description="`worth_it`: what a retraining costs, divided by what the errors of one ordinary partition cost "
        "while the champion is young. 1 is as much as being 10 % worse for ten partitions.",
    )
    every: PositiveInt = Field(default=6, description="`periodic`: partitions from one retraining to the next.")
    tolerance: float = Field(
        default=1.25,
        gt=1,
        description="`performance`: growth of the error over the champion's test error that is accepted.",
    )
    cooldown: int | None = Field(
        default=None,
        ge=0,
        description="Partitions after a live retraining before the next. By default 3 for drift and performance, and 0 "
        "for periodic and worth_it, which wait by themselves.",
    )
    minimum_rows: PositiveInt = Field(default=200, description="Labelled rows below which a partition decides nothing.")
    ask: bool = Field(default=False, description="Whether a person is asked before anything is done.")
    ask_expires: PositiveInt = Field(
        default=2, description="`ask`: partitions decided later after which a question that nobody answers expires."
    )

    def rule(self, policy: Policy | None = None) -> Rule:
        """What decides, or would decide by another policy."""
        named = policy or self.policy
        cooldown = COOLDOWNS.get(named, 0) if self.cooldown is None else self.cooldown
        return Rule(named, self.every, self.tolerance, self.price, cooldown, self.minimum_rows, self.ask)
