"""Alarms on a budget: when a partition is further from the reference than chance and the project's history explain.

A column is watched by a few tests (`components`). What differs between partitions that nobody calls drift is learnt
from history (`random_effects`), so that the size of a partition counts, and a season where history shows one: then a
Monday is compared with Mondays.

The budget of the project is shared among the tests by weight. A partition's surprise is the least p-value by weight;
were all as theory has it, it would be exponential with rate one. Its rate is learnt from history, each block of
partitions judged by what the others say, and with few partitions stays at one. The alarm's threshold follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ml_assets.core.components import Column, Pool, component_tests, in_order, normal_scores, unknown_rows
from ml_assets.core.profiles import DERIVED
from ml_assets.core.random_effects import between_partitions, has_season, rate_effect

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
# A season is asked for after so many of it; and history is learnt from again when it has grown so much.
CYCLES = 3
GROWTH = 1.1

# How a column's share of the budget is split: shifts are what happens most.
WEIGHTS = {
    "number": {"location": 0.55, "spread": 0.15, "shape": 0.2, "missing": 0.1},
    "flag": {"location": 0.9, "missing": 0.1},
    "category": {"shape": 0.75, "new_categories": 0.15, "missing": 0.1},
}
# What was never seen is told by its first rows: it needs hardly a share.
NEVER_SEEN = 0.01
# However slowly surprises have come, thresholds are at most so many times those of theory; and a p-value above the
# other is no surprise at all.
LEAST_RATE, NO_SURPRISE = 1 / 3, 0.1


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
    columns: Mapping[str, Column] = field(repr=False)

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
        if self.is_theory or not self.surprises:
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
        held_in = {one.position for one in reference}
        least, watched = np.full(len(history), np.inf), np.zeros(len(history))
        for name, one in columns.items():
            # A partition that lacks columns had fewer occasions to surprise.
            watched += [bool(name in place.profile and place.profile[name].rows) / len(columns) for place in history]
            weights = _log_weights(one, len(columns))
            for component, log_p in _crossed(name, one, history, held_in).items():
                least = np.fmin(least, log_p - weights[component])
        least = np.exp(np.minimum(least, 0.0))
        surprises = tuple(float(one) for one in least)
        rate = (PRIOR + float((least < TAIL).sum())) / (PRIOR + float((np.minimum(least, TAIL) * watched).sum()))
        rate = max(rate, LEAST_RATE)
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
        pool, between = column.pools.get(place.position % column.period), column.between
        if pool is None:
            pool, between = column.pools[-1], column.between if column.period == 1 else column.apart
        rows = in_order(column.kind, column.bins, [counts])
        missing, unknown = np.array([float(counts.missing)]), np.array([unknown_rows(column, counts)])
        tests = component_tests(column, pool, rows, missing, unknown, between=between)
        found += [
            Surprise(
                name,
                component,
                float(value[0]),
                float(log_p[0]),
                min(limit + weights[component], math.log(NO_SURPRISE)),
            )
            for component, (value, log_p) in tests.items()
            if not math.isnan(value[0])
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
        self._learnt = -1
        self.watch = self._calibrated()

    def see(self, place: Place, *, is_known: bool = False) -> list[Surprise]:
        """Judge a partition; learn from it if it raises no alarm and is not among the history already.

        Calibrated again each time that history has grown by a tenth: on the same partitions, whether they came one by
        one or in one run.
        """
        self.watch = self._calibrated()
        found = judge(self.watch, place)
        if not is_known and not any(one.alarm for one in found):
            self._history.append(place)
        return found

    def _calibrated(self) -> Watch:
        learnt = len(self._history)
        if learnt >= LEAST_HISTORY:
            step = LEAST_HISTORY
            while math.ceil(step * GROWTH) <= learnt:
                step = math.ceil(step * GROWTH)
            learnt = step
        if learnt == self._learnt:
            return self.watch
        self._learnt = learnt
        history = self._history[:learnt]
        return calibrate(self._reference, history, budget=self._budget, period=self._period)


def told_of(watch: Watch) -> str:
    """The budget beside the rate that was achieved, in one sentence."""
    budget = f"budget: one false alarm in {1 / watch.budget:.4g} partitions; "
    if not watch.columns:
        return f"{budget}no column is watched: what the champion has learnt from holds none of today's"
    if watch.achieved is None:
        return f"{budget}thresholds are those of theory, with {watch.history} partitions of history"
    return f"{budget}on {watch.history} partitions of history {watch.achieved * watch.history:.0f} alarms"


def _log_weights(column: Column, columns: int) -> dict[str, float]:
    """Component → logarithm of its share of the budget; all of all columns sum to one."""
    pool = column.pools[-1]
    seen = {"missing": pool.missing > 0, "new_categories": column.unseen[0] > 0}
    shares = {name: share if seen.get(name, True) else NEVER_SEEN for name, share in WEIGHTS[column.kind].items()}
    return {name: math.log(share / sum(shares.values()) / columns) for name, share in shares.items()}


def _watched(name: str, reference: Sequence[Place], history: Sequence[Place], period: int) -> Column | None:
    """How one column is watched from now on; None where the reference holds no row of it."""
    import numpy as np  # noqa: PLC0415

    held = [one for one in reference if name in one.profile]
    known = {bin_name for one in held for bin_name in one.profile[name].bins}
    kind = "number" if held[0].profile[name].kind == "number" else "category"
    # One more than the reference fills, for what lies above.
    bins = [str(index) for index in range(max(map(int, known), default=-1) + 2)] if kind == "number" else sorted(known)
    counts = in_order(kind, bins, [one.profile[name] for one in held])
    missing = np.array([float(one.profile[name].missing) for one in held])
    if not (counts.sum() + missing.sum()):
        return None
    total = counts.sum(axis=0)
    kind = "flag" if kind == "number" and 0 < np.count_nonzero(total) <= 2 else kind  # noqa: PLR2004
    column = Column(
        kind, bins, normal_scores(total) if kind == "number" else np.zeros((2, len(bins))), 1,
        {-1: _pool(counts, missing)}, usual=int(total.argmax()) if total.size else 0,
        # Good's estimate: what comes for the first time is as much as what has come once.
        unseen=(float((total == 1).sum()), float(total.sum()), (0.0, 1.0)),
    )  # fmt: skip
    past = [one for one in history if name in one.profile and one.profile[name].rows]
    if len(past) < LEAST_HISTORY:
        return column
    old = in_order(kind, bins, [one.profile[name] for one in past])
    old_missing = np.array([float(one.profile[name].missing) for one in past])
    positions = np.array([one.position for one in past])
    season = has_season(column, old, positions % period) if period > 1 and len(past) >= CYCLES * period else False
    used = period if season else 1
    pools = dict(column.pools)
    if season:
        phases = np.array([one.position % period for one in held])
        pools |= {int(phase): _pool(counts[phases == phase], missing[phases == phase]) for phase in np.unique(phases)}
    between = between_partitions(column, old, old_missing, positions % used)
    apart = between_partitions(column, old, old_missing, positions * 0) if season else between
    alone = _alone(
        column, counts, {one.position for one in held}, [(one.position, one.profile[name]) for one in past], old
    )
    present = old.sum(axis=1) + alone
    effect = rate_effect(alone, present, positions * 0)
    unseen = (float(alone.sum()), float(present.sum()), effect)
    return replace(column, period=used, pools=pools, between=between, apart=apart, unseen=unseen)


def _pool(counts: Floats, missing: Floats) -> Pool:
    sizes = counts.sum(axis=1) + missing
    effective = float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.any() else 0.0
    return Pool(counts.sum(axis=0), float(missing.sum()), effective)


def _alone(
    column: Column, reference: Floats, held: set[int], past: Sequence[tuple[int, Counts]], rows: Floats
) -> Floats:
    """Of each partition of history its rows in categories that no (other) partition of the reference has."""
    import numpy as np  # noqa: PLC0415

    single = (reference > 0).sum(axis=0) == 1
    return np.array([
        float(row[single].sum()) if position in held else unknown_rows(column, one)
        for (position, one), row in zip(past, rows, strict=True)
    ])  # fmt: skip


def _crossed(name: str, column: Column, history: Sequence[Place], held_in: set[int]) -> dict[str, Floats]:
    """Component → log p-values of each partition of history against the partitions outside its own block."""
    import numpy as np  # noqa: PLC0415

    held = np.array([name in one.profile and one.profile[name].rows > 0 for one in history])
    result = {component: np.full(len(history), np.nan) for component in WEIGHTS[column.kind]}
    places = np.flatnonzero(held)
    if places.size < LEAST_HISTORY:
        return result
    past = [one for one, is_held in zip(history, held, strict=True) if is_held]
    counts = [one.profile[name] for one in past]
    rows, missing = in_order(column.kind, column.bins, counts), np.array([float(one.missing) for one in counts])
    is_reference = np.array([one.position in held_in for one in past])
    alone = _alone(column, rows[is_reference], held_in, [(one.position, one.profile[name]) for one in past], rows)
    phases = np.array([one.position for one in past]) % column.period
    blocks = np.arange(places.size) * BLOCKS // places.size
    for block in range(BLOCKS):
        inside = blocks == block
        others = ~inside
        present = rows[others].sum(axis=1) + alone[others]
        unseen = (
            float(alone[others].sum()), float(present.sum()), rate_effect(alone[others], present, phases[others] * 0)
        )  # fmt: skip
        other = replace(column, pools={-1: _pool(rows[others], missing[others])}, unseen=unseen)
        within = between_partitions(column, rows[others], missing[others], phases[others])
        apart = between_partitions(column, rows[others], missing[others], phases[others] * 0)
        for phase in np.unique(phases[inside]):
            chosen, against = inside & (phases == phase), others & (phases == phase)
            # A phase that the others lack is compared with all of them, as a new partition would be.
            pool = _pool(rows[against], missing[against]) if against.any() else other.pools[-1]
            between = within if against.any() else apart
            tests = component_tests(other, pool, rows[chosen], missing[chosen], alone[chosen], between=between)
            for component, (_, log_p) in tests.items():
                result[component][places[chosen]] = log_p
    return result
