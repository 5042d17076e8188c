"""Cutting a training window into the rows a model learns from and those that judge it.

Train, validation (which judges the trials of a search), test (which judges the version) and holdout (which no choice
ever looks at). In the order of time where there is one; else each row, or each group of rows, draws a lot.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    Places = NDArray[np.intp]

Kind = Literal["time", "random", "stratified", "grouped"]
Side = Literal["train", "validation", "test", "holdout"]


class SplitError(ValueError):
    """Rows cannot be cut as declared; the message says what to change."""


@dataclass(frozen=True)
class Split:
    """A time-ordered split: train, validation, test and holdout follow each other, the newest last.

    Attributes:
        train: starts of the partitions to learn from.
        test: starts of the partitions to judge on.
        validation: starts of the partitions that judge the trials of a search.
        holdout: starts of the partitions that no choice looks at.
    """

    train: tuple[datetime, ...]
    test: tuple[datetime, ...]
    validation: tuple[datetime, ...] = ()
    holdout: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Shares:
    """The expected shares of rows that are dealt to the sides but train, which gets the others; each from 0 to 1."""

    test: float
    validation: float = 0.0
    holdout: float = 0.0

    def side(self, place: float) -> Side:
        """The side of a place from 0 to 1: a greater share of test takes in more and lets none go."""
        if place < self.test:
            return "test"
        if place < self.test + self.holdout:
            return "holdout"
        return "validation" if place < self.test + self.holdout + self.validation else "train"


def split_by_time(
    partitions: Sequence[datetime], *, window: int, test: int, validation: int = 0, holdout: int = 0
) -> Split:
    """Split the newest partitions.

    Args:
        partitions: starts of the partitions that hold rows, in any order.
        window: how many of the newest are used; fewer are used where there are fewer.
        test: how many of those judge the version.
        validation: how many, before them, judge the trials of a search.
        holdout: how many, the newest, no choice looks at.

    Raises:
        SplitError: if no partition would be left to learn from.
    """
    newest = sorted(partitions)[-window:]
    kept = test + validation + holdout
    if len(newest) <= kept:
        wanted = "for the test" if kept == test else "for validation, test and holdout"
        raise SplitError(
            f"{len(newest)} {'partition holds' if len(newest) == 1 else 'partitions hold'} rows and {kept} "
            f"{'is' if kept == 1 else 'are'} held out {wanted}: none is left to learn from. "
            "Remedy: materialize more history, or lower training.test"
            + ("" if kept == test else ", training.split.validation or training.split.holdout")
        )
    ends = [len(newest) - kept, len(newest) - test - holdout, len(newest) - holdout]
    return Split(
        train=tuple(newest[: ends[0]]),
        validation=tuple(newest[ends[0] : ends[1]]),
        test=tuple(newest[ends[1] : ends[2]]),
        holdout=tuple(newest[ends[2] :]),
    )


def split_rows(row_ids: Iterable[tuple[str, int]], test_share: float, seed: int) -> list[bool]:
    """Which rows are held out, by chance, the same at every call: `deal` with two sides and no strata or groups.

    Args:
        row_ids: `_source` and `_row` of each row.
        test_share: expected share of rows that are held out, 0 to 1. The share found varies as chance does.
        seed: of the draw.

    Returns:
        One for each row: whether it is held out.
    """
    return [side == "test" for side in deal(row_ids, Shares(test_share), seed)]


def deal(
    row_ids: Iterable[tuple[str, int]],
    shares: Shares,
    seed: int,
    *,
    strata: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> list[Side]:
    """The side of each row, by chance, the same at every call.

    A row's lot, a number from 0 to 1, hangs on nothing but the row and the seed: a row that comes late changes no
    other's, and two models with one seed hold out the same rows. With groups it hangs on the group in place of the row.
    With strata the shares are kept within each stratum, to the row: the lots say in which order its rows go to the
    sides, so that a late row moves at most one other across each border of its stratum.

    Args:
        row_ids: `_source` and `_row` of each row.
        shares: of the sides. Without strata, the shares found vary as chance does.
        seed: of the draw.
        strata: the stratum of each row, None being one too; or None.
        groups: the group of each row: all rows of one have one side; or None.

    Raises:
        SplitError: if a row has no group: nobody could say that it is on the side of its kin.
    """
    if groups is not None:
        missing = sum(group is None for group in groups)
        if missing:
            raise SplitError(
                f"{missing} of {len(groups)} rows have no group. Remedy: fill the column of training.split.by in "
                "features.sql, or filter those rows"
            )
        lots = {group: _lot(f"{seed}\0group\0{group}") for group in set(groups)}
        return [shares.side(lots[group]) for group in groups]
    drawn = [_lot(f"{seed}\0{row}\0{source}") for source, row in row_ids]
    if strata is None:
        return [shares.side(lot) for lot in drawn]
    members: dict[Hashable, list[int]] = {}
    for place, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(place)
    sides: list[Side] = ["train"] * len(drawn)
    for places in members.values():
        for rank, place in enumerate(sorted(places, key=lambda place: drawn[place])):
            # The middle of the row's step: a stratum of three gives a share of 0.2 one row.
            sides[place] = shares.side((rank + 0.5) / len(places))
    return sides


def _lot(text: str) -> float:
    """A number from 0 to 1, exclusive, that hangs on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2.0**64


def folds(
    kind: Kind,
    wanted: int,
    *,
    partitions: Sequence[datetime],
    seed: int,
    labels: NDArray[np.int64] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> list[tuple[Places, Places]]:
    """Cut the rows to learn from into folds, as they are split from those that judge the version.

    Args:
        kind: `time`: forward chaining: each fold learns from all partitions older than those that it is judged on, and
            the blocks it is judged on are the newest and as long as each other. `grouped`: no group is on both sides.
            `stratified`, and `random` where there are labels: every fold has the labels in their shares. `random`: any.
        wanted: how many folds; fewer where there are too few partitions or groups for as many.
        partitions: start of each row's partition.
        seed: of the shuffle; time is not shuffled.
        labels: class or stratum of each row, for `random` and `stratified`.
        groups: group of each row, for `grouped`.

    Returns:
        For each fold the places of the rows it learns from, and of those it is judged on, ascending.

    Raises:
        SplitError: if not even two parts can be made.

    Source:
        sklearn.model_selection: TimeSeriesSplit over partitions, GroupKFold; KFold and StratifiedKFold in effect.
    """
    import numpy as np  # noqa: PLC0415
    from sklearn.model_selection import GroupKFold, TimeSeriesSplit

    every = np.arange(len(partitions))
    if kind == "time":
        starts = sorted(set(partitions))
        number = min(wanted, len(starts) - 1)
        if number < 1:
            raise SplitError(
                f"{len(starts)} partition to learn from cannot be cut into folds that follow each other in time. "
                "Remedy: a longer training.window, or declare training.split.kind random"
            )
        rank = {start: place for place, start in enumerate(starts)}
        places = np.array([rank[start] for start in partitions])
        blocks = TimeSeriesSplit(number).split(starts) if number > 1 else [(range(len(starts) - 1), [len(starts) - 1])]
        return [(every[np.isin(places, list(old))], every[np.isin(places, list(new))]) for old, new in blocks]
    if kind == "grouped":
        number = min(wanted, len(set(groups or ())))
        if number < 2:  # noqa: PLR2004 - one group cannot be on two sides
            raise SplitError("all rows to learn from are one group: there are no folds. Remedy: another training.split")
        codes = {group: code for code, group in enumerate(dict.fromkeys(groups or ()))}
        by_group = np.array([codes[group] for group in groups or ()])
        return list(GroupKFold(number, shuffle=True, random_state=seed).split(every, groups=by_group))
    if len(every) < 2:  # noqa: PLR2004 - two parts
        raise SplitError(f"{len(every)} row to learn from cannot be cut into folds. Remedy: train on more rows")
    number = min(wanted, len(every))
    shuffled = np.random.default_rng(seed).permutation(every)
    if labels is not None:
        # Dealt out one label after the other: each fold has its share of all, and of a rare one what there is.
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(every), dtype=np.intp)
    fold[shuffled] = every % number
    return [(every[fold != one], every[fold == one]) for one in range(number)]
