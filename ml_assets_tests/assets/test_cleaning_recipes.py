"""The recipes of docs/cleaning.md, run as they stand there."""

from __future__ import annotations

import ast
import re
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from ml_assets.assets.common import run_sql
from ml_assets.core.lineage import column_lineage, required_columns

PAGE = Path(__file__).parents[2] / "docs" / "cleaning.md"
# A heading, a fenced statement, and the table of values below it.
RECIPE = re.compile(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```sql\n(.*?)^```\n\n((?:^\|[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
RECIPES = {title: (sql, table) for title, sql, table in RECIPE.findall(PAGE.read_text(encoding="utf-8"))}
LINEAGE = ["_partition", "_source", "_row"]


def cell(text: str) -> str | None:
    """A value as the page writes it: NULL, or text in backticks with Python's escapes for what cannot be seen."""
    if text == "NULL":
        return None
    assert text.startswith("`"), text
    inner = text.strip("`")
    return str(ast.literal_eval(f'"{inner}"')) if "\\" in inner else inner


def parsed(table: str) -> tuple[dict[str, list[str | None]], dict[str, list[str | None]]]:
    """The columns that go in, and those that come out."""
    header, _, *lines = ([one.strip() for one in line.strip("|\n").split("|")] for line in table.splitlines())
    columns = {name: [cell(line[number]) for line in lines] for number, name in enumerate(header)}
    into = {name.removeprefix("raw."): values for name, values in columns.items() if name.startswith("raw.")}
    return into, {name: values for name, values in columns.items() if not name.startswith("raw.")}


def test_the_page_is_read_whole() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(RECIPES) == text.count("```sql") == 10


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_makes_of_values_what_the_page_says(title: str) -> None:
    sql, table = RECIPES[title]
    into, out = parsed(table)
    count = len(next(iter(into.values())))
    raw = pl.DataFrame(into, schema=dict.fromkeys(into, pl.String)).with_columns(
        pl.lit(datetime(2024, 1, 1)).cast(pl.Datetime("us")).alias("_partition"),  # noqa: DTZ001 - naive UTC
        pl.lit("a.csv").alias("_source"),
        pl.int_range(1, count + 1, dtype=pl.Int64).alias("_row"),
    )
    with duckdb.connect() as connection:
        rows = run_sql(connection, "docs/cleaning.md", sql, "raw", raw).sort("_row")

    assert rows.select(LINEAGE).equals(raw.select(LINEAGE)), "one row out for every row in"
    assert rows.select(pl.col(list(out)).cast(pl.String)).to_dict(as_series=False) == out


@pytest.mark.parametrize("title", RECIPES)
def test_the_platform_can_trace_a_recipe(title: str) -> None:
    sql, table = RECIPES[title]
    into, out = parsed(table)

    assert {*into} <= {*required_columns(sql, "raw", where="docs/cleaning.md")}
    assert {*out} <= {*column_lineage(sql, {"raw": [*into, *LINEAGE]}, where="docs/cleaning.md")}
