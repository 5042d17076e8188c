"""The schema of the small project of messages that the tests of classification run."""

from datetime import date, datetime

import pandera.polars as pa


class Message(pa.DataFrameModel):
    """One message."""

    month: date = pa.Field(description="Month of the message, its first day.")
    sent: datetime = pa.Field(description="When it was sent.")
    words: str = pa.Field(description="What it says.", nullable=True)
    sender: str = pa.Field(description="Kind of sender.")
    known: bool = pa.Field(description="Whether the sender is known.")
    length: float = pa.Field(description="Length, missing at times.", nullable=True)
    label: str = pa.Field(description="What it is.")
