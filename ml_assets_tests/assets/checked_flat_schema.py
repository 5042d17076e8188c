"""The small project's schema with a check of the team's own, which may look at all rows of a column."""

import pandera.polars as pa
import polars as pl
from flat_schema import Flat
from pandera.api.polars.types import PolarsData


class CheckedFlat(Flat):
    """One sale, at a price that is not far from the others."""

    @pa.check("price")
    def not_far_from_the_others(cls, data: PolarsData) -> pl.LazyFrame:  # noqa: N805 - as pandera has it
        """No price is a hundred times the median."""
        return data.lazyframe.select(pl.col(data.key) < 100 * pl.col(data.key).median())
