"""Policies beside each other over the same history: what each would have cost, beside hindsight, and which to take."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_assets.core.policy import Rule
from ml_assets.core.replay import Course, best_courses, best_periodic, course_of, play
from ml_assets.core.tasks import title_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.core.replay import History

# Prices, as multiples of the declared one, at which `worth_it` is played: from many retrainings to hardly any.
STEPS = tuple(2 ** (step / 2) for step in range(-12, 9))


@dataclass(frozen=True)
class Replayed:
    """One policy over the history.

    Attributes:
        policy: its name.
        error: the watched error over all rows.
        cost: of errors and retrainings, in errors that a young champion makes in one partition.
        retrainings, reinstatements: how many.
        oracle: error of the best plan in hindsight with at most so many retrainings; it reinstates nothing.
        periodic: error of the best evenly spaced plan in hindsight with just so many.
        share: of what the oracle gains over never, what this gains; None where there is nothing to gain.
        retrained, reinstated: keys of the partitions that were the first to be served so.
        errors: the watched error of each partition.
    """

    policy: str
    error: float
    cost: float
    retrainings: int
    reinstatements: int
    oracle: float
    periodic: float
    share: float | None
    retrained: tuple[str, ...]
    reinstated: tuple[str, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """A replay.

    Attributes:
        metric: name of the watched error.
        partitions: keys of those that were served.
        price: of a retraining, in errors that a young champion makes in one partition.
        delay: by how many partitions labels come late.
        young: the error of versions on the first partition that they could serve.
        policies: as played.
        frontier: name → retrainings and the error that comes of them: `worth_it` at several prices, the `oracle`, and
            `periodic` tuned in hindsight.
        recommended: name of the policy that costs least.
        words: the recommendation.
    """

    metric: str
    partitions: tuple[str, ...]
    price: float
    delay: int
    young: float
    policies: tuple[Replayed, ...]
    frontier: Mapping[str, Sequence[tuple[int, float]]]
    recommended: str
    words: str


def report(history: History, rules: Mapping[str, Rule], *, price: float, declared: str) -> Report:
    """Play policies over a history and compare them.

    Args:
        history: what happened.
        rules: name → rule; `never` is always played beside them.
        price: of a retraining, in errors that a young champion makes in one partition.
        declared: the name of the one that the project has, against which savings are told.
    """
    rules = {"never": Rule("never"), **rules}
    worth = rules.get("worth_it", Rule("worth_it", cooldown=0))
    courses = {name: play(history, rule) for name, rule in rules.items()}
    many = len(history.partitions)
    best = best_courses(history, many - 1)
    played = tuple(_replayed(history, name, course, best, price) for name, course in courses.items())
    tried = {
        course.retrained: course for step in STEPS for course in [play(history, replace(worth, price=price * step))]
    }
    most = max([len(plan) for plan in tried] + [one.retrainings for one in played])
    numbers = range(most + 1)
    frontier = {
        "worth_it": sorted((len(plan), course.error(history)) for plan, course in tried.items()),
        "periodic": [(number, best_periodic(history, number).error(history)) for number in numbers],
        "oracle": [(number, best[number].error(history)) for number in numbers],
    }
    recommended = min(played, key=lambda one: (one.cost, one.retrainings))
    return Report(
        history.metric, history.partitions, price, history.delay, history.young, played, frontier, recommended.policy,
        _words(history, recommended, next((one for one in played if one.policy == declared), played[0])),
    )  # fmt: skip


def _replayed(history: History, name: str, course: Course, best: Sequence[Course], price: float) -> Replayed:
    number = len(course.retrained)
    error, least = course.error(history), best[number].error(history)
    never = course_of(history, ()).error(history)
    errors = history.errors[list(course.fits), range(len(course.fits))]
    return Replayed(
        policy=name,
        error=error,
        cost=course.cost(history, price),
        retrainings=number,
        reinstatements=len(course.reinstated),
        oracle=least,
        periodic=best_periodic(history, number).error(history),
        share=(never - error) / (never - least) if never > least else None,
        retrained=tuple(history.partitions[one] for one in course.retrained),
        reinstated=tuple(history.partitions[one] for one in course.reinstated),
        errors=tuple(errors.tolist()),
    )


def _words(history: History, recommended: Replayed, declared: Replayed) -> str:
    metric, many = title_of(history.metric), len(history.partitions)

    def told(one: Replayed) -> str:
        return f"{one.retrainings} retraining{'s' * (one.retrainings != 1)} and {metric} {one.error:.4g}"

    said = f"{recommended.policy} costs least over {many} partitions: {told(recommended)}"
    if recommended.policy == declared.policy:
        return f"{said}; it is what the project has"
    saved = declared.cost - recommended.cost
    return (
        f"{said}, where {declared.policy} has {told(declared)}: it saves as much as the errors of {saved:.2g} ordinary "
        f"partitions, {saved / declared.cost:.1%} of what errors and retrainings cost"
    )


def as_json(found: Report) -> dict[str, Any]:
    """A report as JSON values."""
    return asdict(found)
