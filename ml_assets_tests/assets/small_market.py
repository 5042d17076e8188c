"""A small project to run the whole asset graph on: monthly files of sales whose price is `level * 5000 * area`, nearly.

A `Market` is one folder with everything of its own: data, lake, registry, Dagster instance. Its methods point the
platform's settings there only while they run, so markets of different tests never meet.
"""

from __future__ import annotations

import csv
import random
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from ml_assets.assets.common import DECISION_TAG
from ml_assets.component import ModelProject, build_definitions
from ml_assets.lake.connection import Lake, columns_of
from ml_assets.lake.resource import open_lake, shared_lake
from ml_assets.lake.tables import read
from ml_assets.projects import without_warnings_of_dagster_itself
from ml_assets.registry.ledger import Entry, Ledger
from ml_assets.registry.models import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from ml_assets.project import Project

NAME = "flats"
JUDGED = ("raw", "validated", "quarantine")
PREPARING = ("raw", "validated", "quarantine", "features", "profile")
JUDGING = ("predictions", "drift", "performance", "decision")
TRAINING = ("training_set", "model", "evaluation", "champion")
COLUMNS = ("nr", "contract", "month", "town", "area", "price")
CLEAN = """\
-- one row out for every row in
SELECT
    month || '-01' AS month, contract, trim(town) AS town, area, price, length(town) AS unasked,
    _partition, _source, _row
FROM raw
"""
FEATURES = "SELECT _partition, _source, _row, month, town, area, price FROM validated"
DECLARATION: dict[str, Any] = {
    "description": "What a flat will sell for.",
    "owners": ["team:housing"],
    "source": {"files": "sales/%Y-%m.csv", "ignore_in_duplicates": ["nr"]},
    "partitions": {"grain": "month", "start": "2024-01", "time": "month"},
    "schema": "flat_schema:Flat",
    "target": "price",
    "training": {"estimator": "sklearn.linear_model.LinearRegression", "window": 2, "test": 1, "seed": 7},
    "gates": [{"metric": "mape", "at_most": 0.2}, {"metric": "r2", "at_least": 0.5}],
    "promotion": {"minimum_rows": 50},
    "retraining": {"tolerance": 1.5, "cooldown": 1, "minimum_rows": 20},
}

Row = dict[str, str]


def entry(id_: int, partition: str, action: str = "hold", standing: str = "live", kind: str = "decision") -> Entry:
    """An entry of a ledger that is only told of: a verdict is one on the decision before it, for version 1."""
    evidence = f'{{"decision": {id_ - 1}}}' if kind in {"promoted", "rejected"} else "{}"
    return Entry(id_, "", NAME, kind, partition, 1, action, standing, "", evidence, "", "", "")  # type: ignore[arg-type]


class RunFailed(Exception):  # noqa: N818 - says what happened
    """A run failed.

    Attributes:
        run_id: the run.
        step: the step that failed first.
        message: what its error says.
    """

    def __init__(self, run_id: str, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.run_id, self.step, self.message = run_id, step, message


def sales(month: str, *, level: float = 1.0, rows: int = 60) -> list[Row]:
    """Rows of a month, the same at every call."""
    made = random.Random(month)
    return [
        {
            "nr": str(number),
            "contract": f"{month}/{number}",
            "month": month,
            "town": made.choice(["EAST", "WEST"]),
            "area": str(area := made.randint(40, 160)),
            "price": f"{level * 5000 * area * made.uniform(0.97, 1.03):.0f}",
        }
        for number in range(1, rows + 1)
    ]


@dataclass(frozen=True)
class Market:
    """The project in a folder.

    Attributes:
        folder: holds everything.
        project: the resolved declaration.
        defs: the project's definitions.
        instance: where its runs and events are.
    """

    folder: Path
    project: Project
    defs: dg.Definitions
    instance: dg.DagsterInstance

    @contextmanager
    def settings(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ML_ASSETS_HOME", str(self.folder / "home"))
            patch.setenv("ML_ASSETS_DATA", str(self.folder / "data"))
            yield

    def file(self, month: str) -> Path:
        return self.folder / "data" / "sales" / f"{month}.csv"

    def write(self, month: str, rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> None:
        with self.file(month).open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def materialize(self, names: Sequence[str], first: str, last: str | None = None) -> str:
        """Materialize a range of partitions as one run; return its id."""
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        return self._run(self.defs.resolve_implicit_global_asset_job_def(), names, tags=tags)

    def rerun(self, *names: str) -> str:
        """Materialize unpartitioned assets."""
        return self._run(self.defs.resolve_implicit_global_asset_job_def(), names)

    def refresh(self, month: str) -> str:
        return self._run(self.defs.resolve_job_def(f"{NAME}_refresh"), partition_key=month)

    def run_job(self, name: str) -> str:
        return self._run(self.defs.resolve_job_def(name))

    def retrain(self, *, through: str = "", decision: int = 0) -> str:
        ops = {f"{NAME}__training_set": {"config": {"through": through}}}
        tags = {DECISION_TAG: str(decision)} if decision else {}
        return self._run(self.defs.resolve_job_def(f"{NAME}_retrain"), tags=tags, config={"ops": ops})

    def found(self, months: Sequence[str]) -> None:
        """Fill the months and train version 1 of all of them."""
        for month in months:
            self.write(month, sales(month))
        self.materialize(PREPARING, months[0], months[-1])
        self.retrain()

    def _run(self, job: dg.JobDefinition, names: Sequence[str] = (), config: Any = None, **more: Any) -> str:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        keys = [dg.AssetKey([NAME, name]) for name in names]
        with self.settings():
            result = job.execute_in_process(
                instance=self.instance,
                asset_selection=keys or None,
                run_config=quiet | (config or {}),
                raise_on_error=False,
                **more,
            )
        failures = [event for event in result.all_events if event.is_step_failure]
        if failures:
            error = failures[0].step_failure_data.error
            cause = error and (error.cause or error)
            raise RunFailed(result.run_id, str(failures[0].step_key), cause.message if cause else "")
        return result.run_id

    @property
    def lake(self) -> Lake:
        return open_lake(self.folder / "home" / "lake")

    @property
    def registry(self) -> Registry:
        return Registry(self.folder / "home" / "registry")

    def book(self) -> Ledger:
        return Ledger(self.lake)

    def ledger(self, *kinds: str) -> list[Entry]:
        return [entry for entry in self.book().entries(NAME) if not kinds or entry.kind in kinds]

    def decision(self, month: str) -> Entry:
        return [entry for entry in self.ledger("decision") if entry.partition == month][-1]

    def asked(self, month: str) -> int:
        """The ledger id of a month's live decision to retrain."""
        (one,) = [entry for entry in self.ledger("decision") if (entry.partition, entry.standing) == (month, "live")]
        assert one.action == "retrain"
        return one.id

    def tables(self) -> set[str]:
        with self.lake.reader() as cursor:
            sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = ?"
            return {name for (name,) in cursor.execute(sql, [NAME]).fetchall()}

    def table(self, name: str, month: str | None = None, snapshot: int | None = None) -> pl.DataFrame:
        """Rows of a table in a fixed order, without the time of their ingestion."""
        window = self.project.window(month, month) if month else None
        with self.lake.reader() as cursor:
            rows = read(cursor, self.project.table(name), window, snapshot)
        rows = rows.drop("_ingested_at", strict=False)
        return rows.sort([column for column, kind in rows.schema.items() if not kind.is_nested()])

    def columns(self, name: str) -> dict[str, str]:
        with self.lake.reader() as cursor:
            return columns_of(cursor, self.project.table(name))

    def event(self, name: str, month: str | None = None) -> dg.AssetMaterialization | None:
        """The latest materialization."""
        of = dg.AssetRecordsFilter(dg.AssetKey([NAME, name]), asset_partitions=[month] if month else None)
        records = self.instance.fetch_materializations(of, limit=1).records
        return records[0].asset_materialization if records else None

    def metadata(self, name: str, month: str | None = None) -> dict[str, Any]:
        event = self.event(name, month)
        assert event is not None, f"{name} {month} was never materialized"
        return {key: value.value for key, value in event.metadata.items()}

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([NAME, name])

    def steps(self, run_id: str) -> list[str]:
        """The steps that a run started, in order."""
        started = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
        return [str(entry.step_key) for entry in started]

    def check(self, name: str, run_id: str) -> dg.AssetCheckEvaluation:
        """A run's evaluation of a check of `validated`."""
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = [entry.dagster_event.event_specific_data for entry in events if entry.dagster_event]
        (one,) = [check for check in found if check.check_name == name]
        return one


def open_market(
    folder: Path, *, clean: str = CLEAN, features: str = FEATURES, clean_path: str = "clean.sql", **changes: Any
) -> Market:
    """Declare the project in a folder, each part of the declaration updated by `changes`."""
    (folder / "data" / "sales").mkdir(parents=True, exist_ok=True)
    for name, text in (("clean.sql", clean), ("features.sql", features)):
        (folder / name).write_text(text, encoding="utf-8")
    declared = {
        key: {**value, **changes[key]} if isinstance(value, dict) and key in changes else changes.get(key, value)
        for key, value in DECLARATION.items()
    } | {key: value for key, value in changes.items() if key not in DECLARATION}
    paths = {"clean": str(folder / clean_path), "features": str(folder / "features.sql")}
    project = ModelProject.model_validate(declared | paths).resolve_project(NAME, folder)
    market = Market(folder, project, dg.Definitions(), dg.DagsterInstance.ephemeral(tempdir=str(folder)))
    # The resource is shared by a process's projects and remembers its folder: a market has its own.
    shared_lake.cache_clear()
    with market.settings(), without_warnings_of_dagster_itself():
        return replace(market, defs=build_definitions(project))


def counts(market: Market, table: str) -> dict[str, int]:
    """Rows of a table by partition, in order."""
    rows = market.table(table).group_by("_partition").len()
    return {market.project.key_of(start): count for start, count in sorted(rows.iter_rows())}
