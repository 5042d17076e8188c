"""The tests by which a column is watched: each compares a partition with a pool of others, and has a p-value.

- `location` and `spread` of numbers: the mean of normal scores, and of their squares less one, where the score of a bin
  is that of the reference's quantiles. The first is at least as powerful as the t-test whatever the distribution
  (Chernoff and Savage, Annals of Mathematical Statistics 29, 1958), the second is Klotz's test; both read bins alone,
  and no outlier outweighs them.
- `shape`: the chi-squared test for two samples over about ten groups, for categories over all that are frequent enough.
- A number with two values has its rate for a location, with exact tails.
- `missing` and `new_categories`: exact tails of a rate (gamma-Poisson); what new categories may be expected is Good's
  estimate from those seen once (Biometrika 40, 1953).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.core.profiles import Counts

    Floats = NDArray[np.float64]
    # Component → a variance, and its degrees of freedom.
    Between = Mapping[str, tuple[float, float]]

GROUPS = 10
LEAST_EXPECTED = 5.0
# Events that are expected to be fewer have an exact tail; of more the normal one is as good.
RARE = 25.0
FEWEST_SPREAD = 30


@dataclass(frozen=True)
class Pool:
    """What a column is compared with.

    Attributes:
        counts: rows per bin.
        missing: rows without a value.
        partitions: how many partitions of equal size would say as much, (Σn)² / Σn².
    """

    counts: Floats
    missing: float
    partitions: float


@dataclass(frozen=True)
class Column:
    """One column: how it is scored, what it is compared with, and how much partitions differ by themselves.

    Attributes:
        kind: `number`; `flag`, a number with at most two values; or `category`.
        bins: the bins, in order.
        scores: of numbers, location and spread of each bin, shape (2, bins).
        period: partitions of a season, 1 where there is none.
        pools: remainder of the position → what is compared with; -1 for all.
        between: component → variance between partitions of one phase, in units of the component, and its degrees of
            freedom.
        apart: the same of all partitions, whatever their phase: for a phase that the reference lacks.
        unseen: rows in categories that no other partition of the reference has, of how many rows, and how much
            partitions differ in that.
        usual: of a flag, its most frequent bin.
    """

    kind: str
    bins: Sequence[str]
    scores: Floats
    period: int
    pools: Mapping[int, Pool]
    between: Between = field(default_factory=dict)
    apart: Between = field(default_factory=dict)
    unseen: tuple[float, float, tuple[float, float]] = (0.0, 0.0, (0.0, 1.0))
    usual: int = 0


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
    if column.kind != "category":
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


def mean_scores(column: Column, rows: Floats) -> Floats:
    """Mean scores of the rows of each partition, shape (partitions, 2); NaN without rows."""
    import numpy as np  # noqa: PLC0415

    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = (rows @ column.scores.T) / rows.sum(axis=1)[:, None]
    return means


def score_variances(column: Column) -> Floats:
    """The variance of each score over the rows of the reference, shape (2,)."""
    import numpy as np  # noqa: PLC0415

    counts = column.pools[-1].counts
    if not counts.sum():
        return np.zeros(2)
    mean = column.scores @ counts / counts.sum()
    variances: Floats = (column.scores**2) @ counts / counts.sum() - mean**2
    return variances


def grouped_chi_squared(kind: str, pool: Floats, row: Floats) -> tuple[float, int, float]:
    """Two-sample chi-squared over groups of bins, its degrees of freedom and the harmonic size n m / (n + m).

    Bins are joined until each group expects five rows of the partition: neighbours where bins are numbers, to about ten
    groups; categories from the most frequent on, so that the rare ones come together.
    """
    import numpy as np  # noqa: PLC0415

    m, n = pool.sum(), row.sum()
    if not m or not n:
        return 0.0, 0, 0.0
    if kind == "category":
        order = np.argsort(-pool, kind="stable")
        pool, row = pool[order], row[order]
    expected = pool * (min(m, n) / m)
    least = LEAST_EXPECTED if kind == "category" else max(LEAST_EXPECTED, expected.sum() / GROUPS)
    ends, reached = [], 0.0
    for index, one in enumerate(expected.tolist()):
        reached += one
        # What is a rounding less than a tenth of all is a tenth.
        if reached >= least * (1 - 1e-9):
            ends.append(index)
            reached = 0.0
    if len(ends) < 2:  # noqa: PLR2004  (one group holds all: nothing can differ)
        return 0.0, 0, 0.0
    # What is left over at the end belongs to the last group.
    starts = [0, *(end + 1 for end in ends[:-1])]
    r, c = np.add.reduceat(pool, starts), np.add.reduceat(row, starts)
    statistic = float((((math.sqrt(m / n) * c - math.sqrt(n / m) * r) ** 2) / (r + c)).sum())
    return statistic, len(starts) - 1, n * m / (n + m)


def component_tests(
    column: Column, pool: Pool, rows: Floats, missing: Floats, unknown: Floats, *, between: Between | None = None
) -> dict[str, tuple[Floats, Floats]]:
    """Component → values and natural logarithms of p-values, each of shape (partitions,).

    Args:
        column: how it is watched.
        pool: what is compared with.
        rows: rows per bin, shape (partitions, bins).
        missing: rows without a value, shape (partitions,).
        unknown: rows in categories that the reference has not, shape (partitions,).
        between: in the place of the column's own: how much partitions differ by themselves.
    """
    import numpy as np  # noqa: PLC0415

    between = column.between if between is None else between
    found: dict[str, tuple[Floats, Floats]] = {}
    n, m = rows.sum(axis=1), float(pool.counts.sum())
    share = 1 + 1 / max(pool.partitions, 1.0)

    def effect(name: str) -> tuple[float, float]:
        variance, freedom = between.get(name, (0.0, 1.0))
        return variance * share, freedom

    if column.kind == "number":
        centre = column.scores @ pool.counts / m if m else np.zeros(2)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = mean_scores(column, rows) - centre
        # About their own mean: what has moved is no further apart for that.
        means[:, 1] -= means[:, 0] ** 2
        for index, name in enumerate(("location", "spread")):
            variance = float(score_variances(column)[index])
            log_p = _t_test(means[:, index], n, m, variance, effect(name))
            # The squares of few rows are far from normal.
            found[name] = means[:, index], np.where(n >= FEWEST_SPREAD, log_p, 0.0) if index else log_p
    if column.kind == "flag":
        events = n - rows[:, column.usual]
        log_p = _rate_test(events, n, m - float(pool.counts[column.usual]), m, effect("location"))
        found["location"] = events / np.maximum(n, 1), log_p
    else:
        statistics, log_ps = np.zeros(len(rows)), np.zeros(len(rows))
        excess, freedom = effect("shape")
        for index, row in enumerate(rows):
            statistic, df, size = grouped_chi_squared(column.kind, pool.counts, row)
            if df:
                statistics[index] = statistic / df
                log_ps[index] = _shape_test(statistic, df, excess * size, freedom)
        found["shape"] = statistics, log_ps
    everything = n + unknown + missing
    log_ps = _rate_test(missing, everything, pool.missing, m + pool.missing, effect("missing"))
    found["missing"] = missing / np.maximum(everything, 1), log_ps
    if column.kind == "category":
        past, of, spread = column.unseen
        log_ps = _rate_test(unknown, n + unknown, past, of, spread, is_two_sided=False)
        found["new_categories"] = unknown / np.maximum(everything, 1), log_ps
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


def _shape_test(statistic: float, df: int, excess: float, freedom: float) -> float:
    """Log of the p-value of chi-squared, where partitions differ by themselves.

    They do so along one direction as a rule (all prices a little higher), which has the heaviest tail for the same
    mean: chi-squared with one degree of freedom less, and one square of a Student's t that holds all of the excess.

    Args:
        statistic: chi-squared.
        df: its degrees of freedom.
        excess: its mean over chance's, per degree of freedom.
        freedom: of the excess.
    """
    import numpy as np  # noqa: PLC0415
    from scipy.special import betainc, chdtrc, gammaln  # noqa: PLC0415

    if excess <= 0:
        return math.log(max(float(chdtrc(df, statistic)), 1e-300))
    scale = 1 + df * excess
    nu = min(freedom * (scale / (df * excess)) ** 2, 1e6)
    end = math.sqrt(statistic / scale)
    p = float(betainc(nu / 2, 0.5, nu / (nu + end**2)))
    if df > 1 and end > 0:
        z = np.linspace(0, end, 257)
        height = math.exp(float(gammaln((nu + 1) / 2) - gammaln(nu / 2))) / math.sqrt(nu * math.pi)
        density = 2 * height * (1 + z**2 / nu) ** (-(nu + 1) / 2)
        p += float(np.trapezoid(density * chdtrc(df - 1, np.maximum(statistic - scale * z**2, 0)), z))
    return math.log(min(max(p, 1e-300), 1.0))


def _rate_test(
    events: Floats, n: Floats, past: float, m: float, effect: tuple[float, float], *, is_two_sided: bool = True
) -> Floats:
    """Log of p-values of rates: exact for rare events (gamma-Poisson), else as means of zeros and ones."""
    import numpy as np  # noqa: PLC0415
    from scipy.special import betainc, betaincc  # noqa: PLC0415

    if is_two_sided and 2 * past > m:
        # What hardly ever lacks is as rare as what hardly ever comes.
        events, past = n - events, m - past
    rate = (past + 0.5) / (m + 1)
    variance = rate * (1 - rate)
    excess = 1 + effect[0] * n / variance
    shape, odds = (past + 0.5) / excess, n / np.maximum(n + m, 1)
    p = np.where(events > 0, betainc(np.maximum(events / excess, 1e-9), shape, odds), 1.0)
    if is_two_sided:
        p = np.minimum(1.0, 2 * np.minimum(p, betaincc((events + 1) / excess, shape, odds)))
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = _t_test(events / n - rate, n, m, variance, effect)
    if not is_two_sided:
        usual = np.where(events > n * rate, usual - math.log(2), 0.0)
    return np.where(n > 0, np.where(n * rate < RARE, np.log(np.maximum(p, 1e-300)), usual), 0.0)
