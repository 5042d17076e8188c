"""The schema of a project whose rows have a time of the day."""

from datetime import datetime

import pandera.polars as pa


class Flat(pa.DataFrameModel):
    """One sale."""

    month: datetime = pa.Field(description="Moment of the sale, local time.")
    contract: str = pa.Field(unique=True, description="Number of the contract.")
    town: str = pa.Field(description="Town.")
    area: float = pa.Field(description="Floor area in square metres.")
    price: float = pa.Field(description="Price.")
