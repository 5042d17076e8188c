"""`drift`: how far the rows of a partition are from what its champion learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.addresses import page_of
from ml_assets.assets.common import (
    SINGLE_RUN,
    Span,
    commit_of,
    counts_of,
    describe,
    registry,
    span_of,
    spec,
)
from ml_assets.assets.features import read_bins
from ml_assets.assets.predictions import PREDICTION, prediction_bins
from ml_assets.assets.why import causes_frame, explain_alarms, told_why
from ml_assets.core.alarms import Place, Watch, Watched, told_of
from ml_assets.core.drift import Statistic, as_statistics, drift
from ml_assets.core.lineage import ColumnRef
from ml_assets.core.partitioning import SEASONS
from ml_assets.core.profiles import Counts, add_up, from_frame
from ml_assets.lake.connection import Lake, table_exists
from ml_assets.lake.profiling import take_profiles
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import read, replace_rows, window_of
from ml_assets.project import Project
from ml_assets.registry.models import Version

if TYPE_CHECKING:
    import polars as pl


# So many partitions before those that a version has learnt from say what is usual.
HISTORY = 200


def drift_page(project: Project, partition: str) -> str:
    """The address of a partition's drift report."""
    return page_of(project, f"/drift/{partition}")


def build_drift(project: Project) -> dg.AssetsDefinition:
    """The asset `drift`."""

    @dg.multi_asset(
        name=f"{project.name}__drift",
        specs=[
            spec(
                project, "drift", "Statistics of inputs, target and predictions against what the champion learnt from.",
                deps=["profile", "predictions"], kinds=["duckdb", "evidently"],
                code=[project.monitoring.model_dump_json()],
            )
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    def build(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        span = span_of(context, project, lake.lake)
        with lake.lake.transaction(commit_of(context, project, "drift")) as transaction:
            found, watches = measure_drift(project, lake.lake, transaction.cursor, span)
            rows = _statistics_frame(found)
            replace_rows(transaction, project.table("drift"), rows, span.window)
            causes = explain_alarms(project, transaction.cursor, found)
            replace_rows(
                transaction, project.table("causes"), causes_frame(causes, project.monitoring.harm), span.window
            )
        snapshot = transaction.snapshot
        more: dict[str, dict[str, Any]] = {}
        for start, key in zip(span.starts, span.keys, strict=True):
            statistics = [statistic for _, statistic in found.get(start, [])]
            alarms = sorted({s.column for s in statistics if s.alarm})
            more[key] = {
                "alarms": len(alarms),
                "alarming_columns": ", ".join(alarms) or "none",
                "report": dg.MetadataValue.url(drift_page(project, key)),
            }
            if start in causes:
                more[key]["why"] = dg.MetadataValue.md(told_why(project, causes[start]))
        latest: dict[str, Any] = {}
        if watches:
            newest = registry().version(project.name, max(watches))
            with lake.lake.reader() as cursor:
                told = _told_live(project, cursor, newest)
            latest["budget"] = f"{told_of(watches[newest.number])}; {told}"
        latest |= {"report": dg.MetadataValue.url(drift_page(project, span.keys[-1]))}
        lineage = {"value": {ColumnRef("profile", "rows"), ColumnRef("predictions", PREDICTION)}}
        return describe(
            context,
            project,
            lake.lake,
            "drift",
            counts_of(rows),
            snapshot=snapshot,
            span=span,
            more=more,
            lineage=lineage,
            extra=latest,
        )

    return build


def measure_drift(
    project: Project, lake: Lake, cursor: duckdb.DuckDBPyConnection, span: Span
) -> tuple[dict[datetime, list[tuple[int, Statistic]]], dict[int, Watch]]:
    """The statistics of each partition, with the version they are against, and what each version is watched by.

    Partitions without a champion have no statistics.
    """
    calendar = project.calendar
    predictions = window_of(project.table("predictions"), span.window)
    sql = f"SELECT DISTINCT _partition, version FROM ({predictions}) ORDER BY ALL"
    champions = dict(cursor.execute(sql).fetchall())
    outputs = by_column(cursor, project, "prediction_profile", span.window)
    found: dict[datetime, list[tuple[int, Statistic]]] = {}
    watches = {}
    for number in sorted(set(champions.values())):
        version = registry().version(project.name, number)
        reference = references_of(project, lake, version)
        total = add_up(counts for columns in reference.values() for counts in columns)
        edges = read_bins(cursor, project) | {PREDICTION: prediction_bins(version)}
        starts = sorted(start for start, champion in champions.items() if champion == number)
        past, profiles = _history(project, cursor, version, starts)
        learnt = project.start_of(version.training_set.train[-1])
        watched = Watched(
            [Place(calendar.position(start), _named(columns, project.target)) for start, columns in reference.items()],
            [Place(calendar.position(start), profile) for start, profile in past.items()],
            budget=1 / project.monitoring.one_false_alarm_in,
            period=SEASONS.get(calendar.grain, 1),
        )
        said = Counts(PREDICTION, "number", 0, version.reference["total"], version.reference["bins"])
        for start in starts:
            current = profiles.get(start, {})
            surprises = watched.see(Place(calendar.position(start), current), is_known=start <= learnt)
            told = drift(total | {PREDICTION: said}, current | outputs.get(start, {}), edges)
            found[start] = [(number, one) for one in (*as_statistics(surprises), *told)]
        watches[number] = watched.watch
    return found, watches


def _told_live(project: Project, cursor: duckdb.DuckDBPyConnection, version: Version) -> str:
    """What a version has alarmed on since it serves: to be held against the budget."""
    learnt = project.start_of(version.training_set.train[-1])
    sql = (
        "SELECT count(DISTINCT _partition) FILTER (alarm), count(DISTINCT _partition) "
        f"FROM {project.table('drift').path} WHERE version = ? AND _partition > ?"
    )
    ((alarmed, judged),) = cursor.execute(sql, [version.number, learnt]).fetchall()
    return f"version {version.number} has alarmed in {alarmed} of {judged} partitions since"


def _history(
    project: Project, cursor: duckdb.DuckDBPyConnection, version: Version, starts: Sequence[datetime]
) -> tuple[dict[datetime, dict[str, Counts]], dict[datetime, dict[str, Counts]]]:
    """The partitions that say what is usual before the first that is judged, in order, and the profiles of all.

    Usual is what the version has learnt from; what was before, back to the newest alarm (that was another regime, and
    is why there is this version); and what it has served since without an alarm.
    """
    train = [project.start_of(key) for key in version.training_set.train]
    first = max(project.step(train[0], -HISTORY), project.start_of(project.first))
    profiles = by_column(cursor, project, "profile", Window(min(first, *starts), project.step(starts[-1], 1)))
    own: set[datetime] = set()
    others: set[datetime] = set()
    if table_exists(cursor, project.table("drift")):
        known = Window(first, max(starts[0], project.step(train[-1], 1)))
        table = project.table("drift").path
        sql = f"SELECT DISTINCT _partition, version FROM {table} WHERE alarm AND {known.condition()}"
        for start, number in cursor.execute(sql).fetchall():
            (own if number == version.number else others).add(start)
    # What others alarmed on and this one has learnt from is its own normal; what was before that is not.
    since = max((start for start in others if start <= train[-1]), default=None)
    past = {
        start: profile
        for start, profile in sorted(profiles.items())
        if start in train
        or (start < train[0] and (since is None or start > since))
        or (train[-1] < start < starts[0] and start not in own)
    }
    return past, profiles


def by_column(
    cursor: duckdb.DuckDBPyConnection, project: Project, table: str, window: Window
) -> dict[datetime, dict[str, Counts]]:
    """Start of a partition → column → its profile."""
    if not table_exists(cursor, project.table(table)):
        return {}
    profiles = from_frame(read(cursor, project.table(table), window))
    return {start: _named(columns, project.target) for start, columns in profiles.items()}


def _named(columns: Sequence[Counts], target: str = "") -> dict[str, Counts]:
    """Column → its profile. That labels are missing is no drift: they come late."""
    return {one.column: replace(one, missing=0) if one.column == target else one for one in columns}


def references_of(project: Project, lake: Lake, version: Version) -> dict[datetime, list[Counts]]:
    """The profiles of the partitions that a version learnt from.

    Where rows were held out by chance, they are counted too: a profile knows partitions, not rows.
    """
    train = version.training_set.train
    window, snapshot = project.window(train[0], train[-1]), version.training_set.snapshot
    with lake.reader() as cursor:
        profiles = from_frame(read(cursor, project.table("profile"), window, snapshot))
        then, now = read_bins(cursor, project, snapshot), read_bins(cursor, project)
        # Bins that were chosen again since: the rows are counted in those of today, or there is nothing to compare.
        again = [one for name, one in now.items() if name in then and one != then[name] and one.kind == then[name].kind]
        rows = window_of(project.table("features"), window, snapshot)
        counted = take_profiles(cursor, again, rows) if again else {}
    return {
        start: [
            *(counts for counts in columns if then.get(counts.column) == now.get(counts.column)),
            *counted.get(start, []),
        ]
        for start, columns in sorted(profiles.items())
    }


def _statistics_frame(found: Mapping[datetime, Sequence[tuple[int, Statistic]]]) -> "pl.DataFrame":
    import polars as pl

    rows = [
        (start, number, s.column, s.name, s.value, s.p_value, s.alarm_below, s.alarm)
        for start, many in found.items()
        for number, s in many
    ]
    return pl.DataFrame(
        rows,
        schema={
            "_partition": pl.Datetime("us"), "version": pl.Int64, "column_name": pl.String, "statistic": pl.String,
            "value": pl.Float64, "p_value": pl.Float64, "alarm_below": pl.Float64, "alarm": pl.Boolean,
        },
        orient="row",
    )  # fmt: skip
