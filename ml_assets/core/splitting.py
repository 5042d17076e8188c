"""Cutting a training window into the rows a model learns from and those that judge it, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
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
