"""Hold or retrain: pure functions from evidence to a decision, the same live and in a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ml_assets.core.tasks import title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ml_assets.core.wear import Wear

Action = Literal["hold", "retrain", "ask", "reinstate"]
Policy = Literal["never", "periodic", "drift", "performance", "worth_it"]
Standing = Literal["live", "backfill", "again"]
# Each retraining in a row that brought nothing makes the next as dear again, up to here.
MOST_DOUBLINGS = 6


@dataclass(frozen=True)
class Rule:
    """A policy with its settings.

    Attributes:
        policy: its name.
        every: `periodic`: partitions from one retraining to the next.
        tolerance: `performance`: accepted ratio of the error to the champion's test error.
        price: `worth_it`: what a retraining costs, in errors that a young champion makes in one partition.
        cooldown: partitions to wait after a retraining was decided.
        minimum_rows: labelled rows below which nothing is decided.
        ask: whether a person is asked before anything is done.
    """

    policy: Policy = "performance"
    every: int = 6
    tolerance: float = 1.25
    price: float = 1.0
    cooldown: int = 3
    minimum_rows: int = 200
    ask: bool = False


@dataclass(frozen=True)
class Evidence:
    """What is known when a partition is decided.

    Attributes:
        partition: its key.
        champion: the version that scored it, or None where there is none.
        rows: labelled rows that the champion has not learnt from.
        metric: name of the watched error.
        error: the champion's error on those rows, or None where there are none.
        rests_on: what the error rests on, in words, where that is not nearly all labels of the partition.
        reference: the champion's error on its test rows.
        since_retraining: partitions since the last live decision to do something, or None where there was none.
        alarms: columns whose drift alarms.
        drift_alarm: whether the drift calls for action, not just for being told.
        served: partitions that the champion has served, this one included.
        wear: what keeping the champion has cost, or None where too little is known.
        too_few: where that was asked and is not known, how many labelled partitions the champion has served and how
            many more are needed.
        retired: a retired version that is better on the newest partitions by more than noise, or None.
    """

    partition: str
    champion: int | None
    rows: int
    metric: str
    error: float | None
    reference: float | None
    since_retraining: int | None
    alarms: tuple[str, ...] = field(default=())
    drift_alarm: bool = False
    served: int = 0
    wear: Wear | None = None
    retired: int | None = None
    rests_on: str = ""
    too_few: tuple[int, int] | None = None


@dataclass(frozen=True)
class Decision:
    """What to do about a champion, and why, in one sentence; `version` is the one to reinstate."""

    action: Action
    reason: str
    version: int | None = None


def decide(evidence: Evidence, rule: Rule) -> Decision:
    """What a policy makes of the evidence.

    `hold` until there is a champion and enough labelled rows, and within the cooldown. Where the rule says `ask`, it
    takes the place of what would be done.
    """
    if why := _undecidable(evidence, rule):
        return Decision("hold", why)
    wanted = POLICIES[rule.policy](evidence, rule)
    since = evidence.since_retraining
    if wanted.action != "hold" and since is not None and since <= rule.cooldown:
        ago = f"a retraining was decided {since} partition{'s' * (since != 1)} ago"
        return Decision("hold", f"{wanted.reason}, but {ago}")
    if wanted.action != "hold" and rule.ask:
        return Decision("ask", f"{wanted.reason}; a person is asked", wanted.version)
    return wanted


def _undecidable(evidence: Evidence, rule: Rule) -> str:
    """Why there is nothing to decide; "" where there is."""
    if evidence.champion is None:
        return "there is no champion yet"
    if rule.policy == "never":
        return "the policy is never to retrain"
    if evidence.rows < rule.minimum_rows:
        return f"{evidence.rows} labelled rows that the champion has not learnt from; {rule.minimum_rows} are needed"
    return ""


def _periodic(evidence: Evidence, rule: Rule) -> Decision:
    # A challenger that was rejected leaves the champion in service: the clock starts anew all the same.
    waited = evidence.served
    if evidence.since_retraining is not None:
        waited = min(waited, evidence.since_retraining)
    if waited < rule.every:
        return Decision("hold", f"{waited} of {rule.every} partitions since the last retraining")
    return Decision("retrain", f"{waited} partitions since the last retraining, one is due every {rule.every}")


def _drift(evidence: Evidence, _: Rule) -> Decision:
    columns = ", ".join(evidence.alarms)
    if evidence.drift_alarm:
        return Decision("retrain", f"drift that calls for action{f' in {columns}' if columns else ''}")
    return Decision("hold", f"drift in {columns} does the model no harm" if columns else "no drift alarm")


def _performance(evidence: Evidence, rule: Rule) -> Decision:
    if evidence.error is None or evidence.reference is None:
        return Decision("hold", "there are no labelled rows, or none that version was tested on, to compare")
    limit = rule.tolerance * evidence.reference
    against = (
        f"{title_of(evidence.metric)} {evidence.error:.4g}{evidence.rests_on and ' ' + evidence.rests_on} "
        f"against {evidence.reference:.4g} "
        f"when version {evidence.champion} was judged"
    )
    if evidence.error <= limit:
        return Decision("hold", f"{against}: within {rule.tolerance:g} times")
    return Decision("retrain", f"{against}: more than {rule.tolerance:g} times")


def _worth_it(evidence: Evidence, rule: Rule) -> Decision:
    wear = evidence.wear
    if wear is None:
        labelled, needed = evidence.too_few or (0, 0)
        served = f"{labelled} labelled partition{'s' * (labelled != 1)}"
        return Decision(
            "hold",
            f"too few labelled partitions to tell an error that grows from noise: version {evidence.champion} has "
            f"served {served}, and {needed} more {'is' if needed == 1 else 'are'} needed",
        )
    if evidence.retired is not None:
        return Decision(
            "reinstate",
            f"version {evidence.retired} is better on the newest partitions by more than noise, and costs no training",
            evidence.retired,
        )
    price = rule.price * wear.usual * 2 ** min(wear.futile, MOST_DOUBLINGS)
    # A champion that made no error at all when it was young: then there is nothing to count in.
    unit = wear.usual or 1.0
    told = (
        f"beyond the usual {title_of(evidence.metric)} of {wear.usual:.4g}, version {evidence.champion} has cost "
        f"the errors of {wear.excess / unit:.2g} ordinary partitions and will cost {wear.expected / unit:.2g} "
        "until the next decision"
    )
    dear = f"a retraining costs {price / unit:.3g}"
    if wear.futile:
        dear += f", the last {wear.futile} not having earned it"
    if wear.excess + wear.expected > 0 and wear.excess + wear.expected >= price:
        return Decision("retrain", f"{told}: {dear}")
    return Decision("hold", f"{told}; {dear}")


POLICIES: Mapping[str, Callable[[Evidence, Rule], Decision]] = {
    "periodic": _periodic,
    "drift": _drift,
    "performance": _performance,
    "worth_it": _worth_it,
}


def standing(partition: str, *, is_range: bool, decided: bool, newest: str | None) -> Standing:
    """Whether a decision may act.

    Args:
        partition: the key that is decided; keys sort by time.
        is_range: whether it is one of a range, which is how a history is filled.
        decided: whether the partition has been decided live before.
        newest: the newest key that was ever decided for this project.

    Returns:
        `live` for the first decision on the newest partition; only these act. `again` for one that was decided live
        before, `backfill` for all others.
    """
    if decided:
        return "again"
    if is_range or (newest is not None and partition < newest):
        return "backfill"
    return "live"
