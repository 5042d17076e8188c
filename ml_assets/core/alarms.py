"""Alarms on a budget: when a partition is further from the reference than chance and the project's history explain.

A column is watched through a few components. Each is a test of its own with a p-value:

- `location` and `spread` of numbers: the mean of normal scores, and of their squares less one, where the score of a bin
  is that of the reference's quantiles. The first is at least as powerful as the t-test whatever the distribution
  (Chernoff and Savage, Annals of Mathematical Statistics 29, 1958), the second is Klotz's test; both read bins alone,
  and no outlier outweighs them.
- `shape`: the chi-squared test for two samples over about ten groups, for categories over all that are frequent enough.
- `missing` and `new_categories`: exact tails of a rate (beta-binomial); what new categories may be expected is Good's
  estimate from those seen once (Biometrika 40, 1953).

What differs between partitions that nobody calls drift is learnt from history: a variance between partitions beside the
sampling variance (random effects; DerSimonian and Laird, Controlled Clinical Trials 7, 1986), so that the size of a
partition counts, and a season where history shows one: then a Monday is compared with Mondays.

The budget of the project is shared among the components by weight. A partition's surprise is the least p-value by
weight; were all as theory has it, it would be exponential with rate one. Its rate is learnt from history, each block of
partitions judged by what the others say, and with few partitions stays at one. The alarm's threshold follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_assets.core.profiles import DERIVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.core.profiles import Counts

    Floats = NDArray[np.float64]

# Fewer partitions of history say nothing: thresholds are then those of theory.
LEAST_HISTORY = 8
# History is cut into so many blocks of consecutive partitions; each is judged by the others.
BLOCKS = 8
# The rate of surprises starts as theory's and moves as if theory had been seen in so many partitions' surprises.
PRIOR = 8.0
# Only surprises below this say how fast they come: what is far from alarming tells nothing of the tail.
TAIL = 0.5
GROUPS = 10
RARE = 25.0
LEAST_EXPECTED = 5.0
# A season is believed where chance would show it in fewer than so many columns.
SEASON_LEVEL = 0.001
CYCLES = 3
GROWTH = 1.1

# How a column's share of the budget is split: shifts are what happens most.
WEIGHTS = {
    "number": {"location": 0.55, "spread": 0.15, "shape": 0.2, "missing": 0.1},
    "category": {"shape": 0.75, "new_categories": 0.15, "missing": 0.1},
}
# What was never seen is told by its first rows: it needs hardly a share.
NEVER_SEEN = 0.01


@dataclass(frozen=True)
class Surprise:
    """One component of one column of one partition.

    Attributes:
        column: the column.
        name: `location`, `spread`, `shape`, `missing` or `new_categories`.
        value: in standard deviations of a row for `location` and `spread`; chi-squared per degree of freedom for
            `shape`; the share of rows for the rest.
        log_p: natural logarithm of the p-value.
        threshold: `log_p` below which it alarms.
    """

    column: str
    name: str
    value: float
    log_p: float
    threshold: float

    @property
    def alarm(self) -> bool:
        """Whether it is more than chance and history explain."""
        return self.log_p < self.threshold


@dataclass(frozen=True)
class Place:
    """A partition's profile and its place on the axis of partitions, of which a season is a remainder."""

    position: int
    profile: Mapping[str, Counts]


@dataclass(frozen=True)
class _Pool:
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
class _Watched:
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
    pools: Mapping[int, _Pool]
    between: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Watch:
    """What alarms from now on, for one reference.

    Attributes:
        budget: false alarms in a partition that are accepted.
        rate: how fast surprises come: 1 as in theory.
        history: partitions that this was learnt from.
        surprises: of these, the least weighted p-value of each as the others judge it.
        columns: how each column is watched.
    """

    budget: float
    rate: float
    history: int
    surprises: tuple[float, ...]
    columns: Mapping[str, _Watched] = field(repr=False)

    @property
    def is_theory(self) -> bool:
        """Whether there was too little history to learn from."""
        return self.history < LEAST_HISTORY

    @property
    def threshold(self) -> float:
        """The least weighted p-value of a partition below which it alarms."""
        return -math.log1p(-self.budget) / self.rate

    @property
    def achieved(self) -> float | None:
        """Share of the partitions of history that would have alarmed; None without history."""
        if self.is_theory:
            return None
        return sum(one < self.threshold for one in self.surprises) / len(self.surprises)


def calibrate(reference: Sequence[Place], history: Sequence[Place], *, budget: float, period: int = 1) -> Watch:
    """Learn from a project's own history what is no alarm.

    Args:
        reference: the partitions that the champion learnt from.
        history: partitions that are taken to be as they should, in order; the reference's may be among them.
        budget: false alarms in a partition that are accepted, above 0 and below 1: 1/24 is one in 24 partitions.
        period: partitions of the season that history is asked for: 7 for days, 12 for months; 1 for none.

    Returns:
        A watch over the columns that the reference holds. Without history of at least 8 partitions, thresholds are
        those of theory: rows are independent, and so are columns.
    """
    import numpy as np  # noqa: PLC0415

    names = sorted({name for one in reference for name in one.profile})
    if len(history) < LEAST_HISTORY:
        # Words of one row come together: theory does not know how often.
        names = [name for name in names if not name.endswith(DERIVED["words"])]
    found = {name: _watched(name, reference, history, period) for name in names}
    columns = {name: one for name, one in found.items() if one is not None}
    surprises: tuple[float, ...] = ()
    rate = 1.0
    if len(history) >= LEAST_HISTORY and columns:
        least = np.full(len(history), np.inf)
        for name, one in columns.items():
            weights = _log_weights(one, len(columns))
            for component, (_, log_p) in _crossed(name, one, history).items():
                least = np.fmin(least, log_p - weights[component])
        least = np.exp(np.minimum(least, 0.0))
        surprises = tuple(float(one) for one in least)
        rate = (PRIOR + float((least < TAIL).sum())) / (PRIOR + float(np.minimum(least, TAIL).sum()))
    return Watch(budget, rate, len(history), surprises, columns)


def judge(watch: Watch, place: Place) -> list[Surprise]:
    """How surprising a partition is, column by column and component by component, the most surprising first."""
    import numpy as np  # noqa: PLC0415

    found = []
    limit = math.log(watch.threshold)
    for name, column in watch.columns.items():
        counts = place.profile.get(name)
        if counts is None or not counts.rows or (counts.kind == "number") != (column.kind == "number"):
            continue
        weights = _log_weights(column, len(watch.columns))
        pool = column.pools.get(place.position % column.period, column.pools[-1])
        rows = _in_order(column.kind, column.bins, [counts])
        tests = _tests(column, pool, rows, np.array([float(counts.missing)]), np.array([_unknown(column, counts)]))
        found += [
            Surprise(name, component, float(value[0]), float(log_p[0]), limit + weights[component])
            for component, (value, log_p) in tests.items()
        ]
    return sorted(found, key=lambda one: one.log_p - one.threshold)


class Watched:
    """A watch that goes on learning: what raised no alarm is history for what comes later.

    Args:
        reference: the partitions that the champion learnt from.
        history: partitions that are as they should be, in order.
        budget: false alarms in a partition that are accepted.
        period: partitions of a season.
    """

    def __init__(self, reference: Sequence[Place], history: Sequence[Place], *, budget: float, period: int = 1) -> None:
        self._reference, self._history = reference, list(history)
        self._budget, self._period = budget, period
        self.watch = calibrate(reference, history, budget=budget, period=period)

    def see(self, place: Place, *, is_known: bool = False) -> list[Surprise]:
        """Judge a partition; learn from it if it raises no alarm and is not among the history already.

        Calibrated again each time that history has grown by a tenth.
        """
        if len(self._history) > GROWTH * max(self.watch.history, 1):
            self.watch = calibrate(self._reference, self._history, budget=self._budget, period=self._period)
        found = judge(self.watch, place)
        if not is_known and not any(one.alarm for one in found):
            self._history.append(place)
        return found


def told_of(watch: Watch) -> str:
    """The budget beside the rate that was achieved, in one sentence."""
    budget = f"budget: one false alarm in {1 / watch.budget:.4g} partitions; "
    if watch.achieved is None:
        return f"{budget}thresholds are those of theory, with {watch.history} partitions of history"
    return f"{budget}on {watch.history} partitions of history {watch.achieved * watch.history:.0f} alarms"


def _log_weights(column: _Watched, columns: int) -> dict[str, float]:
    """Component → logarithm of its share of the budget; all of all columns sum to one."""
    pool = column.pools[-1]
    seen = {"missing": pool.missing > 0, "new_categories": bool((pool.counts == 1).any())}
    shares = {name: share if seen.get(name, True) else NEVER_SEEN for name, share in WEIGHTS[column.kind].items()}
    return {name: math.log(share / sum(shares.values()) / columns) for name, share in shares.items()}


def _in_order(kind: str, bins: Sequence[str], rows: Sequence[Counts]) -> Floats:
    """Rows per bin, shape (profiles, bins); numbers above all of the reference lie in the last bin."""
    import numpy as np  # noqa: PLC0415

    if kind == "category":
        return np.array([[one.bins.get(name, 0) for name in bins] for one in rows], dtype=float).reshape(-1, len(bins))
    found = np.zeros((len(rows), len(bins)))
    for index, one in enumerate(rows):
        for name, count in one.bins.items():
            found[index, min(int(name), len(bins) - 1)] += count
    return found


def _unknown(column: _Watched, counts: Counts) -> float:
    """Rows in categories that the reference has not."""
    if column.kind == "number":
        return 0.0
    known = set(column.bins)
    return float(sum(rows for name, rows in counts.bins.items() if name not in known))


def _watched(name: str, reference: Sequence[Place], history: Sequence[Place], period: int) -> _Watched | None:
    """How one column is watched from now on; None where the reference holds no row of it."""
    import numpy as np  # noqa: PLC0415

    held = [one for one in reference if name in one.profile]
    known = {bin_name for one in held for bin_name in one.profile[name].bins}
    kind = "number" if held[0].profile[name].kind == "number" else "category"
    # One more than the reference fills, for what lies above.
    bins = [str(index) for index in range(max(map(int, known), default=-1) + 2)] if kind == "number" else sorted(known)
    counts = _in_order(kind, bins, [one.profile[name] for one in held])
    missing = np.array([float(one.profile[name].missing) for one in held])
    if not (counts.sum() + missing.sum()):
        return None
    past = [one for one in history if name in one.profile and one.profile[name].rows]
    scores = _normal_scores(counts.sum(axis=0)) if kind == "number" else np.zeros((2, len(bins)))
    column = _Watched(kind, bins, scores, 1, {-1: _Pool(counts.sum(axis=0), float(missing.sum()), len(held))}, {})
    if len(past) < LEAST_HISTORY:
        return column
    old = _in_order(kind, bins, [one.profile[name] for one in past])
    old_missing = np.array([float(one.profile[name].missing) for one in past])
    positions = np.array([one.position for one in past])
    season = _has_season(column, old, positions % period) if period > 1 and len(past) >= CYCLES * period else False
    used = period if season else 1
    pools = dict(column.pools)
    if season:
        phases = np.array([one.position % period for one in held])
        for phase in np.unique(phases):
            chosen = phases == phase
            pools[int(phase)] = _Pool(counts[chosen].sum(axis=0), float(missing[chosen].sum()), int(chosen.sum()))
    between = _between(column, old, old_missing, positions % used)
    return _Watched(kind, bins, scores, used, pools, between)


def _normal_scores(counts: Floats) -> Floats:
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


def _variances(column: _Watched) -> Floats:
    """The variance of each score over the rows of the reference, shape (2,)."""
    import numpy as np  # noqa: PLC0415

    counts = column.pools[-1].counts
    if not counts.sum():
        return np.zeros(2)
    mean = column.scores @ counts / counts.sum()
    variances: Floats = (column.scores**2) @ counts / counts.sum() - mean**2
    return variances


def _has_season(column: _Watched, rows: Floats, phases: NDArray[np.int64]) -> bool:
    """Whether partitions of one phase are more alike than others, by an analysis of variance of what is watched."""
    import numpy as np  # noqa: PLC0415
    from scipy.special import fdtrc  # noqa: PLC0415

    sizes = rows.sum(axis=1)
    present = sizes > 0
    rows, sizes, phases = rows[present], sizes[present], phases[present]
    values = (rows @ column.scores.T if column.kind == "number" else rows) / sizes[:, None]
    known = np.unique(phases)
    within_df, between_df = len(rows) - known.size, known.size - 1
    if within_df < 1 or between_df < 1:
        return False
    mean = np.average(values, axis=0, weights=sizes)
    within, between = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for phase in known:
        chosen = phases == phase
        own = np.average(values[chosen], axis=0, weights=sizes[chosen])
        within += sizes[chosen] @ (values[chosen] - own) ** 2
        between += sizes[chosen].sum() * (own - mean) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(within > 0, (between / between_df) / (within / within_df), np.where(between > 0, np.inf, 0.0))
    return bool(fdtrc(between_df, within_df, ratio).min() * values.shape[1] < SEASON_LEVEL)


def _between(
    column: _Watched, rows: Floats, missing: Floats, phases: NDArray[np.int64]
) -> dict[str, tuple[float, float]]:
    """Component → variance between partitions of one phase, and its degrees of freedom."""
    import numpy as np  # noqa: PLC0415

    sizes, everything = rows.sum(axis=1), rows.sum(axis=1) + missing
    found = {}
    if column.kind == "number":
        with np.errstate(invalid="ignore"):
            means = (rows @ column.scores.T) / sizes[:, None]
        for name, values, variance in zip(("location", "spread"), means.T, _variances(column), strict=True):
            found[name] = _random_effect(values, sizes, variance, phases)
    rate = missing.sum() / max(everything.sum(), 1.0)
    with np.errstate(invalid="ignore"):
        found["missing"] = _random_effect(missing / everything, everything, rate * (1 - rate), phases)
    found["shape"] = _overdispersion(rows, phases)
    return found


def _random_effect(values: Floats, sizes: Floats, variance: float, phases: NDArray[np.int64]) -> tuple[float, float]:
    """The variance between partitions by DerSimonian and Laird's moments, and its degrees of freedom."""
    import numpy as np  # noqa: PLC0415

    present = sizes > 0
    values, sizes, phases = values[present], sizes[present], phases[present]
    known = np.unique(phases)
    freedom = float(len(values) - known.size)
    if variance <= 0 or freedom < 1:
        return 0.0, max(freedom, 1.0)
    spread, weight = 0.0, float(sizes.sum())
    for phase in known:
        chosen = phases == phase
        own = np.average(values[chosen], weights=sizes[chosen])
        spread += float(sizes[chosen] @ (values[chosen] - own) ** 2)
        weight -= float((sizes[chosen] ** 2).sum() / sizes[chosen].sum())
    return max(0.0, (spread - freedom * variance) / weight) if weight > 0 else 0.0, freedom


def _overdispersion(rows: Floats, phases: NDArray[np.int64]) -> tuple[float, float]:
    """How much more chi-squared per degree of freedom and row there is between partitions than chance makes."""
    import numpy as np  # noqa: PLC0415

    excess, weights, freedom = [], [], 0.0
    for phase in np.unique(phases):
        chosen = rows[phases == phase]
        pool = chosen.sum(axis=0)
        if len(chosen) < 2:  # noqa: PLR2004  (alone there is nothing to compare with)
            continue
        freedom += len(chosen) - 1
        for row in chosen:
            statistic, df, size = _chi_squared(pool - row, row)
            if df:
                excess.append((statistic / df - 1) / size)
                weights.append(size)
    if not weights:
        return 0.0, max(freedom, 1.0)
    return max(0.0, float(np.average(excess, weights=weights))), max(freedom, 1.0)


def _chi_squared(pool: Floats, row: Floats) -> tuple[float, int, float]:
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


def _tests(
    column: _Watched, pool: _Pool, rows: Floats, missing: Floats, unknown: Floats
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
            variance = float(_variances(column)[index])
            between, freedom = column.between.get(name, (0.0, 1.0))
            found[name] = means[:, index], _t_test(means[:, index], n, m, variance, (between * share, freedom))
    statistics, log_ps = np.zeros(len(rows)), np.zeros(len(rows))
    between, freedom = column.between.get("shape", (0.0, 1.0))
    for index, row in enumerate(rows):
        statistic, df, size = _chi_squared(pool.counts, row)
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


def _crossed(name: str, column: _Watched, history: Sequence[Place]) -> dict[str, tuple[Floats, Floats]]:
    """The tests of each partition of history against the partitions outside its own block."""
    import numpy as np  # noqa: PLC0415

    size = len(history)
    held = np.array([name in one.profile and one.profile[name].rows > 0 for one in history])
    result = {component: (np.full(size, np.nan), np.full(size, np.nan)) for component in WEIGHTS[column.kind]}
    places = np.flatnonzero(held)
    if places.size < LEAST_HISTORY:
        return result
    past = [one for one, is_held in zip(history, held, strict=True) if is_held]
    counts = [one.profile[name] for one in past]
    rows, missing = _in_order(column.kind, column.bins, counts), np.array([float(one.missing) for one in counts])
    unknown = np.array([_unknown(column, one) for one in counts])
    phases = np.array([one.position for one in past]) % column.period
    blocks = np.arange(places.size) * BLOCKS // places.size
    for block in range(BLOCKS):
        inside = blocks == block
        others = ~inside
        between = _between(column, rows[others], missing[others], phases[others])
        for phase in np.unique(phases[inside]):
            chosen, against = inside & (phases == phase), others & (phases == phase)
            if not against.any():
                continue
            pool = _Pool(rows[against].sum(axis=0), float(missing[against].sum()), int(against.sum()))
            whole = {-1: _Pool(rows[others].sum(axis=0), float(missing[others].sum()), int(others.sum()))}
            other = _Watched(column.kind, column.bins, column.scores, column.period, whole, between)
            tests = _tests(other, pool, rows[chosen], missing[chosen], unknown[chosen])
            for component, (values, log_p) in tests.items():
                result[component][0][places[chosen]], result[component][1][places[chosen]] = values, log_p
    return result
