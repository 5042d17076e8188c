"""How well past predictions fitted the labels, per partition, counted in SQL in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


def performance_sql(predictions: str, features: str, target: str) -> str:
    """A statement that yields, per partition and version, sums over rows that have a label and were not learnt from.

    Args:
        predictions: SQL that yields predictions, with lineage, `prediction`, `version`, `in_sample`, `hindsight`.
        features: SQL that yields the labels, with lineage.
        target: the label's column.
    """
    label = 'f."' + target.replace('"', '""') + '"::DOUBLE'
    error = f"(p.prediction - {label})"
    return f"""
        SELECT p._partition, p.version, count(*), sum({error} ** 2), sum(abs({error})),
               sum(CASE WHEN {label} <> 0 THEN abs({error} / {label}) END), count(*) FILTER ({label} = 0),
               var_pop({label})
        FROM ({predictions}) p JOIN ({features}) f USING (_partition, _source, _row)
        WHERE NOT p.in_sample AND NOT p.hindsight AND isfinite({label})
        GROUP BY ALL ORDER BY ALL"""


def read_performance(result: Iterable[tuple[Any, ...]]) -> dict[tuple[datetime, int], dict[str, float]]:
    """Metrics per partition and version, from the rows that `performance_sql` yields.

    Returns:
        (partition, version) → `rows`, and as in `evaluation.regression_metrics`: `mse`, `rmse`, `mae`, `mape` (left out
        where a label is zero) and `r2` (left out where all labels are equal).
    """
    found = {}
    for partition, version, rows, squares, absolute, relative, zeros, variance in result:
        metrics = {
            "rows": float(rows),
            "mse": squares / rows,
            "rmse": math.sqrt(squares / rows),
            "mae": absolute / rows,
        }
        if not zeros:
            metrics["mape"] = relative / rows
        if variance > 0:
            metrics["r2"] = 1 - squares / rows / variance
        found[partition, version] = metrics
    return found
