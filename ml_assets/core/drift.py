"""How far the rows of a partition are from the rows a model learnt from, read from profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.core.profiles import Counts

# An empty bin counts as this share, as in Evidently: its logarithm would be infinite.
EMPTY = 1e-4
GROUPS = 10


@dataclass(frozen=True)
class Statistic:
    """One statistic of one column.

    Attributes:
        column: the column.
        name: `psi`, `ks`, `missing_rate` or `new_categories`.
        value: its value.
        threshold: above this it alarms; None where it only tells, as PSI and KS of few rows do.
    """

    column: str
    name: str
    value: float
    threshold: float | None = None

    @property
    def alarm(self) -> bool:
        """Whether it is above its threshold."""
        return self.threshold is not None and self.value > self.threshold


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Population stability index between two histograms on the same bins.

    Args:
        reference: rows per bin.
        current: rows per bin, in the same order.

    Returns:
        Sum over bins of (c - r) * ln(c / r) with the shares r and c; 0 where they are equal. A share of zero counts as
        1e-4. NaN where either has no rows.

    Source:
        Siddiqi, Credit Risk Scorecards (2006); the treatment of zeros is Evidently's.
    """
    if not sum(reference) or not sum(current):
        return math.nan
    total = 0.0
    for r_count, c_count in zip(reference, current, strict=True):
        r = r_count / sum(reference) or EMPTY
        c = c_count / sum(current) or EMPTY
        total += (c - r) * math.log(c / r)
    return total


def ks(reference: Sequence[int], current: Sequence[int]) -> float:
    """Kolmogorov-Smirnov statistic between two histograms on the same ordered bins.

    Returns:
        The greatest distance between the cumulative shares at a bin's edge, 0 to 1. It is at most the exact statistic,
        and less than it by no more than the greatest share that either has in one bin. NaN where either has no rows.
    """
    if not sum(reference) or not sum(current):
        return math.nan
    r = c = 0
    greatest = 0.0
    for r_count, c_count in zip(reference, current, strict=True):
        r += r_count
        c += c_count
        greatest = max(greatest, abs(r / sum(reference) - c / sum(current)))
    return greatest


def column_drift(
    reference: Counts, current: Counts, *, psi_threshold: float, ks_threshold: float, minimum_rows: int = 0
) -> list[Statistic]:
    """The statistics of one column: PSI, KS for numbers, the missing rate, rows in categories that the reference lacks.

    Args:
        reference: the profile of what the champion learnt from.
        current: the profile of the partition.
        psi_threshold: PSI above which the column alarms.
        ks_threshold: KS above which a number alarms.
        minimum_rows: rows with a value below which nothing alarms: chance alone would pass the thresholds.
    """
    is_enough = current.rows - current.missing >= minimum_rows
    if current.kind == "number":
        order = sorted(reference.bins.keys() | current.bins.keys(), key=int)
    else:
        order = sorted(reference.bins.keys() | current.bins.keys())
    r_counts = [reference.bins.get(name, 0) for name in order]
    c_counts = [current.bins.get(name, 0) for name in order]
    name = current.column
    found = [Statistic(name, "missing_rate", current.missing / current.rows if current.rows else math.nan)]
    if current.kind == "number":
        found.append(Statistic(name, "ks", ks(r_counts, c_counts), ks_threshold if is_enough else None))
        r_counts, c_counts = coarsen(r_counts, c_counts)
    else:
        new = sum(count for category, count in current.bins.items() if category not in reference.bins)
        found.append(Statistic(name, "new_categories", new / current.rows if current.rows else math.nan))
    found.append(Statistic(name, "psi", psi(r_counts, c_counts), psi_threshold if is_enough else None))
    return [statistic for statistic in found if not math.isnan(statistic.value)]


def coarsen(reference: Sequence[int], current: Sequence[int]) -> tuple[list[int], list[int]]:
    """Join neighbouring bins into about ten that hold equal shares of the reference.

    PSI over a hundred bins of a small partition is mostly sampling noise: its expectation without any drift grows with
    the number of bins.
    """
    size = sum(reference) / GROUPS
    grouped: list[tuple[int, int]] = []
    r = c = 0
    for r_count, c_count in zip(reference, current, strict=True):
        if not grouped and (r or c) and r_count >= size:
            # What lies below nearly all of the reference is a group of its own, like what lies above it.
            grouped.append((r, c))
            r = c = 0
        r += r_count
        c += c_count
        if r >= size:
            grouped.append((r, c))
            r = c = 0
    if r or c:
        grouped.append((r, c))
    return [pair[0] for pair in grouped], [pair[1] for pair in grouped]


def drift(
    reference: Mapping[str, Counts],
    current: Mapping[str, Counts],
    *,
    psi_threshold: float,
    ks_threshold: float,
    minimum_rows: int = 0,
) -> list[Statistic]:
    """The statistics of every column that both profiles hold."""
    found = []
    for name, counts in current.items():
        if name in reference:
            found += column_drift(
                reference[name],
                counts,
                psi_threshold=psi_threshold,
                ks_threshold=ks_threshold,
                minimum_rows=minimum_rows,
            )
    return found
