"""JSON lines: an object a line, its values as the text that stands in the file, nested ones as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ml_assets.sources.reading import FRAME, MALFORMED, SourceError
from ml_assets.sources.text import BLOCK, Buffer, Lines, shown
from ml_assets.sources.texts import Number, json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from ml_assets.sources.names import Names

# Characters of a line that is no object which are shown.
SHOWN = 80


class JsonLinesFile:
    """One file of JSON lines, while it is read.

    Args:
        name: how lineage names the file.
        blocks: its text as UTF-8.
        names: of all files of the reading.

    Attributes:
        columns: those met so far.
        skipped: none: every line is a row.
    """

    def __init__(self, name: str, blocks: Iterator[bytes], names: Names) -> None:
        self.name = name
        self.columns: list[str] = []
        self.skipped = 0
        self._lines = Lines(Buffer(blocks), name)
        self._names = names
        # Spelling in the file → column.
        self._spelt: dict[str, str] = {}

    def frames(self) -> Iterator[pl.DataFrame]:
        """The file's lines, in order: columns as text, `_row` and `_malformed`; a line that is no object has no values.

        Raises:
            SourceError: the file is empty, a key cannot be a column, or no object has a required one.
        """
        rows: list[dict[str, str | None]] = []
        malformed: list[str | None] = []
        first, loaded, empty = 1, 0, True
        for line in self._lines:
            self._lines.record = 0
            empty = empty and not line.strip()
            if len(rows) >= FRAME or self._lines.loaded > loaded + BLOCK:
                yield self._frame(rows, malformed, first)
                first += len(rows)
                rows, malformed, loaded = [], [], self._lines.loaded
            values, wrong = self._parse(line)
            rows.append(values)
            malformed.append(wrong)
        if empty:
            raise SourceError(f"{self.name}: the file is empty. Remedy: fetch it again; nothing was written")
        self._names.complete(self.name, list(self._spelt))
        yield self._frame(rows, malformed, first)

    def _parse(self, line: str) -> tuple[dict[str, str | None], str | None]:
        """A line's values, and what is wrong with it."""
        text = line.strip()
        if not text:
            return {}, "the line is blank"
        try:
            value = _DECODER.decode(text)
            if not isinstance(value, dict):
                return {}, f"the line is no JSON object: {shown(text, SHOWN)}"
            found: dict[str, str | None] = {}
            for key, one in value.items():
                column = self._spelt.get(key) or self._column(key)
                if column in found:
                    return {}, f"the line has the key {key!r} twice: {shown(text, SHOWN)}"
                found[column] = json_text(one)
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else error
            return {}, f"the line is no JSON object, {why}: {shown(text, SHOWN)}"
        return found, None

    def _column(self, key: str) -> str:
        """The column of a key that was not met before in this spelling."""
        column = self._names.spelling(self.name, self._lines.number, key)
        if column not in self._spelt.values():
            self.columns.append(column)
        self._spelt[key] = column
        return column

    def _frame(self, rows: list[dict[str, str | None]], malformed: list[str | None], first: int) -> pl.DataFrame:
        import polars as pl

        columns = {name: pl.Series(name, [row.get(name) for row in rows], dtype=pl.String) for name in self.columns}
        return pl.DataFrame(columns).with_columns(
            pl.int_range(first, first + len(rows), dtype=pl.Int64, eager=True).alias("_row"),
            pl.Series(MALFORMED, malformed, dtype=pl.String),
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in it")
    return found


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=Number, object_pairs_hook=_object)
