"""The SQL that profiles are counted by; what the counts are is in `profiles`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ml_assets.core.profiles import CATEGORIES, OTHER, SECONDS_OF_A_DAY, WORD, Counts
from ml_assets.core.quoting import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ml_assets.core.profiles import ColumnBins

# What is counted of a column that is no number: days since 1970 of a date, as a model sees them; of text its length.
COUNTED_AS = {
    "date": f"epoch(COLUMN) / {SECONDS_OF_A_DAY}",
    "text": "length(COLUMN)::DOUBLE",
    "tokens": f"len(regexp_extract_all(COLUMN, '{WORD}'))::DOUBLE",
}


def numbers_sql(bins: Sequence[ColumnBins], source: str) -> str:
    """A statement that yields what is counted as numbers, for `NumberCounter`: `_partition`, then a column for each.

    Args:
        bins: how each column is counted; none is a category.
        source: SQL that yields the rows, with `_partition`.
    """
    numbers = [COUNTED_AS.get(one.kind, "COLUMN::DOUBLE").replace("COLUMN", quoted(one.column)) for one in bins]
    return f"SELECT _partition, {', '.join(numbers)} FROM ({source})"


def categories_sql(columns: Sequence[ColumnBins], source: str) -> str:
    """A statement that counts some categories in one pass: number of the column, `_partition`, value, rows.

    Args:
        columns: categories.
        source: SQL that yields the rows, with `_partition`.
    """
    values = [f"value_{number}" for number in range(len(columns))]
    told = ", ".join(f"{_value_sql(column)} AS {value}" for column, value in zip(columns, values, strict=True))
    sets = ", ".join(f"(_partition, {value})" for value in values)
    # GROUPING is 0 for the values that a row is grouped by.
    number = " ".join(f"WHEN GROUPING({value}) = 0 THEN {number}" for number, value in enumerate(values))
    return (
        f"SELECT CASE {number} END AS number, _partition, coalesce({', '.join(values)}) AS value, count(*) AS rows "
        f"FROM (SELECT _partition, {told} FROM ({source})) GROUP BY GROUPING SETS ({sets})"
    )


def words_counted_sql(column: ColumnBins, source: str) -> str:
    """A statement that counts the rows that hold a word: 0, `_partition`, word, rows. Null where a row holds none."""
    words = f"list_distinct(regexp_extract_all(lower({quoted(column.column)}::VARCHAR), '{WORD}'))"
    # A partition without a word has a profile too.
    word = f"unnest(CASE WHEN len({words}) > 0 THEN {words} ELSE [NULL] END)"
    each = f"SELECT _partition, {word} AS word FROM ({source})"
    return categories_sql([replace(column, name="word", kind="category")], each)


def _value_sql(column: ColumnBins) -> str:
    name = quoted(column.column)
    value = f"{name}::VARCHAR"
    if not column.categories:
        return value
    listed = ", ".join(literal(text) for text in column.categories)
    return f"CASE WHEN {name} IS NULL THEN NULL WHEN {value} IN ({listed}) THEN {value} ELSE '{OTHER}' END"


def words_sql(column: ColumnBins, source: str) -> str:
    """A statement that yields the words that most rows of a text hold, at most 200, as they are counted.

    Chosen where they are counted: libraries differ in what the lower case of a letter is (Σ at a word's end, İ).

    Args:
        column: the words of a text.
        source: SQL that yields the rows, without `_partition`.
    """
    counted = words_counted_sql(replace(column, categories=()), f"SELECT 0 AS _partition, * FROM ({source})")
    return f"SELECT value FROM ({counted}) WHERE value IS NOT NULL ORDER BY rows DESC, value LIMIT {CATEGORIES}"


def read_categories(
    columns: Sequence[ColumnBins], result: Iterable[tuple[Any, ...]]
) -> dict[str, dict[datetime, Counts]]:
    """The profiles of categories, by name and partition, from the rows that count them.

    Of words none is missing: whether a text is, its length tells; its rows would be held against occurrences of words.
    """
    bins: dict[tuple[int, datetime], dict[str, int]] = {}
    missing: dict[tuple[int, datetime], int] = {}
    for number, partition, value, rows in result:
        counted = bins.setdefault((number, partition), {})
        if value is not None:
            counted[value] = rows
        elif columns[number].kind != "words":
            missing[number, partition] = rows
    found: dict[str, dict[datetime, Counts]] = {column.name: {} for column in columns}
    for (number, start), counted in bins.items():
        name = columns[number].name
        found[name][start] = Counts(name, "category", missing.get((number, start), 0), 0.0, counted)
    return found
