"""Drifts of every kind, planted in a stream of houses: which are caught, when, and what is named as the cause.

What inputs cannot show, prices that change for the same houses, is no alarm here: it is the watched error's to tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl
import pytest

from ml_assets.core.alarms import Place, Watched
from ml_assets.core.causes import Cause, explain
from ml_assets.core.profiles import ColumnBins, Counts, choose_bins
from ml_assets.lake.profiling import take_profiles

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, LEARNT, PLANTED, MONTHS = 1_500, 24, 30, 42
TOWNS = ["east", "north", "south", "west"]
KINDS = {"area": "number", "age": "number", "town": "category", "price": "number"}


def month(number: int, change: Callable[[pl.DataFrame, int], pl.DataFrame] | None = None) -> pl.DataFrame:
    draw = np.random.default_rng(number)
    area, age = draw.normal(100, 20, ROWS), draw.gamma(2, 8, ROWS)
    rows = pl.DataFrame({"area": area, "age": age, "town": draw.choice(TOWNS, ROWS), "noise": draw.normal(0, 10, ROWS)})
    if change and number >= PLANTED:
        rows = change(rows, number - PLANTED)
    return rows.with_columns(_partition=pl.lit(datetime(2020, 1, 1) + timedelta(days=number)))  # noqa: DTZ001


def predict(rows: pl.DataFrame) -> np.ndarray:
    """A champion that has learnt the prices of the first months."""
    area = rows["area"].fill_null(100).to_numpy()
    return 3 * area - 2 * rows["age"].fill_null(16).to_numpy() + 40 * (rows["town"] == "east").to_numpy()


def priced(rows: pl.DataFrame, inflation: float = 1.0) -> pl.DataFrame:
    """What the houses fetch: by what they are, not by how somebody wrote it down."""
    return rows.with_columns(price=inflation * pl.Series(predict(rows)) + rows["noise"])


@dataclass
class Seen:
    """What was caught: partitions with an alarm, columns that alarmed, and the causes of the first."""

    alarmed: list[int] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    causes: list[Cause] = field(default_factory=list)


def play(change: Callable[[pl.DataFrame, int], pl.DataFrame] | None = None, inflation: float = 1.0) -> Seen:
    """Play the months; prices rise from the planted month on, if asked for."""
    database = duckdb.connect()
    months = []
    for number in range(MONTHS):
        true = priced(month(number), inflation if number >= PLANTED else 1.0)
        rows = month(number, change).with_columns(true["price"]) if change is not None else true
        months.append(rows.drop("noise").with_columns(month(number)["_partition"]))
    bins = choose_bins(pl.concat(months[:LEARNT]), KINDS)
    places = [Place(number, profile_of(database, bins, rows)) for number, rows in enumerate(months)]
    watched = Watched(places[:LEARNT], places[:LEARNT], budget=1 / 24, period=12)
    reference, seen = pl.concat(months[:LEARNT]), Seen()
    for number in range(LEARNT, MONTHS):
        alarms = [one.column for one in watched.see(places[number]) if one.alarm]
        if alarms and number >= PLANTED:
            if not seen.alarmed:
                rows = months[number]
                inputs = sorted(set(alarms) - {"price"})
                actual = rows["price"].to_numpy()
                seen.causes = explain(
                    rows, reference, inputs, predict=predict, typical=8.0,
                    losses=lambda said, actual=actual: np.abs(said - actual), groups=["town"],
                )  # fmt: skip
            seen.alarmed.append(number - PLANTED)
            seen.columns |= set(alarms)
    return seen


def profile_of(database: duckdb.DuckDBPyConnection, bins: list[ColumnBins], rows: pl.DataFrame) -> dict[str, Counts]:
    cursor = database.cursor().register("rows", rows)
    (counts,) = take_profiles(cursor, bins, "FROM rows").values()
    return {one.column: one for one in counts}


def where(condition: pl.Expr, then: pl.Expr | None, column: str) -> pl.Expr:
    return pl.when(condition).then(then).otherwise(column).alias(column)


DRIFTS: dict[str, tuple[Callable[[pl.DataFrame, int], pl.DataFrame], int, str, str]] = {
    # name: (what happens to a month, months until it must be caught, the cause, who carries it)
    "sudden": (lambda rows, _: rows.with_columns(pl.col("area") + 8), 0, "area", ""),
    "gradual": (lambda rows, months: rows.with_columns(pl.col("area") + 1.5 * (months + 1)), 3, "area", ""),
    "recurring": (lambda rows, months: rows.with_columns(pl.col("area") + 8 * (months % 4 == 0)), 0, "area", ""),
    "one segment": (
        lambda rows, _: rows.with_columns(where(pl.col("town") == "east", pl.col("area") + 25, "area")), 0, "area",
        "east",
    ),
    "missing values": (
        lambda rows, _: rows.with_columns(where(pl.int_range(pl.len()) % 8 == 0, None, "area")), 0, "area", "",
    ),
    "a unit": (lambda rows, _: rows.with_columns(pl.col("area") * 10.764), 0, "area", ""),
    "a new category": (
        lambda rows, _: rows.with_columns(where(pl.int_range(pl.len()) % 10 == 0, pl.lit("new town"), "town")), 0,
        "town", "",
    ),
    "prior shift": (
        lambda rows, _: rows.with_columns(where(pl.int_range(pl.len()) % 5 == 0, pl.lit("east"), "town")),
        0, "town", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DRIFTS)
def test_a_planted_drift_is_caught_in_time_and_its_cause_is_named(kind: str) -> None:
    change, months, cause, carrier = DRIFTS[kind]
    seen = play(change)

    assert seen.alarmed, "never caught"
    assert seen.alarmed[0] <= months
    assert cause in seen.columns
    assert seen.causes[0].column == cause
    if carrier:
        assert [one.value for one in seen.causes[0].carriers] == [carrier]


def test_a_recurring_drift_alarms_when_it_is_there_and_not_between() -> None:
    alarmed = play(DRIFTS["recurring"][0]).alarmed

    assert {0, 4, 8} <= set(alarmed)
    assert len(set(alarmed) - {0, 4, 8}) <= 1


def test_prices_that_change_for_the_same_houses_show_in_the_target_and_in_no_input() -> None:
    seen = play(inflation=1.15)

    assert seen.alarmed[0] == 0
    assert "price" in seen.columns
    assert [one.column for one in seen.causes] == []


def test_without_drift_there_is_hardly_an_alarm() -> None:
    assert len(play().alarmed) <= 1
