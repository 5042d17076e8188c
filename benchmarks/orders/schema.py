"""What an order must be."""

from datetime import date

import pandera.polars as pa  # noqa: TID253 - a schema is imported when rows are judged

COUNTRIES = ["AT", "BE", "CH", "DE", "DK", "ES", "FR", "IT", "NL", "PL"]
CATEGORIES = ["books", "clothes", "food", "garden", "music", "sports", "tools", "toys"]


class Order(pa.DataFrameModel):
    """One order."""

    order_id: int = pa.Field(unique=True)
    day: date = pa.Field()
    customer: str = pa.Field(str_matches=r"^C\d{6}$")
    country: str = pa.Field(isin=COUNTRIES)
    category: str = pa.Field(isin=CATEGORIES)
    quantity: int = pa.Field(ge=1, le=100)
    unit_price: float = pa.Field(gt=0, le=1000)
    discount: float = pa.Field(ge=0, le=1, nullable=True)
    weight: float = pa.Field(ge=0, le=50)
    express: bool = pa.Field()
    rating: int = pa.Field(ge=1, le=5, nullable=True)
    note: str = pa.Field(str_length={"max_value": 40}, nullable=True)
