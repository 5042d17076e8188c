"""What a source holds, partition by partition, without keeping any of it: how many rows, and which.

The same look at the lake's own `raw` says which partitions a late, a corrected or a removed row has touched. Nothing
need be remembered between the two: rows are compared as a multiset, by a sum of hashes that knows no order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.sources.names import folded
from ml_assets.sources.reading import MALFORMED, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import polars as pl


@dataclass(frozen=True)
class Content:
    """The rows of a partition.

    Attributes:
        rows: how many.
        digest: the sum, modulo 2^64, of a 64-bit hash of each row's values; whatever the order. Two different sets of
            rows have equal sums with a chance of about 2^-64: good against accidents, not against an attacker.
    """

    rows: int
    digest: int

    def __add__(self, other: Content) -> Content:
        """The content of both together."""
        return Content(self.rows + other.rows, (self.digest + other.digest) % 2**64)


def survey(frames: Iterable[pl.DataFrame]) -> dict[datetime, Content]:
    """The content of each partition, from frames of raw rows with `_partition`, in order of time.

    A column that is null throughout counts like one that is not there; where a row stood does not count.
    """
    import polars as pl

    found: dict[datetime, Content] = {}
    for frame in frames:
        values = [name for name in frame.columns if name not in RESERVED or name == MALFORMED]
        hashes = [
            pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash(seed=_seed(name))).otherwise(0)
            for name in values
        ]
        total = pl.lit(0, dtype=pl.UInt64)
        for one in hashes:
            total = total.xor(one)
        rows = frame.select("_partition", total.hash(seed=1).alias("digest"))
        grouped = rows.group_by("_partition").agg(pl.len(), pl.col("digest").cast(pl.Int128).sum())
        for start, count, digest in grouped.iter_rows():
            found[start] = found.get(start, Content(0, 0)) + Content(count, int(digest) % 2**64)
    return dict(sorted(found.items()))


def _seed(name: str) -> int:
    # A column's name is part of what its values say: the same values in another column are other rows.
    return int.from_bytes(hashlib.sha256(folded(name).encode()).digest()[:8], "big")
