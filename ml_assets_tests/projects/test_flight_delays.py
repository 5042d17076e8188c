"""The shipped project flight_delays: a week through Dagster, and the join of the weather over the whole year."""

from __future__ import annotations

import dagster as dg
import duckdb
import polars as pl
import pytest
from shipped import LINEAGE, Shipped, data_or_skip, open_shipped

from ml_assets.assets.common import run_sql
from ml_assets.assets.leakage import look_for_leakage
from ml_assets.lake.connection import DUCKDB_SETTINGS
from ml_assets.lake.resource import open_lake
from ml_assets.registry.ledger import VERDICTS, read_entries
from ml_assets.registry.models import TrainingSet
from ml_assets.runs import PREPARING

# Dagster's own reading of a defs.yaml.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")

# The clocks went forward on the 9th.
FIRST, LAST = "2014-03-07", "2014-03-12"
KNOWN_LATER = {"dep_time", "dep_delay", "arr_time", "air_time", "arr_delay"}
ZONE = "America/Los_Angeles"


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    made = open_shipped("flight_delays", tmp_path_factory.mktemp("flights") / "home", data_or_skip("pnw_flights14"))
    made.materialize(["weather", *PREPARING], FIRST, LAST)
    return made


@pytest.fixture(scope="module")
def year(flights: Shipped) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The year's rows as they came, cleaned and cast by DuckDB, and their features."""
    folder, project = flights.data / "pnw_flights14", flights.project
    raw = pl.read_csv(folder / "flights.csv", infer_schema=False).with_row_index("_row", 1)
    day = pl.concat_str("year", "month", "day", separator="-").str.to_datetime("%Y-%m-%d", time_unit="us")
    raw = raw.with_columns(day.alias("_partition"), pl.lit("flights.csv").alias("_source"))
    with duckdb.connect(config=dict(DUCKDB_SETTINGS)) as connection:
        clean = run_sql(connection, project.clean_path, project.clean_sql, "raw", raw)
        typed = clean.with_columns(pl.col("date").str.to_date(), pl.col("distance", "arr_delay").cast(pl.Float64))
        made = run_sql(
            connection, project.features_path, project.features_sql, "validated", typed,
            references={"weather": flights.table("weather")},
        )  # fmt: skip
    return raw, typed, made


def test_every_flight_of_the_week_is_accounted_for(flights: Shipped) -> None:
    raw, validated = flights.table("raw"), flights.table("validated")

    assert raw.height == validated.height == 2490
    assert flights.table("quarantine").height == 0
    assert raw["_partition"].n_unique() == 6
    # A day begins at midnight in Seattle, which the clocks moved by an hour.
    assert sorted(raw["_partition"].dt.hour().unique()) == [7, 8]


def test_what_is_known_only_after_departure_is_no_feature(flights: Shipped) -> None:
    features = flights.table("features")

    assert KNOWN_LATER.isdisjoint(features.columns)
    event = flights.instance.get_latest_materialization_event(dg.AssetKey(["flight_delays", "features"]))
    assert event is not None
    assert event.asset_materialization is not None
    lineage = event.asset_materialization.metadata["dagster/column_lineage"].value
    of = {column: {dep.column_name for dep in deps} for column, deps in lineage.deps_by_column.items()}
    assert [column for column, inputs in of.items() if inputs & KNOWN_LATER] == ["late"]
    assert {dep.asset_key.path[-1] for dep in lineage.deps_by_column["temperature"]} == {"weather"}


def test_the_leakage_gate_accuses_the_schedule_alone_which_is_waived_with_its_reason(flights: Shipped) -> None:
    features, lake = flights.table("features"), open_lake(flights.home / "lake")
    keys = tuple(flights.project.key_of(start) for start in features["_partition"].unique().sort())
    with lake.reader() as cursor:
        (snapshot,) = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()[0]
    chosen = TrainingSet(snapshot, keys[:5], keys[5:], features.height, "", "", 0, keys[-1])
    newest = features["_partition"] == flights.project.start_of(LAST)
    found = look_for_leakage(flights.project, lake, chosen, features.filter(~newest), features.filter(newest))

    assert found.blocking == []
    assert [finding.name for finding in found.findings] == ["lineage:scheduled_departure"]
    assert "from which hour, weather_age comes" in found.findings[0].words


def test_a_day_has_the_same_features_alone_and_in_a_range(flights: Shipped) -> None:
    before = flights.table("features")
    flights.materialize(["weather", *PREPARING], "2014-03-09")

    assert flights.table("features").equals(before)


def test_the_reference_reports_its_rows_its_columns_and_the_snapshot_that_holds_it(flights: Shipped) -> None:
    event = flights.instance.get_latest_materialization_event(dg.AssetKey(["flight_delays", "weather"]))

    assert event is not None
    assert event.asset_materialization is not None
    told = {name: entry.value for name, entry in event.asset_materialization.metadata.items()}
    assert told["dagster/row_count"] == 17_426
    assert {column.type for column in told["dagster/column_schema"].columns if column.name != "_row"} == {"VARCHAR"}
    assert told["source"] == "pnw_flights14/weather.csv"
    assert told["snapshot"] > 0


def test_the_schedule_is_the_departure_less_its_delay_on_the_scheduled_day(
    year: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    raw, clean, _ = year
    clean = clean.sort("_row")
    told = raw.with_columns(pl.col("dep_time").cast(pl.Int64), pl.col("dep_delay").cast(pl.Float64))
    minutes = (told["dep_time"] // 100 * 60 + told["dep_time"] % 100 - told["dep_delay"].cast(pl.Int64)) % 1440
    expected = pl.select(raw["_partition"] + pl.duration(minutes=minutes)).to_series()

    assert clean["scheduled_departure"].equals(expected.alias("scheduled_departure"))
    assert clean["scheduled_departure"].null_count() == 857
    assert (told["dep_time"] == 2400).sum() == 19


def test_the_target_says_whether_the_flight_arrived_more_than_a_quarter_of_an_hour_late(
    year: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    raw, _, features = year
    told = raw.select("_row", pl.col("arr_delay").cast(pl.Float64)).drop_nulls()
    both = features.join(told, on="_row")

    assert features.height == told.height == both.height == 162_049 - 1301
    assert (both["late"] == (both["arr_delay"] > 15)).all()


def test_the_weather_of_a_flight_is_the_newest_that_was_known_when_it_was_to_leave(
    flights: Shipped, year: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
) -> None:
    _, clean, features = year
    observed = flights.table("weather").select(
        "origin",
        (pl.col("date").str.to_datetime(time_unit="us") + pl.duration(hours=1)).alias("known_at"),
        pl.col("temp").cast(pl.Float64, strict=False).alias("expected"),
    )
    # Another as-of join than DuckDB's.
    departure = pl.col("scheduled_departure").dt.replace_time_zone(ZONE).dt.convert_time_zone("UTC")
    scheduled = clean.select(*LINEAGE, "origin", departure.dt.replace_time_zone(None).alias("departure"))
    expected = (
        scheduled.drop_nulls("departure")
        .sort("departure")
        .join_asof(
            observed.sort("known_at"), left_on="departure", right_on="known_at", by="origin", check_sortedness=False
        )
    )
    both = features.join(expected, on=LINEAGE, how="inner")
    age = (both["departure"] - both["known_at"]).dt.total_minutes() / 60

    assert both.height == features.height
    assert (both["weather_age"] - age).abs().max() < 1e-9
    assert age.null_count() == 0
    assert both["weather_age"].min() >= 0
    assert both["temperature"].equals(both["expected"].alias("temperature"), null_equal=True)


def test_all_days_at_once_have_the_features_that_each_has_alone(
    flights: Shipped, year: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
) -> None:
    _, clean, features = year
    project = flights.project
    some = clean["_partition"].unique().sort().gather_every(37)
    with duckdb.connect(config=dict(DUCKDB_SETTINGS)) as connection:
        for start in some:
            alone = run_sql(
                connection, project.features_path, project.features_sql, "validated",
                clean.filter(clean["_partition"] == start), references={"weather": flights.table("weather")},
            )  # fmt: skip
            assert alone.sort(LINEAGE).equals(features.filter(features["_partition"] == start).sort(LINEAGE))


def test_the_newest_window_trains_a_version_that_serves_and_its_record_says_what_was_waived(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    made = open_shipped("flight_delays", tmp_path_factory.mktemp("window") / "home", data_or_skip("pnw_flights14"))
    made.materialize(["weather", *PREPARING], "2014-06-05", "2014-12-31")
    made.retrain()

    with open_lake(made.home / "lake").reader() as cursor:
        entries = read_entries(cursor, "flight_delays")
    (verdict,) = [entry for entry in entries if entry.kind in VERDICTS]
    assert verdict.kind == "promoted"
    assert verdict.reason.startswith(
        "the first version that passes the gates; waived: log_loss below the 0.4953 of a base"
    )
    evaluation = made.registry.evaluation("flight_delays", 1) or {}
    (waived,) = [gate for gate in evaluation["gates"] if gate["waiver"]]
    assert "p is 0.19" in waived["waiver"]
    assert "baseline (linear model)" in waived["demand"]
