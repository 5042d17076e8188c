"""Versions that have served and are better again: where a season comes back, one of them costs no training."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from ml_assets.assets.common import registry
from ml_assets.assets.features import current_kinds
from ml_assets.assets.promotion import from_now_on, newest_predicted
from ml_assets.core.evaluation import compared_by, row_losses
from ml_assets.core.tasks import as_actual, has_label
from ml_assets.core.training import unfit
from ml_assets.core.wear import TRIED, better_retired
from ml_assets.lake.connection import Lake
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import read
from ml_assets.project import Project
from ml_assets.registry.ledger import Draft, Entry, stages
from ml_assets.registry.models import RegistryError

if TYPE_CHECKING:
    import polars as pl

# The newest of those that have served are tried: more would cost more than they bring.
MOST = 5


def find_better(
    project: Project, cursor: duckdb.DuckDBPyConnection, served: "pl.DataFrame", entries: Sequence[Entry]
) -> int | None:
    """The retired version that is better than the champion on the newest partitions by more than noise, or None.

    Args:
        project: the project.
        cursor: where features are read.
        served: partitions that the champion has served with nearly all of their labels, in order: `_partition`, and
            `value`, its watched error there.
        entries: the project's ledger.
    """
    retired = [number for number, stage in stages(entries).items() if stage == "retired"][-MOST:]
    newest = served.tail(TRIED)
    if not retired or newest.height < TRIED:
        return None
    kinds, gains = current_kinds(cursor, project), {}
    for number in retired:
        try:
            version = registry().version(project.name, number)
        except RegistryError:
            # Lost or broken: it is shown so on its page, and cannot serve.
            continue
        if version.task != project.task or unfit(version.features, kinds):
            continue
        if project.start_of(version.training_set.through) >= newest["_partition"][0]:
            continue
        errors = [_error(project, cursor, number, start) for start in newest["_partition"]]
        gains[number] = [
            value - error for value, error in zip(newest["value"], errors, strict=True) if error is not None
        ]
    return better_retired(gains)


def _error(project: Project, cursor: duckdb.DuckDBPyConnection, number: int, start: datetime) -> float | None:
    """The watched error of a version on the labelled rows of a partition."""
    version = registry().version(project.name, number)
    rows = read(cursor, project.table("features"), Window(start, project.step(start, 1)))
    rows = rows.filter(has_label(rows[project.target], project.task))
    if not rows.height:
        return None
    actual = as_actual(rows[project.target], project.task, version.classes)
    if compared_by(project.watched, actual) != project.watched:
        # MAPE where something is zero: undefined, as in `performance`.
        return None
    mean = float(row_losses(project.watched, actual, registry().predict(version, rows)).mean())
    return float(mean**0.5) if project.watched == "rmse" else mean


def reinstatement(project: Project, lake: Lake, number: int, why: str, entries: Sequence[Entry]) -> Draft:
    """The entry that lets a retired version serve again, from the first partition that has no predictions."""
    draft = Draft(project.name, "promoted", why, {"by": "policy", "why": why}, version=number, action="reinstate")
    version = registry().version(project.name, number)
    return from_now_on(project, version, draft, entries, newest_predicted(project, lake))
