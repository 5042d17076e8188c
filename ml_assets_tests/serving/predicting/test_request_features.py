"""Features of requests: those that training would have made of the same rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_market import FEATURES, PREPARING, Market, open_market, sales

from ml_assets.assets.common import run_sql
from ml_assets.assets.references import read_references
from ml_assets.schemas import schema_outline
from ml_assets.serving.predicting.features import KEPT, Features, UnusableRowError, fingerprint
from ml_assets.serving.predicting.inputs import CannotServeError, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

LINEAGE = "_partition, _source, _row"
# The newest index that was known on the first of the month, and no row without a price.
WITH_INDEX = f"""\
WITH known AS (SELECT town, CAST(since AS DATE) AS since, CAST(level AS DOUBLE) AS level FROM levels)
SELECT {LINEAGE}, month, validated.town, area, sqrt(area) * level AS size, month(_partition) AS of_month, price
FROM validated
ASOF LEFT JOIN known ON validated.town = known.town AND validated.month >= known.since
WHERE price > 0 AND area < 390
"""
KINDS = {"town": "category", "area": "number", "size": "number", "of_month": "number"}
# Rows of the same town and month, this one included, and the price of the one before it.
AMONG_OTHERS = f"""\
SELECT {LINEAGE}, month, town, area, price,
    area / avg(area) OVER (PARTITION BY town) AS relative,
    lag(price) OVER (PARTITION BY town ORDER BY month, area, contract) AS price_before
FROM validated
"""


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A market whose features look towns up in a reference table."""
    folder = tmp_path_factory.mktemp("priced")
    market = open_market(folder, features=WITH_INDEX, references={"levels": {"files": "levels.csv"}})
    write_levels(market, 1.0)
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    market.rerun("levels")
    market.materialize(PREPARING, "2024-01", "2024-02")
    with market.settings():
        yield market


def write_levels(market: Market, level: float) -> None:
    lines = [
        f"{town},{since},{level * number}"
        for town in ("EAST", "WEST")
        for number, since in enumerate(("2023-01-01", "2024-02-01"), 1)
    ]
    (market.folder / "data" / "levels.csv").write_text("town,since,level\n" + "\n".join(lines) + "\n")


def features_of(market: Market, kinds: dict[str, str] = KINDS, **changes: Any) -> Features:
    project = replace(market.project, **changes)
    return Features(project, market.lake, kinds, [column.name for column in schema_outline(project.schema).columns])


@pytest.fixture(scope="module")
def made(priced: Market) -> Features:
    return features_of(priced)


def asked(rows: pl.DataFrame) -> list[dict[str, Any]]:
    return rows.select("month", "contract", "town", "area").to_dicts()


def test_what_is_only_passed_on_is_not_asked_for(priced: Market) -> None:
    """The month is no feature here, and no filter reads it."""
    made = features_of(priced, {"town": "category", "area": "number"}, features_sql=FEATURES)
    assert made.inputs.needed == {"town", "area"}
    assert made.of([{"town": "EAST", "area": 50.0}])[0] == {"town": ["EAST"], "area": [50.0]}


@pytest.mark.parametrize(
    ("sql", "needed", "town"),
    [
        ("SELECT * FROM validated WHERE contract <> ''", {"town", "area", "contract"}, {"town", "contract"}),
        # It looks at other rows, and so the time is needed.
        ("SELECT DISTINCT * FROM validated", {"month", "town", "area"}, {"town"}),
    ],
)
def test_a_feature_tells_of_what_decides_its_rows(priced: Market, sql: str, needed: set[str], town: set[str]) -> None:
    inputs = features_of(priced, {"town": "category", "area": "number"}, features_sql=sql).inputs
    assert inputs.needed == needed
    assert inputs.sources["town"] - set(LINEAGE.split(", ")) == town


def trained_on(market: Market, rows: pl.DataFrame, sql: str) -> pl.DataFrame:
    """What the asset `features` would make of rows."""
    with market.lake.reader() as cursor:
        references = read_references(cursor, market.project)
        return run_sql(cursor, "features.sql", sql, "validated", rows, references=references)


def test_rows_of_the_lake_have_the_features_that_training_saw(priced: Market) -> None:
    made = features_of(priced)
    validated, features = priced.table("validated"), priced.table("features")

    columns, places = made.of(asked(validated))
    at_once = made.of_frame(validated.select("month", "town", "area"))

    assert places == list(range(120))
    wanted = validated.select(LINEAGE.split(", ")).join(
        features, on=LINEAGE.split(", "), how="left", maintain_order="left"
    )
    for name in KINDS:
        assert columns[name] == wanted[name].to_list()
    assert at_once.select(list(KINDS)).equals(wanted.select(list(KINDS)))
    assert wanted["of_month"].to_list() == [1] * 60 + [2] * 60
    assert wanted["size"].null_count() == 0


@settings(max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "month": st.dates(date(2024, 1, 1), date(2026, 1, 1)),
                "town": st.sampled_from(["EAST", "WEST"]),
                "area": st.floats(20, 389),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_rows_have_them_alone_as_together(made: Features, rows: list[dict[str, Any]]) -> None:
    together, _ = made.of(rows)
    alone = [made.of([row])[0] for row in rows]
    assert together == {name: [one[name][0] for one in alone] for name in KINDS}


def test_what_is_not_known_drops_no_row_and_is_not_asked_for(priced: Market) -> None:
    made = features_of(priced)
    assert made.inputs.hidden == {"price"}
    assert made.inputs.asked == ("month", "contract", "town", "area")
    assert made.inputs.needed == {"month", "town", "area"}
    assert made.inputs.row_wise


def test_a_row_that_a_filter_on_known_columns_drops_has_no_features(priced: Market) -> None:
    rows = [{"month": None, "town": "EAST", "area": area} for area in (100, 395, 120)]
    assert features_of(priced).of(rows)[1] == [0, 2]


def test_a_reference_that_was_read_again_is_another_fingerprint(priced: Market) -> None:
    made = features_of(priced)
    write_levels(priced, 2.0)
    priced.rerun("levels")
    row = asked(priced.table("validated"))[:1]
    with priced.lake.reader() as cursor:
        assert fingerprint(cursor, priced.project, row_wise=True) != made.fingerprint
    assert features_of(priced).of(row)[0]["size"] == [2 * made.of(row)[0]["size"][0]]


def test_a_statement_that_looks_at_other_rows_sees_those_of_the_lake_and_none_of_the_request(priced: Market) -> None:
    kinds = {"area": "number", "relative": "number", "price_before": "number"}
    made = features_of(priced, kinds, features_sql=AMONG_OTHERS)
    assert not made.inputs.row_wise
    february = priced.table("validated", "2024-02")
    new = february.head(2).with_columns(
        area=pl.Series([150.5, 155.5]), contract=pl.Series(["a", "b"]), _source=pl.lit("new")
    )

    columns, places = made.of(asked(new))

    assert places == [0, 1]
    for place in (0, 1):
        row = new[place : place + 1]
        wanted = trained_on(priced, pl.concat([february, row]), AMONG_OTHERS).filter(pl.col("_source") == "new")
        assert {name: columns[name][place] for name in kinds} == wanted.select(list(kinds)).to_dicts()[0]
    assert columns["price_before"][1] is not None


def test_any_thread_asks_more_partitions_than_are_kept(priced: Market) -> None:
    made = features_of(priced, {"relative": "number"}, features_sql=AMONG_OTHERS)
    rows = [{"month": date(2024, 1 + number % 11, 1), "town": "EAST", "area": 100.0} for number in range(33)]
    (want,) = made.of(rows)[0].values()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: made.of(rows)[0]["relative"], range(8))) == [want] * 8
    assert len(made._histories) <= KEPT + 4


def test_a_row_does_not_wait_for_the_others_of_a_long_request(priced: Market) -> None:
    made = features_of(priced, {"relative": "number"}, features_sql=AMONG_OTHERS)
    row = {"month": date(2024, 1, 1), "town": "EAST", "area": 100.0}
    made.of([row])
    with ThreadPoolExecutor(1) as threads:
        long = threads.submit(made.of, [row] * 1000)
        made.of([row])
        assert not long.done()
    assert len(long.result()[1]) == 1000
    assert (made.most, features_of(priced).most) == (1000, None)


def test_other_rows_are_those_of_the_snapshot_that_is_named(priced: Market) -> None:
    """What is written between two looks is not seen: the log would name another snapshot than was read."""
    row = {"month": date(2024, 2, 1), "town": "EAST", "area": 100.0}
    before, later = (features_of(priced, {"relative": "number"}, features_sql=AMONG_OTHERS) for _ in range(2))
    want = before.of([row])[0]
    priced.write("2024-02", [one | {"area": "160"} for one in sales("2024-02")])
    priced.materialize(PREPARING, "2024-02")
    try:
        assert later.of([row])[0] == want
        assert features_of(priced, {"relative": "number"}, features_sql=AMONG_OTHERS).of([row])[0] != want
    finally:
        priced.write("2024-02", sales("2024-02"))
        priced.materialize(PREPARING, "2024-02")


def test_a_feature_of_what_is_not_known_is_not_served(priced: Market) -> None:
    sql = FEATURES.replace("price FROM", "price / area AS dear, price FROM")
    with pytest.raises(CannotServeError, match=r"the feature dear is computed from price, not known when"):
        features_of(priced, {"area": "number", "dear": "number"}, features_sql=sql)


@pytest.mark.parametrize(
    ("condition", "both"),
    [
        ("price > area * 2000", "price > area * 2000"),
        ("area > 20 AND (town = 'EAST' OR price IS NULL)", "town = 'EAST' OR price IS NULL"),
        ("price > 0 AND area < 390 AND town IN ('EAST', 'WEST')", ""),
    ],
)
def test_a_filter_that_relates_what_is_not_known_to_what_is_given_is_not_served(
    priced: Market, condition: str, both: str
) -> None:
    sql = f"{FEATURES} WHERE {condition}"
    if not both:
        assert features_of(priced, {"area": "number"}, features_sql=sql).inputs.filled == {"price"}
        return
    with pytest.raises(CannotServeError) as refused:
        features_of(priced, {"area": "number"}, features_sql=sql)
    assert f"the filter {both} holds" in str(refused.value)


def test_a_value_that_the_statement_cannot_compute_with_is_told(priced: Market) -> None:
    sql = FEATURES.replace("price FROM", "CAST(contract AS INTEGER) AS nr, price FROM")
    sql += " WHERE contract NOT LIKE '%/%' OR false"
    with pytest.raises(CannotServeError, match=r"lets none of the rows of flats\.validated through"):
        features_of(priced, {"nr": "number"}, features_sql=sql)
    sql = FEATURES.replace("price FROM", "CAST(right(contract, 1) AS INTEGER) AS nr, price FROM")
    made = features_of(priced, {"nr": "number"}, features_sql=sql)
    assert made.inputs.needed == {"contract"}
    with pytest.raises(UnusableRowError, match="cannot be computed: Conversion Error: Could not convert string 'x'"):
        made.of([{"contract": "12/x"}])


def test_what_hangs_on_no_request_is_computed_once(made: Features) -> None:
    assert "settled 0" in made._sql
    assert "CAST(since" not in made._sql


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        (WITH_INDEX, 1),
        ("WITH a AS (FROM levels), b AS (FROM a), c AS (FROM validated) SELECT * FROM c JOIN b USING (town)", 2),
        ("WITH a AS (FROM validated), b AS (FROM a) SELECT * FROM b", 0),
        ("WITH a AS (SELECT now() AS at FROM levels) SELECT * FROM validated, a", 0),
        (FEATURES, 0),
    ],
)
def test_only_what_reads_no_validated_row_and_no_clock_is(sql: str, tables: int) -> None:
    found, rewritten = settled(sql, "features.sql")
    assert len(found) == tables
    assert rewritten.count("settled ") == tables
