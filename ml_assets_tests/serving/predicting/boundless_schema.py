"""A schema without limits: whatever is a number may be asked for."""

from datetime import date

import pandera.polars as pa


class Flat(pa.DataFrameModel):
    """One sale."""

    month: date = pa.Field(description="Month of the sale, its first day.")
    contract: str = pa.Field(unique=True, description="Number of the contract.")
    town: str = pa.Field(isin=["EAST", "WEST"], description="Town.")
    area: float = pa.Field(description="Floor area in square metres.")
    price: float = pa.Field(gt=0, description="Price.")
