"""The small project's schema where prices become known later."""

import pandera.polars as pa
from flat_schema import Flat


class LateFlat(Flat):
    """One sale, whose price may not be known yet."""

    price: float = pa.Field(gt=0, nullable=True, description="Price; missing until it is known.")
