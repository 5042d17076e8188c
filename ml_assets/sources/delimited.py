"""Delimited text: every record is a row with its number, whatever is wrong with it.

Python's csv module is the reader that accounts for every record, and says what a record is (ADR 0006). It is slow, so
a block of lines goes to polars instead where its bytes leave no question: quotes stand at the borders of fields only,
every record has as many fields as the header, and no line is blank. What is cut off at a quote that stands elsewhere
cannot be told without reading on, so from there to the end of the file the csv module reads alone.
"""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.sources.reading import FRAME, MALFORMED, SourceError
from ml_assets.sources.text import BLOCK, Buffer, Lines, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from ml_assets.sources.names import Names

BLANKS = " \t\r\n\f\v\u00a0"
CUT = "the file ends within this line, so its last field may be cut off. Remedy: end the file with a line break"
BLANK = "the line is blank"
NEWLINE, RETURN = b"\n\r"


@dataclass(frozen=True)
class Dialect:
    """How the text of a delimited file is to be read. `ml_assets.declared.sources.Dialect` declares the same."""

    delimiter: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    header: bool = True
    columns: Sequence[str] = ()
    skip: int = 0
    encoding: str = "utf-8"
    trim_header: bool = True
    blank_lines: Literal["quarantine", "skip"] = "quarantine"


class DelimitedFile:
    """One file of delimited text, while it is read.

    Args:
        name: how lineage names the file.
        blocks: its text as UTF-8.
        dialect: how it is to be read.
        delimiter: what stands between fields where the dialect does not say.
        names: of all files of the reading.

    Attributes:
        columns: those of the file, known from the first frame on.
        skipped: blank lines left out so far.
    """

    def __init__(self, name: str, blocks: Iterator[bytes], dialect: Dialect, delimiter: str, names: Names) -> None:
        self.name = name
        self.columns: list[str] = []
        self.skipped = 0
        self._buffer = Buffer(blocks)
        self._dialect = dialect
        self._delimiter = delimiter if dialect.delimiter is None else dialect.delimiter
        self._names = names
        self._lines = 0
        self._rows = 0

    def frames(self) -> Iterator[pl.DataFrame]:
        """The file's records, in order: its columns as text, `_row` and `_malformed`; without records one empty frame.

        Raises:
            SourceError: the file is empty, its header cannot be used, or it cannot be cut into records.
        """
        self._begin()
        yield self._frame([], [], {})
        while True:
            self._buffer.fill()
            if not self._buffer.data:
                return
            end, regular = self._survey(self._buffer.data)
            if not end:
                # An open end, a quote in an odd place: the csv module must read on from here.
                yield from self._exact(Lines(self._buffer, self.name, self._lines), last=True)
                return
            block = self._buffer.take(end)
            frame = self._fast(block) if regular else None
            if frame is None:
                lines = Lines(Buffer(iter([block])), self.name, self._lines)
                yield from self._exact(lines, last=False)
                self._lines = lines.number
            else:
                self._rows += frame.height
                self._lines += block.count(b"\n")
                yield from self._without_blanks(frame).iter_slices(FRAME)

    def _begin(self) -> None:
        """Skip what is to be skipped and read the header."""
        self._buffer.fill()
        if self._buffer.ended and not self._buffer.data.strip():
            raise SourceError(f"{self.name}: the file is empty. Remedy: fetch it again; nothing was written")
        lines = Lines(self._buffer, self.name)
        for _ in range(self._dialect.skip):
            next(lines, None)
        lines.record = 0
        header = list(self._dialect.columns)
        reader = self._reader(lines)
        if self._dialect.header:
            try:
                # Blank lines before the header say nothing.
                header = next((record for record in reader if len(record) > 1 or "".join(record).strip()), [])
            except csv.Error as error:
                raise self._broken(lines.number, error) from error
        if not header:
            where = f"the first {self._dialect.skip} lines, which are skipped" if self._dialect.skip else "it"
            raise SourceError(
                f"{self.name}: there is no header after {where}. Remedy: check source.dialect.skip"
                if self._dialect.header
                else f"{self.name}: without a header the columns have no names. Remedy: list source.dialect.columns"
            )
        if self._dialect.header and not lines.last.endswith(("\n", "\r")):
            raise SourceError(
                f"{self.name}, line {lines.number}: the file ends within its header, which may be cut off. Remedy: "
                "fetch it again, or end the header with a line break; nothing was written"
            )
        if self._dialect.trim_header:
            header = [name.strip() for name in header]
        self.columns = self._names.header(self.name, max(1, lines.number), header)
        lines.give_back()
        self._lines = lines.number

    def _survey(self, data: bytes) -> tuple[int, bool]:
        """Where the last record of some bytes ends, and whether all up to there leave no question.

        Returns:
            0 where records cannot be told by their bytes alone; else the end, and whether every record has the
            header's width and is not blank.
        """
        import numpy as np  # noqa: PLC0415 - only where there is something to read

        dialect = self._dialect
        if len(self._delimiter.encode()) > 1 or (dialect.quote and len(dialect.quote.encode()) > 1):
            return 0, False
        quote = dialect.quote.encode() if dialect.quote else b""
        if dialect.escape and dialect.escape != dialect.quote and dialect.escape.encode() in data:
            return 0, False
        values = np.frombuffer(data, np.uint8)
        if not quote or quote not in data:
            end = data.rfind(b"\n") + 1
            delimiters = np.count_nonzero(values[:end] == ord(self._delimiter))
            lines = np.count_nonzero(values[:end] == NEWLINE)
            # As many as there ought to be, and polars refuses a line with too many: then none has too few.
            return end, delimiters == lines * (len(self.columns) - 1) and self._is_plain(data[:end])
        breaks = values == NEWLINE
        borders = (values == ord(self._delimiter)) | breaks
        quotes = values == ord(quote)
        outside = np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(np.bool_)
        np.logical_not(outside, out=outside)
        breaks &= outside
        borders &= outside
        end = len(data) - int(breaks[::-1].argmax()) if breaks.any() else 0
        breaks, borders = breaks[:end], borders[:end]
        if end:
            # RFC 4180: a quote opens at the beginning of a field, closes at its end, and is doubled within.
            signs = np.array([ord(self._delimiter), NEWLINE, ord(quote)], np.uint8)
            at = np.flatnonzero(quotes[:end])
            opening, closing = at[0::2], at[1::2]
            begins = np.isin(values[opening[opening > 0] - 1], signs)
            ends = np.isin(values[closing + 1], [*signs, RETURN])
            if not (begins.all() and ends.all()):
                return 0, False
        kinds = breaks[borders]
        width = len(self.columns)
        regular = len(kinds) % width == 0 and bool(kinds[width - 1 :: width].all())
        regular = regular and int(kinds.sum()) * width == len(kinds)
        return end, regular and self._is_plain(data[:end])

    def _is_plain(self, block: bytes) -> bool:
        if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
            return False
        # A blank line has the width of a single column.
        if len(self.columns) == 1 and (block.startswith((b"\n", b"\r")) or b"\n\n" in block or b"\n\r" in block):
            return False
        # polars takes such a mark at the beginning of any block for one at the beginning of a file.
        return b"\0" not in block and not block.startswith(codecs.BOM_UTF8)

    def _fast(self, block: bytes) -> pl.DataFrame | None:
        """The records of a block that leaves no question; None where the csv module must have a look after all."""
        import polars as pl

        try:
            frame = pl.read_csv(
                block,
                has_header=False,
                schema=dict.fromkeys(self.columns, pl.String),
                separator=self._delimiter,
                quote_char=self._dialect.quote,
            )
        except pl.exceptions.PolarsError:
            return None  # a line is too long
        longest = frame.select(pl.max_horizontal(pl.all().str.len_bytes().max())).item()
        if (longest or 0) > csv.field_size_limit():
            return None
        if self._dialect.quote and self._dialect.quote.encode() * 2 in block:
            frame = frame.with_columns(pl.all().replace("", None))
        numbers = pl.int_range(self._rows + 1, self._rows + frame.height + 1, dtype=pl.Int64)
        return frame.with_columns(numbers.alias("_row"), pl.lit(None, pl.String).alias(MALFORMED))

    def _without_blanks(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        if self._dialect.blank_lines != "skip":
            return frame
        value = pl.col(*self.columns).str.strip_chars(BLANKS)
        kept = frame.filter(pl.any_horizontal(value.fill_null("") != ""))
        self.skipped += frame.height - kept.height
        return kept

    def _exact(self, lines: Lines, *, last: bool) -> Iterator[pl.DataFrame]:
        """The records of some lines, read by the csv module.

        Args:
            lines: what is read.
            last: whether the file ends with them.
        """
        reader = self._reader(lines)
        skipping = self._dialect.blank_lines == "skip"
        records: list[list[str]] = []
        rows: list[int] = []
        malformed: dict[int, str] = {}
        loaded = 0
        width = len(self.columns)
        while True:
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise self._broken(lines.number, error) from error
            if record is None:
                break
            lines.record = 0
            if len(records) >= FRAME or lines.loaded > loaded + BLOCK:
                yield self._frame(records, rows, malformed)
                records, rows, malformed, loaded = [], [], {}, lines.loaded
            self._rows += 1
            if skipping and not "".join(record).strip(BLANKS):
                self.skipped += 1
                continue
            if len(record) != width:
                malformed[len(records)] = self._of_another_width(record)
            records.append((record + [""] * width)[:width])
            rows.append(self._rows)
        if last and rows and rows[-1] == self._rows and not lines.last.endswith(("\n", "\r")):
            malformed.setdefault(len(rows) - 1, CUT)
        if rows:
            yield self._frame(records, rows, malformed)

    def _of_another_width(self, record: list[str]) -> str:
        if not record:
            return BLANK
        of = f"the header has {len(self.columns)}"
        if not self._dialect.header:
            of = f"source.dialect.columns has {len(self.columns)}"
        return f"{len(record)} fields, {of}: {shown(self._delimiter.join(record))}"

    def _frame(self, records: list[list[str]], rows: list[int], malformed: dict[int, str]) -> pl.DataFrame:
        import polars as pl

        fields = zip(*records, strict=True) if records else ((),) * len(self.columns)
        columns = {
            # An empty field is a missing value: the format cannot tell them apart.
            name: pl.Series(name, values, dtype=pl.String).replace("", None)
            for name, values in zip(self.columns, fields, strict=True)
        }
        wrong = [malformed.get(number) for number in range(len(rows))]
        return pl.DataFrame(columns).with_columns(
            pl.Series("_row", rows, dtype=pl.Int64), pl.Series(MALFORMED, wrong, dtype=pl.String)
        )

    def _reader(self, lines: Lines) -> Any:
        dialect = self._dialect
        try:
            return csv.reader(
                lines,
                strict=True,
                delimiter=self._delimiter,
                quotechar=dialect.quote,
                quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
                # A doubled quote is one quote, escape or not.
                escapechar=None if dialect.escape == dialect.quote else dialect.escape,
            )
        except (TypeError, ValueError) as error:
            raise SourceError(f"{self.name}: source.dialect cannot be used: {error}. Remedy: correct it") from error

    def _broken(self, line: int, error: csv.Error) -> SourceError:
        return SourceError(
            f"{self.name}, line {line}: {error}: a quote is not closed or stands inside a field, so the "
            "lines after it cannot be told apart. Remedy: mend it (a quote inside a field is written twice), or set "
            "source.dialect.quote to null where quotes mean nothing; nothing was written"
        )
