"""The tests by which a column is watched: each compares a partition with a pool of others, and has a p-value.

- `location` and `spread` of numbers: the mean of normal scores, and of their squares less one, where the score of a bin
  is that of the reference's quantiles. The first is at least as powerful as the t-test whatever the distribution
  (Chernoff and Savage, Annals of Mathematical Statistics 29, 1958), the second is Klotz's test; both read bins alone,
  and no outlier outweighs them.
- `shape`: the chi-squared test for two samples over about ten groups, for categories over all that are frequent enough.
- `missing` and `new_categories`: exact tails of a rate (gamma-Poisson); what new categories may be expected is Good's
  estimate from those seen once (Biometrika 40, 1953).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.core.profiles import Counts

    Floats = NDArray[np.float64]

GROUPS = 10
LEAST_EXPECTED = 5.0
# Events that are expected to be fewer have an exact tail; of more the normal one is as good.
RARE = 25.0


@dataclass(frozen=True)
class Pool:
    """What a column is compared with.

    Attributes:
        counts: rows per bin.
        missing: rows without a value.
        partitions: how many partitions they are of.
    """

    counts: Floats
    missing: float
    partitions: int


@dataclass(frozen=True)
class Column:
    """One column: how it is scored, what it is compared with, and how much partitions differ by themselves.

    Attributes:
        kind: `number` or `category`.
        bins: the bins, in order.
        scores: of numbers, location and spread of each bin, shape (2, bins).
        period: partitions of a season, 1 where there is none.
        pools: remainder of the position → what is compared with; -1 for all.
        between: component → variance between partitions, in units of the component, and its degrees of freedom.
    """

    kind: str
    bins: Sequence[str]
    scores: Floats
    period: int
    pools: Mapping[int, Pool]
    between: Mapping[str, tuple[float, float]]


def in_order(kind: str, bins: Sequence[str], rows: Sequence[Counts]) -> Floats:
    """Rows per bin, shape (profiles, bins); numbers above all of the reference lie in the last bin."""
    import numpy as np  # noqa: PLC0415

    if kind == "category":
        return np.array([[one.bins.get(name, 0) for name in bins] for one in rows], dtype=float).reshape(-1, len(bins))
    found = np.zeros((len(rows), len(bins)))
    for index, one in enumerate(rows):
        for name, count in one.bins.items():
            found[index, min(int(name), len(bins) - 1)] += count
    return found


def unknown_rows(column: Column, counts: Counts) -> float:
    """Rows in categories that the reference has not."""
    if column.kind == "number":
        return 0.0
    known = set(column.bins)
    return float(sum(rows for name, rows in counts.bins.items() if name not in known))


def normal_scores(counts: Floats) -> Floats:
    """The mean normal score of the rows of each bin, and that of its square less one, shape (2, bins).

    Of the normal distribution cut at the reference's shares: E[Z | bin] and E[Z² - 1 | bin]. Bins that the reference
    has no row of get the score of their edge.
    """
    import numpy as np  # noqa: PLC0415
    from scipy.special import ndtri  # noqa: PLC0415

    total = counts.sum()
    if not total:
        return np.zeros((2, counts.size))
    upper = np.cumsum(counts) / total
    lower = upper - counts / total
    least = 0.5 / total
    z_low, z_high = ndtri(np.clip(lower, least, 1 - least)), ndtri(np.clip(upper, least, 1 - least))
    z_low[lower <= 0], z_high[upper >= 1 - 1e-12] = -np.inf, np.inf
    d_low, d_high = _density(z_low), _density(z_high)
    # z times its density vanishes at infinity.
    m_low, m_high = (np.where(np.isfinite(z), z, 0.0) * d for z, d in ((z_low, d_low), (z_high, d_high)))
    edge = ndtri(np.clip((lower + upper) / 2, least, 1 - least))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / total
        location = np.where(counts > 0, (d_low - d_high) / share, edge)
        spread = np.where(counts > 0, (m_low - m_high) / share, edge**2 - 1)
    return np.stack([location, spread])


def _density(z: Floats) -> Floats:
    import numpy as np  # noqa: PLC0415

    density: Floats = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return density


def score_variances(column: Column) -> Floats:
    """The variance of each score over the rows of the reference, shape (2,)."""
    import numpy as np  # noqa: PLC0415

    counts = column.pools[-1].counts
    if not counts.sum():
        return np.zeros(2)
    mean = column.scores @ counts / counts.sum()
    variances: Floats = (column.scores**2) @ counts / counts.sum() - mean**2
    return variances


def grouped_chi_squared(pool: Floats, row: Floats) -> tuple[float, int, float]:
    """Two-sample chi-squared over joined bins, its degrees of freedom and the harmonic size n m / (n + m).

    Neighbours (for categories the rare ones, which come sorted together) are joined until each group expects at least
    five rows of the smaller side, and to about ten groups where bins are numbers.
    """
    import numpy as np  # noqa: PLC0415

    m, n = pool.sum(), row.sum()
    if not m or not n:
        return 0.0, 0, 0.0
    expected = (pool + row) * (min(m, n) / (m + n))
    least = LEAST_EXPECTED
    if pool.size > 2 * GROUPS:
        least = max(least, expected.sum() / GROUPS)
    sums = np.cumsum(expected)
    labels = np.minimum(np.floor((sums - expected / 2) / least), max(np.floor(sums[-1] / least) - 1, 0)).astype(int)
    r, c = np.bincount(labels, weights=pool), np.bincount(labels, weights=row)
    both = r + c
    r, c, both = r[both > 0], c[both > 0], both[both > 0]
    if both.size < 2:  # noqa: PLR2004  (one group holds all: nothing can differ)
        return 0.0, 0, 0.0
    statistic = float((((math.sqrt(m / n) * c - math.sqrt(n / m) * r) ** 2) / both).sum())
    return statistic, both.size - 1, n * m / (n + m)


def component_tests(
    column: Column, pool: Pool, rows: Floats, missing: Floats, unknown: Floats
) -> dict[str, tuple[Floats, Floats]]:
    """Component → values and natural logarithms of p-values, each of shape (partitions,)."""
    import numpy as np  # noqa: PLC0415

    found: dict[str, tuple[Floats, Floats]] = {}
    n, m = rows.sum(axis=1), float(pool.counts.sum())
    share = 1 + 1 / max(pool.partitions, 1)
    if column.kind == "number":
        centre = column.scores @ pool.counts / m if m else np.zeros(2)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (rows @ column.scores.T) / n[:, None] - centre
        for index, name in enumerate(("location", "spread")):
            variance = float(score_variances(column)[index])
            between, freedom = column.between.get(name, (0.0, 1.0))
            found[name] = means[:, index], _t_test(means[:, index], n, m, variance, (between * share, freedom))
    statistics, log_ps = np.zeros(len(rows)), np.zeros(len(rows))
    between, freedom = column.between.get("shape", (0.0, 1.0))
    for index, row in enumerate(rows):
        statistic, df, size = grouped_chi_squared(pool.counts, row)
        if df:
            statistics[index], log_ps[index] = statistic / df, _f_test(statistic, df, between * size, freedom)
    found["shape"] = statistics, log_ps
    everything = n + unknown + missing
    between, freedom = column.between.get("missing", (0.0, 1.0))
    log_ps = _rate_test(missing, everything, pool.missing, m + pool.missing, (between * share, freedom))
    found["missing"] = missing / np.maximum(everything, 1), log_ps
    if column.kind == "category":
        once = float((pool.counts == 1).sum())
        values = unknown / np.maximum(everything, 1)
        found["new_categories"] = values, _rate_test(unknown, n + unknown, once, m, (0.0, 1.0))
    return found


def _t_test(differences: Floats, n: Floats, m: float, variance: float, effect: tuple[float, float]) -> Floats:
    """Log of two-sided p-values of differences of means: normal sampling variance plus one between partitions."""
    import numpy as np  # noqa: PLC0415
    from scipy.special import betainc, log_ndtr  # noqa: PLC0415

    between, freedom = effect
    if variance <= 0 or not m:
        return np.zeros(len(n))
    with np.errstate(invalid="ignore", divide="ignore"):
        sampling = variance * (1 / n + 1 / m)
        z = np.abs(differences) / np.sqrt(sampling + between)
        df = freedom / (between / (sampling + between)) ** 2 if between > 0 else np.full(len(n), np.inf)
        student = np.log(betainc(df / 2, 0.5, df / (df + z**2))) if between > 0 else z
        # Beyond some hundred degrees of freedom a t is as good as normal, and its tail does not vanish.
        log_p = np.where(df > 200, math.log(2) + log_ndtr(-z), student)  # noqa: PLR2004
    return np.where(n > 0, np.minimum(log_p, 0.0), 0.0)


def _f_test(statistic: float, df: int, excess: float, freedom: float) -> float:
    from scipy.special import chdtrc, fdtrc  # noqa: PLC0415

    factor = 1 + excess
    if excess <= 0:
        p = float(chdtrc(df, statistic))
    else:
        p = float(fdtrc(df, max(freedom * df, 1.0) / (excess / factor) ** 2, statistic / df / factor))
    return math.log(max(p, 1e-300))


def _rate_test(events: Floats, n: Floats, past: float, m: float, effect: tuple[float, float]) -> Floats:
    """Log of p-values of rates: exact for rare events (gamma-Poisson), else as means of zeros and ones."""
    import numpy as np  # noqa: PLC0415
    from scipy.special import betainc  # noqa: PLC0415

    rate = (past + 0.5) / (m + 1)
    variance = rate * (1 - rate)
    excess = 1 + effect[0] * n / variance
    upper = betainc(np.maximum(events / excess, 1e-9), (past + 0.5) / excess, n / (n + m))
    exact = np.where(events > 0, np.log(np.maximum(upper, 1e-300)), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = _t_test(events / n - rate, n, m, variance, effect)
    return np.where(n > 0, np.where(n * rate < RARE, exact, usual), 0.0)
