"""How well past predictions fitted the labels that have come, per partition; counted in SQL, in one pass.

In the same pass it is counted what the rows tell of the error that is to be expected, with a label or without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ml_assets.core.estimates import Estimate, add_expected, expected_sql, read_expected
from ml_assets.core.evaluation import EPSILON
from ml_assets.core.quoting import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ml_assets.core.tasks import Task


@dataclass(frozen=True)
class Measured:
    """What is known of a version on a partition, from the rows that it had not learnt from.

    Attributes:
        scored: the rows.
        rows: those of them that have a label.
        metrics: on those, as in `evaluation.measure`; empty where there are none. regression: all of them. binary:
            `log_loss`, `brier`, `error_rate`, `accuracy`, `precision`, `recall`, `f1`. multiclass: `log_loss`,
            `error_rate`, `accuracy`. Of both also `unseen_rows`, where there are any. What the rows leave undefined is
            left out.
        expected: estimates of some metrics, from all of the rows.
    """

    scored: int = 0
    rows: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, Estimate] = field(default_factory=dict)


def performance_sql(
    predictions: str,
    features: str,
    target: str,
    *,
    task: Task = "regression",
    classes: Mapping[int, Sequence[str]] | None = None,
    learnt: Mapping[int, Mapping[str, Any]] | None = None,
) -> str:
    """A statement that yields sums over rows that were not learnt from: per partition and version, labelled or not.

    Args:
        predictions: SQL that yields predictions, with lineage, `prediction`, `version`, `in_sample`, `hindsight`; for a
            classification into many also `predicted_class` and `probabilities`.
        features: SQL that yields the labels, with lineage; and the features, where losses are expected by them.
        target: the label's column.
        task: what is predicted; all versions are of this task.
        classes: of a classification: version → the classes in its record.
        learnt: version → what is known of its losses (see `estimates`).
    """
    label = label_sql(f"f.{quoted(target)}", task)
    if task == "regression":
        sums = _regression_sums(label)
    else:
        sums = _binary_sums(label, classes or {}) if task == "binary" else _multiclass_sums(label, classes or {})
    sums += expected_sql(task, learnt or {})
    return f"""
        SELECT p._partition, p.version, {label} IS NOT NULL AS labelled, count(*), {", ".join(sums)}
        FROM ({predictions}) p JOIN ({features}) f USING (_partition, _source, _row)
        WHERE NOT p.in_sample AND NOT p.hindsight
        GROUP BY ALL ORDER BY ALL"""


def label_sql(column: str, task: Task) -> str:
    """A label in SQL, null where it has not come: a number that is finite, or a class as text."""
    if task != "regression":
        return f"{column}::VARCHAR"
    return f"(CASE WHEN isfinite({column}::DOUBLE) THEN {column}::DOUBLE END)"


def read_performance(
    result: Iterable[tuple[Any, ...]],
    task: Task = "regression",
    learnt: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[tuple[datetime, int], Measured]:
    """What is known per partition and version, from the rows that `performance_sql` yields.

    Args:
        result: the rows.
        task: what is predicted.
        learnt: as given to `performance_sql`.
    """
    metrics_of = {"regression": _regression_metrics, "binary": _binary_metrics, "multiclass": _multiclass_metrics}[task]
    known = learnt or {}
    expectations = len(expected_sql(task, known))
    found: dict[tuple[datetime, int], Measured] = {}
    sums_of: dict[tuple[datetime, int], list[Any]] = {}
    for partition, version, labelled, rows, *values in result:
        key, before = (partition, version), found.get((partition, version), Measured())
        width = len(values) - expectations
        sums, expected = values[:width], values[width:]
        sums_of[key] = add_expected(sums_of[key], expected) if key in sums_of else expected
        metrics = metrics_of(rows, sums) if labelled else before.metrics
        found[key] = Measured(before.scored + rows, before.rows + (rows if labelled else 0), metrics)
    return {
        key: replace(one, expected=read_expected(task, known[key[1]], sums_of[key])) if key[1] in known else one
        for key, one in found.items()
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
