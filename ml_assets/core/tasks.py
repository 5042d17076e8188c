"""The tasks that a project can set a model, the metrics of each, and how the labels of a classification are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

Task = Literal["regression", "binary", "multiclass"]


@dataclass(frozen=True)
class Metric:
    """What is known of a metric.

    Attributes:
        title: its name for people.
        larger_is_better: its direction.
        watched: whether it is a mean over rows (or the root of one) of a loss: only then can two models be compared
            row by row, and its growth be watched.
        is_share: whether people read it as a percentage.
    """

    title: str
    larger_is_better: bool
    watched: bool = False
    is_share: bool = False


def _loss(title: str, *, is_share: bool = False) -> Metric:
    return Metric(title, larger_is_better=False, watched=True, is_share=is_share)


def _gain(title: str, *, is_share: bool = True) -> Metric:
    return Metric(title, larger_is_better=True, is_share=is_share)


# The first watched metric of a task is the one that is watched where a project declares none.
METRICS: Mapping[Task, Mapping[str, Metric]] = {
    "regression": {
        "mape": _loss("MAPE", is_share=True),
        "mse": _loss("MSE"),
        "rmse": _loss("RMSE"),
        "mae": _loss("MAE"),
        "r2": _gain("R²", is_share=False),
    },
    "binary": {
        "log_loss": _loss("Log loss"),
        "brier": _loss("Brier score"),
        "error_rate": _loss("Error rate", is_share=True),
        "accuracy": _gain("Accuracy"),
        "precision": _gain("Precision"),
        "recall": _gain("Recall"),
        "f1": _gain("F1", is_share=False),
        "roc_auc": _gain("ROC AUC", is_share=False),
        "pr_auc": _gain("PR AUC", is_share=False),
    },
    "multiclass": {
        "log_loss": _loss("Log loss"),
        "error_rate": _loss("Error rate", is_share=True),
        "accuracy": _gain("Accuracy"),
        "precision_macro": _gain("Precision, macro"),
        "recall_macro": _gain("Recall, macro"),
        "f1_macro": _gain("F1, macro", is_share=False),
    },
}
BY_NAME: Mapping[str, Metric] = {name: metric for metrics in METRICS.values() for name, metric in metrics.items()}
# Labels that say yes: one of them among the two of a binary target is the positive one unless the project says else.
YES = frozenset({"true", "t", "yes", "y", "1"})


class LabelError(ValueError):
    """The labels of a classification do not fit its declaration; the message names them."""


def watched_metrics(task: Task) -> list[str]:
    """The metrics of a task whose growth can be watched, the default first."""
    return [name for name, metric in METRICS[task].items() if metric.watched]


def title_of(metric: str) -> str:
    """A metric's name for people; its own where it is none of ours."""
    return BY_NAME[metric].title if metric in BY_NAME else metric


def classes_of(labels: pl.Series, task: Task, positive: str | None) -> tuple[str, ...]:
    """The classes that a model is to know, as text.

    Args:
        labels: of the training rows: text, booleans (`true`, `false`) or integers; none is missing.
        task: `binary` or `multiclass`; a regression has no classes.
        positive: the declared positive label of a binary task, or None.

    Returns:
        binary: the negative label, then the positive one; multiclass: the labels in the order of their text.

    Raises:
        LabelError: if there are fewer than two, more than two in a binary task, or it is not clear which is positive.
    """
    import polars as pl

    if task == "regression":
        return ()
    found = labels.cast(pl.String).unique().sort().to_list()
    listed = _listed(found)
    if len(found) < 2:  # noqa: PLR2004 - a classification tells two classes apart
        raise LabelError(
            f"{labels.name!r} is {listed} in all {labels.len()} training rows: there is nothing to tell apart. "
            "Remedy: train on partitions that hold other labels too"
        )
    if task == "multiclass":
        return tuple(found)
    if len(found) > 2:  # noqa: PLR2004 - binary
        raise LabelError(
            f"{labels.name!r} has {len(found)} labels ({listed}) and the task is binary. "
            "Remedy: declare `task: multiclass`, or make two of them in features.sql"
        )
    if positive is None:
        yes = [label for label in found if label.lower() in YES]
        if len(yes) != 1:
            raise LabelError(
                f"which label of {labels.name!r} counts as positive: {listed}? Remedy: declare it, "
                f"as in `positive: {found[1]}`"
            )
        (positive,) = yes
    if positive not in found:
        raise LabelError(
            f"positive: {positive!r} is no label of {labels.name!r}. They are {listed}. "
            "Remedy: declare one of them; in YAML, put a word like yes in quotes"
        )
    return next(label for label in found if label != positive), positive


def has_label(labels: pl.Series, task: Task) -> pl.Series:
    """Which rows have a label: a finite number, or a class; shape (n,)."""
    import polars as pl

    if task != "regression":
        return labels.is_not_null()
    return labels.cast(pl.Float64).is_finite().fill_null(value=False)


def as_actual(labels: pl.Series, task: Task, classes: Sequence[str]) -> Values:
    """Labels as numbers, shape (n,).

    Returns:
        regression: the values. Else the position of the label in `classes`, so that of a binary task the positive label
        is 1 and the other 0; -1 where it is none of them: a class that the model has never seen.

    Raises:
        LabelError: if a classification's label is missing.
    """
    import numpy as np  # noqa: PLC0415
    import polars as pl

    if task == "regression":
        return labels.to_numpy().astype(float)
    if labels.null_count():
        raise LabelError(
            f"{labels.null_count()} of {labels.len()} rows have no {labels.name!r}. Remedy: filter them in features.sql"
        )
    texts = labels.cast(pl.String)
    codes = {label: float(code) for code, label in enumerate(classes)}
    return np.asarray(texts.replace_strict(codes, default=-1.0, return_dtype=pl.Float64).to_numpy())


def align(probabilities: Values, have: Sequence[str], want: Sequence[str]) -> Values:
    """Probabilities, shape (n, len(have)), with columns in the order of other classes; 0 for those that are not had."""
    import numpy as np  # noqa: PLC0415

    aligned = np.zeros((len(probabilities), len(want)))
    for column, label in enumerate(have):
        aligned[:, want.index(label)] = probabilities[:, column]
    return aligned


def as_number(predicted: Values) -> Values:
    """The one number of each prediction that drift and profiles work on, shape (n,).

    A regression's value, the probability of a binary task's positive label, or the probability of the likeliest class.
    """
    return predicted if predicted.ndim == 1 else predicted.max(axis=1)


def _listed(labels: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(repr(label) for label in labels[:most])
    return shown + (", …" if len(labels) > most else "")
