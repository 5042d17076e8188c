"""Labels that come late: how long they take, how much of them is there, and which number may be acted on.

A partition is looked at whenever its performance is measured; a look says how many of its rows had a label by then.
From all looks follows which share is usually there after so many partitions, and which share is ever reached. So nobody
need declare how long labels take, and a share of rows that never gets one is no reason to wait.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.core.tasks import title_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import polars as pl

# matured: nearly all labels that will ever come are there. provisional: enough to measure, and more will come.
# estimated: too few to measure.
Standing = Literal["matured", "provisional", "estimated"]
STANDINGS: tuple[Standing, ...] = ("matured", "provisional", "estimated")
# So many of the newest partitions say how labels come today.
REMEMBERED = 60
# So many partitions must be older than the delay before what they have reached counts as the end.
FEWEST_ENDED = 6


@dataclass(frozen=True)
class Look:
    """What was seen of a partition at one time.

    Attributes:
        position: the partition's number, see `Calendar.position`.
        age: how many partitions newer the newest was then.
        rows: its rows.
        labelled: those of them that had a label.
    """

    position: int
    age: int
    rows: int
    labelled: int


@dataclass(frozen=True)
class Maturity:
    """How labels come in a project.

    Attributes:
        shares: the share of rows that has a label after 0, 1, 2 … partitions; shorter than the history, where nothing
            was seen at an age the share of the age before stands.
        end: the share that is reached in the end; 1 where too little was seen to know.
        delay: partitions after which labels are there, or None where that is not known.
        share: of `end`: what a partition must have of its labels to be matured.
        wait: declared partitions before which none is matured, whatever it has.
    """

    shares: tuple[float, ...]
    end: float
    delay: int | None
    share: float
    wait: int = 0

    def standing(self, labels: float, age: int, *, measurable: bool) -> Standing:
        """How the metrics of a partition stand.

        Args:
            labels: the share of its rows that has a label.
            age: how many partitions newer the newest is.
            measurable: whether enough rows with a label count to measure anything before all labels are there.
        """
        if labels > 0 and age >= self.wait and labels >= self.share * self.end:
            return "matured"
        return "provisional" if measurable else "estimated"


def learn_maturity(looks: Iterable[Look], newest: int, *, share: float, delay: int | None = None) -> Maturity:
    """Learn how labels come.

    What a look has seen holds until the next look at the same partition: labels come with its rows only. The share
    after k partitions is that of all partitions whose state at that age is known, rows pooled. The delay is the first
    age at which it is a declared share of what partitions that are older have reached.

    Args:
        looks: in any order.
        newest: position of the newest partition of all.
        share: of what is reached in the end: enough to be called all.
        delay: the declared delay, in partitions, or None where it is to be learnt.
    """
    of_partition: dict[int, list[Look]] = {}
    for look in looks:
        of_partition.setdefault(look.position, []).append(look)
    rows, labelled, now = Counter[int](), Counter[int](), list[tuple[int, Look]]()
    for position in sorted(of_partition)[-REMEMBERED:]:
        seen = sorted(of_partition[position], key=lambda look: look.age)
        age = max(newest - position, seen[-1].age)
        now.append((age, seen[-1]))
        for look, until in zip(seen, [*(later.age for later in seen[1:]), age + 1], strict=True):
            for k in range(look.age, min(until, REMEMBERED)):
                rows[k] += look.rows
                labelled[k] += look.labelled
    shares = _filled(rows, labelled)
    learnt, end = _ended(shares, now, share)
    if delay is not None:
        learnt, end = delay, _reached(now, delay) or 1.0
    return Maturity(shares, end, learnt, share, wait=delay or 0)


def latest_shares(looks: Iterable[Look]) -> dict[int, float]:
    """Position of a partition → the share of its rows that had a label when it was last looked at."""
    newest: dict[int, Look] = {}
    for look in looks:
        if look.position not in newest or look.age >= newest[look.position].age:
            newest[look.position] = look
    return {position: look.labelled / look.rows for position, look in newest.items() if look.rows}


def _filled(rows: Mapping[int, int], labelled: Mapping[int, int]) -> tuple[float, ...]:
    """The share at each age from 0 on; where nothing was seen, that of the age before."""
    found: list[float] = []
    for age in range(max(rows, default=-1) + 1):
        before = found[-1] if found else 0.0
        found.append(labelled[age] / rows[age] if rows.get(age) else before)
    return tuple(found)


def _ended(shares: Sequence[float], now: Sequence[tuple[int, Look]], share: float) -> tuple[int | None, float]:
    """The delay, and what is reached in the end; (None, 1) while too few partitions are older than the delay."""
    for age, reached in enumerate(shares):
        end = _reached(now, age + 1)
        if sum(old > age for old, _ in now) < FEWEST_ENDED:
            break
        if end and reached >= share * end:
            return age, end
    return None, 1.0


def _reached(now: Sequence[tuple[int, Look]], age: int) -> float:
    """The share of labels in all partitions of an age and older; 0 where there are none."""
    old = [look for of_age, look in now if of_age >= age]
    rows = sum(look.rows for look in old)
    return sum(look.labelled for look in old) / rows if rows else 0.0


@dataclass(frozen=True)
class Reading:
    """A number about a version on a partition, and how far it can be trusted.

    Attributes:
        partition: start of the partition.
        version: the version.
        metric: its name.
        standing: `matured` and `provisional` were measured on labels, `estimated` was not.
        value: the metric.
        rows: rows behind it: those with a label, or all that were estimated.
        labels: share of the partition's rows that has a label.
        margin: of an estimate: half the width of its 95 % interval; None for what was measured.
    """

    partition: datetime
    version: int
    metric: str
    standing: Standing
    value: float
    rows: int
    labels: float
    margin: float | None = None

    @property
    def at_least(self) -> float:
        """What the metric is at least, as far as chance can be told: an estimate less its margin."""
        return self.value - (self.margin or 0.0)

    def said(self, of: str = "") -> str:
        """The number in words, with what it rests on: `MAPE 0.081 (provisional, 61 % of labels)`.

        Args:
            of: key of its partition, where it is not the one that is spoken of.
        """
        margin = f" ± {self.margin:.2g}" if self.margin is not None else ""
        where = f" of {of}" if of else ""
        return f"{title_of(self.metric)} {self.value:.4g}{margin}{where} ({self.standing}, {self.labels:.0%} of labels)"


def usable(
    measured: pl.DataFrame,
    metric: str,
    at: datetime,
    *,
    minimum_rows: int,
    standings: Sequence[Standing] = STANDINGS,
) -> Reading | None:
    """The number that a decision on a partition may use, or None where there is none.

    What was measured goes before what was estimated, for an estimate does not see that the same inputs have come to
    mean something else. Where the partition has no measurement of its own, the newest older one of the same version
    counts: labels that come late tell of the past. An estimate is used only for the partition itself, and only where
    its error is known.

    Args:
        measured: rows of the table `performance` up to the partition, of any metrics.
        metric: the metric.
        at: start of the partition that is decided.
        minimum_rows: rows with a label below which a measurement says nothing.
        standings: those that may be used.
    """
    rows = measured.filter((measured["_partition"] <= at) & measured["metric"].is_in([metric, "rows", "scored"]))
    found: dict[tuple[datetime, int], dict[str, dict[str, Any]]] = {}
    for row in rows.sort("_partition", descending=True).iter_rows(named=True):
        found.setdefault((row["_partition"], row["version"]), {})[row["metric"]] = row
    champions = [version for start, version in found if start == at]
    own = [(start, version) for start, version in found if version in champions]
    readings = [_measured(*key, metric, found[key]) for key in own]
    readings += [_estimated(*key, metric, found[key]) for key in own if key[0] == at]
    for one in readings:
        if one and one.standing in standings and (one.rows >= minimum_rows or one.standing == "estimated"):
            return one
    return None


def _measured(start: datetime, version: int, metric: str, of: Mapping[str, Mapping[str, Any]]) -> Reading | None:
    row = of.get(metric, {})
    if row.get("value") is None or row.get("standing") not in {"matured", "provisional"}:
        return None
    return Reading(start, version, metric, row["standing"], row["value"], int(of["rows"]["value"]), row["labels"])


def _estimated(start: datetime, version: int, metric: str, of: Mapping[str, Mapping[str, Any]]) -> Reading | None:
    row = of.get(metric, {})
    if row.get("estimate") is None or row.get("margin") is None:
        return None
    rows = int(of["scored"]["value"])
    return Reading(start, version, metric, "estimated", row["estimate"], rows, row["labels"], row["margin"])
