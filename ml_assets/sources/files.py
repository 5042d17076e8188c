"""Reading source files as they came: every field stays text, every record keeps its file and number.

Python's csv module is the reader because it is the one that accounts for every record: a short, a long or an empty
line is a row like any other here, and validation gives it its reason. What cannot be cut into records at all (another
encoding, a quote that never closes) is an error that names file and line, before anything is written.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    import polars as pl

MALFORMED = "_malformed"
# Columns that the platform adds to raw rows and to those in quarantine.
RESERVED = {"_partition", "_source", "_row", MALFORMED, "_ingested_at", "_simulated", "_reasons"}


class SourceError(Exception):
    """A source file cannot be read. The message names the file, the line or column, and the remedy."""


@dataclass(frozen=True)
class SourceFile:
    """One file of one partition.

    Attributes:
        name: how lineage names it: the path under the data root.
        path: where it is.
        start: the partition's first moment, naive UTC.
        key: the partition's key.
    """

    name: str
    path: Path
    start: datetime
    key: str


@dataclass(frozen=True)
class Loaded:
    """The rows of some files.

    Attributes:
        rows: all fields as text, then `_partition`, `_source`, `_row` (1 is the first after the header) and
            `_malformed` (null, or what is wrong with the record).
        digests: file name → SHA-256 of its bytes.
        unexpected: file name → columns that nobody asked for.
    """

    rows: pl.DataFrame
    digests: dict[str, str]
    unexpected: dict[str, tuple[str, ...]]


def load_csv(files: Sequence[SourceFile], required: Collection[str]) -> Loaded:
    """Read CSV files, one frame for all; a column that some files lack is null there.

    Args:
        files: in the order of their partitions.
        required: columns that every file must have.

    Raises:
        SourceError: a file is missing, empty, not UTF-8, lacks a required column or repeats one, or has an open quote.
    """
    import polars as pl

    frames, digests, unexpected = [], {}, {}
    for file in files:
        content = _content(file)
        digests[file.name] = hashlib.sha256(content).hexdigest()
        frame = _parse(file, content, required)
        frames.append(frame)
        extra = tuple(name for name in frame.columns if name not in required and not name.startswith("_"))
        if extra:
            unexpected[file.name] = extra
    return Loaded(pl.concat(frames, how="diagonal"), digests, unexpected)


def _content(file: SourceFile) -> bytes:
    try:
        content = file.path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(
            f"{file.name}: there is no such file for the partition {file.key}. It was looked for at {file.path}. "
            "Remedy: put the file there, or set ML_ASSETS_DATA to the folder that holds it"
        ) from error
    except OSError as error:
        raise SourceError(f"{file.name}: cannot be read: {error.strerror}. Remedy: check {file.path}") from error
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise SourceError(f"{file.name}: the file is empty. Remedy: fetch it again; nothing was written")
    return content


def _parse(file: SourceFile, content: bytes, required: Collection[str]) -> pl.DataFrame:
    import polars as pl

    reader = csv.reader(io.StringIO(_decode(file, content), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(file, header, required)
        # A blank line is no record; a line of nothing but commas is one.
        records = [record for record in reader if record]
    except csv.Error as error:
        raise SourceError(
            f"{file.name}, line {reader.line_num}: {error}: a quote is not closed or stands inside a field, so the "
            "lines after it cannot be told apart. Remedy: mend it (a quote inside a field is written twice); "
            "nothing was written"
        ) from error
    if not records:
        raise SourceError(
            f"{file.name}: the file has a header and no rows. Remedy: fetch it again; nothing was written"
        )
    width = len(header)
    malformed = {
        number: f"{len(record)} fields, the header has {width}: {','.join(record)}"
        for number, record in enumerate(records)
        if len(record) != width
    }
    if not content.endswith((b"\n", b"\r")):
        cut = "the file ends within this line, so its last field may be cut off. Remedy: end the file with a line break"
        malformed.setdefault(len(records) - 1, cut)
    for number in malformed:
        records[number] = (records[number] + [""] * width)[:width]
    columns = {
        # An empty field is a missing value: the format cannot tell them apart.
        name: pl.Series(name, values, dtype=pl.String).replace("", None)
        for name, values in zip(header, zip(*records, strict=True), strict=True)
    }
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(file.start).cast(pl.Datetime("us")).alias("_partition"),
        pl.lit(file.name).alias("_source"),
        pl.int_range(1, len(records) + 1, dtype=pl.Int64).alias("_row"),
    )
    wrong = pl.Series(
        MALFORMED, [malformed.get(number) for number in range(len(records))] if malformed else None, dtype=pl.String
    )
    return frame.with_columns(wrong if malformed else pl.lit(None, dtype=pl.String).alias(MALFORMED))


def _decode(file: SourceFile, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{file.name}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8. "
            "Remedy: save the file as UTF-8 (it may be Latin-1 or UTF-16); nothing was written"
        ) from error


def _check_header(file: SourceFile, header: Sequence[str], required: Collection[str]) -> None:
    # The lake tells names apart as SQL does: `Town` and `town` are one.
    folded = [name.casefold() for name in header]
    for name in header:
        if not name or folded.count(name.casefold()) > 1 or name.casefold() in RESERVED:
            raise SourceError(
                f"{file.name}, line 1: the column name {name!r} is repeated, empty or reserved. Remedy: rename it"
            )
    for name in required:
        if name not in header:
            near = difflib.get_close_matches(name.casefold(), folded, n=1)
            hint = f"; did it become {header[folded.index(near[0])]!r}?" if near else "."
            raise SourceError(
                f"{file.name}: the column {name!r} is missing{hint} The file has: {', '.join(header)}. "
                "Remedy: mend the file, or change clean.sql and schema.py; nothing was written"
            )
