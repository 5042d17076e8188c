"""A schema with a column of every kind and limit."""

from datetime import date, datetime

import pandera.polars as pa
import polars as pl


class EveryLimit(pa.DataFrameModel):
    """One row."""

    whole: int = pa.Field(ge=-2, lt=5, description="A whole number.")
    small: pl.Int8 = pa.Field(nullable=True)
    share: float = pa.Field(in_range={"min_value": 0, "max_value": 1, "include_min": False})
    town: str = pa.Field(isin=["EAST", "WEST"])
    other: str = pa.Field(notin=["NONE"], str_length={"min_value": 2, "max_value": 4})
    code: str = pa.Field(str_matches=r"[A-Z]\d$", nullable=True)
    known: bool
    day: date = pa.Field(ge=date(2024, 1, 1), nullable=True)
    at: datetime
    moment: pl.Datetime("us", "Asia/Singapore") = pa.Field(nullable=True)  # type: ignore[valid-type]
    even: int = pa.Field(ne=4)
    price: float

    @pa.check("even", element_wise=True)
    @classmethod
    def is_even(cls, value: int) -> bool:
        """An even number."""
        return value % 2 == 0
