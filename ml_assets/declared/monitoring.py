"""When a change is an alarm."""

from __future__ import annotations

import dagster as dg
from pydantic import Field


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
