"""What a row of the Singapore resale register must be (Housing & Development Board, from 2017)."""

from datetime import date

import pandera.polars as pa  # noqa: TID253 - a schema is imported when rows are judged, never when the graph is loaded

TOWNS = [
    "ANG MO KIO", "BEDOK", "BISHAN", "BUKIT BATOK", "BUKIT MERAH", "BUKIT PANJANG", "BUKIT TIMAH", "CENTRAL AREA",
    "CHOA CHU KANG", "CLEMENTI", "GEYLANG", "HOUGANG", "JURONG EAST", "JURONG WEST", "KALLANG/WHAMPOA",
    "MARINE PARADE", "PASIR RIS", "PUNGGOL", "QUEENSTOWN", "SEMBAWANG", "SENGKANG", "SERANGOON", "TAMPINES",
    "TOA PAYOH", "WOODLANDS", "YISHUN",
]  # fmt: skip
FLAT_TYPES = ["1 ROOM", "2 ROOM", "3 ROOM", "4 ROOM", "5 ROOM", "EXECUTIVE", "MULTI-GENERATION"]


class ResaleFlat(pa.DataFrameModel):
    """One registered resale."""

    month: date = pa.Field(description="Month of registration, its first day.")
    town: str = pa.Field(isin=TOWNS, description="Town.")
    flat_type: str = pa.Field(isin=FLAT_TYPES, description="Size class.")
    block: str = pa.Field(description="Number of the building.")
    street_name: str = pa.Field(description="Street.")
    storey_range: str = pa.Field(str_matches=r"^\d\d TO \d\d$", description="Storeys, in threes: `10 TO 12`.")
    floor_area_sqm: float = pa.Field(ge=20, le=400, description="Floor area in square metres.")
    flat_model: str = pa.Field(description="Model of the flat; new models appear.")
    lease_commence_year: int = pa.Field(ge=1960, le=2030, description="Year in which the 99-year lease began.")
    remaining_lease_months: int = pa.Field(ge=0, le=1188, description="Months left of the lease.")
    resale_price: float = pa.Field(ge=50_000, le=5_000_000, description="Price in Singapore dollars.")
