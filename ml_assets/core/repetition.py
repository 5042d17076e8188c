"""Rows that come more than once, found by fingerprints: where there are too many to be compared all at once.

A fingerprint is a hash of 128 bits. Of ten million rows two that differ share one with a chance below 1e-24, far below
that of a bit that flips in memory, so equal fingerprints are taken for equal rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

SEEDS = (0x243F6A88, 0x85A308D3)


def fingerprints(rows: pl.DataFrame) -> pl.DataFrame:
    """A fingerprint of each row, shape (n, 2); the same for the same values within one process."""
    import polars as pl

    # What stands for a category in memory may be another number in another frame.
    rows = rows.with_columns(pl.col(pl.Categorical).cast(pl.String))
    return pl.DataFrame([rows.hash_rows(seed).alias(f"hash{number}") for number, seed in enumerate(SEEDS)])


def is_first(prints: pl.DataFrame) -> pl.Series:
    """Whether each row is the first of those with its fingerprint, shape (n,)."""
    import polars as pl

    # Few rows come twice: only where half of a fingerprint repeats is the whole looked at.
    at = _repeats(prints[:, 0]).arg_true()
    alike = prints[at].select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return pl.repeat(value=True, n=prints.height, eager=True).scatter(at, alike)


def is_repeated(prints: pl.DataFrame, among: pl.Series) -> pl.Series:
    """Whether some other row has the same fingerprint, shape (n,).

    Args:
        prints: of all rows.
        among: which rows count, shape (n,); of the others the answer is no.
    """
    import polars as pl

    at = among.arg_true()
    at = at.filter(_repeats(prints[:, 0].gather(at)))
    alike = at.filter(prints[at].is_duplicated())
    return pl.repeat(value=False, n=prints.height, eager=True).scatter(alike, True)


def _repeats(hashes: pl.Series) -> pl.Series:
    # As `is_duplicated`, which needs 60 bytes for each: sorting needs 8.
    ordered = hashes.sort()
    again = ordered.filter(ordered == ordered.shift()).unique()
    return hashes.is_in(again.implode())
