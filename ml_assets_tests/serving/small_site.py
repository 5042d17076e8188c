"""A small world to look at: four months of a project, some of whose values are hostile, and one trained version."""

from __future__ import annotations

import asyncio
import json
import math
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from writing_tables import replace_window

from ml_assets.core.profiles import as_frame, choose_bins
from ml_assets.core.training import build_pipeline, feature_kinds, fit
from ml_assets.declared.modelling import Training
from ml_assets.declared.monitoring import Monitoring
from ml_assets.declared.retraining import Retraining
from ml_assets.declared.rows import Partitions, Validation
from ml_assets.declared.sources import Source
from ml_assets.lake.connection import Commit, Lake
from ml_assets.lake.profiling import take_profiles
from ml_assets.project import Project
from ml_assets.registry.ledger import Draft, Ledger
from ml_assets.registry.models import Registry, TrainingSet
from ml_assets.serving.app import create_app

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

HOSTILE = "</script><script>alert('value')</script>"
HOSTILE_COLUMN = "<img src=x onerror=alert('column')>"
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
ROWS = 30

PROJECT = Project(
    name="houses",
    description="Prices of <b>houses</b>.",
    owners=(),
    source=Source(files="houses/%Y-%m.csv"),
    partitions=Partitions(grain="month", start="2024-01", time="month"),
    schema="nowhere:Row",
    clean_sql="",
    features_sql="",
    clean_path="",
    features_path="",
    target="price",
    validation=Validation(),
    training=Training(estimator="sklearn.linear_model.LinearRegression", window=3, test=1),
    gates=(),
    monitoring=Monitoring(),
    retraining=Retraining(),
)


class Browser:
    """Asks an application without a server in between."""

    def __init__(self) -> None:
        self._app = create_app({"houses": PROJECT})

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET a path."""
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask for a path; an exception inside becomes the answer that a server would give."""
        return asyncio.run(self._request(method, path, options))

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        import httpx

        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", timeout=60) as client:
            headers = {"accept": "text/html, */*", **options.pop("headers", {})}
            return await client.request(method, path, headers=headers, **options)


def make_data(root: Path, *, simulated: bool) -> None:
    folder = root / "houses"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "2024-01.csv").write_text("price\n1\n")
    if simulated:
        (folder / "ORIGIN.json").write_text(json.dumps({"origin": "simulated", "files": {}, "seed": 7}))


def fill_home(home: Path) -> None:
    """What the assets would have written."""
    import polars as pl

    lake, registry = Lake(home / "lake"), Registry(home / "registry")
    window, commit = PROJECT.window(MONTHS[0], MONTHS[-1]), Commit("houses", "test")
    features = feature_rows()
    lineage = features.select("_partition", "_source", "_row")
    starts = [PROJECT.start_of(key) for key in MONTHS]
    replace_window(
        lake,
        {
            # One row in quarantine in April, and two duplicates in every month.
            PROJECT.table("raw"): pl.concat(
                [lineage, lineage.filter(pl.col("_row") <= 2), lineage.tail(1)]
            ).with_columns(pl.lit("SIMULATED DATA: nobody observed these rows.").alias("_simulated")),
            PROJECT.table("validated"): lineage,
            PROJECT.table("quarantine"): lineage.tail(1).with_columns(
                pl.lit(HOSTILE).alias("town"),
                pl.lit(datetime(2024, 5, 1)).alias("_ingested_at"),  # noqa: DTZ001 - naive UTC
                pl.lit([{"check": "town__isin", "column": HOSTILE_COLUMN, "value": f"\x1b{HOSTILE}"}]).alias(
                    "_reasons"
                ),
            ),
            PROJECT.table("features"): features,
        },
        window,
        commit,
    )
    fill_profiles(lake, features)
    snapshot = _snapshot(lake)
    train = features.filter(pl.col("_partition").is_in(starts[:2]))
    kinds = feature_kinds(train.schema, target="price", time="month")
    pipeline = build_pipeline(PROJECT.training.estimator, {}, kinds, 0)
    fit(pipeline, train, kinds, "price")
    chosen = TrainingSet(snapshot, MONTHS[:2], MONTHS[2:3], 3 * ROWS, "hash", "run", 0, MONTHS[2])
    version = registry.register(pipeline, _record(kinds, chosen))
    test = {"mape": 0.05, "rmse": 12_345.6, "mae": 9_000.0, "r2": 0.9}
    registry.write_evaluation(version, {"metrics": {"train": test, "test": test}, "gates": []})
    predictions = lineage.with_columns(
        prediction=features["price"].cast(pl.Float64) * 1.07,
        version=pl.lit(1, dtype=pl.Int64),
        in_sample=pl.col("_partition").is_in(starts[:2]),
        hindsight=False,
    )
    drift = pl.DataFrame(
        [
            row
            for start in starts
            for column, value in (("area", 0.01), (HOSTILE_COLUMN, 0.5 if start == starts[-1] else 0.1))
            for row in (
                (start, 1, column, "shape", value, 1e-4 if value > 0.2 else 0.5, 1e-3, value > 0.2),
                (start, 1, column, "psi", value, None, None, False),
            )
        ]
        # Of a partition whose values are all missing.
        + [(starts[-2], 1, "area", "location", math.nan, 1.0, 1e-3, False)],
        schema=["_partition", "version", "column_name", "statistic", "value", "p_value", "alarm_below", "alarm"],
        orient="row",
    )
    performance = pl.DataFrame(
        [(start, 1, "mape", value) for start, value in zip(starts[2:], (0.055, 0.07), strict=True)],
        schema=["_partition", "version", "metric", "value"],
        orient="row",
    )
    carriers = json.dumps([{"column": "town", "value": "<b>west</b>", "rows": 0.2, "drift": 0.7}])
    causes = pl.DataFrame(
        [
            (starts[-1], HOSTILE_COLUMN, 1_000.0, 0.25, 0.01, True, carriers, "mape", ""),
            (starts[-1], "town", None, None, None, True, "[]", "", "ValueError: no such <b>town</b>"),
        ],
        schema=["_partition", "column_name", "moved", "effect", "cost", "harmful", "carriers", "metric", "note"],
        orient="row",
    )
    tables = {"predictions": predictions, "drift": drift, "causes": causes, "performance": performance}
    replace_window(lake, {PROJECT.table(name): rows for name, rows in tables.items()}, window, commit)
    drafts = [
        Draft("houses", "registered", "trained", {}, version=1),
        Draft("houses", "promoted", "the first version that passes", {}, "2024-04", 1),
        Draft("houses", "decision", f"within 1.25 times {HOSTILE}", {}, "2024-03", 1, "hold", "backfill"),
        Draft("houses", "decision", "more than 1.25 times", {}, "2024-04", 1, "retrain", "live"),
        Draft("houses", "replayed", f"judged again: {HOSTILE}", {}, "2024-03"),
        Draft("houses", "decision", "asked once more", {}, "2024-04", 1, "hold", "again"),
    ]
    Ledger(lake).append(commit, lambda _: drafts)
    lake.close()


def fill_profiles(lake: Lake, features: Any) -> None:
    """The profile of every month, in bins of all rows."""
    import polars as pl

    kinds = {"town": "category", "area": "number", "price": "number"}
    bins = choose_bins(features.select(list(kinds)), kinds)
    frame = pl.DataFrame(
        [(one.name, one.kind, list(one.edges), list(one.categories)) for one in bins],
        schema={"name": pl.String, "kind": pl.String, "edges": pl.List(pl.Float64), "categories": pl.List(pl.String)},
        orient="row",
    )
    with lake.transaction(Commit("houses", "test")) as transaction:
        profiles = take_profiles(transaction.cursor, bins, f"FROM {PROJECT.table('features').path}")
        transaction.cursor.register("incoming", frame)
        transaction.cursor.execute(f"CREATE TABLE {PROJECT.table('bins').path} AS FROM incoming")
    window = PROJECT.window(MONTHS[0], MONTHS[-1])
    replace_window(lake, {PROJECT.table("profile"): as_frame(profiles)}, window, Commit("houses", "test"))


def feature_rows() -> Any:
    import polars as pl

    draw = random.Random(7)
    rows = []
    for key in MONTHS:
        for number in range(1, ROWS + 1):
            area = draw.uniform(40, 120)
            town = draw.choice(["A", "B", HOSTILE])
            rows.append((PROJECT.start_of(key), f"{key}.csv", number, town, area, draw.random(), 5_000 * area))
    names = ["_partition", "_source", "_row", "town", "area", HOSTILE_COLUMN, "price"]
    return pl.DataFrame(rows, schema=names, orient="row")


def _record(kinds: dict[str, str], chosen: TrainingSet) -> dict[str, Any]:
    return {
        "project": "houses", "created_at": datetime(2024, 4, 2, tzinfo=UTC).isoformat(), "run_id": "run", "parent": 0,
        "estimator": PROJECT.training.estimator, "parameters": {}, "seed": 0, "features": kinds, "target": "price",
        "training_set": chosen, "hashes": {}, "packages": {},
    }  # fmt: skip


def _snapshot(lake: Lake) -> int:
    with lake.reader() as cursor:
        found = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchone()
    return int(found[0]) if found else -1
