"""The schema of the small project that leaks are planted in."""

from datetime import date

import pandera.polars as pa


class Sale(pa.DataFrameModel):
    """One sale, with a fee that is known afterwards."""

    sold: date = pa.Field(description="Day of the sale.")
    town: str = pa.Field(description="Town.")
    area: float = pa.Field(gt=0, description="Floor area in square metres.")
    price: float = pa.Field(gt=0, description="Price.")
    fee: float = pa.Field(description="Fee of the sale.")
    estimate: float = pa.Field(description="What the price was guessed to be before.")
    appraisal: float = pa.Field(description="What it was guessed to be by somebody who knew.")
    dollars: float = pa.Field(description="Price in dollars.")
    lot: int = pa.Field(description="Number of the contract.")
    code: str = pa.Field(description="Name of the row.")
    half_fee: float = pa.Field(description="Half of the fee.")
