"""Values and column names of sources that are no files, brought into the one form of raw rows: all text."""

from __future__ import annotations

import datetime as dt
import difflib
import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ml_assets.sources.names import folded
from ml_assets.sources.reading import MALFORMED, RESERVED, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    import polars as pl


class Number(str):
    """A number exactly as a JSON document writes it: `1.10` stays `1.10`, and a huge integer keeps its digits."""

    __slots__ = ()


def load_json(content: str | bytes) -> Any:
    """Parse JSON with every number kept as it is written.

    Raises:
        ValueError: the text is no JSON, for instance because it is cut off.
    """
    try:
        return json.loads(content, parse_float=Number, parse_int=Number, parse_constant=Number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def text(value: object) -> str | None:
    """A value as text; None stays None.

    Numbers and times in the form that reads back exactly, bytes as hex, lists and objects as JSON.

    Raises:
        TypeError: the value is of a type that has no one text.
    """
    match value:
        case None:
            return None
        case bool():
            found = "true" if value else "false"
        case str() | int() | float() | Decimal() | UUID():
            found = str(value)
        case dt.date() | dt.time():
            found = value.isoformat()
        case bytes() | bytearray() | memoryview():
            found = bytes(value).hex()
        case dict() | list() | tuple():
            found = _json(value)
        case _ if type(value).__module__ == "numpy" and hasattr(value, "item"):
            return text(value.item())
        case _:
            raise TypeError(f"a value of type {type(value).__name__} has no text form")
    return found


def json_text(value: object) -> str | None:
    """A value of a JSON document as text, the same wherever the document came from; null and the empty text are None.

    Half of a pair of UTF-16, which JSON can write and which is no character, becomes a question mark.
    """
    found = value if isinstance(value, str) else text(value)
    if found is None or found.isascii():
        return found or None
    return found.encode("utf-8", "replace").decode()


def _json(value: object) -> str:
    match value:
        case dict():
            inner = (f"{json.dumps(str(key), ensure_ascii=False)}:{_json(each)}" for key, each in value.items())
            return "{" + ",".join(inner) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_json, value)) + "]"
        case None:
            return "null"
        case Number() | bool() | int() | Decimal():
            return text(value) or ""
        case float():
            return json.dumps(value)
    return json.dumps(text(value), ensure_ascii=False)


def check_columns(where: str, names: Sequence[str], required: Collection[str]) -> None:
    """Refuse column names that the lake cannot hold, and the lack of a required one.

    Raises:
        SourceError: naming the column, and the nearest that is there.
    """
    times = Counter(map(folded, names))
    for name in names:
        if times[folded(name)] > 1 or not folded(name) or folded(name) in RESERVED:
            raise SourceError(f"{where}: the column name {name!r} is repeated, empty or reserved. Remedy: rename it")
    for name in required:
        if name not in names:
            raise SourceError(
                f"{where}: the column {name!r} is missing{nearest(name, names)} It has: {', '.join(names)}. "
                "Remedy: mend the source, or change clean.sql and schema.py; nothing was written"
            )


def nearest(name: str, names: Sequence[str]) -> str:
    """The nearest of some names, as the end of a sentence; a full stop where none is near."""
    there = [folded(each) for each in names]
    near = difflib.get_close_matches(folded(name), there, n=1)
    return f"; did you mean {names[there.index(near[0])]!r}?" if near else "."


def spellings(required: Collection[str]) -> dict[str, str]:
    """How the columns of a reading are spelt, for `spelt`: so far only those that are required."""
    return {folded(name): name for name in required}


def spelt(frame: pl.DataFrame, known: dict[str, str], where: str) -> pl.DataFrame:
    """The frame with its columns as they are required or were met first: `Town` and `town` are one, as in files.

    Args:
        frame: its columns are the source's own.
        known: what tells names apart → the spelling; new ones are added.
        where: how messages name it.

    Raises:
        SourceError: a name is repeated, empty or reserved.
    """
    check_columns(where, frame.columns, ())
    return frame.rename({name: known.setdefault(folded(name), name) for name in frame.columns})


def unasked(names: Iterable[str], required: Collection[str]) -> tuple[str, ...]:
    """Columns that nobody asked for."""
    return tuple(name for name in names if name not in required)


def columns_of_records(
    records: Sequence[Mapping[str, object]],
    where: str,
    before: int = 0,
    as_text: Callable[[object], str | None] = text,
) -> pl.DataFrame:
    """Records as a frame of texts; a field that some records lack is null there, one spelt in two ways is one column.

    Args:
        records: field → value.
        where: how messages name them.
        before: how many records came before these.
        as_text: makes a text of a value.

    Raises:
        SourceError: a value has no text form, a name is not a text, or a record has a name in two spellings.
    """
    import polars as pl

    names: dict[str, dict[str, None]] = {}
    for number, record in enumerate(records, before + 1):
        for name in record:
            if not isinstance(name, str):
                raise SourceError(
                    f"{where}, row {number}: the field name {name!r} is no text. Remedy: make it one with str()"
                )
            names.setdefault(folded(name), {})[name] = None
    columns: dict[str, list[object]] = {}
    for name, *others in names.values():
        columns[name] = [record.get(name) for record in records]
        for number, record in enumerate(records if others else ()):
            found = [each for each in (name, *others) if each in record]
            check_columns(f"{where}, row {before + number + 1}", found, ())
            columns[name][number] = record[found[0]] if found else None
    made = [series_of_texts(name, values, where, before, as_text) for name, values in columns.items()]
    return pl.DataFrame(made)


def series_of_texts(
    name: str,
    values: Iterable[object],
    where: str,
    before: int = 0,
    as_text: Callable[[object], str | None] = text,
) -> pl.Series:
    """A column of texts.

    Raises:
        SourceError: a value has no text form; names the row and the column.
    """
    import polars as pl

    texts: list[str | None] = []
    try:
        for value in values:
            texts.append(as_text(value))  # noqa: PERF401 - the number of texts says which value failed
        return pl.Series(name, texts, dtype=pl.String)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        whole = isinstance(error, UnicodeEncodeError)
        failed = next(i for i, each in enumerate(texts) if each and not _is_unicode(each)) if whole else len(texts)
        raise SourceError(
            f"{where}, row {before + failed + 1}, column {name!r}: {error}. Remedy: make it a text, a number, a "
            "time, bytes, a list or a dict"
        ) from error


def _is_unicode(value: str) -> bool:
    # Half of a pair of UTF-16, which JSON can write, is no character.
    return not any("\ud800" <= character <= "\udfff" for character in value)


def with_lineage(frame: pl.DataFrame, *, source: str, before: int, start: dt.datetime | None) -> pl.DataFrame:
    """The frame with the columns that say where each row stood.

    Args:
        frame: the source's columns, and `_malformed` where something is wrong with a row.
        source: name of the source, as lineage shall tell it.
        before: rows of this source in the frames before.
        start: the partition's first moment, naive UTC, or None where the source does not know it.
    """
    import polars as pl

    added = [
        pl.lit(source).alias("_source"),
        pl.int_range(before + 1, before + 1 + frame.height, dtype=pl.Int64).alias("_row"),
    ]
    if start is not None:
        added.append(pl.lit(start).cast(pl.Datetime("us")).alias("_partition"))
    if MALFORMED not in frame.columns:
        added.append(pl.lit(None, dtype=pl.String).alias(MALFORMED))
    return frame.with_columns(added)
