"""What keeping a champion costs: how far its error has grown beyond that of a young one, by more than noise.

A champion wears like a part of a machine, and the question is when to replace it. Under a loss that grows linearly, at
rate r per partition, a retraining of price P every T partitions costs P/T + rT/2 per partition, least at T = √(2P/r),
where the excess that has come together since the last retraining, rT²/2, equals P. So the rule is to retrain when that
excess reaches the price; it needs no rate, follows one that changes, and costs at most twice the optimum whatever
comes (ski rental: Karlin, Manasse, Rudolph and Sleator 1988).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

# All found on simulated streams of twelve kinds, none of them on one (docs/replay.md).
CONFIDENCE = 2.0  # standard errors by which anything must be told from noise
REMEMBERED = 10  # tenures that tell what a young champion can reach
RECENT = 3  # partitions that tell the present pace
TRIED = 2  # partitions on which a retired version must be better than the champion
FEWEST_SERVED = 2  # labelled partitions: one shows no growth
FEWEST_CHANGES = 3  # from one partition to the next, to tell the noise from


@dataclass(frozen=True)
class Tenure:
    """A version's errors on the partitions that it served and that have labels, in order.

    Attributes:
        errors: the watched error of each partition.
        rows: labelled rows of each.
        reference: its error on its test rows, its first witness; None where it was not tested.
    """

    errors: Sequence[float]
    rows: Sequence[float]
    reference: float | None = None


@dataclass(frozen=True)
class Wear:
    """What keeping the champion has cost.

    Attributes:
        usual: the error of a young champion, in the metric's unit.
        noise: standard deviation of the error of a typical partition.
        excess: the error beyond the usual one since it began to grow, summed over partitions.
        expected: the same of the partitions that have no labels yet and of the next.
        futile: how many of the last retrainings in a row did not earn what they cost.
    """

    usual: float
    noise: float
    excess: float
    expected: float
    futile: int = 0


def still_needed(tenures: Sequence[Tenure]) -> int:
    """How many labelled partitions more the last of some champions must serve before its wear can be measured.

    Args:
        tenures: of the champions so far, oldest first.
    """
    counts = [len(one.errors) for one in tenures] or [0]
    changes = sum(max(count - 1, 0) for count in counts)
    # The first partition of a champion is no change from another.
    first = 1 if counts[-1] == 0 else 0
    return max(FEWEST_SERVED - counts[-1], FEWEST_CHANGES - changes + first if changes < FEWEST_CHANGES else 0, 0)


def measure_wear(tenures: Sequence[Tenure], *, pending: int = 1) -> Wear | None:
    """What keeping the last of some champions has cost.

    The usual error is the lowest that the beginning of any tenure is sure to lie below: of all means over its first k
    partitions plus `CONFIDENCE` standard errors the least. So youth is as long as noise demands, and only what is
    beyond noise counts. The excess over it is added up as in Page's test (CUSUM, 1954): from where it began to grow.
    Partitions weigh by their rows.

    Args:
        tenures: of the champions so far, oldest first.
        pending: partitions that will be served before the next decision can be informed: those without labels, and
            the next one.

    Returns:
        None where the champion has served fewer than two labelled partitions, or noise cannot be told yet.
    """
    import numpy as np  # noqa: PLC0415

    typical = float(np.mean([rows for tenure in tenures for rows in tenure.rows] or [1.0])) or 1.0
    levels = [(np.asarray(one.errors, dtype=float), np.asarray(one.rows, dtype=float) / typical) for one in tenures]
    if still_needed(tenures):
        return None
    changes = [np.diff(errors) / np.sqrt(1 / weights[1:] + 1 / weights[:-1]) for errors, weights in levels]
    steps = np.concatenate(changes)
    # Of changes beside the usual one, so that steady growth does not count as noise; by medians, nor does a jump.
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps))))
    young = [
        _youth(errors, weights, one.reference, noise)
        for one, (errors, weights) in zip(tenures, levels, strict=True)
        if len(errors) >= FEWEST_SERVED
    ]
    usual = min(young[-REMEMBERED - 1 :])
    errors, weights = levels[-1]
    excess = 0.0
    for loss in weights * (errors - usual):
        excess = max(0.0, excess + float(loss))
    pace = max(0.0, float(np.average((errors - usual)[-RECENT:], weights=weights[-RECENT:])))
    return Wear(usual, noise, excess, pace * pending)


def _youth(errors: Values, weights: Values, reference: float | None, noise: float) -> float:
    """The lowest level that the beginning of a tenure is sure to lie below."""
    import numpy as np  # noqa: PLC0415

    if reference is not None:
        errors, weights = np.r_[reference, errors], np.r_[1.0, weights]
    seen = np.cumsum(weights)
    return float(np.min(np.cumsum(weights * errors) / seen + CONFIDENCE * noise / np.sqrt(seen)))


def futile_retrainings(gains: Sequence[Sequence[float]], price: float) -> int:
    """How many of the last retrainings in a row have not earned half of their price, the doubt in their favour.

    A level that rises for every model (harder rows, a season) is no wear, and no retraining mends it. The champion
    before, on the same partitions, tells: there what is hard is hard for both. At the best distance a retraining earns
    twice its price before the next.

    Args:
        gains: for each retraining, oldest first, by how much less the new champion lost than the one before it on each
            partition that it served; one that served a single partition says nothing yet.
        price: of a retraining, in the unit of the gains.
    """
    futile = 0
    for gain in reversed(gains):
        if len(gain) < 2:  # noqa: PLR2004 - a spread needs two
            continue
        if sum(gain) + _deviation(gain) * math.sqrt(len(gain)) >= price / 2:
            break
        futile += 1
    return futile


def better_retired(gains: Mapping[int, Sequence[float]]) -> int | None:
    """The retired version that is better than the champion by more than noise, the best of several.

    Args:
        gains: version → by how much less it lost than the champion on each partition that the champion has served,
            oldest first.
    """
    newest = {version: gain[-TRIED:] for version, gain in gains.items() if len(gain) >= TRIED}
    better = {version: sum(gain) for version, gain in newest.items() if min(gain) > 0 and _clearly_above_zero(gain)}
    return max(better, key=lambda version: better[version], default=None)


def _clearly_above_zero(values: Sequence[float]) -> bool:
    return sum(values) > CONFIDENCE * _deviation(values) * math.sqrt(len(values))


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
