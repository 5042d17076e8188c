"""Cutting a training window into the rows a model learns from and those that judge it.

In the order of time where there is one; by chance, row by row, where the window is a single partition.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime


@dataclass(frozen=True)
class Split:
    """A time-ordered split: every training partition is older than every test partition.

    Attributes:
        train: starts of the partitions to learn from.
        test: starts of the partitions to judge on.
    """

    train: tuple[datetime, ...]
    test: tuple[datetime, ...]


def split_by_time(partitions: Sequence[datetime], *, window: int, test: int) -> Split:
    """Split the newest partitions.

    Args:
        partitions: starts of the partitions that hold rows, in any order.
        window: how many of the newest are used; fewer are used where there are fewer.
        test: how many of those are held out.

    Raises:
        ValueError: if no partition would be left to learn from.
    """
    newest = sorted(partitions)[-window:]
    if len(newest) <= test:
        raise ValueError(
            f"{len(newest)} {'partition holds' if len(newest) == 1 else 'partitions hold'} rows and {test} "
            f"{'is' if test == 1 else 'are'} held out for the test: none is left to learn from. "
            "Remedy: materialize more history, or lower training.test"
        )
    return Split(tuple(newest[:-test]), tuple(newest[-test:]))


def split_rows(row_ids: Iterable[tuple[str, int]], test_share: float, seed: int) -> list[bool]:
    """Which rows are held out, by chance, the same at every call.

    A row's lot hangs on nothing but the row and the seed: a row that comes late changes no other's, and two models with
    one seed hold out the same rows.

    Args:
        row_ids: `_source` and `_row` of each row.
        test_share: expected share of rows that are held out, 0 to 1. The share found varies as chance does.
        seed: of the draw.

    Returns:
        One for each row: whether it is held out.
    """
    limit = test_share * 2.0**64

    def drawn(source: str, row: int) -> int:
        digest = hashlib.blake2b(f"{seed}\0{row}\0{source}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    return [drawn(source, row) < limit for source, row in row_ids]
