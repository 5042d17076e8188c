"""What a project's own SQL may do wrong, and what it is told then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_market import CLEAN, FEATURES, JUDGED, NAME, Market, RunFailed, open_market, sales

if TYPE_CHECKING:
    from pathlib import Path

MONTH = "2024-01"
LINEAGE = "_partition, _source, _row"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A month that is there before its statements break."""
    market = open_market(tmp_path_factory.mktemp("statements"))
    market.write(MONTH, sales(MONTH))
    market.materialize((*JUDGED, "features"), MONTH)
    return market


def failure_with(good: Market, *, clean: str = CLEAN, features: str = FEATURES) -> str:
    """The same project in the same folder with other statements: its error, and that it left everything as it was."""
    before = {name: good.table(name) for name in (*JUDGED, "features")}
    broken = open_market(good.folder, clean=clean, features=features)
    with pytest.raises(RunFailed) as failure:
        broken.materialize((*JUDGED, "features"), MONTH)

    asset = "features" if clean == CLEAN else "validated"
    assert broken.steps(failure.value.run_id)[-1] == f"{NAME}__{asset}"
    for name, rows in before.items():
        assert good.table(name).equals(rows), name
    return failure.value.message


def test_a_clean_sql_that_loses_a_row_is_an_error_that_names_one(good: Market) -> None:
    message = failure_with(good, clean=f"{CLEAN} WHERE _row NOT IN (7, 8)")

    assert "AccountingError: clean.sql returned 58 rows for 60 raw rows: rows were lost" in message
    assert f"for example row 7 of sales/{MONTH}.csv" in message


def test_a_clean_sql_that_doubles_a_row_is_an_error_that_names_one(good: Market) -> None:
    message = failure_with(good, clean=f"{CLEAN} UNION ALL ({CLEAN} WHERE _row = 9)")

    assert "clean.sql returned 61 rows for 60 raw rows: rows were returned more than once" in message
    assert f"for example row 9 of sales/{MONTH}.csv" in message


def test_a_clean_sql_that_loses_one_row_and_doubles_another_is_an_error_too(good: Market) -> None:
    message = failure_with(good, clean=f"{CLEAN} WHERE _row <> 7 UNION ALL ({CLEAN} WHERE _row = 9)")

    assert "clean.sql returned 60 rows for 60 raw rows: rows were lost" in message


def test_a_clean_sql_that_renames_where_a_row_stood_is_an_error(good: Market) -> None:
    assert "rows were lost" in failure_with(good, clean=CLEAN.replace("_source", "'elsewhere' AS _source"))


def test_a_clean_sql_without_lineage_is_told_what_to_select(good: Market) -> None:
    message = failure_with(good, clean=CLEAN.replace(f",\n    {LINEAGE}", ""))

    assert f"clean.sql does not return '_partition'. Remedy: select {LINEAGE} in it" in message


def test_a_clean_sql_that_lacks_a_column_of_the_schema_is_told_which(good: Market) -> None:
    assert "'area', which clean.sql does not return" in failure_with(good, clean=CLEAN.replace("area,", ""))


def test_a_features_sql_without_lineage_is_told_what_to_select(good: Market) -> None:
    message = failure_with(good, features="SELECT price, area FROM validated")

    assert f"features.sql does not return '_partition'. Remedy: select {LINEAGE} in it" in message


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ("SELECT nonsense FROM validated", "nonsense"),
        (f"SELECT {LINEAGE}, price / 'x' AS p FROM validated", "Could not convert string 'x'"),
        ("SELECT FROM WHERE", "WHERE"),
        ("SELECT * FROM elsewhere", "elsewhere"),
        ("DELETE FROM validated", "SELECT"),
        ("FROM read_csv('/etc/passwd')", "read_csv"),
    ],
)
def test_an_error_in_features_sql_names_the_file_and_what_is_wrong(good: Market, features: str, told: str) -> None:
    message = failure_with(good, features=features)

    assert "features.sql" in message
    assert told in message


def test_an_error_in_clean_sql_names_the_file(good: Market) -> None:
    message = failure_with(good, clean=CLEAN.replace("trim(town)", "CAST(town AS INTEGER)"))

    assert "SqlFailure: clean.sql: Conversion Error" in message


def test_a_row_outside_its_partition_after_features_sql_is_refused(good: Market) -> None:
    moved = FEATURES.replace("_partition,", "_partition + INTERVAL 1 MONTH AS _partition,")

    message = failure_with(good, features=moved)
    assert f"features.sql: row 1 of sales/{MONTH}.csv is returned, but is not in `validated`" in message


def test_a_features_sql_that_doubles_a_row_is_refused(good: Market) -> None:
    message = failure_with(good, features=f"{FEATURES} UNION ALL {FEATURES} WHERE _row = 9")

    assert f"features.sql: row 9 of sales/{MONTH}.csv is returned more than once" in message


def test_a_statement_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.sql: there is no such file"):
        open_market(tmp_path, clean_path="nowhere.sql")
