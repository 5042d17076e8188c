"""The small project's schema after somebody has widened it: larger flats count."""

import pandera.polars as pa
from flat_schema import Flat


class LooseFlat(Flat):
    """One sale, of any size."""

    area: float = pa.Field(ge=20, le=500, description="Floor area in square metres.")
