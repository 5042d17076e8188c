"""How predictions are served by the API, and what of the requests is kept."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import Field, PositiveInt


class Serving(dg.Model, dg.Resolvable):
    """How predictions are served, and what of the requests is kept."""

    unknown_fields: Literal["refuse", "ignore"] = Field(
        default="refuse", description="What becomes of a request with a field that the schema does not have."
    )
    max_rows: PositiveInt = Field(
        default=10_000, description="Rows of one JSON request; Arrow and Parquet may hold more."
    )
    log: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the requests whose rows are kept in the table `requests`; `skew` replays them.",
    )
    keep_days: PositiveInt = Field(
        default=30, description="Days that they are kept; `skew`, which runs every day, forgets the older ones."
    )
    personal: dict[str, Literal["hash", "drop"]] = Field(
        default={},
        description="Columns that are kept of no request as they came: hashed with a salt of this home, or dropped.",
    )
