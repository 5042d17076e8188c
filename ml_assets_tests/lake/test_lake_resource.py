from pathlib import Path  # Dagster reads the annotations of an asset when it is defined

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource
from small_lake import COMMIT, as_days, day, days, held, rows_of, write
from writing_tables import replace_window

from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource, open_lake, shared_lake
from ml_assets.lake.sql import Table


def test_an_asset_of_a_teams_own_reads_the_lake_as_it_reads_duckdb(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1, 2]})
    seen = []

    @dg.asset
    def report(duckdb: DuckDBResource) -> None:
        with duckdb.get_connection() as connection:
            seen.extend(connection.execute(f"SELECT x FROM {table.path} ORDER BY x").fetchall())

    resource = LakeResource(folder=str(lake.folder))
    assert isinstance(resource, DuckDBResource)
    assert dg.materialize([report], resources={"duckdb": resource}).success
    assert seen == [(1,), (2,)]


def test_an_asset_of_a_teams_own_writes_through_the_lakes_transactions(lake: Lake, table: Table) -> None:
    @dg.asset
    def mine(lake: LakeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        snapshot = replace_window(lake.lake, {table: rows_of({0: [5]})}, days(0, 1), COMMIT)
        return dg.MaterializeResult(metadata={"snapshot": snapshot})

    result = dg.materialize([mine], resources={"lake": LakeResource(folder=str(lake.folder))})
    [event] = result.asset_materializations_for_node("mine")
    assert held(lake, table, event.metadata["snapshot"].value) == as_days({0: [5]})  # type: ignore[arg-type]


def test_a_connection_sees_one_version_and_keeps_no_writes(lake: Lake, table: Table) -> None:
    write(lake, table, {0: [1]})
    with LakeResource(folder=str(lake.folder)).get_connection() as connection:
        connection.execute(f"SELECT count(*) FROM {table.path}").fetchall()
        write(lake, table, {0: [2]})
        assert connection.execute(f"SELECT x FROM {table.path}").fetchall() == [(1,)]
    with LakeResource(folder=str(lake.folder)).get_connection() as connection:
        connection.execute(f"DELETE FROM {table.path}")
    assert held(lake, table) == {day(0): [2]}


def test_a_process_opens_a_folder_once_whatever_resources_name_it(tmp_path: Path) -> None:
    one, two = LakeResource(folder=str(tmp_path)), LakeResource(folder=str(tmp_path))
    assert one.lake is two.lake is open_lake(tmp_path)
    assert LakeResource(folder=str(tmp_path / "other")).lake is not one.lake


def test_all_projects_share_one_resource_in_the_platforms_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    shared_lake.cache_clear()
    try:
        assert shared_lake() is shared_lake()
        assert shared_lake().lake.folder == tmp_path / "lake"
    finally:
        shared_lake.cache_clear()
