"""Leaks that are planted in a project, each caught before a model is trained, and honest features, none accused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from small_market import JUDGED, Market, Row, RunFailed, open_market, sales

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import dagster as dg

MONTHS = ("2024-01", "2024-02", "2024-03")
# What a source may hold beside the target: `appraisal` is the price with noise, `dollars` the price in another unit,
# `lot` counts from 5000 for what is dear, `code` names the row.
COLUMNS = ("nr", "contract", "sold", "town", "area", "price", "fee", "estimate", "appraisal", "dollars", "lot", "code")
CLEAN = """\
-- one row out for every row in
SELECT
    sold, town, area, price, fee, estimate, appraisal, dollars, lot, code,
    TRY_CAST(fee AS DOUBLE) / 2 AS half_fee,
    _partition, _source, _row
FROM raw
"""
FEATURES = "SELECT _partition, _source, _row, sold, town, area, {} FROM validated AS v"
DECLARED: dict[str, Any] = {
    "schema": "leaking_schema:Sale",
    "partitions": {"time": "sold"},
    "training": {"window": 3},
    "gates": [],
}
BY_LINEAGE, BY_CLOCK, BY_NUMBERS = "no_leak_by_lineage", "no_leak_by_clock", "no_leak_by_numbers"
REASON = "The fee is agreed upon before the flat is offered."


def rows_of(month: str) -> list[Row]:
    """Sixty sales of a month, three a day."""
    made = random.Random(f"{month} leaks")
    rows = []
    for number, sale in enumerate(sales(month)):
        price = 5000 * int(sale["area"]) * made.uniform(0.7, 1.3)
        more = {
            "sold": f"{month}-{1 + number // 3:02}",
            "price": f"{price:.0f}",
            "fee": f"{made.uniform(500, 900):.2f}",
            "estimate": f"{price * made.uniform(0.6, 1.4):.0f}",
            "appraisal": f"{price * made.uniform(0.95, 1.05):.0f}",
            "dollars": f"{price / 1300:.2f}",
            "lot": str((5000 if price > 500_000 else 1000) + made.randint(0, 999)),
            "code": f"{month}/{number}",
        }
        rows.append(sale | more)
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three months, validated: what tests plant stands in features.sql."""
    return prepared(tmp_path_factory.mktemp("leaks"), {month: rows_of(month) for month in MONTHS}).folder


def prepared(folder: Path, rows: Mapping[str, Sequence[Row]], clean: str = CLEAN) -> Market:
    market = open_market(folder, clean=clean, features=FEATURES.format("price"), **DECLARED)
    for month in MONTHS:
        market.write(month, rows[month], COLUMNS)
    market.materialize(JUDGED, MONTHS[0], MONTHS[-1])
    return market


def planted(folder: Path, features: str, *, clean: str = CLEAN, **changes: Any) -> Market:
    """The project with a features.sql of its own, or the part of it before the target, up to its features."""
    sql = features if "SELECT _partition" in features else FEATURES.format(f"{features}, price")
    market = open_market(folder, clean=clean, features=sql, **DECLARED | changes)
    market.materialize(("features", "profile"), MONTHS[0], MONTHS[-1])
    return market


def found_in(market: Market) -> tuple[str, dict[str, str]]:
    """The check that blocks, and the name and words of each finding."""
    with pytest.raises(RunFailed) as failed:
        market.rerun("training_set")
    checks = checks_of(market, failed.value.run_id)
    (blocking,) = [name for name, check in checks.items() if not check.passed]
    kept = market.registry.training_set("flats", "latest").leakage
    for each in kept:
        if each["waived"]:
            continue
        assert f"waive `{each['name']}` with a reason" in (checks[blocking].description or "")
    return blocking, {each["name"]: each["words"] for each in kept}


def checks_of(market: Market, run_id: str) -> dict[str, dg.AssetCheckEvaluation]:
    return {name: market.check(name, run_id) for name in (BY_LINEAGE, BY_CLOCK, BY_NUMBERS)}


TRACED = {
    "a ratio of the target": ("price / area AS price_per_sqm", "price, which is the target"),
    "the target under another name": ("price * 1.1 AS with_tax", "`price * 1.1`"),
    "a rank by the target": ("rank() OVER (ORDER BY price) AS place", "price, which is the target"),
    "a mean that holds the row itself": ("avg(price) OVER (PARTITION BY town) AS town_price", "AVG(price) OVER"),
    "what lag falls back on": ("lag(price, 1, price) OVER (ORDER BY sold, _row) AS former", "which is the target"),
    "the target of a later row": ("lead(price) OVER (ORDER BY sold, _row) AS next_price", "which is the target"),
}


@pytest.mark.parametrize(("feature", "words"), TRACED.values(), ids=TRACED)
def test_what_is_computed_from_the_target_is_caught_by_lineage(folder: Path, feature: str, words: str) -> None:
    check, found = found_in(planted(folder, feature))

    ((name, told),) = found.items()
    assert check == BY_LINEAGE
    assert name == f"lineage:{feature.rsplit(maxsplit=1)[-1]}"
    assert words in told


def test_the_target_is_found_behind_a_cte_a_join_and_a_subquery_at_the_place_where_it_stands(folder: Path) -> None:
    sql = """\
WITH sold AS (SELECT *, price AS paid FROM validated),

rooms AS (
    SELECT _source, _row, paid / area AS ratio FROM sold
)

SELECT _partition, v._source, v._row, sold, town, area, r.ratio AS unit, price
FROM validated AS v
LEFT JOIN (SELECT * FROM rooms) AS r ON v._source = r._source AND v._row = r._row
"""
    market = planted(folder, sql)

    assert found_in(market)[0] == BY_LINEAGE
    (kept,) = market.registry.training_set("flats", "latest").leakage
    assert kept["place"] == "features.sql, line 4, column 27"
    assert kept["words"] == "the feature unit (`paid / area`) is computed from price, which is the target"


def test_a_column_declared_unknown_at_prediction_is_caught_in_either_statement(folder: Path) -> None:
    unknown = {"unknown_at_prediction": ["fee"]}

    check, found = found_in(planted(folder, "fee > 700 AS costly", leakage=unknown))
    assert check == BY_LINEAGE
    assert "fee, declared unknown at prediction" in found["lineage:costly"]

    check, found = found_in(planted(folder, "half_fee + 1 AS more", leakage=unknown))
    assert check == BY_LINEAGE
    assert "from which more comes, is made of the raw column fee" in found["lineage:half_fee"]


def test_what_the_target_is_computed_from_counts_as_unknown_unless_some_of_it_is_named(folder: Path) -> None:
    sql = FEATURES.format("price AS paid, price / area AS unit")

    _, found = found_in(planted(folder, sql, target="unit"))
    assert list(found) == ["lineage:area", "lineage:paid"]

    _, found = found_in(planted(folder, sql, target="unit", leakage={"unknown_at_prediction": ["price"]}))
    assert list(found) == ["lineage:paid"]


LOOKING = {
    "a later row": ("lead(area) OVER (ORDER BY sold, _row) AS next_area", "looks ahead"),
    "a mean over the whole partition": ("avg(area) OVER (PARTITION BY town) AS town_area", "looks ahead"),
    "how many there will be": ("count(*) OVER () AS month_sales", "looks ahead"),
    "a lag that looks ahead": ("lag(price) OVER (ORDER BY sold DESC, _row DESC) AS following", "looks ahead"),
    "the target of rows of the same day": (
        "lag(price) OVER (ORDER BY sold, _row) AS last_price", "is not known yet at the row's own time: price",
    ),
    "how many are dearer, where the target only filters": (
        "(SELECT count(*) FROM validated AS o WHERE o.sold <= v.sold AND o.price > v.price) AS dearer",
        "is not known yet at the row's own time: price",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("feature", "words"), LOOKING.values(), ids=LOOKING)
def test_a_feature_that_looks_ahead_within_its_partition_is_caught_by_the_clock(
    folder: Path, feature: str, words: str
) -> None:
    check, found = found_in(planted(folder, feature))

    ((name, told),) = found.items()
    assert check == BY_CLOCK
    assert name == f"clock:{feature.rsplit(maxsplit=1)[-1]}"
    assert words in told


def test_look_ahead_in_clean_sql_is_caught_by_the_clock(tmp_path: Path) -> None:
    clean = CLEAN.replace("TRY_CAST(fee AS DOUBLE) / 2", "max(fee) OVER ()")
    prepared(tmp_path, {month: rows_of(month) for month in MONTHS}, clean)

    check, found = found_in(planted(tmp_path, "half_fee AS highest", clean=clean))
    assert check == BY_CLOCK
    assert "looks ahead" in found["clock:highest"]


COUNTED = {
    "the target copied with noise": ("appraisal", "alone:appraisal", "is the target with some noise"),
    "the target in another unit": ("dollars", "alone:dollars", "% of the target's spread in new rows"),
    "a name of each row": ("code", "identifier:code", "has 120 different texts in 120 rows: it names rows"),
    "a running number": (
        "CAST(split_part(code, '/', 2) AS INTEGER) + month(sold) * 60 AS running",
        "identifier:running", "each number once",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("feature", "name", "words"), COUNTED.values(), ids=COUNTED)
def test_what_no_statement_shows_is_caught_by_the_numbers(folder: Path, feature: str, name: str, words: str) -> None:
    check, found = found_in(planted(folder, feature))

    assert check == BY_NUMBERS
    assert list(found) == [name]
    assert words in found[name]


def test_a_number_that_encodes_the_label_is_caught_by_the_numbers(folder: Path) -> None:
    training = {"window": 3, "estimator": "sklearn.linear_model.LogisticRegression"}
    market = planted(
        folder, FEATURES.format("lot, price > 500000 AS dear"), target="dear", task="binary", training=training
    )

    check, found = found_in(market)
    assert check == BY_NUMBERS
    assert "tells the label of 100.0% of new rows" in found["alone:lot"]


def test_rows_on_both_sides_of_the_split_are_caught_by_the_numbers(tmp_path: Path) -> None:
    # Ten old sales come again, as those of another month.
    again = [{**row, "sold": f"2024-03-{day + 1:02}"} for day, row in enumerate(rows_of("2024-01")[:10])]
    rows = {month: rows_of(month) for month in MONTHS}
    prepared(tmp_path, rows | {"2024-03": rows["2024-03"] + again})

    check, found = found_in(planted(tmp_path, "estimate"))
    assert check == BY_NUMBERS
    assert "10 of 70 test rows (14.3%) stand among the training rows too" in found["rows:both_sides"]


EARLIER = "ORDER BY sold RANGE BETWEEN INTERVAL 30 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING"
HONEST = {
    "its own values": "area * 2 AS double, lower(town) AS lower_town, estimate",
    "earlier rows": f"avg(area) OVER ({EARLIER}) AS area_before, count(*) OVER ({EARLIER}) AS sold_before",
    "the target of earlier days": f"avg(price) OVER (PARTITION BY town {EARLIER}) AS price_before",
    "the time": "dayofweek(sold) AS weekday, year(sold) AS year",
}


def test_honest_features_are_not_accused(folder: Path) -> None:
    market = planted(folder, ", ".join(HONEST.values()))
    run_id = market.rerun("training_set")

    assert all(check.passed for check in checks_of(market, run_id).values())
    assert market.registry.training_set("flats", run_id).leakage == ()


def test_a_waiver_lets_one_finding_pass_and_its_reason_stays_in_the_record_and_the_ledger(tmp_path: Path) -> None:
    prepared(tmp_path, {month: rows_of(month) for month in MONTHS})
    waiver = {"waivers": [{"finding": "lineage:half_fee", "reason": REASON}], "unknown_at_prediction": ["fee"]}
    market = planted(tmp_path, "half_fee", leakage=waiver)
    run_id = market.retrain()

    check = checks_of(market, run_id)[BY_LINEAGE]
    assert check.passed
    assert check.metadata["waived"].value == 1
    assert REASON in str(check.metadata["found"].value)
    (kept,) = market.registry.version("flats", 1).training_set.leakage
    assert (kept["name"], kept["waived"]) == ("lineage:half_fee", REASON)
    (registered,) = market.ledger("registered")
    assert registered.facts["leakage_waived"] == {"lineage:half_fee": REASON}


def test_a_waiver_lets_nothing_else_pass(folder: Path) -> None:
    waiver = {"waivers": [{"finding": "clock:fee", "reason": REASON}]}

    check, found = found_in(planted(folder, "fee, price / area AS unit_price", leakage=waiver))
    assert check == BY_LINEAGE
    assert list(found) == ["lineage:unit_price"]


def test_a_feature_that_is_waived_may_leak_in_no_other_way(folder: Path) -> None:
    waiver = {"waivers": [{"finding": "lineage:rest_fee", "reason": REASON}], "unknown_at_prediction": ["fee"]}
    market = planted(folder, "fee - half_fee AS rest_fee", leakage=waiver)
    run_id = market.rerun("training_set")
    assert all(check.passed for check in checks_of(market, run_id).values())

    check, found = found_in(planted(folder, "fee - max(fee) OVER () AS rest_fee", leakage=waiver))
    assert check == BY_CLOCK
    assert list(found) == ["lineage:rest_fee", "clock:rest_fee"]


def test_no_model_learns_from_what_was_refused_in_the_same_run_or_another(folder: Path) -> None:
    market = planted(folder, "price / area AS ratio")

    with pytest.raises(RunFailed) as failed:
        market.retrain()
    assert market.steps(failed.value.run_id) == ["flats__training_set"]
    with pytest.raises(RunFailed, match="the leakage gate has refused this training set: lineage:ratio"):
        market.rerun("model")
    assert market.registry.numbers("flats") == []


def test_the_checks_say_what_was_looked_at_and_how_long_it_took(folder: Path) -> None:
    market = planted(folder, "estimate")
    found = checks_of(market, market.rerun("training_set"))

    assert found[BY_LINEAGE].metadata["not_known"].value == "price"
    assert found[BY_CLOCK].metadata["partitions"].value == "2024-01, 2024-02, 2024-03"
    assert found[BY_CLOCK].metadata["cuts"].value == 3
    assert found[BY_NUMBERS].metadata["rows"].value == 180
    assert all(float(str(check.metadata["seconds"].value)) > 0 for check in found.values())
