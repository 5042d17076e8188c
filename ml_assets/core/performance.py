"""How well past predictions fitted the labels, per partition, counted in SQL in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml_assets.core.evaluation import EPSILON
from ml_assets.core.quoting import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ml_assets.core.tasks import Task


def performance_sql(
    predictions: str,
    features: str,
    target: str,
    *,
    task: Task = "regression",
    classes: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """A statement that yields, per partition and version, sums over rows that have a label and were not learnt from.

    Args:
        predictions: SQL that yields predictions, with lineage, `prediction`, `version`, `in_sample`, `hindsight`; for a
            classification into many also `predicted_class` and `probabilities`.
        features: SQL that yields the labels, with lineage.
        target: the label's column.
        task: what is predicted; all versions are of this task.
        classes: of a classification: version → the classes in its record.
    """
    column = f"f.{quoted(target)}"
    if task == "regression":
        label = f"{column}::DOUBLE"
        present = f"isfinite({label})"
        sums = _regression_sums(label)
    else:
        label = f"{column}::VARCHAR"
        present = f"{label} IS NOT NULL"
        sums = _binary_sums(label, classes or {}) if task == "binary" else _multiclass_sums(label, classes or {})
    return f"""
        SELECT p._partition, p.version, count(*), {", ".join(sums)}
        FROM ({predictions}) p JOIN ({features}) f USING (_partition, _source, _row)
        WHERE NOT p.in_sample AND NOT p.hindsight AND {present}
        GROUP BY ALL ORDER BY ALL"""


def read_performance(
    result: Iterable[tuple[Any, ...]], task: Task = "regression"
) -> dict[tuple[datetime, int], dict[str, float]]:
    """Metrics per partition and version, from the rows that `performance_sql` yields.

    Returns:
        (partition, version) → `rows`, and metrics as in `evaluation.measure`. regression: all of them. binary:
        `log_loss`, `brier`, `error_rate`, `accuracy`, `precision`, `recall`, `f1`. multiclass: `log_loss`,
        `error_rate`, `accuracy`. Of both also `unseen_rows`, where there are any. What a partition leaves undefined is
        left out.
    """
    by_task = {"regression": _regression_metrics, "binary": _binary_metrics, "multiclass": _multiclass_metrics}
    return {
        (partition, version): {"rows": float(rows), **by_task[task](rows, sums)}
        for partition, version, rows, *sums in result
    }


def _regression_sums(label: str) -> list[str]:
    error = f"(p.prediction - {label})"
    return [
        f"sum({error} ** 2)",
        f"sum(abs({error}))",
        f"sum(CASE WHEN {label} <> 0 THEN abs({error} / {label}) END)",
        f"count(*) FILTER ({label} = 0)",
        f"var_pop({label})",
    ]


def _regression_metrics(rows: int, sums: Sequence[float]) -> dict[str, float]:
    squares, absolute, relative, zeros, variance = sums
    metrics = {"mse": squares / rows, "rmse": math.sqrt(squares / rows), "mae": absolute / rows}
    if not zeros:
        metrics["mape"] = relative / rows
    if variance > 0:
        metrics["r2"] = 1 - squares / rows / variance
    return metrics


def _binary_sums(label: str, classes: Mapping[int, Sequence[str]]) -> list[str]:
    negative, positive = (
        f"({label} = {_by_version({version: literal(pair[place]) for version, pair in classes.items()})})"
        for place in (0, 1)
    )
    said = "(p.prediction > 0.5)"
    chance = f"CASE WHEN {positive} THEN p.prediction WHEN {negative} THEN 1 - p.prediction ELSE 0 END"
    return [
        _log_losses(chance),
        f"sum((1 - {chance}) ** 2)",
        f"count(*) FILTER ({said} AND {positive})",
        f"count(*) FILTER ({said} AND NOT {positive})",
        f"count(*) FILTER (NOT {said} AND {positive})",
        f"count(*) FILTER ({said} AND {negative})",
        f"count(*) FILTER (NOT {positive} AND NOT {negative})",
    ]


def _binary_metrics(rows: int, sums: Sequence[float]) -> dict[str, float]:
    log_losses, squares, hits, false_alarms, misses, of_negative, unseen = sums
    metrics = {"log_loss": log_losses / rows, "brier": squares / rows}
    metrics |= _of_errors(rows, misses + of_negative + unseen) | _of_unseen(unseen)
    if hits + false_alarms:
        metrics["precision"] = hits / (hits + false_alarms)
    if hits + misses:
        metrics["recall"] = hits / (hits + misses)
    if hits + false_alarms + misses:
        metrics["f1"] = 2 * hits / (2 * hits + false_alarms + misses)
    return metrics


def _multiclass_sums(label: str, classes: Mapping[int, Sequence[str]]) -> list[str]:
    lists = {version: f"[{', '.join(map(literal, known))}]" for version, known in classes.items()}
    place = f"list_position({_by_version(lists)}, {label})"
    return [
        _log_losses(f"coalesce(p.probabilities[{place}], 0)"),
        f"count(*) FILTER (p.predicted_class <> {label})",
        f"count(*) FILTER ({place} IS NULL)",
    ]


def _multiclass_metrics(rows: int, sums: Sequence[float]) -> dict[str, float]:
    log_losses, errors, unseen = sums
    return {"log_loss": log_losses / rows} | _of_errors(rows, errors) | _of_unseen(unseen)


def _of_errors(rows: int, errors: float) -> dict[str, float]:
    return {"error_rate": errors / rows, "accuracy": 1 - errors / rows}


def _of_unseen(rows: float) -> dict[str, float]:
    return {"unseen_rows": float(rows)} if rows else {}


def _log_losses(chance: str) -> str:
    """The sum of log losses, from the probability that was given to what then was, clipped as in scikit-learn."""
    return f"sum(-ln(greatest(least({chance}, 1 - {EPSILON!r}::DOUBLE), {EPSILON!r}::DOUBLE)))"


def _by_version(values: Mapping[int, str]) -> str:
    cases = "".join(f" WHEN {int(version)} THEN {value}" for version, value in values.items())
    return f"CASE p.version{cases} END" if cases else "NULL"
