"""Kinds of bad rows through the graph: quarantined with their reason or refused, all accounted for, the rest untouched.

What a file as such may be like is tested with its reader (`sources/test_bad_input.py`); here it is the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_market import COLUMNS, JUDGED, Market, Row, RunFailed, open_market, sales

if TYPE_CHECKING:
    from pathlib import Path

GOOD, MONTH, OTHER = 40, "2024-02", "2024-01"

# What one row is changed to → the checks that it fails.
ROWS: dict[str, tuple[Row, tuple[str, ...]]] = {
    "text in a number": ({"area": "large"}, ("area__cast",)),
    "a number in words": ({"price": "ten"}, ("price__cast",)),
    "a thousands separator": ({"price": "400,000"}, ("price__cast",)),
    "a decimal comma": ({"area": "80,5"}, ("area__cast",)),
    "a currency sign": ({"price": "$400000"}, ("price__cast",)),
    "a unit": ({"area": "80 sqm"}, ("area__cast",)),
    "a percent sign": ({"area": "80%"}, ("area__cast",)),
    "a boolean for a number": ({"area": "true"}, ("area__cast",)),
    "a date for a number": ({"price": "2024-02-01"}, ("price__cast",)),
    "positive infinity": ({"price": "inf"}, ("price__cast",)),
    "negative infinity": ({"price": "-Infinity"}, ("price__cast",)),
    "not a number": ({"price": "NaN"}, ("price__cast",)),
    "a number beyond floats": ({"price": "1e999"}, ("price__cast",)),
    "a huge number": ({"area": "9" * 40}, ("area__less_than_or_equal_to",)),
    "a number below its range": ({"area": "-1"}, ("area__greater_than_or_equal_to",)),
    "zero where more is demanded": ({"price": "0"}, ("price__greater_than",)),
    "a missing number": ({"price": ""}, ("price__not_null",)),
    "only blanks for a number": ({"price": "   "}, ("price__cast",)),
    "a missing category": ({"town": ""}, ("town__not_null",)),
    "an unknown category": ({"town": "NORTH"}, ("town__isin",)),
    "a category in another case": ({"town": "east"}, ("town__isin",)),
    "a null key": ({"contract": ""}, ("contract__not_null",)),
    "a duplicate key": ({"contract": f"{MONTH}/1"}, ("contract__unique",)),
    "a time that is none": ({"month": "2024-13"}, ("month__cast",)),
    "a time in words": ({"month": "February"}, ("month__cast",)),
    "a time before the partition": ({"month": "2023-12"}, ("rows__in_partition",)),
    "a time after the partition": ({"month": "2024-03"}, ("rows__in_partition",)),
    "a time out of range": ({"month": "9999-12"}, ("rows__in_partition",)),
    "a time of two-digit years": ({"month": "24-02"}, ("month__cast",)),
    "a missing time": ({"month": ""}, ("month__not_null",)),
    "a NUL in a category": ({"town": "EA\0ST"}, ("town__isin",)),
    "several": ({"town": "NORTH", "area": "x", "price": "-1"}, ("area__cast", "price__greater_than", "town__isin")),
}  # fmt: skip

# What the whole file is made of → rows in raw, validated, quarantine, duplicates.
FILES: dict[str, tuple[str, tuple[int, int, int, int]]] = {
    "no rows": ("header", (0, 0, 0, 0)),
    "blank lines": ("blank lines", (GOOD + 2, GOOD, 1, 1)),
    "a short line": ("short line", (GOOD + 1, GOOD, 1, 0)),
    "a long line": ("long line", (GOOD + 1, GOOD, 1, 0)),
    "exact duplicates": ("duplicates", (GOOD + 3, GOOD, 0, 3)),
    "columns in another order": ("reordered", (GOOD, GOOD, 0, 0)),
    "a column more": ("added", (GOOD, GOOD, 0, 0)),
    "padded headers": ("padded", (GOOD, GOOD, 0, 0)),
    "a byte-order mark": ("mark", (GOOD, GOOD, 0, 0)),
    "line ends of Windows": ("windows", (GOOD, GOOD, 0, 0)),
}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    made = open_market(tmp_path_factory.mktemp("bad_rows"))
    made.write(OTHER, sales(OTHER))
    made.materialize(JUDGED, OTHER)
    return made


def counted(market: Market) -> tuple[int, int, int, int]:
    raw, validated, quarantine = (market.table(name, MONTH).height for name in JUDGED)
    return raw, validated, quarantine, market.metadata("validated", MONTH)["duplicates_rows"]


def untouched(market: Market) -> tuple[list[tuple[object, ...]], ...]:
    """The other month's rows; a column that only this one has is null there."""
    tables = (market.table(name, OTHER).select(pl.exclude("_reasons")) for name in JUDGED)
    return tuple(table[[one.name for one in table if one.null_count() < one.len()]].rows() for table in tables)


@pytest.mark.parametrize("kind", ROWS)
def test_a_bad_row_is_quarantined_with_its_reasons_and_nothing_else_is(market: Market, kind: str) -> None:
    change, checks = ROWS[kind]
    before = untouched(market)
    rows = sales(MONTH, rows=GOOD)
    market.write(MONTH, [*rows, {**rows[-1], "nr": "bad", "contract": "bad", **change}])

    market.materialize(JUDGED, MONTH)

    # Of a key that is there twice, neither row can be told to be the right one.
    bad = 2 if kind == "a duplicate key" else 1
    assert counted(market) == (GOOD + 1, GOOD + 1 - bad, bad, 0)
    found = market.table("quarantine", MONTH).explode("_reasons").unnest("_reasons")
    assert set(found["check"]) == set(checks)
    assert untouched(market) == before


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_odd_lines_adds_up(market: Market, kind: str) -> None:
    shape, expected = FILES[kind]
    before = untouched(market)
    rows = sales(MONTH, rows=GOOD)
    market.write(MONTH, rows)
    write(market.file(MONTH), shape)

    market.materialize(JUDGED, MONTH)

    assert counted(market) == expected
    assert untouched(market) == before


def write(file: Path, shape: str) -> None:
    """Change a file of good rows."""
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    changes = {
        "header": [header],
        "blank lines": [header, *lines[:5], "", *lines[5:], ""],
        "short line": [header, *lines, "99,short"],
        "long line": [header, *lines, f"99,long,{MONTH},EAST,80,400000,more"],
        "duplicates": [header, *lines, *lines[:3]],
        "reordered": [",".join(reversed(line.split(","))) for line in (header, *lines)],
        "added": [f"{line},more" for line in (header, *lines)],
        "padded": [header.replace(",", " , "), *lines],
        "mark": ["\ufeff" + header, *lines],
        "windows": [header, *lines],
    }
    end = "\r\n" if shape == "windows" else "\n"
    file.write_bytes("".join(line + end for line in changes[shape]).encode())


@pytest.mark.parametrize("missing", [name for name in COLUMNS if name != "nr"])
def test_a_file_without_a_column_is_refused_and_changes_nothing(market: Market, missing: str) -> None:
    market.write(MONTH, sales(MONTH, rows=GOOD))
    market.materialize(JUDGED, MONTH)
    before = (untouched(market), *(market.table(name, MONTH).rows() for name in JUDGED))
    market.write(MONTH, sales(MONTH, rows=3), [name for name in COLUMNS if name != missing])

    with pytest.raises(RunFailed, match=rf"{MONTH}.csv: the column '{missing}' is missing"):
        market.materialize(JUDGED, MONTH)

    assert (untouched(market), *(market.table(name, MONTH).rows() for name in JUDGED)) == before
