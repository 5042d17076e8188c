"""How far a metric may be off by the luck of the test rows: intervals by the bootstrap.

One set of resamples serves every metric, slice and comparison of a test set: what is compared is compared on the same
draws, and a metric of all resamples is one product of matrices, because all but the areas under curves follow from sums
over rows. Many rows are drawn in bundles of rows put together at random: a sum over bundles drawn with replacement has
the mean and the variance that a sum over rows drawn so has, at a cost that no longer grows with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_assets.core.evaluation import row_losses
from ml_assets.core.tasks import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.core.tasks import Task, Values

    Codes = NDArray[np.int64]

# Resampling few blocks says too little of how blocks differ: the intervals come out too narrow.
FEWEST_BLOCKS = 10
MOST_UNITS = 2_000
# Parts of the units that are left out in turn to tell how skewed a metric is.
MOST_PARTS = 200
# A metric that more resamples than this leave undefined has no interval.
UNDEFINED = 0.05
# Cells of a matrix of draws and rows that are worked on at a time: some ten megabytes.
CELLS = 2_000_000
RANKS = ("roc_auc", "pr_auc")


@dataclass(frozen=True)
class Resamples:
    """Which rows stand in each resample of a test set, and how often.

    Attributes:
        counts: shape (draws, units): how often a unit was drawn.
        unit: shape (n,): the unit of each row.
        drawn: what the units are: `rows`, `bundles` of rows, or `blocks`.
        confidence: of the intervals, as a share.
    """

    counts: Values
    unit: Codes
    drawn: str
    confidence: float = 0.95

    @property
    def units(self) -> int:
        """How many units are drawn from."""
        return int(self.counts.shape[1])


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends included; in the metric's unit."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean over rows, and the chance of it, or of a greater one, where the true mean is not above zero."""

    mean: float
    p_value: float


def resample(
    rows: int, *, blocks: Codes | None = None, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Resamples:
    """Draw the resamples of a test set, the same at every call.

    Rows that came together are alike, and a test set of them tells less than its number of rows: where there are at
    least 10 blocks, blocks are drawn whole (the cluster bootstrap). Of fewer, the differences between blocks cannot be
    told: rows are drawn, and the intervals then hold for rows of these blocks only.

    Args:
        rows: how many there are.
        blocks: shape (n,), the code of each row's block, or None where each row stands for itself.
        draws: how many resamples.
        confidence: of the intervals that are read from them.
        seed: of the draws.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6, 8 and 13; few clusters: Cameron,
        Gelbach and Miller (2008), Review of Economics and Statistics 90(3).
    """
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(seed)
    unit, drawn = np.arange(rows), "rows"
    codes = np.unique(blocks, return_inverse=True)[1] if blocks is not None else unit[:0]
    if len(codes) and codes.max() + 1 >= FEWEST_BLOCKS:
        unit, drawn = codes, "blocks"
    if unit.size and unit.max() + 1 > MOST_UNITS:
        bundles = random.permutation(unit.max() + 1) % MOST_UNITS
        unit, drawn = bundles[unit], "bundles" if drawn == "rows" else drawn
    units = int(unit.max()) + 1 if unit.size else 0
    picked = random.integers(max(units, 1), size=(draws, units)) + np.arange(draws)[:, None] * units
    counts = np.bincount(picked.ravel(), minlength=draws * units).reshape(draws, units).astype(float)
    return Resamples(counts, unit, drawn, confidence)


def intervals(
    task: Task,
    actual: Values,
    predicted: Values,
    resamples: Resamples,
    *,
    rows: NDArray[np.bool_] | None = None,
    names: Collection[str] | None = None,
) -> dict[str, Interval]:
    """BCa intervals of metrics: percentiles of the resamples, corrected for bias and skewness.

    Args:
        task: what was predicted.
        actual: shape (n,), as in `evaluation.measure`.
        predicted: shape (n,) or (n, classes).
        resamples: of the n rows.
        rows: shape (n,), which rows count: those of a slice; all where it is None.
        names: the metrics; all of the task where it is None.

    Returns:
        Metric → interval; without those that more than one resample in twenty leaves undefined.

    Source:
        Efron (1987), Better bootstrap confidence intervals, JASA 82(397); scipy.stats.bootstrap.
    """
    import numpy as np  # noqa: PLC0415

    parts = np.arange(resamples.units) % MOST_PARTS
    left_out = (parts != np.arange(min(MOST_PARTS, resamples.units))[:, None]).astype(float)
    together = replace(resamples, counts=np.vstack([np.ones(resamples.units), left_out, resamples.counts]))
    found = {}
    for name, values in resampled(task, actual, predicted, together, rows=rows, names=names).items():
        drawn = values[1 + len(left_out) :]
        defined = drawn[~np.isnan(drawn)]
        if len(defined) >= (1 - UNDEFINED) * len(drawn):
            tails = _tails(values[0], values[1 : 1 + len(left_out)], defined, resamples.confidence)
            low, high = np.quantile(defined, tails)
            found[name] = Interval(float(low), float(high))
    return found


def _tails(found: float, left_out: Values, drawn: Values, confidence: float) -> Values:
    """Between which shares of the resamples the interval lies; the plain tails where no correction can be told."""
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    plain = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    below = (np.mean(drawn < found) + np.mean(drawn <= found)) / 2
    spread = left_out.mean() - left_out
    if not 0 < below < 1 or not np.isfinite(spread).all() or not spread.any():
        return plain
    bias, skew = stats.norm.ppf(below), (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    ends = bias + stats.norm.ppf(plain)
    return np.asarray(stats.norm.cdf(bias + ends / (1 - skew * ends)))


def resampled(
    task: Task,
    actual: Values,
    predicted: Values,
    resamples: Resamples,
    *,
    rows: NDArray[np.bool_] | None = None,
    names: Collection[str] | None = None,
) -> dict[str, Values]:
    """Metrics of each resample, shape (draws,) each; NaN where a resample leaves one undefined. See `intervals`."""
    import numpy as np  # noqa: PLC0415

    wanted = METRICS[task].keys() if names is None else names
    unit = resamples.unit
    if rows is not None:
        actual, predicted, unit = actual[rows], predicted[rows], unit[rows]
    columns: dict[Task, Callable[[Values, Values], Values]] = {
        "regression": _regression_columns, "binary": _binary_columns, "multiclass": _multiclass_columns,
    }  # fmt: skip
    metrics: dict[Task, Callable[[Values], dict[str, Values]]] = {
        "regression": _regression_metrics, "binary": _binary_metrics, "multiclass": _multiclass_metrics,
    }  # fmt: skip
    sums = resamples.counts @ _by_unit(columns[task](actual, predicted), unit, resamples.units)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: values for name, values in metrics[task](sums).items() if name in wanted}
    if task == "binary" and any(name in wanted for name in RANKS):
        areas = _areas(actual, predicted, unit, resamples.counts)
        found |= {name: values for name, values in areas.items() if name in wanted}
    return found


def resampled_means(values: Values, resamples: Resamples) -> Values:
    """The mean of each column over the rows where it is not NaN, in each resample.

    Args:
        values: shape (n, columns).
        resamples: of the n rows.

    Returns:
        Shape (draws, columns); NaN where a resample holds no row of a column.
    """
    import numpy as np  # noqa: PLC0415

    there = ~np.isnan(values)
    sums = resamples.counts @ _by_unit(np.where(there, values, 0), resamples.unit, resamples.units)
    rows = resamples.counts @ _by_unit(there.astype(float), resamples.unit, resamples.units)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums / rows)


def mean_above_zero(values: Values, resamples: Resamples) -> Difference:
    """Whether a mean over rows is above zero by more than noise: Student's t with the bootstrap's standard error.

    Args:
        values: shape (n,), such as the differences of two models' losses.
        resamples: of the n rows. Where rows are drawn this is the paired t-test; where blocks are, blocks are the
            observations.
    """
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    mean, units = float(values.mean()), resamples.units
    if units < 2 or not np.any(values != values[0]):  # noqa: PLR2004 - a variance needs two
        return Difference(mean, 1.0)
    # The bootstrap's variance is that of the n observations, not of n - 1.
    error = float(np.nanstd(resampled_means(values[:, None], resamples))) * (units / (units - 1)) ** 0.5
    return Difference(mean, float(stats.t.sf(mean / error, units - 1)) if error else 1.0)


def _by_unit(columns: Values, unit: Codes, units: int) -> Values:
    """The sum of each column over the rows of each unit, shape (units, columns)."""
    import numpy as np  # noqa: PLC0415

    return np.stack([np.bincount(unit, column, units) for column in columns.T], axis=1)


def _regression_columns(actual: Values, predicted: Values) -> Values:
    import numpy as np  # noqa: PLC0415

    error = predicted - actual
    # About the middle of the values: squares of large numbers would drown their spread.
    centred = actual - actual.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(actual == 0, 0.0, np.abs(error / actual))
    return np.stack([np.ones_like(error), error**2, np.abs(error), relative, actual == 0, centred, centred**2], axis=1)


def _regression_metrics(sums: Values) -> dict[str, Values]:
    import numpy as np  # noqa: PLC0415

    rows, squares, absolute, relative, zeros, centred, spread = sums.T
    mse = squares / rows
    variance = spread / rows - (centred / rows) ** 2
    return {
        "mse": mse,
        "rmse": np.sqrt(mse),
        "mae": absolute / rows,
        "mape": np.where(zeros > 0, np.nan, relative / rows),
        # A spread within the rounding of its parts is none.
        "r2": np.where(variance > 1e-12 * spread / rows, 1 - mse / variance, np.nan),
    }


def _binary_columns(actual: Values, predicted: Values) -> Values:
    import numpy as np  # noqa: PLC0415

    said, was = predicted > 0.5, actual == 1  # noqa: PLR2004 - the likelier of two
    losses = [row_losses(name, actual, predicted) for name in ("log_loss", "brier", "error_rate")]
    return np.stack([np.ones_like(actual), *losses, said & was, said, was], axis=1)


def _binary_metrics(sums: Values) -> dict[str, Values]:
    import numpy as np  # noqa: PLC0415

    rows, log_loss, brier, errors, hits, said, was = sums.T
    found = {"log_loss": log_loss / rows, "brier": brier / rows, "error_rate": errors / rows}
    of_labels = {"precision": hits / said, "recall": hits / was, "f1": 2 * hits / (said + was)}
    return found | {"accuracy": 1 - errors / rows} | {name: np.asarray(one) for name, one in of_labels.items()}


def _multiclass_columns(actual: Values, predicted: Values) -> Values:
    import numpy as np  # noqa: PLC0415

    classes = np.arange(predicted.shape[1])
    said, was = predicted.argmax(axis=1)[:, None] == classes, actual[:, None] == classes
    losses = [row_losses(name, actual, predicted)[:, None] for name in ("log_loss", "error_rate")]
    return np.hstack([np.ones((len(actual), 1)), *losses, said & was, said, was])


def _multiclass_metrics(sums: Values) -> dict[str, Values]:
    import numpy as np  # noqa: PLC0415

    rows, log_loss, errors = sums[:, :3].T
    hits, said, was = np.split(sums[:, 3:], 3, axis=1)
    known = said + was > 0

    def macro(values: Values) -> Values:
        return np.asarray(np.where(known, np.nan_to_num(values), 0).sum(axis=1) / known.sum(axis=1))

    return {
        "log_loss": log_loss / rows,
        "error_rate": errors / rows,
        "accuracy": 1 - errors / rows,
        "precision_macro": macro(hits / said),
        "recall_macro": macro(hits / was),
        "f1_macro": macro(2 * hits / (said + was)),
    }


def _areas(actual: Values, predicted: Values, unit: Codes, counts: Values) -> dict[str, Values]:
    """ROC area (Mann and Whitney's statistic, ties count half) and average precision of weighted rows."""
    import numpy as np  # noqa: PLC0415

    order = np.argsort(-predicted, kind="stable")
    unit, was = unit[order], actual[order] == 1
    # Rows of one probability stand or fall together.
    firsts = np.flatnonzero(np.diff(predicted[order], prepend=np.inf))
    roc, precision = np.empty(len(counts)), np.empty(len(counts))
    step = max(1, CELLS // len(order))
    for start in range(0, len(counts), step):
        weights = counts[start : start + step][:, unit]
        hits = np.add.reduceat(weights * was, firsts, axis=1)
        alarms = np.add.reduceat(weights * ~was, firsts, axis=1)
        all_hits, all_alarms = hits.cumsum(axis=1), alarms.cumsum(axis=1)
        positives, negatives = all_hits[:, -1], all_alarms[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            above = (alarms * (all_hits - hits / 2)).sum(axis=1)
            roc[start : start + step] = above / (positives * negatives)
            shares = np.nan_to_num(all_hits / (all_hits + all_alarms))
            precision[start : start + step] = (hits * shares).sum(axis=1) / positives
    return {"roc_auc": roc, "pr_auc": precision}
