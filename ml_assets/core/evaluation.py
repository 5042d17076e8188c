"""What a model is worth: metrics, gates, and whether a challenger is better than the champion by more than noise."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.core.paired import PARTITIONS, chance_of_no_gain, groups_of, worst_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.core.tasks import Task

    Values = NDArray[np.float64]
    Codes = NDArray[np.int64]

# Chance of promoting a challenger that is no better, at each comparison.
SIGNIFICANCE = 0.05
# A probability counts as at least this in a log loss, and at most one minus this: as in scikit-learn.
EPSILON = sys.float_info.epsilon


@dataclass(frozen=True)
class GateResult:
    """One gate, checked.

    Attributes:
        metric: the metric.
        value: what the model reached, or None where the metric is undefined for this data.
        demand: what was demanded, in words: `mape <= 0.12`.
        passed: whether it did, or need not.
        waiver: the reason for which it need not; empty where it must.
    """

    metric: str
    value: float | None
    demand: str
    passed: bool
    waiver: str = ""


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion on the same rows, which neither has learnt from.

    Attributes:
        metric: the error compared.
        rows: how many rows.
        challenger, champion: the error of each.
        p_value: chance of a difference like this, or greater, if it were better by no more than the smallest gain.
        better: whether it is better by more than noise and the smallest gain.
        groups: of how many groups of neighbouring rows the test was.
        minimum_gain: the smallest gain that counts, as a share of the champion's error.
    """

    metric: str
    rows: int
    challenger: float
    champion: float
    p_value: float
    better: bool
    groups: int
    minimum_gain: float


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


def binary_metrics(actual: Values, predicted: Values) -> dict[str, float]:
    """Metrics of a binary classification.

    Args:
        actual: shape (n,), 1 for the positive label, 0 for the other, -1 for a class that the model has never seen.
        predicted: shape (n,), probability of the positive label. Above 0.5 the positive label is predicted.

    Returns:
        `log_loss` (nats), `brier`, `error_rate`, `accuracy`, `precision`, `recall`, `f1`, `roc_auc` and `pr_auc`
        (average precision). What these rows leave undefined is left out: `precision` where nothing is predicted
        positive, `recall` and `pr_auc` where nothing is, `f1` where neither is, `roc_auc` where all labels are equal.
        A row of a class that the model has never seen is wrong whatever is said, had probability 0 and is not positive;
        how many there are is told as `unseen_rows`, where there are any.

    Raises:
        ValueError: if there are no rows, the shapes differ, or a value is not finite.

    Source:
        sklearn.metrics.
    """
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics

    _refuse_unusable(actual, predicted)
    said, was = predicted > 0.5, actual == 1  # noqa: PLR2004 - the likelier of two
    undefined = {"zero_division": np.nan}
    losses = {name: np.mean(row_losses(name, actual, predicted)) for name in ("log_loss", "brier", "error_rate")}
    found = losses | {
        "accuracy": 1 - losses["error_rate"],
        "precision": metrics.precision_score(was, said, **undefined),
        "recall": metrics.recall_score(was, said, **undefined),
        "f1": metrics.f1_score(was, said, **undefined),
    }
    if was.any():
        found["pr_auc"] = metrics.average_precision_score(was, predicted)
        if not was.all():
            found["roc_auc"] = metrics.roc_auc_score(was, predicted)
    return {name: float(value) for name, value in found.items() if not math.isnan(value)} | _unseen(actual)


def multiclass_metrics(actual: Values, predicted: Values) -> dict[str, float]:
    """Metrics of a classification into many classes.

    Args:
        actual: shape (n,), the position of each row's class; -1 for a class that the model has never seen.
        predicted: shape (n, classes), probabilities. The likeliest class is predicted.

    Returns:
        `log_loss` (nats), `error_rate`, `accuracy`, and `precision_macro`, `recall_macro`, `f1_macro`: means over the
        classes that the model knows and that occur or are predicted here, 0 where one is undefined, as in scikit-learn.
        A row of a class that the model has never seen is wrong and had probability 0, which a log loss takes for
        2.2e-16; how many there are is told as `unseen_rows`, where there are any.

    Raises:
        ValueError: if there are no rows, the shapes differ, or a value is not finite.

    Source:
        sklearn.metrics.
    """
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics

    _refuse_unusable(actual, predicted)
    said = predicted.argmax(axis=1).astype(float)
    known = sorted({*actual.tolist(), *said.tolist()} - {-1.0})
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        actual, said, labels=known, average="macro", zero_division=0
    )
    found = {
        "log_loss": np.mean(row_losses("log_loss", actual, predicted)),
        "error_rate": np.mean(said != actual),
        "accuracy": metrics.accuracy_score(actual, said),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
    }
    return {name: float(value) for name, value in found.items()} | _unseen(actual)


def _unseen(actual: Values) -> dict[str, float]:
    unseen = int((actual < 0).sum())
    return {"unseen_rows": float(unseen)} if unseen else {}


def measure(task: Task, actual: Values, predicted: Values) -> dict[str, float]:
    """The metrics of a task; see the function of each for what it takes."""
    by_task = {"regression": regression_metrics, "binary": binary_metrics, "multiclass": multiclass_metrics}
    return by_task[task](actual, predicted)


def compared_by(metric: str, *actual: Values) -> str:
    """The metric by which models are compared on some rows: MAE in place of MAPE where an actual value is zero."""
    return "mae" if metric == "mape" and any((values == 0).any() for values in actual) else metric


def row_losses(metric: str, actual: Values, predicted: Values) -> Values:
    """The loss of each row whose mean is the metric (for `rmse`: whose mean is its square), shape (n,).

    Args:
        metric: one that can be watched: see `tasks.METRICS`.
        actual: shape (n,): values; for a classification as in `tasks.as_actual`.
        predicted: shape (n,), or (n, classes) for a classification into many.
    """
    import numpy as np  # noqa: PLC0415

    if metric == "log_loss":
        chance = np.clip(_chance_of_actual(actual, predicted), EPSILON, 1 - EPSILON)
        return np.asarray(-np.log(chance))
    if metric == "error_rate":
        said = predicted > 0.5 if predicted.ndim == 1 else predicted.argmax(axis=1)  # noqa: PLR2004 - the likelier of two
        return np.asarray(said != actual, dtype=float)
    error = predicted - actual
    if metric == "brier":
        return np.where(actual < 0, 1.0, error**2)
    if metric in {"mse", "rmse"}:
        return error**2
    if metric == "mae":
        return np.abs(error)
    if metric == "mape":
        if not (actual != 0).all():
            raise ValueError("mape is undefined where an actual value is zero. Remedy: compare by mae or rmse")
        return np.abs(error / actual)
    raise ValueError(f"{metric!r} is no mean over rows; expected mse, rmse, mae, mape, log_loss, brier or error_rate")


def _chance_of_actual(actual: Values, predicted: Values) -> Values:
    """The probability that was given to what then was; 0 for a class that the model has never seen."""
    import numpy as np  # noqa: PLC0415

    if predicted.ndim == 1:
        return np.where(actual < 0, 0.0, np.where(actual == 1, predicted, 1 - predicted))
    code = actual.astype(int)
    return np.where(code < 0, 0.0, predicted[np.arange(len(code)), code])


def compare(
    metric: str,
    actual: Values,
    challenger: Values,
    champion: Values,
    *,
    partitions: Codes | None = None,
    minimum_gain: float = 0.0,
) -> Comparison:
    """Compare two models by their losses row by row: is the challenger better by more than noise and a smallest gain?

    A one-sided paired t-test over groups of neighbouring rows. With fewer than six partitions, whose differences it
    cannot see, the challenger must also be better in each of them. With one, nothing is said of other partitions.

    Args:
        metric: one that can be watched: see `tasks.METRICS`.
        actual: shape (n,), rows that neither model has learnt from, as in `row_losses`.
        challenger: its predictions, shape (n,) or (n, classes).
        champion: its predictions, of the same shape.
        partitions: shape (n,), the partition of each row, in the order in which rows came; one where it is left out.
        minimum_gain: the hypothesis is that the metric falls by at most this share of the champion's.

    Raises:
        ValueError: if there are no rows, the shapes differ, a value is not finite, or the metric is undefined.

    Source:
        See `paired.chance_of_no_gain`.
    """
    import numpy as np  # noqa: PLC0415

    _refuse_unusable(actual, challenger)
    _refuse_unusable(actual, champion)
    partitions = np.zeros(len(actual), dtype=np.int64) if partitions is None else partitions
    new, old = row_losses(metric, actual, challenger), row_losses(metric, actual, champion)
    # The mean of the losses of rmse is its square.
    kept = (1 - minimum_gain) ** (2 if metric == "rmse" else 1)
    gains, groups = kept * old - new, groups_of(partitions)
    p_value = chance_of_no_gain(gains, groups)
    few = len(np.unique(partitions)) < PARTITIONS
    better = p_value < SIGNIFICANCE and (not few or worst_mean(gains, partitions) > 0)
    root = math.sqrt if metric == "rmse" else float
    return Comparison(
        metric, len(actual), root(new.mean()), root(old.mean()), p_value, better, len(np.unique(groups)), minimum_gain
    )


def check_gate(
    metric: str,
    at_most: float | None,
    at_least: float | None,
    metrics: Mapping[str, float],
    *,
    where: str = "",
    ends: Mapping[str, tuple[float, float]] | None = None,
) -> GateResult:
    """Check one gate; a metric that is undefined for this data does not pass.

    Args:
        metric: the metric.
        at_most: greatest value that passes.
        at_least: smallest value that passes.
        metrics: what the model reached.
        where: the rows on which it did, in words, where they are a slice.
        ends: metric → the ends of its confidence interval, where the worse of them must pass.
    """
    value = metrics.get(metric)
    demands = [f"{metric} <= {at_most:g}"] if at_most is not None else []
    demands += [f"{metric} >= {at_least:g}"] if at_least is not None else []
    demand = " and ".join(demands) + (f" where {where}" if where else "") + (", with confidence" if ends else "")
    if value is None or math.isnan(value) or (ends is not None and metric not in ends):
        return GateResult(metric, None, demand, passed=False)
    low, high = ends[metric] if ends is not None else (value, value)
    # By how much each bound is kept: the end that keeps its own least is the one to name.
    kept = [(at_most - high, high)] if at_most is not None else []
    kept += [(low - at_least, low)] if at_least is not None else []
    least, reached = min(kept)
    return GateResult(metric, reached, demand, passed=least >= 0)


def _refuse_unusable(actual: Values, predicted: Values) -> None:
    import numpy as np  # noqa: PLC0415

    if actual.shape != predicted.shape[:1] or actual.size == 0:
        raise ValueError(
            f"metrics need as many predictions as actual values, and at least one: {actual.shape}, {predicted.shape}"
        )
    if not (np.isfinite(actual).all() and np.isfinite(predicted).all()):
        raise ValueError("metrics need finite values: a prediction or an actual value is missing or infinite")
