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


def numbers_sql(bins: Sequence[ColumnBins], source: str) -> str | None:
    """A statement that yields what is counted as numbers, for `NumberCounter`: `_partition`, then a column for each.

    Args:
        bins: how each column is counted; categories are passed over.
        source: SQL that yields the rows, with `_partition`.

    Returns:
        A SELECT, in the order of `bins`; None where nothing is counted as a number.
    """
    numbers = [
        COUNTED_AS.get(one.kind, "COLUMN::DOUBLE").replace("COLUMN", quoted(one.column))
        for one in bins
        if one.is_number
    ]
    return f"SELECT _partition, {', '.join(numbers)} FROM ({source})" if numbers else None


def categories_sql(column: ColumnBins, source: str) -> str:
    """A statement that counts a category, or the rows that hold a word: `_partition`, value, rows."""
    name = quoted(column.column)
    value = f"{name}::VARCHAR"
    if column.kind == "words":
        words = f"list_distinct(regexp_extract_all(lower({value}), '{WORD}'))"
        # A partition without a word has a profile too.
        word = f"unnest(CASE WHEN len({words}) > 0 THEN {words} ELSE [NULL] END)"
        source = f"SELECT _partition, {word} AS word FROM ({source})"
        name = value = "word"
    if column.categories:
        listed = ", ".join(literal(text) for text in column.categories)
        value = f"CASE WHEN {name} IS NULL THEN NULL WHEN {value} IN ({listed}) THEN {value} ELSE '{OTHER}' END"
    return f"SELECT _partition, {value} AS value, count(*) AS rows FROM ({source}) GROUP BY ALL"


def words_sql(column: ColumnBins, source: str) -> str:
    """A statement that yields the words that most rows of a text hold, at most 200, as they are counted.

    Chosen where they are counted: libraries differ in what the lower case of a letter is (Σ at a word's end, İ).

    Args:
        column: the words of a text.
        source: SQL that yields the rows, without `_partition`.
    """
    counted = categories_sql(replace(column, categories=()), f"SELECT 0 AS _partition, * FROM ({source})")
    return f"SELECT value FROM ({counted}) WHERE value IS NOT NULL ORDER BY rows DESC, value LIMIT {CATEGORIES}"


def read_categories(column: ColumnBins, result: Iterable[tuple[Any, ...]]) -> dict[datetime, Counts]:
    """The profile of a category in each partition, from the rows that `categories_sql` yields.

    Of words none is missing: whether a text is, its length tells; its rows would be held against occurrences of words.
    """
    found: dict[datetime, dict[str, int]] = {}
    missing: dict[datetime, int] = {}
    for partition, value, rows in result:
        bins = found.setdefault(partition, {})
        if value is None:
            missing[partition] = 0 if column.kind == "words" else rows
        else:
            bins[value] = rows
    return {start: Counts(column.name, "category", missing.get(start, 0), 0.0, bins) for start, bins in found.items()}
