"""The error that a version makes on rows without a label, estimated; and how wrong such estimates have been.

For a classification from its probabilities, calibrated on the rows held out: who says 0.8 and is right in 80 of 100
such cases errs, as long as that holds, in 20. For a regression from a small tree that has learnt, on the rows held out,
how large the loss is where. Both see that inputs have moved to where the version is worse; neither sees that the same
inputs have come to mean something else. So an estimate is told with an interval that rests on how estimates fared where
labels came.

Source:
    NannyML, "Estimation of performance of the monitored model": confidence-based performance estimation (CBPE) and
    direct loss estimation (DLE), https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html;
    Białek et al. (2024), Estimating model performance under covariate shift without labels, arXiv:2401.08348.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.evaluation import EPSILON
from ml_assets.core.quoting import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from ml_assets.core.tasks import Task, Values

# A leaf of fewer rows says little of its loss; a tree of more leaves little more.
LEAF_ROWS, LEAVES = 30, 16
# Categories of a column that a tree tells apart, the most frequent ones; all others are one.
CATEGORIES = 50
# Rows of fewer than this calibrate nothing.
FEWEST_ROWS = 50
# Past estimates that an interval rests on: the newest, at least and at most.
FEWEST_PAST, MOST_PAST = 3, 12
CONFIDENCE = 0.95
# A probability is at least this before its logarithm is taken to be calibrated.
LEAST = 1e-9


@dataclass(frozen=True)
class Estimate:
    """An estimated metric.

    Attributes:
        value: in the metric's unit.
        noise: standard error that chance alone gives the true metric around it, were the estimate right.
    """

    value: float
    noise: float


# How losses are learnt, on the rows held out


def learn_losses(
    rows: pl.DataFrame, kinds: Mapping[str, str], predicted: Values, losses: Values, *, metric: str, seed: int = 0
) -> dict[str, Any] | None:
    """A small tree that tells the loss of a regression from the features and the prediction.

    It splits numbers, and categories in the order of their mean loss; dates and text are left out, for later rows lie
    beyond all dates that were held out. A missing number counts as the median, a rare category as the last.

    Args:
        rows: those held out, with the features.
        kinds: feature → kind.
        predicted: what the version says of them, shape (n,).
        losses: of each, shape (n,), as in `evaluation.row_losses`.
        metric: what they are the losses of.
        seed: of the tree, where two splits are as good.

    Returns:
        Plain values for `expected_sql` and `read_expected`: the features that are looked at (`by`), the `tree`, and of
        each of its `leaves` mean and variance of the losses; None where there are too few rows.
    """
    import numpy as np  # noqa: PLC0415
    from sklearn.tree import DecisionTreeRegressor

    if len(losses) < FEWEST_ROWS or not np.isfinite(losses).all():
        return None
    inputs = _inputs(rows, kinds, predicted, losses)
    # scikit-learn compares single precision with double, and so does the statement that reads the limits.
    matrix = np.column_stack([one.values for one in inputs]).astype(np.float32)
    fewest = max(LEAF_ROWS, len(losses) // (2 * LEAVES))
    tree = DecisionTreeRegressor(max_leaf_nodes=LEAVES, min_samples_leaf=fewest, random_state=seed)
    reached = tree.fit(matrix, losses).apply(matrix)
    leaves = {int(node): number for number, node in enumerate(sorted(set(reached.tolist())))}
    of_leaf = [losses[reached == node] for node in leaves]
    return {
        "metric": metric,
        "by": [one.name for one in inputs[1:]],
        "tree": _told(tree.tree_, 0, inputs, leaves),
        "leaves": [[float(one.mean()), float(one.var())] for one in of_leaf],
        "rows": len(losses),
    }


@dataclass(frozen=True)
class _Input:
    """What a tree may split: the prediction, which has no name, or a feature; `codes` of a category."""

    name: str
    values: Values
    fill: float = 0.0
    codes: Mapping[str, int] | None = None


def _inputs(rows: pl.DataFrame, kinds: Mapping[str, str], predicted: Values, losses: Values) -> list[_Input]:
    import numpy as np  # noqa: PLC0415
    import polars as pl

    found = [_Input("", predicted)]
    for name, kind in kinds.items():
        if kind == "number":
            values = rows[name].cast(pl.Float64).to_numpy()
            known = np.isfinite(values)
            if known.any():
                fill = float(np.median(values[known]))
                found.append(_Input(name, np.where(known, values, fill), fill))
        elif kind == "category":
            codes = _by_loss(rows[name], losses)
            coded = [codes.get(category, len(codes)) for category in rows[name]]
            found.append(_Input(name, np.array(coded, dtype=float), codes=codes))
    return found


def _told(tree: Any, node: int, inputs: Sequence[_Input], leaves: Mapping[int, int]) -> Any:
    """A node and all below it: the number of a leaf, or a split."""
    if node in leaves:
        return leaves[node]
    one, limit = inputs[tree.feature[node]], float(tree.threshold[node])
    sides = {"then": tree.children_left[node], "else": tree.children_right[node]}
    below = {side: _told(tree, int(child), inputs, leaves) for side, child in sides.items()}
    if one.codes is not None:
        return {"by": one.name, "among": [name for name, code in one.codes.items() if code <= limit], **below}
    return {"by": one.name, "at_most": limit, "fill": one.fill, **below}


def _by_loss(categories: pl.Series, losses: Values) -> dict[str, int]:
    """The most frequent categories, numbered in the order of their mean loss.

    Source:
        Fisher (1958), On grouping for maximum homogeneity, JASA 53: in this order the best split of a mean is an
        interval; Breiman et al. (1984), Classification and regression trees.
    """
    import polars as pl

    found = (
        pl.DataFrame({"category": categories, "loss": losses})
        .drop_nulls("category")
        .group_by("category")
        .agg(pl.len().alias("rows"), pl.col("loss").mean())
        .filter(pl.col("rows") >= LEAF_ROWS // 3)
        .sort(["rows", "category"], descending=[True, False])
        .head(CATEGORIES)
        .sort(["loss", "category"])
    )
    return {category: code for code, category in enumerate(found["category"])}


def learn_calibration(task: Task, actual: Values, predicted: Values) -> dict[str, Any] | None:
    """How a classifier's probabilities are to be read.

    binary: q = 1 / (1 + exp(-(slope · logit p + shift))). multiclass: q proportional to p^slope.

    Args:
        task: `binary` or `multiclass`.
        actual: of the rows held out, as in `tasks.as_actual`; rows of unseen classes are left out.
        predicted: what the version says of them, shape (n,) or (n, classes).

    Returns:
        `slope` and `shift`; None where there are too few rows, or rows of one class only.

    Source:
        Platt (1999), Probabilistic outputs for support vector machines; Guo et al. (2017), On calibration of modern
        neural networks, arXiv:1706.04599 (temperature scaling).
    """
    import numpy as np  # noqa: PLC0415

    known = actual >= 0
    actual, predicted = actual[known], np.clip(predicted[known], LEAST, 1 - LEAST)
    if len(actual) < FEWEST_ROWS or len(np.unique(actual)) < 2:  # noqa: PLR2004 - one class has nothing to calibrate
        return None
    if task == "binary":
        from sklearn.linear_model import LogisticRegression

        logits = np.log(predicted / (1 - predicted))[:, None]
        # Hardly held back: so much only that rows which are told apart without an error give finite numbers.
        found = LogisticRegression(C=1e3, max_iter=1000).fit(logits, actual)
        return {"slope": float(found.coef_[0, 0]), "shift": float(found.intercept_[0]), "rows": len(actual)}
    from scipy.optimize import minimize_scalar  # noqa: PLC0415
    from scipy.special import logsumexp  # noqa: PLC0415

    logs, place = np.log(predicted), actual.astype(int)

    def loss(slope: float) -> float:
        scaled = slope * logs
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(place)), place]))

    best = minimize_scalar(loss, bounds=(0.05, 5), method="bounded")
    return {"slope": float(best.x), "shift": 0.0, "rows": len(actual)}


# How they are applied, in the pass that measures


def expected_sql(
    task: Task, learnt: Mapping[int, Mapping[str, Any]], *, of: str = "p", features: str = "f"
) -> list[str]:
    """Aggregates over predictions from which `read_expected` tells the expected losses.

    Args:
        task: what is predicted; all versions are of this task.
        learnt: version → what `learn_losses` or `learn_calibration` returned.
        of: the relation with `prediction`, `probabilities` and `version`.
        features: the relation with the features.
    """
    if not learnt:
        return []
    if task == "regression":
        return [f"histogram({_by_version(of, {v: _leaf_sql(one['tree'], of, features) for v, one in learnt.items()})})"]
    slope, shift = (
        _by_version(of, {v: _number(one[name]) for v, one in learnt.items()}) for name in ("slope", "shift")
    )
    if task == "binary":
        return _binary_expected(f"{of}.prediction", slope, shift)
    return _multiclass_expected(of, slope)


def read_expected(task: Task, kept: Mapping[str, Any], values: Sequence[Any]) -> dict[str, Estimate]:
    """The estimates of one version, from the sums of one group of rows.

    Args:
        task: what is predicted.
        kept: what was learnt about the version.
        values: what the aggregates of `expected_sql` came to; of several groups, added up by `add_expected`.
    """
    if not values or values[0] is None:
        return {}
    if task == "regression":
        counts = {int(leaf): int(rows) for leaf, rows in values[0].items()}
        rows = sum(counts.values())
        total, variance = (sum(kept["leaves"][leaf][of] * n for leaf, n in counts.items()) for of in (0, 1))
        metric = kept["metric"]
        return {metric: _estimate(metric, rows, total, variance)} if rows else {}
    rows, *sums = values
    names = ("log_loss", "brier", "error_rate") if task == "binary" else ("log_loss", "error_rate")
    found = {name: _estimate(name, rows, *sums[2 * n : 2 * n + 2]) for n, name in enumerate(names)} if rows else {}
    if "error_rate" in found:
        wrong = found["error_rate"]
        found["accuracy"] = Estimate(1 - wrong.value, wrong.noise)
    return found


def add_expected(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    """The aggregates of two groups of rows, as those of one."""

    def added(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return dict(Counter(a) + Counter(b)) if isinstance(a, dict) else a + b

    return [added(a, b) for a, b in zip(one, other, strict=True)]


def _estimate(metric: str, rows: int, total: float, variance: float) -> Estimate:
    mean, noise = total / rows, math.sqrt(max(variance, 0.0)) / rows
    if metric != "rmse":
        return Estimate(mean, noise)
    # Its losses are squares; the error of a root by the delta method.
    root = math.sqrt(mean)
    return Estimate(root, noise / (2 * root) if root else 0.0)


def _leaf_sql(node: Any, of: str, features: str) -> str:
    """The number of the leaf that a row falls into."""
    if isinstance(node, int):
        return str(node)
    then, otherwise = (_leaf_sql(node[side], of, features) for side in ("then", "else"))
    return f"CASE WHEN {_split_sql(node, of, features)} THEN {then} ELSE {otherwise} END"


def _split_sql(node: Mapping[str, Any], of: str, features: str) -> str:
    if not node["by"]:
        return f"{of}.prediction::FLOAT <= {_number(node['at_most'])}"
    column = f"{features}.{quoted(node['by'])}"
    if "at_most" in node:
        value = f"TRY_CAST({column} AS DOUBLE)"
        known = f"CASE WHEN isfinite({value}) THEN {value} ELSE {_number(node['fill'])} END"
        return f"({known})::FLOAT <= {_number(node['at_most'])}"
    among = ", ".join(map(literal, node["among"])) or "NULL"
    return f"coalesce({column}::VARCHAR IN ({among}), false)"


def _binary_expected(said: str, slope: str, shift: str) -> list[str]:
    clipped = f"least(greatest({said}, {LEAST!r}::DOUBLE), {1 - LEAST!r}::DOUBLE)"
    chance = f"1 / (1 + exp(-(({slope}) * ln({clipped} / (1 - {clipped})) + ({shift}))))"
    losses = {
        "log_loss": (_log_loss(said), _log_loss(f"(1 - {said})")),
        "brier": (f"(1 - {said}) ** 2", f"{said} ** 2"),
        "error_rate": (f"({said} <= 0.5)::DOUBLE", f"({said} > 0.5)::DOUBLE"),
    }
    found = [f"count({chance})"]
    for of_positive, of_negative in losses.values():
        found += [
            f"sum({chance} * {of_positive} + (1 - {chance}) * {of_negative})",
            f"sum({chance} * (1 - {chance}) * ({of_positive} - {of_negative}) ** 2)",
        ]
    return found


def _multiclass_expected(of: str, slope: str) -> list[str]:
    said = f"{of}.probabilities"
    weights = f"list_transform({said}, lambda p: greatest(p, {LEAST!r}::DOUBLE) ** ({slope}))"
    logs = f"list_transform({said}, lambda p: {_log_loss('p')})"
    mean = f"list_dot_product({weights}, {logs}) / list_sum({weights})"
    square = f"list_dot_product({weights}, list_transform({logs}, lambda l: l ** 2)) / list_sum({weights})"
    right = f"list_max({weights}) / list_sum({weights})"
    return [
        f"count({slope})", f"sum({mean})", f"sum({square} - ({mean}) ** 2)",
        f"sum(1 - {right})", f"sum({right} * (1 - {right}))",
    ]  # fmt: skip


def _log_loss(chance: str) -> str:
    return f"-ln(greatest(least({chance}, 1 - {EPSILON!r}::DOUBLE), {EPSILON!r}::DOUBLE))"


def _by_version(of: str, values: Mapping[int, str]) -> str:
    cases = "".join(f" WHEN {int(version)} THEN {value}" for version, value in values.items())
    return f"CASE {of}.version{cases} END"


def _number(value: float) -> str:
    return f"{float(value)!r}::DOUBLE"


# How wrong estimates have been


def margin(past: Sequence[tuple[float, Estimate]], noise: float) -> float | None:
    """Half the width of the 95 % interval of an estimate, from what became of older ones.

    Errors are measured in units of the noise that chance gave each, so that partitions of all sizes count alike; their
    root mean square, bias included, widens the noise of the new one. With few of them Student's t widens it more.

    Args:
        past: (what was measured, what had been estimated), oldest first; the newest `MOST_PAST` count.
        noise: of the new estimate.

    Returns:
        In the metric's unit; None where fewer than `FEWEST_PAST` estimates have met their labels.

    Source:
        The prediction interval of a normal variable of known mean and unknown variance, see e.g. Hahn and Meeker
        (1991), Statistical intervals.
    """
    squares = [((real - one.value) / one.noise) ** 2 for real, one in past if one.noise > 0][-MOST_PAST:]
    if len(squares) < FEWEST_PAST:
        return None
    from scipy.stats import t  # noqa: PLC0415

    return float(t.ppf((1 + CONFIDENCE) / 2, len(squares)) * math.sqrt(sum(squares) / len(squares)) * noise)
