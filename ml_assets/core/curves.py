"""What stands behind a metric: which errors, where, and how sure the model was; in numbers that a picture can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.core.tasks import Task, Values

BINS = 10
RESIDUAL_BINS = 40
# What is beyond these shares of the residuals is counted in the outer bins.
TAILS = (0.005, 0.995)
# Every probability is above it.
BELOW_ALL = -0.000001
# Of a class that the model has never seen.
UNSEEN = "(unseen)"


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each.

    Attributes:
        classes: the labels; `(unseen)` last where rows have a class that the model has never seen.
        rows: shape (classes, classes): rows of the class at the first index that were predicted as that at the second.
    """

    classes: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Bin:
    """Rows whose predictions are alike.

    Attributes:
        rows: how many.
        predicted: the mean prediction.
        actual: the mean of what then was: of a classification the share of rows that were what was predicted.
        low, high: of a regression the quartiles of what then was; else Wilson's 95 % interval of the share.
    """

    rows: int
    predicted: float
    actual: float
    low: float
    high: float


@dataclass(frozen=True)
class Residuals:
    """A histogram of prediction minus actual value, in the target's unit; the outer bins hold what lies beyond.

    Attributes:
        edges: of the bins, one more than them.
        rows: rows per bin.
        mean: of all rows; above zero where too much is predicted.
        quantiles: of all rows: 5, 25, 50, 75 and 95 %.
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    mean: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Threshold:
    """Above which probability it costs less to say the positive label.

    Attributes:
        value: that probability: above it the positive label is said, as everywhere.
        cost: cost per row with it, on the rows that it was chosen on.
        cost_of_half: the same with 0.5.
    """

    value: float
    cost: float
    cost_of_half: float


def confusion(task: Task, actual: Values, predicted: Values, classes: Sequence[str]) -> Confusion:
    """The confusion matrix of a classification; actual and predicted as in `evaluation.measure`."""
    import numpy as np  # noqa: PLC0415

    said = (predicted > 0.5).astype(int) if task == "binary" else predicted.argmax(axis=1)  # noqa: PLR2004
    unseen = bool((actual < 0).any())
    labels = (*classes, UNSEEN) if unseen else tuple(classes)
    was = np.where(actual < 0, len(classes), actual).astype(int)
    found = np.bincount(was * len(labels) + said, minlength=len(labels) ** 2).reshape(len(labels), len(labels))
    return Confusion(labels, tuple(tuple(map(int, row)) for row in found))


def calibration(actual: Values, predicted: Values) -> tuple[Bin, ...]:
    """Whether what is said with 70 % happens in 70 of 100 cases: rows in ten bins of equal size by their probability.

    Args:
        actual: shape (n,), as in `tasks.as_actual`.
        predicted: shape (n,), probability of the positive label; or (n, classes): then the likeliest class is judged.

    Source:
        Niculescu-Mizil and Caruana (2005), Predicting good probabilities with supervised learning, ICML.
    """
    import numpy as np  # noqa: PLC0415

    was = actual == 1
    if predicted.ndim > 1:
        was, predicted = predicted.argmax(axis=1) == actual, predicted.max(axis=1)
    found = []
    for rows in _alike(predicted):
        share = float(was[rows].mean())
        low, high = wilson(share, len(rows))
        found.append(Bin(len(rows), float(np.mean(predicted[rows])), share, low, high))
    return tuple(found)


def calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of what was said from what was, over rows: 0 is perfect (Naeini et al., 2015, AAAI)."""
    rows = sum(each.rows for each in bins)
    return sum(each.rows * abs(each.predicted - each.actual) for each in bins) / rows


def against_actual(actual: Values, predicted: Values) -> tuple[Bin, ...]:
    """Actual values by what was predicted, in ten bins of equal size; both shape (n,), in the target's unit."""
    import numpy as np  # noqa: PLC0415

    found = []
    for rows in _alike(predicted):
        low, high = np.quantile(actual[rows], [0.25, 0.75])
        means = float(predicted[rows].mean()), float(actual[rows].mean())
        found.append(Bin(len(rows), *means, float(low), float(high)))
    return tuple(found)


def residuals(actual: Values, predicted: Values) -> Residuals:
    """How the errors of a regression are distributed; both shape (n,), in the target's unit."""
    import numpy as np  # noqa: PLC0415

    errors = predicted - actual
    low, high = np.quantile(errors, TAILS)
    margin = 0.0 if high > low else max(abs(low), 1.0) * 1e-6
    edges = np.linspace(low - margin, high + margin, RESIDUAL_BINS + 1)
    rows = np.histogram(np.clip(errors, edges[0], edges[-1]), edges)[0]
    middle = np.quantile(errors, [0.05, 0.25, 0.5, 0.75, 0.95])
    return Residuals(tuple(edges.tolist()), tuple(map(int, rows)), float(errors.mean()), tuple(middle.tolist()))


def cheapest_threshold(actual: Values, predicted: Values, false_positive: float, false_negative: float) -> Threshold:
    """The threshold that would have cost least. Choose it on rows that the model has not learnt from, nor the test's.

    Args:
        actual: shape (n,), 1 for the positive label.
        predicted: shape (n,), its probability.
        false_positive: what it costs to say the positive label wrongly.
        false_negative: what it costs to miss it.

    Source:
        Elkan (2001), The foundations of cost-sensitive learning, IJCAI: with calibrated probabilities it is
        false_positive / (false_positive + false_negative), which is taken of thresholds that cost the same.
    """
    import numpy as np  # noqa: PLC0415

    order = np.argsort(predicted, kind="stable")
    chances, positive = predicted[order], actual[order] == 1
    # The cost where all rows from a place on are said to be positive: before the first of them, and after each.
    missed = np.concatenate([[0], np.cumsum(positive)]) * false_negative
    alarms = np.concatenate([np.cumsum(~positive[::-1])[::-1], [0]]) * false_positive
    places = np.concatenate([[0], np.flatnonzero(np.diff(chances)) + 1, [len(chances)]])
    costs = (missed + alarms)[places]
    # From a probability to just below the next any threshold does the same: the middle one is taken.
    ends = np.concatenate([[BELOW_ALL], chances, [1.0]])
    low, high = ends[places], ends[places + 1]
    ideal = false_positive / (false_positive + false_negative)
    best = np.flatnonzero(np.isclose(costs, costs.min()))
    inside = np.clip(ideal, low[best], high[best])
    nearest = int(np.argmin(np.abs(inside - ideal)))
    chosen = best[nearest]
    value = ideal if low[chosen] <= ideal < high[chosen] else (low[chosen] + high[chosen]) / 2
    half = float(cost_of_labels(actual, predicted, 0.5, false_positive, false_negative).mean())
    return Threshold(float(value), float(costs[chosen] / len(actual)), half)


def cost_of_labels(
    actual: Values, predicted: Values, threshold: float, false_positive: float, false_negative: float
) -> Values:
    """What each row cost where the positive label is said above a threshold, shape (n,)."""
    import numpy as np  # noqa: PLC0415

    said = predicted > threshold
    return np.asarray(np.where(said, (actual != 1) * false_positive, (actual == 1) * false_negative), dtype=float)


def cost_of_values(actual: Values, predicted: Values, over: float, under: float) -> Values:
    """What each row of a regression cost, by the unit predicted too much or too little, shape (n,).

    With `over` and `under` this is least in the mean for the quantile under / (over + under) of the target: the pinball
    loss (Koenker and Bassett, 1978, Econometrica 46).
    """
    import numpy as np  # noqa: PLC0415

    error = predicted - actual
    return np.where(error > 0, error * over, -error * under)


def wilson(share: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927, JASA 22)."""
    z = 1.959964
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * (share * (1 - share) / rows + z * z / (4 * rows * rows)) ** 0.5 / (1 + z * z / rows)
    return max(0.0, middle - half), min(1.0, middle + half)


def _alike(predicted: Values) -> list[NDArray[np.int64]]:
    """The places of rows, in up to ten bins of about equal size, equal predictions together."""
    import numpy as np  # noqa: PLC0415

    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)[1:-1]))
    code = np.searchsorted(edges, predicted, side="left")
    return [np.flatnonzero(code == each) for each in np.unique(code)]
