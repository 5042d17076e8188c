"""Guesses that need all rows of a table: what goes to the quarantine, what leaks, what names rows."""

from __future__ import annotations

import csv
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ml_assets.scaffold.guesses import Guess
from ml_assets.scaffold.guessing import guess
from ml_assets.scaffold.looking import look
from ml_assets.scaffold.trial import Trial, try_out
from ml_assets.scaffold.writing import clean_sql

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Guessed = Callable[..., Guess]

START = datetime(2023, 1, 1)  # noqa: DTZ001 - naive UTC


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[dict[str, Any]]], str]:
    """Write rows as CSV."""

    def run(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
        path = tmp_path / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        return str(path)

    return run


@pytest.fixture
def guessed(write: Callable[..., str]) -> Guessed:
    """Guess a project from rows, without a trial."""

    def run(rows: list[dict[str, Any]], target: str, **options: Any) -> Guess:
        with look(write(rows, options.pop("delimiter", ","))) as table:
            return guess(table, target=target, **options)

    return run


@pytest.fixture
def tried(write: Callable[..., str]) -> Callable[..., tuple[Guess, Trial]]:
    """Guess a project from rows, and try a model on them."""

    def run(rows: list[dict[str, Any]], target: str, **options: Any) -> tuple[Guess, Trial]:
        with look(write(rows)) as table:
            found = guess(table, target=target, **options)
            return found, try_out(table, found)

    return run


def orders(rows: int = 600, seed: int = 1) -> list[dict[str, Any]]:
    """Sales with a heavy tail, by day, in some months; the commission follows from them."""
    made = random.Random(seed)
    found = []
    for number in range(rows):
        units, day = max(1, round(made.lognormvariate(3, 1.3))), START + timedelta(days=number // 4)
        sales = units * made.choice([20, 300, 1100]) * made.uniform(0.8, 1.2)
        found.append(
            {"order": f"SO-{10000 + number}", "day": f"{day:%Y-%m-%d}", "units": units,
             "commission": round(0.03 * sales, 2), "sales": round(sales, 2)}
        )  # fmt: skip
    return found


def column_of(found: Guess, name: str) -> Any:
    (column,) = [one for one in found.columns if one.name == name]
    return column


def test_points_are_told_by_the_decimal_commas_of_other_columns(guessed: Guessed) -> None:
    made = random.Random(1)
    rows = [
        {
            "km": f"{made.randint(500, 300_000):,}".replace(",", "."),
            "litres": f"{made.randint(10, 40) / 10}".replace(".", ","),
            "price": f"{made.randint(1000, 9000)},50",
        }
        for _ in range(300)
    ]
    found = guessed(rows, "price", delimiter=";")
    assert (column_of(found, "km").form.type, column_of(found, "km").facts.most > 200_000) == ("int", True)
    assert "Thousands are parted by points." in column_of(found, "km").notes


def test_a_line_of_totals_counts_in_no_range_no_suspicion_and_no_gate(tried: Any) -> None:
    rows = orders()
    honest, without = tried(rows, "sales")
    totals = {"order": "Grand Total", "sales": sum(row["sales"] for row in rows), "commission": 0.0}
    found, trial = tried([*rows, dict.fromkeys(rows[0], "") | totals], "sales")
    assert trial.gates == without.gates
    assert found.warnings == honest.warnings
    assert column_of(found, "sales").facts.most == column_of(honest, "sales").facts.most
    assert column_of(found, "day").checks == column_of(honest, "day").checks
    assert found.quarantine == ["1 row: day is missing"]


def test_what_goes_to_the_quarantine_is_named(guessed: Guessed) -> None:
    rows = orders(1200)
    for number, row in enumerate(rows[:40]):
        row["units"] = "TBD" if number < 15 else "1,258" if number < 30 else row["units"]
    rows[50]["units"] = "ask Ed"
    rows[60]["day"] = ""
    rows[61]["day"] = "1900-01-01"
    found = guessed(rows, "sales")
    assert found.quarantine == [
        "16 rows: units does not read: 'TBD' (15), 'ask Ed' (1)",
        "1 row: day is missing",
        "1 row: day is far before or after all others",
    ]
    told = "16 rows will not read, and go to the quarantine: 'TBD' (15), 'ask Ed' (1)"
    assert told in column_of(found, "units").notes
    assert "-- Thousands are parted by commas. 16 rows will not read" in clean_sql(found)
    assert column_of(found, "units").facts.lost == 16
    assert column_of(found, "sales").facts.rows == 1182


def test_a_share_of_a_target_with_a_heavy_tail_is_leakage(tried: Any) -> None:
    found, _ = tried(orders(), "sales")
    assert any("commission is left out" in warning for warning in found.warnings)
    assert column_of(found, "units").left_out == ""


def test_boosted_trees_are_chosen_only_where_a_linear_model_is_worse(tried: Any) -> None:
    made = random.Random(5)
    rows = [{"a": made.uniform(1, 9), "b": made.uniform(1, 9)} for _ in range(500)]
    straight = [row | {"y": 3 * row["a"] + row["b"] + made.gauss(0, 1)} for row in rows]
    bent = [row | {"y": (30 if row["a"] > 5 > row["b"] else 10) + made.gauss(0, 1)} for row in rows]
    assert tried(straight, "y")[1].estimator == "sklearn.linear_model.Ridge"
    assert tried(bent, "y")[1].estimator == "sklearn.ensemble.HistGradientBoostingRegressor"


def test_a_growing_function_of_the_target_is_leakage(tried: Any) -> None:
    rows = orders()
    for row in rows:
        row["commission"] = round(row["sales"] ** 0.3, 4)
    found, _ = tried(rows, "sales")
    assert column_of(found, "commission").left_out
    rows = orders()
    for number, row in enumerate(rows):
        row["commission"] = round(row["sales"] * (0.7 + 0.05 * (number % 13)), 2)
    honest, _ = tried(rows, "sales")
    assert column_of(honest, "commission").left_out == ""


def panel(waves: int = 6) -> list[dict[str, Any]]:
    """The same people asked in every quarter, by one of three offices."""
    made = random.Random(3)
    return [
        {
            "person_id": f"R{person:05}",
            "wave": f"202{wave // 4}Q{wave % 4 + 1}",
            "office": made.choice(["North", "South", "West"]),
            "office_id": made.randint(1, 25),
            "asked": f"{START + timedelta(days=91 * wave + made.randint(0, 85)):%Y-%m-%d}",
            "age": made.randint(18, 80),
            "left": made.choice(["yes", "no", "no"]),
        }
        for wave in range(waves)
        for person in range(250)
    ]


@pytest.mark.parametrize("plain", [False, True])
def test_who_a_row_is_of_is_no_feature_and_is_asked_about(guessed: Guessed, plain: bool) -> None:  # noqa: FBT001
    rows = panel()
    for row in rows:
        row["person_id"] = int(row["person_id"][1:]) if plain else row["person_id"]
    found = guessed(rows, "left")
    assert (
        "person_id is left out of features.sql: it names what a row is of: 250 of them, 6 rows each" in found.warnings
    )
    assert any("Do rows to come have a person_id" in question for question in found.questions)
    # Few of them, with many rows each, may tell something.
    assert column_of(found, "office_id").left_out == ""
    assert any("Does office_id name" in question for question in found.questions)


def test_a_word_for_a_time_is_no_feature(guessed: Guessed) -> None:
    found = guessed(panel(), "left")
    assert "its 6 values follow each other in time" in column_of(found, "wave").left_out
    assert {one.name for one in found.features} == {"office", "office_id", "age"}


def readings(meters: int) -> list[dict[str, Any]]:
    made = random.Random(4)
    return [
        {"reading": number * meters + meter, "moment": f"{START + timedelta(hours=number):%Y-%m-%d %H:%M}",
         "meter": f"M{meter}", "kw": round(made.uniform(1, 9), 3)}
        for number in range(600) for meter in range(meters)
    ]  # fmt: skip


@pytest.mark.parametrize(("meters", "key"), [(1, "moment"), (3, "moment and meter")])
def test_two_readings_of_one_time_are_asked_about(guessed: Guessed, meters: int, key: str) -> None:
    rows = readings(meters)
    assert not any("correction" in question for question in guessed(rows, "kw").questions)
    again = [row | {"reading": 10_000 + number, "kw": 9.5} for number, row in enumerate(rows[50:57])]
    asked = [question for question in guessed([*rows, *again], "kw").questions if "correction" in question]
    assert asked == [
        f"7 rows have the same {key} as another, and differ otherwise: is one a correction of the other? All are kept"
    ]


def test_many_events_a_day_are_no_corrections(guessed: Guessed) -> None:
    assert not any("correction" in question for question in guessed(orders(), "sales").questions)


def test_a_very_good_feature_is_asked_about_and_kept(tried: Any) -> None:
    made = random.Random(6)
    rows = [{"area": round(made.uniform(30, 150), 1), "town": made.choice("EW")} for _ in range(400)]
    rows = [row | {"price": round(2000 * row["area"] + made.gauss(0, 4000))} for row in rows]
    found, _ = tried(rows, "price")
    assert column_of(found, "area").left_out == ""
    assert any("Is area known when a prediction is made? It alone tells 99" in one for one in found.questions)
