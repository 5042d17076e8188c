"""What a model must be better than: predictions that anybody could make without it.

The mean, the median or the shares of the classes; the last value that was known, or the one a season ago. A linear
model is one more rung; it is fitted like any other (`core.training`).

"Repeat the last label" beats many published learners on the electricity benchmark: Zliobaite (2013), How good is the
Electricity benchmark for evaluating concept drift adaptation. So it is always asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.core.evaluation import row_losses

if TYPE_CHECKING:
    import polars as pl

    from ml_assets.core.tasks import Task, Values

# Rows of the training set's shares that a known label is worth as much as; the best of them is chosen.
SHRINKAGE = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)


@dataclass(frozen=True)
class Past:
    """What had become known when a row is judged.

    Attributes:
        sums: shape (n, k): of a regression the sum of the targets that were known, k = 1; of a classification the rows
            of each class.
        rows: shape (n,): how many there were; 0 where nothing was known.
    """

    sums: Values
    rows: Values


def dummies(task: Task, learnt: Values, rows: int, classes: int) -> dict[str, Values]:
    """Predictions that look at no feature.

    Args:
        task: what is predicted.
        learnt: shape (n,), the target of the training rows, as in `tasks.as_actual`.
        rows: how many rows are judged.
        classes: how many there are, in a classification.

    Returns:
        regression: `mean` and `median`; else `prior`, the shares of the classes. Shapes as in `evaluation.measure`.
    """
    import numpy as np  # noqa: PLC0415

    if task == "regression":
        return {"mean": np.full(rows, learnt.mean()), "median": np.full(rows, np.median(learnt))}
    shares = as_targets(task, learnt, classes).mean(axis=0)
    return {"prior": np.full(rows, shares[0]) if task == "binary" else np.tile(shares, (rows, 1))}


def as_targets(task: Task, actual: Values, classes: int) -> Values:
    """Targets that can be added up, shape (n, k): values, whether it is the positive label, or whether each class."""
    import numpy as np  # noqa: PLC0415

    if task == "regression":
        return actual[:, None]
    if task == "binary":
        return np.asarray(actual[:, None] == 1, dtype=float)
    return np.asarray(actual[:, None] == np.arange(classes), dtype=float)


def past_of(history: pl.DataFrame, targets: Values, asked: pl.DataFrame, *, before: bool) -> Past:
    """The rows of the newest moment that had been known when each row is judged.

    Args:
        history: `moment` and `entity` of the rows that may be known: rows without a declared entity share one.
        targets: shape (rows of history, k), as in `as_targets`.
        asked: `moment` and `entity` of the rows that are judged: the moment up to which is looked.
        before: whether only older moments count; else the moment itself counts too.
    """
    import numpy as np  # noqa: PLC0415
    import polars as pl

    names = [f"target_{number}" for number in range(targets.shape[1])]
    known = (
        history.select("moment", "entity")
        .with_columns(pl.Series(name, targets[:, number]) for number, name in enumerate(names))
        .group_by("entity", "moment")
        .agg(pl.col(names).sum(), pl.len().alias("rows"))
        .sort("moment")
    )
    found = (
        asked.select("moment", "entity")
        .with_row_index("place")
        .sort("moment")
        .join_asof(
            known, on="moment", by="entity", strategy="backward", allow_exact_matches=not before,
            check_sortedness=False,
        )
        .sort("place")
    )  # fmt: skip
    return Past(found.select(names).fill_null(0).to_numpy(), found["rows"].fill_null(0).to_numpy().astype(np.float64))


def repeat(task: Task, learnt: Values, of_learnt: Past, of_judged: Past, classes: int) -> Values:
    """Predict what was known: the mean of those rows, or the shares of their classes.

    A label is no probability. It is shrunk towards the shares of the classes in the training rows, as far as served
    those rows best: so that it is judged by its log loss as fairly as any model. Where nothing was known the mean, or
    the shares, are predicted.

    Args:
        task: what is predicted.
        learnt: shape (n,), the target of the training rows.
        of_learnt: what was known of each training row.
        of_judged: what was known of each row that is judged.
        classes: how many there are, in a classification.
    """
    import numpy as np  # noqa: PLC0415

    if task == "regression":
        known = of_judged.rows > 0
        return np.where(known, of_judged.sums[:, 0] / np.where(known, of_judged.rows, 1), learnt.mean())
    shares = as_targets(task, learnt, classes).mean(axis=0)
    seen = of_learnt.rows > 0

    def shrunk(past: Past, weight: float) -> Values:
        found = (past.sums + weight * shares) / (past.rows + weight)[:, None]
        return np.asarray(found[:, 0] if task == "binary" else found)

    def loss(weight: float) -> float:
        return float(row_losses("log_loss", learnt[seen], shrunk(of_learnt, weight)[seen]).mean())

    return shrunk(of_judged, min(SHRINKAGE, key=loss) if seen.any() else SHRINKAGE[-1])
