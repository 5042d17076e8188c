from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from small_market import CLEAN, FEATURES, JUDGING, NAME, PREPARING, TRAINING, Market, open_market

from ml_assets.serving.site import SECTIONS

if TYPE_CHECKING:
    from pathlib import Path

DEPENDENCIES = {
    "raw": set(),
    "validated": {"raw"},
    "quarantine": {"raw"},
    "features": {"validated"},
    "profile": {"features"},
    "exploration": {"features", "validated"},
    "training_set": {"features", "profile"},
    "model": {"training_set"},
    "evaluation": {"model"},
    "champion": {"evaluation"},
    "predictions": {"features", "champion"},
    "drift": {"profile", "predictions"},
    "performance": {"predictions", "features"},
    "decision": {"drift", "performance"},
    "replay": {"features"},
    "skew": {"validated", "model"},
}
KINDS = {
    "raw": {"csv", "duckdb"},
    "validated": {"duckdb", "pandera"},
    "quarantine": {"duckdb", "pandera"},
    "features": {"duckdb", "sql"},
    "profile": {"duckdb"},
    "exploration": {"duckdb"},
    "training_set": {"duckdb"},
    "model": {"scikitlearn"},
    "evaluation": {"scikitlearn"},
    "champion": {"scikitlearn"},
    "predictions": {"duckdb", "scikitlearn"},
    "drift": {"duckdb", "evidently"},
    "performance": {"duckdb"},
    "decision": {"duckdb"},
    "replay": {"scikitlearn"},
    "skew": {"duckdb", "scikitlearn"},
}
PARTITIONED = {*PREPARING, *JUDGING}
TABLES = PARTITIONED - {"decision"}  # whose rows are the ledger's
CHECKS = {
    "validated": {
        "month__cast", "month__not_null",
        "contract__cast", "contract__not_null", "contract__unique",
        "town__cast", "town__not_null", "town__isin",
        "area__cast", "area__not_null", "area__greater_than_or_equal_to", "area__less_than_or_equal_to",
        "price__cast", "price__not_null", "price__greater_than",
        "rows__well_formed", "rows__in_partition", "rows__accounted_for", "rows__quarantine_share",
    },
    "training_set": {"no_leak_by_lineage", "no_leak_by_clock", "no_leak_by_numbers"},
    "evaluation": {"gate__mape_0", "gate__r2_1", "gate__baselines"},
    "skew": {"no_skew"},
}  # fmt: skip
BLOCKING = {"rows__accounted_for", "rows__quarantine_share"}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def graph(declared: Market) -> Any:
    return declared.defs.resolve_asset_graph()


def names(keys: Any) -> set[str]:
    assert {key.path[0] for key in keys} <= {NAME}
    return {key.path[1] for key in keys}


def test_the_graph_has_exactly_the_assets_of_the_design_and_these_dependencies(graph: Any) -> None:
    assert {key.path[1]: names(graph.get(key).parent_keys) for key in graph.get_all_asset_keys()} == DEPENDENCIES


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_every_asset_says_what_it_is(graph: Any, declared: Market, name: str) -> None:
    node = graph.get(dg.AssetKey([NAME, name]))
    spec = declared.defs.resolve_assets_def(node.key).specs_by_key[node.key]

    assert node.group_name == NAME
    assert list(node.owners) == ["team:housing"]
    assert node.kinds == KINDS[name]
    assert len(node.description) > 20
    assert len(node.code_version) == 12
    page = spec.metadata["page"].url.removeprefix(f"http://127.0.0.1:3001/projects/{NAME}")
    assert page in {path for path, _, _ in SECTIONS}, "there is such a page"
    assert (page == "") == (name in {"performance", "skew"})
    assert spec.metadata.get("dagster/table_name") == (f"lake.{NAME}.{name}" if name in TABLES else None)


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_what_holds_rows_is_partitioned_by_month_and_a_range_of_it_is_one_run(graph: Any, name: str) -> None:
    node = graph.get(dg.AssetKey([NAME, name]))

    assert node.is_partitioned == (name in PARTITIONED)
    if node.is_partitioned:
        assert node.partitions_def == dg.MonthlyPartitionsDefinition("2024-01", fmt="%Y-%m")
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_a_project_of_days_is_partitioned_by_day(tmp_path: Path) -> None:
    days = open_market(tmp_path, partitions={"grain": "day", "start": "2024-01-31"}).defs.resolve_asset_graph()

    expected = dg.DailyPartitionsDefinition("2024-01-31", fmt="%Y-%m-%d")
    assert days.get(dg.AssetKey([NAME, "raw"])).partitions_def == expected


def test_every_demand_of_the_schema_and_every_gate_is_an_asset_check(declared: Market, graph: Any) -> None:
    found: dict[str, set[str]] = {}
    for check in graph.asset_check_keys:
        found.setdefault(check.asset_key.path[1], set()).add(check.name)
    assert found == CHECKS

    assets = declared.defs.resolve_assets_def(dg.AssetKey([NAME, "validated"]))
    assert {spec.name for spec in assets.check_specs if spec.blocking} == BLOCKING
    assets = declared.defs.resolve_assets_def(dg.AssetKey([NAME, "training_set"]))
    assert {spec.name for spec in assets.check_specs if spec.blocking} == CHECKS["training_set"]
    assert all(spec.description for spec in assets.check_specs)


def test_the_jobs_are_a_look_the_refresh_of_a_partition_the_retraining_an_approval_and_an_answer(
    declared: Market,
) -> None:
    selected = {
        job.name: names(job.asset_layer.executable_asset_keys)
        for job in (declared.defs.resolve_job_def(f"{NAME}_{what}") for what in ("refresh", "retrain"))
    }

    assert selected == {"flats_refresh": PARTITIONED, "flats_retrain": set(TRAINING)}
    assert {job.name for job in declared.defs.jobs} == {*selected, "flats_approve", "flats_decide", "flats_look"}
    assert declared.defs.resolve_job_def("flats_retrain").tags["ml_assets/retraining"] == NAME


def test_the_sensors_and_schedules_run_without_being_switched_on(declared: Market) -> None:
    sensors, schedules = declared.defs.sensors, declared.defs.schedules

    assert [(sensor.name, [one.job_name for one in sensor.targets]) for sensor in sensors] == [
        ("flats_arrivals", ["flats_refresh"]), ("flats_retraining", ["flats_retrain"]), ("flats_alerts", []),
    ]  # fmt: skip
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}
    assert [(one.name, one.job_name, one.cron_schedule) for one in schedules] == [
        ("flats_refresh", "flats_look", "0 6 * * *"), ("flats_skew", "flats_skew", "0 4 * * *"),
    ]  # fmt: skip
    assert {one.default_status for one in schedules} == {dg.DefaultScheduleStatus.RUNNING}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"features": FEATURES + " -- other"}, {"features"}),
        ({"clean": CLEAN + " -- other"}, {"raw", "validated", "quarantine"}),
        ({"schema": "other_flat_schema:Flat"}, {"validated", "quarantine"}),
        ({"source": {"ignore_in_duplicates": []}}, {"raw", "validated", "quarantine"}),
        ({"training": {"seed": 8}}, {"training_set", "model", "replay"}),
        ({"gates": []}, {"evaluation"}),
        ({"monitoring": {"one_false_alarm_in": 12}}, {"drift"}),
        ({"retraining": {"cooldown": 9}}, {"decision", "replay"}),
        ({"owners": ["team:other"], "description": "Another."}, set()),
    ],
    ids=str,
)
def test_the_code_version_of_exactly_those_assets_changes_whose_definition_does(
    tmp_path: Path, graph: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], changed: set[str]
) -> None:
    schema = "from flat_schema import Flat as Base\n\n\nclass Flat(Base):\n    pass\n"
    (tmp_path / "other_flat_schema.py").write_text(schema)
    monkeypatch.syspath_prepend(tmp_path)
    other = open_market(tmp_path, **change).defs.resolve_asset_graph()

    keys = graph.get_all_asset_keys()
    assert {key.path[1] for key in keys if graph.get(key).code_version != other.get(key).code_version} == changed
