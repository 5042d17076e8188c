"""Why a partition alarms: the rows behind `core.causes`, read from the lake and predicted again by the champion."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from ml_assets.assets.common import registry
from ml_assets.core.causes import Cause, explain
from ml_assets.core.drift import Statistic
from ml_assets.core.evaluation import compared_by, row_losses
from ml_assets.core.showing import markdown_table
from ml_assets.core.tasks import as_actual
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import window_of
from ml_assets.project import Project
from ml_assets.registry.models import Version

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

# So many rows of each side say what a column does; of more a sample is taken, the same every time.
SAMPLE = 20_000
# Of a range, so many alarms are explained: the newest.
EXPLAINED = 12


def explain_alarms(
    project: Project, cursor: duckdb.DuckDBPyConnection, found: Mapping[datetime, Sequence[tuple[int, Statistic]]]
) -> dict[datetime, list[Cause]]:
    """The causes of the newest alarms of a run, the most harmful first."""
    alarming = {
        start: sorted({one.column for _, one in statistics if one.alarm})
        for start, statistics in found.items()
        if any(one.alarm for _, one in statistics)
    }
    references: dict[int, pl.DataFrame] = {}
    causes = {}
    for start in sorted(alarming)[-EXPLAINED:]:
        version = registry().version(project.name, found[start][0][0])
        if version.number not in references:
            train = version.training_set.train
            window = project.window(train[0], train[-1])
            references[version.number] = _sample(cursor, project, window, version.training_set.snapshot)
        rows = _sample(cursor, project, Window(start, project.step(start, 1)))
        # Of a column whose words or tokens alarm, it is the column that has moved.
        columns = sorted({name.removesuffix(" (words)").removesuffix(" (tokens)") for name in alarming[start]})
        causes[start] = _causes(project, version, rows, references[version.number], columns)
    return causes


def _causes(
    project: Project, version: Version, rows: "pl.DataFrame", reference: "pl.DataFrame", columns: Sequence[str]
) -> list[Cause]:
    found = []
    if project.target in columns:
        # Labels that have moved are what is predicted: nothing about that is harmless.
        found.append(Cause(project.target, 0.0, 1.0, None))
    needed = set(version.features)
    if not needed <= set(rows.columns) or not needed <= set(reference.columns):
        return found
    losses = _watched_losses(project, version, rows)
    groups = [name for name, kind in version.features.items() if kind == "category"]
    inputs = [name for name in columns if name in needed]
    found += explain(
        rows, reference, inputs,
        predict=lambda frame: registry().predict(version, frame), typical=_typical_error(project, version),
        losses=losses, groups=[*groups, "_source"],
    )  # fmt: skip
    # Moved, and not read by the champion: harmless.
    found += [Cause(name, 0.0, 0.0, None) for name in columns if name not in needed and name != project.target]
    return found


def _watched_losses(
    project: Project, version: Version, rows: "pl.DataFrame"
) -> "Callable[[NDArray[np.float64]], NDArray[np.float64]] | None":
    """Predictions of some rows → their losses, whose mean is the watched error; None where none has a label."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    labels = rows[project.target]
    labelled = labels.is_not_null()
    if project.task == "regression":
        labelled &= labels.cast(pl.Float64, strict=False).is_finite().fill_null(value=False)
    if not labelled.any():
        return None
    mask, actual = labelled.to_numpy(), as_actual(labels.filter(labelled), project.task, version.classes)
    metric = compared_by(project.watched, actual)

    def losses(predicted: "NDArray[np.float64]") -> "NDArray[np.float64]":
        found = np.full(len(mask), np.nan)
        found[mask] = row_losses(metric, actual, predicted[mask])
        return found

    return losses


def _typical_error(project: Project, version: Version) -> float:
    """The champion's error on its test rows, in the unit of a prediction: a value, or a probability."""
    stored = registry().evaluation(project.name, version.number)
    test = stored["metrics"]["test"] if stored else {}
    if project.task == "regression":
        return float(test.get("mae", 0.0))
    return float(test["brier"] ** 0.5) if "brier" in test else float(test.get("error_rate", 0.0))


def _sample(
    cursor: duckdb.DuckDBPyConnection, project: Project, window: Window, snapshot: int | None = None
) -> "pl.DataFrame":
    rows = window_of(project.table("features"), window, snapshot)
    sampled = f"FROM ({rows}) USING SAMPLE reservoir({SAMPLE} ROWS) REPEATABLE (0)"
    return cursor.execute(f"FROM ({sampled}) ORDER BY _partition, _source, _row").pl()


def causes_frame(causes: Mapping[datetime, Sequence[Cause]], harm: float) -> "pl.DataFrame":
    """Causes as rows of their table; `harmful` are those with an effect of at least `harm`."""
    import polars as pl

    rows = [
        (start, one.column, one.moved, one.effect, one.cost, one.effect >= harm,
         json.dumps([vars(carrier) for carrier in one.carriers]))
        for start, many in causes.items()
        for one in many
    ]  # fmt: skip
    return pl.DataFrame(
        rows,
        schema={
            "_partition": pl.Datetime("us"), "column_name": pl.String, "moved": pl.Float64, "effect": pl.Float64,
            "cost": pl.Float64, "harmful": pl.Boolean, "carriers": pl.String,
        },
        orient="row",
    )  # fmt: skip


def told_why(project: Project, causes: Sequence[Cause]) -> str:
    """The causes of one partition as a Markdown table; empty where there are none."""
    rows = [
        (
            one.column,
            "is the target" if one.column == project.target else f"{one.effect:.0%} of a typical error",
            "" if one.cost is None else f"{one.cost:+.3g} {project.watched}",
            "; ".join(f"{part.column} {part.value}: {part.drift:.0%} of it, {part.rows:.0%} of the rows"
                      for part in one.carriers) or "all rows alike",
        )
        for one in causes
    ]  # fmt: skip
    return markdown_table(("What has moved", "Moves predictions by", "Costs", "Carried by"), rows)
