"""Hold or retrain: pure functions from evidence to a decision, the same live and in hindsight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ml_assets.core.tasks import title_of

Action = Literal["hold", "retrain"]
Standing = Literal["live", "backfill", "again"]


@dataclass(frozen=True)
class Evidence:
    """What is known when a partition is decided.

    Attributes:
        partition: its key.
        champion: the version that scored it, or None where there is none.
        rows: labelled rows that the champion has not learnt from.
        metric: name of the watched error.
        error: the champion's error on those rows, or None where there are none.
        reference: the champion's error on its test rows.
        since_retraining: partitions since the last live decision to retrain, or None where there was none.
        alarms: columns whose drift alarms.
    """

    partition: str
    champion: int | None
    rows: int
    metric: str
    error: float | None
    reference: float | None
    since_retraining: int | None
    alarms: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Decision:
    """What to do about a champion, and why, in one sentence."""

    action: Action
    reason: str


def decide_by_performance(evidence: Evidence, *, tolerance: float, cooldown: int, minimum_rows: int) -> Decision:
    """Retrain when the champion's error has grown beyond what is tolerated.

    Args:
        evidence: what is known.
        tolerance: accepted ratio of the error to the champion's test error.
        cooldown: partitions to wait after a retraining was decided.
        minimum_rows: labelled rows below which nothing is decided.
    """
    name = title_of(evidence.metric)
    if evidence.champion is None:
        return Decision("hold", "there is no champion yet")
    if evidence.error is None or evidence.reference is None or evidence.rows < minimum_rows:
        return Decision(
            "hold", f"{evidence.rows} labelled rows that the champion has not learnt from; {minimum_rows} are needed"
        )
    limit = tolerance * evidence.reference
    against = (
        f"{name} {evidence.error:.4g} against {evidence.reference:.4g} when version {evidence.champion} was judged"
    )
    if evidence.error <= limit:
        return Decision("hold", f"{against}: within {tolerance:g} times")
    if evidence.since_retraining is not None and evidence.since_retraining <= cooldown:
        return Decision(
            "hold",
            f"{against}: more than {tolerance:g} times, but a retraining was decided "
            f"{evidence.since_retraining} partition{'s' * (evidence.since_retraining != 1)} ago",
        )
    return Decision("retrain", f"{against}: more than {tolerance:g} times")


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
