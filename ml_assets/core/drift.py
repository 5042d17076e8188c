"""How far the rows of a partition are from the rows a model learnt from, read from profiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.core.profiles import BINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.core.alarms import Surprise
    from ml_assets.core.profiles import ColumnBins, Counts

# An empty bin counts as this share, as in Evidently: its logarithm would be infinite.
EMPTY = 1e-4
GROUPS = 10
# With so many edges a number's bins are its quantiles; with fewer, its values.
FINE = BINS - 1


@dataclass(frozen=True)
class Statistic:
    """One statistic of one column.

    Attributes:
        column: the column.
        name: `psi`, `js`, `ks`, `wasserstein`, `chi_squared`, `out_of_range`, which only tell; or a component of
            `alarms.Surprise`, which may alarm.
        value: its value.
        p_value: how often chance and history alone would bring it so far; None where it only tells.
        alarm_below: p-value below which it alarms; None where it only tells.
    """

    column: str
    name: str
    value: float
    p_value: float | None = None
    alarm_below: float | None = None

    @property
    def alarm(self) -> bool:
        """Whether it is further than chance and history explain."""
        return self.p_value is not None and self.alarm_below is not None and self.p_value < self.alarm_below


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


def jensen_shannon(reference: Sequence[int], current: Sequence[int]) -> float:
    """Jensen-Shannon distance between two histograms on the same bins: the root of the divergence, natural logarithm.

    Returns:
        0 where they are equal, at most 0.833 (the root of ln 2); NaN where either has no rows.

    Source:
        Lin, IEEE Transactions on Information Theory 37 (1991); as `scipy.spatial.distance.jensenshannon`.
    """
    if not sum(reference) or not sum(current):
        return math.nan
    total = 0.0
    for r_count, c_count in zip(reference, current, strict=True):
        r, c = r_count / sum(reference), c_count / sum(current)
        total += sum(one * math.log(2 * one / (r + c)) for one in (r, c) if one) / 2
    return math.sqrt(max(total, 0.0))


def wasserstein(reference: Counts, current: Counts, edges: Sequence[float]) -> tuple[float, float]:
    """First Wasserstein distance over the reference's standard deviation, from bins, and how far it may be off.

    Args:
        reference: a profile of numbers.
        current: another, in the same bins.
        edges: of the bins.

    Returns:
        The distance and its bound, both in standard deviations of the reference. Where bins hold one value each, no
        row lies beyond the outer edges, and there are fewer than 99 of them, the distance is exact. NaN where either
        has no rows, its least and greatest value were not counted, or the reference does not vary.

    Source:
        The area between the distribution functions (Vallender, Theory of Probability 18, 1974). They are known at the
        edges; within a bin both grow by no more than its rows, so the bound is the sum of width times the larger share.
    """
    low, high = min(reference.least, current.least), max(reference.greatest, current.greatest)
    spread = math.sqrt(reference.deviation / reference.present) if reference.present else 0.0
    if not reference.present or not current.present or not math.isfinite(high - low) or not 0 < spread < math.inf:
        return math.nan, math.nan
    points = [low, *(edge for edge in edges if low < edge < high), high]
    is_fine = len(edges) >= FINE
    distance = bound = 0.0
    below = [str(index) for index, edge in enumerate(edges) if edge <= low]
    r, c = (sum(one.bins.get(name, 0) for name in below) for one in (reference, current))
    before = abs(r / reference.present - c / current.present)
    inner = [index for index, edge in enumerate(edges) if low < edge < high]
    for index, left, right in zip([*inner, bisect_left(edges, high)], points[:-1], points[1:], strict=True):
        r_here, c_here = reference.bins.get(str(index), 0), current.bins.get(str(index), 0)
        r, c = r + r_here, c + c_here
        after = abs(r / reference.present - c / current.present)
        # Of a number with few values all rows of a bin lie at its upper edge; else they are spread over it.
        distance += (right - left) * ((before + after) / 2 if is_fine else before)
        bound += (right - left) * max(r_here / reference.present, c_here / current.present)
        before = after
    return distance / spread, bound / spread


def chi_squared(reference: Sequence[int], current: Sequence[int]) -> float:
    """P-value of the chi-squared test that two histograms are samples of one distribution; NaN without two categories.

    Source:
        Pearson's test of homogeneity, as `scipy.stats.chi2_contingency` without Yates' correction.
    """
    from scipy.special import chdtrc  # noqa: PLC0415

    pairs = [(r, c) for r, c in zip(reference, current, strict=True) if r + c]
    n, m = sum(current), sum(reference)
    if not n or not m or len(pairs) < 2:  # noqa: PLR2004  (one category cannot differ)
        return math.nan
    statistic = sum((c * m - r * n) ** 2 / (r + c) for r, c in pairs) / (n * m)
    return float(chdtrc(len(pairs) - 1, statistic))


def column_drift(reference: Counts, current: Counts, edges: Sequence[float] = ()) -> list[Statistic]:
    """What is told of one column: PSI and Jensen-Shannon, of numbers also KS, Wasserstein and what is out of range.

    Args:
        reference: the profile of what the champion learnt from.
        current: the profile of the partition.
        edges: of a number's bins.

    Returns:
        Statistics that are defined. `out_of_range` is how far the values reach beyond the reference's, as a share of
        its range.
    """
    if current.kind == "number":
        order = sorted(reference.bins.keys() | current.bins.keys(), key=int)
    else:
        order = sorted(reference.bins.keys() | current.bins.keys())
    r_counts = [reference.bins.get(name, 0) for name in order]
    c_counts = [current.bins.get(name, 0) for name in order]
    name = current.column
    found = []
    if current.kind == "number":
        found += [
            Statistic(name, "ks", ks(r_counts, c_counts)),
            Statistic(name, "wasserstein", wasserstein(reference, current, edges)[0]),
        ]
        width = reference.greatest - reference.least
        if 0 < width < math.inf and current.present:
            beyond = max(reference.least - current.least, current.greatest - reference.greatest, 0.0)
            found.append(Statistic(name, "out_of_range", beyond / width))
        r_counts, c_counts = coarsen(r_counts, c_counts)
    else:
        found.append(Statistic(name, "chi_squared", chi_squared(r_counts, c_counts)))
    found += [
        Statistic(name, "psi", psi(r_counts, c_counts)),
        Statistic(name, "js", jensen_shannon(r_counts, c_counts)),
    ]
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
    reference: Mapping[str, Counts], current: Mapping[str, Counts], bins: Mapping[str, ColumnBins]
) -> list[Statistic]:
    """What is told of every column that both profiles hold."""
    return [
        statistic
        for name, counts in current.items()
        if name in reference and reference[name].kind == counts.kind
        for statistic in column_drift(reference[name], counts, bins[name].edges if name in bins else ())
    ]


def as_statistics(surprises: Sequence[Surprise]) -> list[Statistic]:
    """Surprises as statistics that may alarm."""
    return [
        Statistic(one.column, one.name, one.value, math.exp(one.log_p), math.exp(one.threshold)) for one in surprises
    ]
