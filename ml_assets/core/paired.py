"""Whether one model is better than another on the same rows, when rows resemble their neighbours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Codes = NDArray[np.int64]

# One-sided at 5 % the test keeps its level for groups of any variances as long as there are at most 14 of them.
GROUPS = 14
# From so many partitions on they are the groups; of fewer, a t-test would see nothing short of a miracle.
PARTITIONS = 6


def groups_of(partitions: Codes) -> Codes:
    """In which group each row stands: rows of a group may resemble each other, groups are taken for independent.

    Args:
        partitions: shape (n,), the partition of each row; rows of a partition are neighbours, in the order in which
            they came.

    Returns:
        Shape (n,), numbers from 0. Of six partitions and more, whole partitions, neighbours together where there are
        more than 14; of fewer, each partition is cut into equally many runs of neighbouring rows, at most 14 in all.
    """
    import numpy as np  # noqa: PLC0415

    _, code, counts = np.unique(partitions, return_inverse=True, return_counts=True)
    many = len(counts)
    if many >= PARTITIONS:
        return np.asarray(code * min(many, GROUPS) // many)
    runs = GROUPS // max(many, 1)
    place = np.empty(len(code), dtype=np.int64)
    for number, count in enumerate(counts):
        place[code == number] = np.arange(count)
    return np.asarray(code * runs + place * runs // counts[code])


def chance_of_no_gain(gains: Values, groups: Codes) -> float:
    """The p-value of a one-sided t-test, robust to clusters, of the hypothesis that the mean gain is at most zero.

    With groups of equal size it is Student's t-test on the means of the groups: `scipy.stats.ttest_1samp`.

    Args:
        gains: shape (n,), by how much less one model lost on each row, in any unit.
        groups: shape (n,), see `groups_of`.

    Returns:
        A chance; 1 where there are fewer than two groups, or the gain is the same in all rows.

    Source:
        Variance: Liang and Zeger (1986), "Longitudinal data analysis using generalized linear models", times G/(G-1).
        Few large groups of neighbours against Student's t with G-1 degrees: Bester, Conley and Hansen (2011),
        "Inference with dependent data using cluster covariance estimators". That it does not promise too much where
        groups differ in variance or tails are heavy: Ibragimov and Müller (2010), "t-statistic based correlation and
        heterogeneity robust inference", who find it safe one-sided at 5 % up to 14 groups.
    """
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    _, code = np.unique(groups, return_inverse=True)
    many = int(code.max(initial=-1)) + 1
    if many < 2 or not np.any(gains != gains[0]):  # noqa: PLR2004 - a variance needs two groups
        return 1.0
    mean = float(gains.mean())
    residuals = np.bincount(code, weights=gains - mean)
    error = math.sqrt(many / (many - 1) * float(np.sum(residuals**2))) / len(gains)
    return float(stats.t.sf(mean / error, many - 1)) if error > 0 else 1.0


def worst_mean(gains: Values, partitions: Codes) -> float:
    """The smallest mean gain of a partition; one with less than half its even share of the rows has no say."""
    import numpy as np  # noqa: PLC0415

    _, code, counts = np.unique(partitions, return_inverse=True, return_counts=True)
    heard = 2 * counts * len(counts) >= len(code)
    return float((np.bincount(code, weights=gains) / counts)[heard].min())
