"""Why a partition alarms: the rows behind `core.causes`, read from the lake and predicted again by the champion."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from ml_assets.assets.common import registry
from ml_assets.core.causes import Carrier, Cause, explain
from ml_assets.core.drift import Statistic
from ml_assets.core.evaluation import compared_by, row_losses
from ml_assets.core.showing import markdown_table
from ml_assets.core.tasks import as_actual, has_label, title_of
from ml_assets.lake.connection import columns_of
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
# Of a range, so many alarms are explained: the newest. What is decided live is one partition: it always is.
EXPLAINED = 12
OLDER = f"older than the newest {EXPLAINED} alarms of its run. Remedy: materialize its drift by itself"
GONE = "the rows that its champion reads are not there any more"


def explain_alarms(
    project: Project, cursor: duckdb.DuckDBPyConnection, found: Mapping[datetime, Sequence[tuple[int, Statistic]]]
) -> dict[datetime, list[Cause]]:
    """The causes of a run's alarms, what is unknown first, then the most harmful.

    The newest are explained. Of older ones an explanation that is in the lake stays, if the same columns alarm for the
    same version; the others are told as unexplained.
    """
    alarming = {
        start: sorted({one.column for _, one in statistics if one.alarm})
        for start, statistics in found.items()
        if any(one.alarm for _, one in statistics)
    }
    references: dict[int, pl.DataFrame] = {}
    causes = {}
    newest = sorted(alarming)[-EXPLAINED:]
    # Of a column whose words or tokens alarm, it is the column that has moved.
    moved = {
        start: sorted({name.removesuffix(" (words)").removesuffix(" (tokens)") for name in columns})
        for start, columns in alarming.items()
    }
    kept = _explained_before(project, cursor) if len(newest) < len(alarming) else {}
    for start in sorted(alarming.keys() - set(newest)):
        before, number = kept.get(start, []), found[start][0][0]
        same = {(one.column, one.version) for one in before} == {(name, number) for name in moved[start]}
        causes[start] = (
            before if same else [Cause(name, None, None, note=OLDER, version=number) for name in moved[start]]
        )
    for start in newest:
        version = registry().version(project.name, found[start][0][0])
        if version.number not in references:
            train = version.training_set.train
            window = project.window(train[0], train[-1])
            references[version.number] = _sample(cursor, project, window, version.training_set.snapshot)
        rows = _sample(cursor, project, Window(start, project.step(start, 1)))
        told = _causes(project, version, rows, references[version.number], moved[start])
        causes[start] = [replace(one, version=version.number) for one in told]
    return causes


def _explained_before(project: Project, cursor: duckdb.DuckDBPyConnection) -> dict[datetime, list[Cause]]:
    """Partition → its causes as they are in the lake, of those that have been explained."""
    table = project.table("causes")
    # A table of before versions were noted lacks their columns.
    if not {"version", "note"} <= columns_of(cursor, table).keys():
        return {}
    sql = (
        "SELECT _partition, column_name, moved, effect, cost, carriers, metric, note, version "
        f"FROM {table.path} WHERE note <> ? ORDER BY _partition, effect DESC NULLS FIRST, column_name"
    )
    found: dict[datetime, list[Cause]] = {}
    for start, name, moved, effect, cost, carriers, *more in cursor.execute(sql, [OLDER]).fetchall():
        carried = tuple(Carrier(**one) for one in json.loads(carriers))
        found.setdefault(start, []).append(Cause(name, moved, effect, cost, carried, *more))
    return found


def _causes(
    project: Project, version: Version, rows: "pl.DataFrame", reference: "pl.DataFrame", columns: Sequence[str]
) -> list[Cause]:
    found = []
    if project.target in columns:
        # Labels that have moved are what is predicted: nothing about that is harmless.
        found.append(Cause(project.target, 0.0, 1.0))
    needed = set(version.features)
    inputs = [name for name in columns if name in needed]
    explained: list[Cause] = []
    if needed <= set(rows.columns) and needed <= set(reference.columns):
        metric, losses = _watched_losses(project, version, rows)
        groups = [name for name, kind in version.features.items() if kind == "category"]
        explained = explain(
            rows, reference, inputs,
            predict=lambda frame: registry().predict(version, frame), typical=_typical_error(project, version),
            losses=losses, metric=metric, groups=[*groups, "_source"],
        )  # fmt: skip
    told = {one.column for one in explained}
    found += [Cause(name, None, None, note=GONE) for name in inputs if name not in told]
    found += explained
    # Moved, and not read by the champion: harmless.
    found += [Cause(name, 0.0, 0.0) for name in columns if name not in needed and name != project.target]
    return found


def _watched_losses(
    project: Project, version: Version, rows: "pl.DataFrame"
) -> "tuple[str, Callable[[NDArray[np.float64]], NDArray[np.float64]] | None]":
    """The watched error, or what stands in for it on some rows, and predictions → losses; None without labels."""
    import numpy as np  # noqa: PLC0415

    labels = rows[project.target]
    labelled = has_label(labels, project.task)
    if not labelled.any():
        return project.watched, None
    mask, actual = labelled.to_numpy(), as_actual(labels.filter(labelled), project.task, version.classes)
    metric = compared_by(project.watched, actual)

    def losses(predicted: "NDArray[np.float64]") -> "NDArray[np.float64]":
        found = np.full(len(mask), np.nan)
        found[mask] = row_losses(metric, actual, predicted[mask])
        return found

    return metric, losses


def _typical_error(project: Project, version: Version) -> float | None:
    """The champion's error on its test rows, in the unit of a prediction: a value or a probability; None if unknown."""
    stored = registry().evaluation(project.name, version.number)
    test = stored["metrics"]["test"] if stored else {}
    if project.task == "regression":
        found = test.get("mae")
    else:
        found = test["brier"] ** 0.5 if "brier" in test else test.get("error_rate")
    return None if found is None else float(found)


def _sample(
    cursor: duckdb.DuckDBPyConnection, project: Project, window: Window, snapshot: int | None = None
) -> "pl.DataFrame":
    rows = window_of(project.table("features"), window, snapshot)
    sampled = f"FROM ({rows}) USING SAMPLE reservoir({SAMPLE} ROWS) REPEATABLE (0)"
    return cursor.execute(f"FROM ({sampled}) ORDER BY _partition, _source, _row").pl()


def causes_frame(causes: Mapping[datetime, Sequence[Cause]], harm: float) -> "pl.DataFrame":
    """Causes as rows of their table.

    `harmful` are those with an effect of at least `harm`, and those that cannot be explained; null where nobody tried.
    """
    import polars as pl

    def is_harmful(one: Cause) -> bool | None:
        if one.note == OLDER:
            return None
        return one.effect is None or one.effect >= harm

    rows = [
        (start, one.column, one.moved, one.effect, one.cost, is_harmful(one),
         json.dumps([vars(carrier) for carrier in one.carriers]), one.metric, one.note, one.version)
        for start, many in causes.items()
        for one in many
    ]  # fmt: skip
    return pl.DataFrame(
        rows,
        schema={
            "_partition": pl.Datetime("us"), "column_name": pl.String, "moved": pl.Float64, "effect": pl.Float64,
            "cost": pl.Float64, "harmful": pl.Boolean, "carriers": pl.String, "metric": pl.String, "note": pl.String,
            "version": pl.Int64,
        },
        orient="row",
    )  # fmt: skip


def told_why(project: Project, causes: Sequence[Cause]) -> str:
    """The causes of one partition as a Markdown table; empty where there are none."""

    def moves(one: Cause) -> str:
        if one.column == project.target:
            return "is the target"
        return f"unknown: {one.note}" if one.effect is None else f"{one.effect:.0%} of a typical error"

    def carried(one: Cause) -> str:
        parts = [f"{by.column} {by.value}: {by.drift:.0%} of it, {by.rows:.0%} of the rows" for by in one.carriers]
        return "; ".join(parts) or ("unknown" if one.moved is None else "all rows alike")

    rows = [
        (one.column, moves(one), "" if one.cost is None else f"{one.cost:+.3g} {title_of(one.metric)}", carried(one))
        for one in causes
    ]
    return markdown_table(("What has moved", "Moves predictions by", "Costs", "Carried by"), rows)
