"""How rows are cut into partitions, and how much may be wrong with them."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import Field, PositiveInt, model_validator

from ml_assets.core.partitioning import NO_START, Calendar, Grain


class Partitions(dg.Model, dg.Resolvable):
    """How rows are cut into partitions: by time, in blocks of rows, or not at all."""

    grain: Grain = Field(description="Length of one partition; `block` for rows in an order, `none` for those without.")
    start: str = Field(
        default="",
        description="Key of the first partition: `2017-01`, `2017-01-31` for days and weeks (a Monday), "
        "`2017-01-31-00:00` for hours. Left out without time.",
    )
    time: str = Field(
        default="", description="Column of the schema that holds the row's time; it must lie in the partition."
    )
    timezone: str = Field(
        default="UTC", description="Zone in which days, weeks and months begin, and that local times are meant in."
    )
    rows: PositiveInt = Field(default=1000, description="Rows of a block; the last block may have fewer.")

    @model_validator(mode="after")
    def _fits_its_grain(self) -> Self:
        if self.grain in NO_START:
            if self.time or self.start or self.timezone != "UTC":
                raise ValueError(f"partitions of grain {self.grain} have no time, start or timezone: leave them out")
            return self
        if not self.time or not self.start:
            missing = "start" if self.time else "time"
            raise ValueError(f"partitions of grain {self.grain} need {missing}")
        self.calendar.start_of(self.start)
        return self

    @property
    def calendar(self) -> Calendar:
        """The partitions on their axis."""
        return Calendar(self.grain, self.start or NO_START[self.grain], self.timezone, self.rows)


class Validation(dg.Model, dg.Resolvable):
    """How much may be wrong with a partition."""

    quarantine_limit: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of a range's rows in quarantine above which nothing downstream runs.",
    )
