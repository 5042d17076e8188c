"""What a row of the SMS Spam Collection must be (Almeida & Gómez Hidalgo, UCI, version 1)."""

import pandera.polars as pa  # noqa: TID253 - a schema is imported when rows are judged, never when the graph is loaded


class Message(pa.DataFrameModel):
    """One short message."""

    label: str = pa.Field(isin=["ham", "spam"], description="What people said of it.")
    message: str = pa.Field(str_length={"min_value": 1, "max_value": 1000}, description="Its text.")
