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
