"""What a model is worth: metrics, gates, and whether a challenger is better than the champion by more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

# Chance of promoting a challenger that is no better, at each comparison.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class GateResult:
    """One gate, checked.

    Attributes:
        metric: the metric.
        value: what the model reached, or None where the metric is undefined for this data.
        demand: what was demanded, in words: `mape <= 0.12`.
        passed: whether it did.
    """

    metric: str
    value: float | None
    demand: str
    passed: bool


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion on the same rows, which neither has learnt from.

    Attributes:
        metric: the error compared.
        rows: how many rows.
        challenger, champion: the error of each.
        p_value: chance of a difference like this, or greater, if the challenger were no better.
        better: whether it is better by more than noise.
    """

    metric: str
    rows: int
    challenger: float
    champion: float
    p_value: float
    better: bool


def regression_metrics(actual: Values, predicted: Values) -> dict[str, float]:
    """MSE, RMSE, MAE, MAPE and R² of predictions.

    Args:
        actual: shape (n,), in the target's unit.
        predicted: shape (n,), in the target's unit.

    Returns:
        `mse` (unit²), `rmse` and `mae` (unit), `mape` (a share: 0.07 is 7 %; left out where an actual value is zero,
        because it is undefined there), `r2` (1 is perfect; left out where all actual values are equal).

    Raises:
        ValueError: if there are no rows, the shapes differ, or a value is not finite.
    """
    import numpy as np  # noqa: PLC0415

    _refuse_unusable(actual, predicted)
    error = predicted - actual
    mse = float(np.mean(error**2))
    metrics = {"mse": mse, "rmse": math.sqrt(mse), "mae": float(np.mean(np.abs(error)))}
    if (actual != 0).all():
        metrics["mape"] = float(np.mean(np.abs(error / actual)))
    spread = float(np.mean((actual - actual.mean()) ** 2))
    # The mean of equal values may be off by a rounding, and their spread then be more than zero.
    if spread > 0 and (actual != actual[0]).any():
        metrics["r2"] = 1 - mse / spread
    return metrics


def row_losses(metric: str, actual: Values, predicted: Values) -> Values:
    """The loss of each row whose mean is the metric (for `rmse`: whose mean is its square)."""
    import numpy as np  # noqa: PLC0415

    error = predicted - actual
    if metric in {"mse", "rmse"}:
        return error**2
    if metric == "mae":
        return np.abs(error)
    if metric == "mape":
        if not (actual != 0).all():
            raise ValueError("mape is undefined where an actual value is zero. Remedy: compare by mae or rmse")
        return np.abs(error / actual)
    raise ValueError(f"{metric!r} is no mean over rows; expected mse, rmse, mae or mape")


def compare(metric: str, actual: Values, challenger: Values, champion: Values) -> Comparison:
    """Compare two models by a paired one-sided t-test on their losses row by row.

    Args:
        metric: `mse`, `rmse`, `mae` or `mape`.
        actual: shape (n,), rows that neither model has learnt from.
        challenger: shape (n,), its predictions.
        champion: shape (n,), its predictions.

    Raises:
        ValueError: if there are no rows, the shapes differ, a value is not finite, or the metric is undefined.

    Source:
        Student's paired t-test: scipy.stats.ttest_rel.
    """
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    _refuse_unusable(actual, challenger)
    _refuse_unusable(actual, champion)
    new, old = row_losses(metric, actual, challenger), row_losses(metric, actual, champion)
    difference = old - new
    if len(difference) < 2 or not np.any(difference != difference[0]):  # noqa: PLR2004 - a variance needs two rows
        p_value = 1.0
    else:
        p_value = float(stats.ttest_rel(old, new, alternative="greater").pvalue)
    root = math.sqrt if metric == "rmse" else float
    better = p_value < SIGNIFICANCE and bool(new.mean() < old.mean())
    return Comparison(metric, len(actual), root(new.mean()), root(old.mean()), p_value, better)


def check_gate(metric: str, at_most: float | None, at_least: float | None, metrics: Mapping[str, float]) -> GateResult:
    """Check one gate; a metric that is undefined for this data does not pass."""
    value = metrics.get(metric)
    demands = [f"{metric} <= {at_most:g}"] if at_most is not None else []
    demands += [f"{metric} >= {at_least:g}"] if at_least is not None else []
    if value is None or math.isnan(value):
        return GateResult(metric, None, " and ".join(demands), passed=False)
    passed = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return GateResult(metric, value, " and ".join(demands), passed)


def _refuse_unusable(actual: Values, predicted: Values) -> None:
    import numpy as np  # noqa: PLC0415

    if actual.shape != predicted.shape or actual.size == 0:
        raise ValueError(
            f"metrics need as many predictions as actual values, and at least one: {actual.shape}, {predicted.shape}"
        )
    if not (np.isfinite(actual).all() and np.isfinite(predicted).all()):
        raise ValueError("metrics need finite values: a prediction or an actual value is missing or infinite")
