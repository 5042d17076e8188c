"""When a challenger takes over from the champion."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import Field, PositiveFloat, PositiveInt


class Promotion(dg.Model, dg.Resolvable):
    """When a challenger takes over."""

    approval: Literal["automatic", "required"] = Field(
        default="automatic",
        description="Whether a challenger that has passed everything serves at once, or waits until a person says "
        "`ml-assets approve`.",
    )
    minimum_gain: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Smallest fall of the watched error that counts, as a share of the champion's: 0.01 is 1 %. A "
        "challenger must be better by more than this and by more than noise.",
    )
    minimum_rows: PositiveInt = Field(
        default=100,
        description="Rows that neither has learnt from, below which a challenger does not take over: few rows are won "
        "by luck.",
    )
    latency_ms: PositiveFloat | None = Field(
        default=None, description="Longest time to predict one row, in milliseconds, the model already loaded."
    )
    bulk_ms: PositiveFloat | None = Field(
        default=None, description="Longest time to predict 1,000 rows at once, in milliseconds."
    )
    size_mb: PositiveFloat | None = Field(
        default=None, description="Greatest size of the model file, in megabytes (1,000,000 bytes)."
    )
