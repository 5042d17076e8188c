"""What a policy would have cost and gained over a recorded history, beside the best that hindsight could have done."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ml_assets.core.policy import MOST_DOUBLINGS, Decision, Evidence, Rule, decide
from ml_assets.core.wear import REMEMBERED, Tenure, better_retired, futile_retrainings, measure_wear, still_needed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """What every version that could have been trained would have lost on every partition after it.

    Attributes:
        partitions: keys of the partitions that are served, n of them, in order.
        rows: shape (n,), labelled rows of each.
        losses: shape (n, n): mean loss of a row of partition t for the fit that was made just before partition i was
            served, at [i, t]; NaN where t < i. Fit 0 is the first champion.
        references: shape (n,), mean loss of each fit on its test rows; NaN where it has none.
        metric: name of the watched error: the mean loss, or its root for `rmse`.
        delay: by how many partitions labels come late.
        alarms: of a fit and a partition, whether drift calls for action; None where that is not known.
    """

    partitions: tuple[str, ...]
    rows: Values
    losses: Values
    references: Values
    metric: str
    delay: int = 0
    alarms: Callable[[int, int], bool] | None = None

    @cached_property
    def errors(self) -> Values:
        """The watched error of each fit on each partition, shape (n, n)."""
        return self.losses**0.5 if self.metric == "rmse" else self.losses

    def error(self, losses: Values) -> float:
        """The watched error over all rows, from the mean loss of each partition, shape (n,)."""
        import numpy as np  # noqa: PLC0415

        mean = float(np.average(losses, weights=self.rows))
        return math.sqrt(mean) if self.metric == "rmse" else mean

    def reference(self, fit: int) -> float | None:
        """The watched error of a fit on its test rows; None where it has none."""
        loss = float(self.references[fit])
        return None if math.isnan(loss) else math.sqrt(loss) if self.metric == "rmse" else loss

    @cached_property
    def young(self) -> float:
        """The error of versions on the first partition that they could serve, over all."""
        return self.error(self.losses.diagonal())


@dataclass(frozen=True)
class Course:
    """Which fit served each partition.

    Attributes:
        fits: n of them.
        retrained: partitions, by number, that a new fit was the first to serve.
        reinstated: the same of fits that had served before.
    """

    fits: tuple[int, ...]
    retrained: tuple[int, ...] = ()
    reinstated: tuple[int, ...] = ()

    def losses(self, history: History) -> Values:
        """The mean loss of a row of each partition, shape (n,)."""
        return history.losses[list(self.fits), list(range(len(self.fits)))]

    def error(self, history: History) -> float:
        """The watched error over all rows."""
        return history.error(self.losses(history))

    def cost(self, history: History, price: float) -> float:
        """What errors and retrainings cost, in errors that a young champion makes in one partition."""
        return len(self.fits) * self.error(history) / history.young + price * len(self.retrained)


def course_of(history: History, retrained: Sequence[int]) -> Course:
    """The course of a plan: at these partitions a new fit takes over."""
    fits, plan = [0], set(retrained)
    for partition in range(1, len(history.partitions)):
        fits.append(partition if partition in plan else fits[-1])
    return Course(tuple(fits), tuple(sorted(plan)))


def play(history: History, rule: Rule) -> Course:
    """What a policy would have done, from the evidence of its day: the same function decides as live.

    A retraining takes effect with the next partition and is taken for promoted; who is asked says yes.
    """
    rule = replace(rule, ask=False)
    player, fits = _Player(history, rule), [0]
    for now in range(len(history.partitions) - 1):
        decision = decide(player.evidence(now), rule)
        player.act(decision, now)
        fits.append(player.tenures[-1].fit)
    return Course(tuple(fits), tuple(player.retrained), tuple(player.reinstated))


@dataclass(frozen=True)
class _Service:
    """A fit, and the partition that it was first to serve, this time."""

    fit: int
    since: int


@dataclass
class _Player:
    """What has happened up to now in a replay, and what is known of it."""

    history: History
    rule: Rule
    tenures: list[_Service] = field(default_factory=lambda: [_Service(0, 0)])
    retrained: list[int] = field(default_factory=list)
    reinstated: list[int] = field(default_factory=list)
    acted: int | None = None

    def act(self, decision: Decision, now: int) -> None:
        """Do as decided after a partition."""
        if decision.action == "hold":
            return
        fit, done = now + 1, self.retrained
        if decision.action == "reinstate" and decision.version is not None:
            fit, done = decision.version, self.reinstated
        self.tenures.append(_Service(fit, now + 1))
        done.append(now + 1)
        self.acted = now

    def evidence(self, now: int) -> Evidence:
        """What is known after a partition."""
        history, serving = self.history, self.tenures[-1]
        fit, known = serving.fit, now - history.delay
        labelled = known >= serving.since
        reference = history.reference(fit)
        evidence = Evidence(
            partition=history.partitions[now],
            champion=fit,
            rows=int(history.rows[known]) if labelled else 0,
            metric=history.metric,
            error=float(history.errors[fit, known]) if labelled else None,
            # A version without test rows is held against the first partition that it served.
            reference=float(history.errors[fit, serving.since]) if reference is None and labelled else reference,
            since_retraining=None if self.acted is None else now - self.acted,
            drift_alarm=self.rule.policy == "drift" and history.alarms is not None and history.alarms(fit, now),
            served=now - serving.since + 1,
        )
        return self._with_wear(evidence, known, now) if labelled and self.rule.policy == "worth_it" else evidence

    def _with_wear(self, evidence: Evidence, known: int, now: int) -> Evidence:
        history, errors, tenures = self.history, self.history.errors, self.tenures
        ends = [*(one.since for one in tenures[1:]), known + 1]
        spans = [slice(one.since, min(end, known + 1)) for one, end in zip(tenures, ends, strict=True)]
        served = [
            Tenure(errors[one.fit, span].tolist(), history.rows[span].tolist(), history.reference(one.fit))
            for one, span in zip(tenures, spans, strict=True)
        ]
        gains = [
            (errors[before.fit, span] - errors[one.fit, span]).tolist()
            for before, one, span in zip(tenures, tenures[1:], spans[1:], strict=False)
            if one.fit == one.since
        ]
        fit, span = tenures[-1].fit, spans[-1]
        others = {one.fit for one in tenures} - {fit}
        retired = {other: (errors[fit, span] - errors[other, span]).tolist() for other in sorted(others)}
        served = served[-REMEMBERED - 1 :]
        wear = measure_wear(served, pending=now - known + 1)
        evidence = replace(evidence, retired=better_retired(retired))
        if wear is None:
            return replace(evidence, too_few=(len(served[-1].errors), still_needed(served)))
        futile = futile_retrainings(gains[-MOST_DOUBLINGS:], self.rule.price * wear.usual)
        return replace(evidence, wear=replace(wear, futile=futile))


def best_courses(history: History, most: int) -> list[Course]:
    """The best plan in hindsight with at most 0, 1, …, `most` retrainings: by dynamic programming, exact.

    best[k, b] is the least loss of the partitions before b with k retrainings: over the last of them, at a, that of
    best[k-1, a] and of fit a from there to b. Time grows with most · n².
    """
    import numpy as np  # noqa: PLC0415

    many = len(history.partitions)
    weighted = np.where(np.isnan(history.losses), 0.0, history.losses) * history.rows
    # lost[a, b]: what fit a loses from partition a up to b, exclusive.
    lost = np.c_[np.zeros(many), np.cumsum(weighted, axis=1)]
    lost[np.arange(many)[:, None] >= np.arange(many + 1)[None, :]] = np.inf
    best, came_from = [lost[0]], [np.zeros(many + 1, dtype=int)]
    for _ in range(min(most, many - 1)):
        sums = best[-1][1:many, None] + lost[1:]
        came_from.append(1 + np.argmin(sums, axis=0))
        best.append(np.min(sums, axis=0))
    found: list[Course] = []
    for number in range(len(best)):
        if found and best[number][many] >= min(one[many] for one in best[:number]):
            found.append(found[-1])
            continue
        plan, end = [], many
        for steps in range(number, 0, -1):
            end = int(came_from[steps][end])
            plan.append(end)
        found.append(course_of(history, plan))
    return found


def best_periodic(history: History, retrainings: int) -> Course:
    """The best plan of so many retrainings at even distances, in hindsight: the best interval and phase.

    Where no whole interval gives just so many, they are spread as evenly as whole partitions allow.
    """
    many = len(history.partitions)
    if not retrainings:
        return course_of(history, ())
    plans = {
        plan
        for interval in range(1, many)
        for phase in range(1, min(interval, many - 1) + 1)
        if len(plan := tuple(range(phase, many, interval))) == retrainings
    }
    if not plans:
        step = many / (retrainings + 1)
        spread = {tuple(round(step * (number + shift / 4)) for number in range(retrainings)) for shift in range(2, 7)}
        plans = {plan for plan in spread if plan[0] > 0 and plan[-1] < many and len(set(plan)) == retrainings}
        plans = plans or {tuple(range(1, retrainings + 1))}
    return min((course_of(history, plan) for plan in sorted(plans)), key=lambda course: course.error(history))
