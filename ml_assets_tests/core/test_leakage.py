"""The plain functions of the leakage gate: what they find, and what they leave in peace."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.leakage import (
    Finding,
    as_known_at,
    by_numbers,
    changed_features,
    cuts_of,
    moments_of,
)
from ml_assets.core.leakage_lineage import Script, Traced, trace, unknown_column, unmatched_waiver

CLEAN = """\
SELECT
    day, lower(town) AS town, area, price * 1.0 AS price, price > 9 AS dear, fee, _partition, _source, _row
FROM raw
"""
COLUMNS = ["day", "town", "area", "price", "dear", "fee"]


def traced(features: str, *, clean: str = CLEAN, target: str = "price", unknown: tuple[str, ...] = ()) -> Traced:
    return trace(
        Script(clean, "clean.sql"),
        Script(f"SELECT _partition, _source, _row, {features} FROM validated", "features.sql"),
        target=target,
        time="day",
        unknown=unknown,
        columns=COLUMNS,
    )


def names(found: Traced) -> list[str]:
    return [finding.name for finding in found.findings]


# By lineage


def test_a_finding_tells_file_line_column_what_and_the_remedy() -> None:
    (finding,) = traced("area,\n  price / area AS unit, price").findings

    assert finding.place == "features.sql, line 2, column 3"
    assert str(finding) == (
        "features.sql, line 2, column 3: the feature unit (`price / area`) is computed from price, which is the "
        "target. Remedy: compute it from what is known when a prediction is made, or leave it out of features.sql, or "
        "waive `lineage:unit` with a reason (leakage.waivers)"
    )


def test_another_column_made_of_the_raw_target_is_found_in_clean_sql() -> None:
    found = traced("dear, price")

    (finding,) = found.findings
    assert (finding.name, finding.file, finding.line) == ("lineage:dear", "clean.sql", 2)
    assert found.accused == {"dear": "lineage:dear"}


def test_a_star_in_clean_sql_hides_no_target() -> None:
    clean = "SELECT * REPLACE (price * 1.0 AS price), price > 9 AS dear, COLUMNS('x_(.*)') AS '\\1' FROM raw"

    assert names(traced("dear, area, price / 2 AS half, price", clean=clean)) == ["lineage:half", "lineage:dear"]


@pytest.mark.parametrize(
    "window",
    [
        "lag(price) OVER (ORDER BY day)",
        "lag(price, 3, 0) IGNORE NULLS OVER (PARTITION BY town ORDER BY day)",
        "avg(price) OVER (ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)",
        "sum(price) FILTER (WHERE price > 3) OVER (ORDER BY day ROWS BETWEEN 9 PRECEDING AND 1 PRECEDING)",
        "sum(price) OVER (ORDER BY day RANGE BETWEEN INTERVAL 9 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)",
        "max(price) OVER w",
    ],
)
def test_what_holds_earlier_rows_only_is_left_to_the_clock(window: str) -> None:
    named = " WINDOW w AS (ORDER BY day ROWS BETWEEN 9 PRECEDING AND 2 PRECEDING)" if window.endswith("w") else ""
    features = f"SELECT _partition, _source, _row, {window} AS before, price FROM validated{named}"
    found = trace(
        Script(CLEAN, "clean.sql"), Script(features, "features.sql"),
        target="price", time="day", unknown=(), columns=COLUMNS,
    )  # fmt: skip

    assert names(found) == []
    assert found.older == {"before"}
    assert found.hidden == {"price"}


@pytest.mark.parametrize(
    "window",
    [
        "lead(price) OVER (ORDER BY day)",
        "lag(price, 0) OVER (ORDER BY day)",
        "lag(price, -1) OVER (ORDER BY day)",
        "lag(price, area) OVER (ORDER BY day)",
        "lag(area, 1, price) OVER (ORDER BY day)",
        "lag(area) OVER (ORDER BY price)",
        "lag(area) OVER (PARTITION BY price ORDER BY day)",
        "avg(price) OVER (ORDER BY day ROWS 3 PRECEDING)",
        "avg(price) OVER (ORDER BY day ROWS BETWEEN 3 PRECEDING AND 0 PRECEDING)",
        "avg(price) OVER (ORDER BY day ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING)",
        "lead(price) OVER (ORDER BY day ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING)",
    ],
)
def test_what_may_hold_the_row_itself_or_a_later_one_is_found(window: str) -> None:
    assert names(traced(f"{window} AS x, price")) == ["lineage:x"]


def test_todays_value_is_no_leak_where_the_target_is_a_later_one() -> None:
    assert names(traced("price AS today, lead(price) OVER (ORDER BY day) AS tomorrow", target="tomorrow")) == []


def test_a_name_that_is_no_column_or_no_finding_is_told_with_the_nearest() -> None:
    assert unknown_column("Fee", COLUMNS, {}) == ""
    assert unknown_column("weather.temp", COLUMNS, {"weather": ["temp"]}) == ""
    assert "did you mean fee?" in unknown_column("fees", COLUMNS, {})

    found = traced("price / area AS unit, town, price")
    assert unmatched_waiver("lineage:unit", found, ["unit", "town"]) == ""
    assert unmatched_waiver("alone:town", found, ["unit", "town"]) == ""
    assert unmatched_waiver("rows:both_sides", found, ["unit", "town"]) == ""
    assert "did you mean lineage:unit?" in unmatched_waiver("lineage:unti", found, ["unit", "town"])
    # Lineage is sure without data: it has not found this one.
    assert "waives nothing" in unmatched_waiver("lineage:town", found, ["unit", "town"])


# By the clock


def partition(days: list[int], prices: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "_partition": [date(2024, 1, 1)] * len(days),
            "_source": ["a.csv"] * len(days),
            "_row": range(len(days)),
            "day": [date(2024, 1, 1) + timedelta(days=day) for day in days],
            "price": prices,
        },
        schema_overrides={"price": pl.Float64},
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 9)), min_size=1, max_size=20), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_at_a_moment_nothing_later_is_known_and_only_what_is_hidden_differs(rows: Any, cut: int) -> None:
    whole = partition([day for day, _ in rows], [price for _, price in rows])
    moment = date(2024, 1, 1) + timedelta(days=cut)
    known = as_known_at(whole, whole["day"], moment, ["price"])

    expected = whole.filter(whole["day"] <= moment)
    assert known.drop("price").equals(expected.drop("price"))
    before = known["day"] < moment
    assert known["price"].filter(before).equals(expected["price"].filter(before))
    now, was = known["price"].filter(~before), expected["price"].filter(~before)
    assert now.is_null().equals(was.is_null())
    if whole["price"].drop_nulls().n_unique() > 1:
        assert not now.drop_nulls().eq(was.drop_nulls()).any()


@pytest.mark.parametrize("values", [[True, False, True], ["a", "b", "c"], [date(2024, 1, 1), date(2024, 1, 2), None]])
def test_a_hidden_value_of_any_type_becomes_another_of_its_column(values: list[Any]) -> None:
    rows = partition([0, 0, 0], [1, 2, 3]).with_columns(hidden=pl.Series(values))
    known = as_known_at(rows, rows["day"], rows["day"][0], ["hidden"])

    assert set(known["hidden"].drop_nulls()) <= set(values)
    assert all(new != old for new, old in zip(known["hidden"], values, strict=True) if old is not None)


def test_moments_are_times_positions_or_one_for_all() -> None:
    rows = partition([2, 0, 1], [1, 2, 3])

    assert moments_of(rows, "day", ordered=False).to_list() == rows["day"].to_list()
    assert moments_of(rows, None, ordered=True).to_list() == [0, 1, 2]
    assert moments_of(rows, None, ordered=False).to_list() == [0, 0, 0]
    assert cuts_of(pl.Series(range(8))) == [2, 4, 6]
    assert cuts_of(pl.Series([5, 5])) == [5, 5, 5]
    assert cuts_of(pl.Series([], dtype=pl.Int64)) == []


def test_a_feature_differs_by_more_than_the_order_of_a_sum() -> None:
    before = partition([0, 1, 2], [1.0, 2.0, None]).with_columns(text=pl.Series(["a", "b", None]))

    close = before.with_columns(pl.col("price") * (1 + 1e-14))
    assert changed_features(before, close.reverse(), ["price", "text"]) == {}
    far = before.with_columns(pl.col("price") * (1 + 1e-6))
    assert changed_features(before, far, ["price", "text"]) == {"price": ("a.csv", 0)}
    assert changed_features(before, before.with_columns(text=pl.lit("b")), ["text"]) == {"text": ("a.csv", 0)}
    # Rows that are in one frame only are no difference.
    assert changed_features(before, before.head(1), ["price", "text"]) == {}
    infinite = before.with_columns(price=pl.Series([float("inf"), float("nan"), None]))
    assert changed_features(infinite, infinite, ["price"]) == {}


# By the numbers


def table(seed: int, rows: int = 400) -> pl.DataFrame:
    """Rows whose target follows `area` closely, and `town` a little, as honest rows do."""
    made = random.Random(seed)
    areas = [made.randint(40, 160) for _ in range(rows)]
    towns = [made.choice("EWS") for _ in range(rows)]
    prices = [
        5000 * area * made.uniform(0.97, 1.03) * (1.1 if town == "E" else 1)
        for area, town in zip(areas, towns, strict=True)
    ]
    return pl.DataFrame({"area": areas, "town": towns, "price": prices, "_source": "a", "_row": range(rows)})


def found_in(train: pl.DataFrame, test: pl.DataFrame, task: Any = "regression", target: str = "price") -> list[Finding]:
    kinds = {
        name: "category" if kind == pl.String else "number"
        for name, kind in train.schema.items()
        if name not in {"_source", "_row", target}
    }
    return by_numbers(train, test, kinds, target=target, task=task)


def test_a_strong_honest_feature_is_not_accused() -> None:
    assert found_in(table(1), table(2)) == []


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_a_copy_of_the_target_is_found_under_noise_and_past_what_was_seen(noise: float) -> None:
    def copied(rows: pl.DataFrame, level: float) -> pl.DataFrame:
        made = random.Random(7)
        rows = rows.with_columns(pl.col("price") * level)
        return rows.with_columns(copy=pl.Series([price * made.gauss(1, noise) for price in rows["price"]]))

    # In the new rows prices have doubled: a tree alone could not follow.
    assert [each.name for each in found_in(copied(table(1), 1), copied(table(2), 2))] == ["alone:copy"]


def test_a_trend_over_time_is_not_accused() -> None:
    # The target grows with time, and time tells nothing of what differs between rows of a day.
    def grown(first: int) -> pl.DataFrame:
        made = random.Random(first)
        days = [first + number // 10 for number in range(600)]
        return pl.DataFrame(
            {"day": days, "price": [100.0 + day + made.gauss(0, 5) for day in days], "_source": "a", "_row": range(600)}
        )

    assert found_in(grown(0), grown(60)) == []


def test_a_feature_that_is_filled_by_what_the_label_is_is_found() -> None:
    def filled(seed: int) -> pl.DataFrame:
        rows = table(seed).with_columns(dear=(pl.col("price") > 500_000).cast(pl.String)).drop("price")
        return rows.with_columns(closed=pl.when(pl.col("dear") == "true").then(pl.lit(1)))

    assert [each.name for each in found_in(filled(1), filled(2), "binary", "dear")] == ["alone:closed"]


def test_rows_of_few_values_repeat_by_chance_and_measured_ones_do_not() -> None:
    def few(seed: int) -> pl.DataFrame:
        made = random.Random(seed)
        return pl.DataFrame(
            {
                "a": [made.randint(0, 3) for _ in range(500)],
                "b": [made.choice("XYZ") for _ in range(500)],
                "price": [float(made.randint(0, 4)) for _ in range(500)],
                "_source": "a",
                "_row": range(500),
            }
        )

    assert found_in(few(1), few(2)) == []
    train, test = table(1), table(2)
    repeated = pl.concat([test.head(380), train.head(20)])
    (finding,) = found_in(train, repeated)
    assert finding.name == "rows:both_sides"
    assert "20 of 400 test rows (5.0%)" in finding.words
    assert found_in(train, pl.concat([test.head(395), train.head(5)])) == []


def test_few_rows_prove_nothing() -> None:
    train, test = table(1, 20), table(2, 20)

    assert found_in(train.with_columns(copy="price"), test.with_columns(copy="price")) == []


def placed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.lit("f.csv").alias("_source"), pl.int_range(pl.len()).alias("_row"))


def test_a_rare_label_hides_no_copy_of_the_others() -> None:
    labels = ["a", "b"] * 200 + ["c", "c"]
    rows = placed(pl.DataFrame({"copy": labels, "label": labels}))
    named = [one.name for one in by_numbers(rows, rows, {"copy": "category"}, target="label", task="multiclass")]
    assert "alone:copy" in named


def test_an_infinite_value_counts_as_missing() -> None:
    made = random.Random(0)
    values = [made.random() for _ in range(300)]
    rows = placed(pl.DataFrame({"x": [float("inf"), *values], "y": [1.0, *(made.random() for _ in range(300))]}))
    assert by_numbers(rows[:200], rows[200:], {"x": "number"}, target="y", task="regression") == []
    assert by_numbers(rows[200:], rows[:200], {"x": "number"}, target="y", task="regression") == []


def test_what_is_waived_as_an_identifier_may_still_tell_the_target() -> None:
    made = random.Random(0)
    rank = list(range(600))
    rows = placed(pl.DataFrame({"rank": rank, "price": [1000 + 5 * each + made.random() for each in rank]}))
    train, test = rows.with_row_index().filter(pl.col("index") % 3 > 0), rows.filter(pl.Series(rank) % 3 == 0)

    def found(*waived: str) -> list[str]:
        kinds = {"rank": "number"}
        return [one.name for one in by_numbers(train, test, kinds, target="price", task="regression", waived=waived)]

    assert "alone:rank" in found("identifier:rank")
