"""The schema of the small project that the asset tests run."""

from datetime import date

import pandera.polars as pa


class Flat(pa.DataFrameModel):
    """One sale."""

    month: date = pa.Field(description="Month of the sale, its first day.")
    contract: str = pa.Field(unique=True, description="Number of the contract.")
    town: str = pa.Field(isin=["EAST", "WEST"], description="Town.")
    area: float = pa.Field(ge=20, le=400, description="Floor area in square metres.")
    price: float = pa.Field(gt=0, description="Price.")
