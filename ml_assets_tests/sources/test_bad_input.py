"""Kinds of bad files: what each ends with. An error says where and what to do; a row that is wrong says why.

Values are no concern of a reader: it hands on what stands in the file, and the schema judges it (`KEPT` below).
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_files import HEADER, load, month, place, read

from ml_assets.sources.delimited import Dialect
from ml_assets.sources.reading import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = b"nr,town,price\n1,EAST,2\n2,WEST,3\n"


@dataclass(frozen=True)
class Refused:
    """The file is refused; the message has these parts."""

    content: bytes
    parts: tuple[str, ...]
    name: str = "2024-01.csv"
    dialect: Dialect = field(default_factory=Dialect)


@dataclass(frozen=True)
class Kept:
    """Every record is a row; these are malformed, for a reason that has this part."""

    content: bytes
    rows: int
    malformed: dict[int, str] = field(default_factory=dict)
    name: str = "2024-01.csv"
    dialect: Dialect = field(default_factory=Dialect)


def parquet(frame: pl.DataFrame | None = None) -> bytes:
    out = io.BytesIO()
    (frame if frame is not None else pl.DataFrame({"nr": [1], "town": ["EAST"], "price": [2.0]})).write_parquet(out)
    return out.getvalue()


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


PACKED = gzip.compress(GOOD * 1000, mtime=0)
OBJECT = b'{"nr": 1, "town": "EAST", "price": 2}\n'

REFUSED = {
    "no byte": Refused(b"", ("the file is empty",)),
    "only blanks": Refused(b" \r\n\n\t\n", ("the file is empty",)),
    "only a byte-order mark": Refused(b"\xef\xbb\xbf", ("the file is empty",)),
    "an empty compressed file": Refused(gzip.compress(b""), ("the file is empty",), "2024-01.csv.gz"),
    "empty JSON lines": Refused(b"\n", ("the file is empty",), "2024-01.jsonl"),
    "half a header": Refused(b"nr,town,price", ("line 1", "ends within its header")),
    "Latin-1": Refused(GOOD + "3,ÉAST,4\n".encode("latin-1"), ("line 4", "0xc9 is not UTF-8", "encoding")),
    "UTF-16": Refused(GOOD.decode().encode("utf-16"), ("line 1", "0xff is not UTF-8")),
    "UTF-16 without a mark": Refused(GOOD.decode().encode("utf-16-le"), ("'nr' is missing",)),
    "half a character at the end": Refused(GOOD + b"3,E\xc3", ("line 4", "0xc3 is not UTF-8")),
    "a surrogate in UTF-8": Refused(GOOD + b"3,\xed\xa0\x80,4\n", ("line 4", "0xed is not UTF-8")),
    "not the declared encoding": Refused(
        GOOD + b"\xff,,\n", ("line 4", "0xff is not ascii"), dialect=Dialect(encoding="ascii")
    ),
    "an unknown encoding": Refused(GOOD, ("'utf-9' is not known",), dialect=Dialect(encoding="utf-9")),
    "an encoding that is no text": Refused(GOOD, ("'hex' is not known",), dialect=Dialect(encoding="hex")),
    "a quote that never closes": Refused(GOOD + b'3,"WEST,4\n5,EAST,6\n', ("line 5", "a quote is not closed")),
    "a quote that closes within a field": Refused(GOOD + b'3,"WE"ST,4\n', ("line 4", "stands inside a field")),
    "a blank after a closing quote": Refused(GOOD + b'3,"WEST" ,4\n', ("line 4", "stands inside a field")),
    "a quote that never closes in the header": Refused(b'nr,"town,price\n1,EAST,2\n', ("a quote is not closed",)),
    "a quote that never closes, over megabytes": Refused(
        GOOD + b'3,"' + b"x,y,z\n" * 500_000, ("line 21849", "field larger than field limit", "131072")
    ),
    "a field of a megabyte": Refused(GOOD + b"3," + b"x" * 1_000_000 + b",4\n", ("line 4", "131072")),
    "a line of 20 megabytes": Refused(GOOD + b"x" * 20_000_000, ("line 4", "longer than 16 MB")),
    "a line of 20 megabytes of fields": Refused(GOOD + b"," * 20_000_000, ("line 4", "longer than 16 MB")),
    "a record of 20 megabytes of lines": Refused(GOOD + b'3,"\n' + b'","\n' * 5_000_000, ("longer than 16 MB",)),
    "JSON of 20 megabytes on one line": Refused(
        OBJECT + b'{"nr": "' + b"x" * 20_000_000, ("line 2", "longer than 16 MB"), "2024-01.jsonl"
    ),
    "a column missing": Refused(b"nr,town\n1,EAST\n", ("'price' is missing.", "The file has: nr, town.")),
    "a column renamed": Refused(b"nr,town,prices\n1,EAST,2\n", ("'price' is missing; did it become 'prices'?",)),
    "a column twice": Refused(b"nr,town,price,town\n1,EAST,2,3\n", ("line 1", "'town' is repeated")),
    "a column twice in another case": Refused(b"nr,town,price,TOWN\n1,EAST,2,3\n", ("'town' is repeated",)),
    "a column without a name": Refused(b"nr,town,price,\n1,EAST,2,3\n", ("'' is repeated, empty",)),
    "a million columns": Refused(
        b",".join(b"%d" % number for number in range(1_000_000)) + b"\n", ("more than 5,000 columns", "delimiter")
    ),
    "a million columns of one name": Refused(b"x," * 1_000_000 + b"x\n", ("line 1", "'x' is repeated")),
    "a column of the platform": Refused(
        b"nr,town,price,_row\n1,EAST,2,3\n", ("'_row' is repeated, empty or reserved",)
    ),
    "another delimiter": Refused(b"nr;town;price\n1;EAST;2\n", ("'nr' is missing", "The file has: nr;town;price")),
    "an impossible delimiter": Refused(GOOD, ("dialect cannot be used",), dialect=Dialect(delimiter="::")),
    "no delimiter": Refused(
        GOOD, ("dialect cannot be used",), dialect=Dialect(delimiter="", header=False, columns="ab")
    ),
    "no header, no names": Refused(GOOD, ("source.dialect.columns",), dialect=Dialect(header=False)),
    "all lines skipped": Refused(GOOD, ("no header after the first 9 lines",), dialect=Dialect(skip=9)),
    "a web page": Refused(b"<html><body>Service unavailable</body></html>\n<p>\n", ("'nr' is missing",)),
    "a picture": Refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(99), ("line 1", "0x89 is not UTF-8")),
    "thousands of keys": Refused(
        b"".join(b'{"key%d": 1}\n' % number for number in range(6000)), ("more than 5,000",), "2024-01.jsonl"
    ),
    "a required key that no object has": Refused(b'{"nr": 1, "town": 2}\n', ("'price' is missing",), "2024-01.jsonl"),
    "a key of the platform": Refused(OBJECT + b'{"_Source": 1}\n', ("line 2", "'_Source'"), "2024-01.jsonl"),
    "an empty key": Refused(OBJECT + b'{"": 1}\n', ("line 2", "''"), "2024-01.jsonl"),
    "half a compressed file": Refused(PACKED[:-40], ("cut off or damaged",), "2024-01.csv.gz"),
    "a compressed file without its end": Refused(PACKED[:-4], ("cut off or damaged",), "2024-01.csv.gz"),
    "a damaged compressed file": Refused(flipped(PACKED, -6), ("2024-01.csv.gz", "CRC"), "2024-01.csv.gz"),
    "not compressed, whatever its name says": Refused(GOOD, ("cannot be read", "gzip"), "2024-01.csv.gz"),
    "compressed, whatever its name says": Refused(PACKED, ("line 1", "0x8b is not UTF-8")),
    "not zstd, whatever its name says": Refused(GOOD, ("cannot be read", "ZSTD"), "2024-01.csv.zst"),
    "not bzip2, whatever its name says": Refused(GOOD, ("cannot be read",), "2024-01.csv.bz2"),
    "not xz, whatever its name says": Refused(GOOD, ("cut off or damaged",), "2024-01.csv.xz"),
    "half a Parquet file": Refused(parquet()[:-20], ("no whole Parquet file",), "2024-01.parquet"),
    "a Parquet file without its head": Refused(parquet()[4:100], ("no whole Parquet file",), "2024-01.parquet"),
    "an empty Parquet file": Refused(b"", ("no whole Parquet file",), "2024-01.parquet"),
    "a damaged Parquet file": Refused(
        b"PAR1" + bytes(60) + parquet()[64:], ("no whole Parquet file",), "2024-01.parquet"
    ),
    "a Parquet file with a column missing": Refused(
        parquet(pl.DataFrame({"nr": [1], "town": ["EAST"]})), ("'price' is missing",), "2024-01.parquet"
    ),
    "a Parquet file with a column twice": Refused(
        parquet(pl.DataFrame({"nr": [1], "town": [1], "price": [1], "Town": [1]})), ("is repeated",), "2024-01.parquet"
    ),
    "an ending that says nothing": Refused(GOOD, ("'.xlsx' does not tell its format", "source.format"), "2024-01.xlsx"),
}

KEPT = {
    "a header and no rows": Kept(b"nr,town,price\n", 0),
    "a short line": Kept(GOOD + b"3,WEST\n", 3, {3: "2 fields, the header has 3: 3,WEST"}),
    "a long line": Kept(GOOD + b"3,WEST,4,5\n", 3, {3: "4 fields, the header has 3: 3,WEST,4,5"}),
    "one more delimiter at the end": Kept(GOOD + b"3,WEST,4,\n", 3, {3: "4 fields, the header has 3"}),
    "a blank line": Kept(GOOD + b"\n3,WEST,4\n", 4, {3: "the line is blank"}),
    "a line of blanks": Kept(GOOD + b"  \n3,WEST,4\n", 4, {3: "1 fields, the header has 3"}),
    "half a last line": Kept(GOOD + b"3,WE", 3, {3: "2 fields, the header has 3: 3,WE"}),
    "a last line without its end": Kept(GOOD + b"3,WEST,4", 3, {3: "its last field may be cut off"}),
    "a trailer": Kept(GOOD + b"2 rows\n", 3, {3: "1 fields, the header has 3: 2 rows"}),
    "a comment": Kept(b"nr,town,price\n# sales of January\n1,EAST,2\n", 2, {1: "1 fields"}),
    "the header again": Kept(GOOD + GOOD, 5),
    "thousands of blank rows": Kept(GOOD + b",,\n" * 5000, 2, dialect=Dialect(blank_lines="skip")),
    "an unescaped quote": Kept(GOOD + b'3,5" pipe,4\n', 3),
    "another line break": Kept(GOOD.replace(b"\n", b"\r"), 2),
    "mixed line breaks": Kept(GOOD + b"3,A,4\r\n4,B,5\r5,C,6\n", 5),
    "a byte-order mark": Kept(b"\xef\xbb\xbf" + GOOD, 2),
    "NUL": Kept(GOOD + b"3,W\0EST,4\n", 3),
    "a column added": Kept(b"nr,town,price,floor\n1,EAST,2,9\n", 1),
    "columns in another order": Kept(b"price,town,nr\n2,EAST,1\n", 1),
    "columns in another letter case": Kept(b"NR,Town,PRICE\n1,EAST,2\n", 1),
    "padded names": Kept(b" nr , town , price \n1,EAST,2\n", 1),
    "infinities, huge numbers, dates out of range": Kept(
        GOOD + b"inf,-Infinity,NaN\n" + b"9" * 400 + b",99999-99-99,1e999\n1970-01-01,0000-00-00,-0\n", 5
    ),
    "a type that flips": Kept(GOOD + b"three,3.5,true\n", 3),
    "keys twice and null": Kept(GOOD + GOOD[14:] + b",EAST,2\n", 5),
    "mixed zones": Kept(GOOD + b"2024-01-01T00:00:00Z,2024-01-01T00:00+08:00,1\n", 3),
    "a formula": Kept(GOOD + b"=cmd|'/c calc'!A0,@SUM(1),-1\n", 3),
    "a name from another script": Kept(GOOD + "3,東京\u202e\U0001f3e0,4\n".encode(), 3),
    "JSON that does not parse": Kept(
        OBJECT + b'{"nr": 1,\n' + OBJECT, 3, {2: "no JSON object, Expecting property name"}, "2024-01.jsonl"
    ),
    "half a last JSON line": Kept(OBJECT + OBJECT[:20], 2, {2: "no JSON object"}, "2024-01.jsonl"),
    "a whole last JSON line without its end": Kept(OBJECT + OBJECT[:-1], 2, {}, "2024-01.jsonl"),
    "JSON that is no object": Kept(
        OBJECT + b'[1, 2]\n"x"\nnull\n', 4, dict.fromkeys((2, 3, 4), "no JSON object"), "2024-01.jsonl"
    ),
    "a blank JSON line": Kept(OBJECT + b"\n" + OBJECT, 3, {2: "the line is blank"}, "2024-01.jsonl"),
    "a key twice": Kept(OBJECT + b'{"nr": 1, "nr": 2}\n', 2, {2: "'nr' stands twice"}, "2024-01.jsonl"),
    "a key twice in another case": Kept(
        OBJECT + b'{"nr": 1, "NR": 2}\n', 2, {2: "the key 'NR' twice"}, "2024-01.jsonl"
    ),
    "JSON nested too deeply": Kept(
        OBJECT + b'{"nr": ' + b"[" * 99_999 + b"\n", 2, {2: "nested too deeply"}, "2024-01.jsonl"
    ),
    "Parquet without rows": Kept(
        parquet(pl.DataFrame({name: pl.Series(dtype=pl.Int64) for name in HEADER})), 0, {}, "2024-01.parquet"
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_read_is_an_error_that_names_it_and_a_remedy(tmp_path: Path, case: Refused) -> None:
    place(tmp_path, case.content, f"sales/{case.name}")
    with pytest.raises(SourceError) as refused:
        read(tmp_path, f"sales/{case.name.replace('2024-01', '%Y-%m')}", case.dialect)

    message = str(refused.value)
    assert message.startswith(f"sales/{case.name}")
    assert "Remedy: " in message
    assert len(message) < 1000
    for part in case.parts:
        assert part in message


@pytest.mark.parametrize("case", KEPT.values(), ids=KEPT)
def test_every_record_that_can_be_told_is_a_row(tmp_path: Path, case: Kept) -> None:
    place(tmp_path, case.content, f"sales/{case.name}")
    loaded = read(tmp_path, f"sales/{case.name.replace('2024-01', '%Y-%m')}", case.dialect)

    assert loaded.rows.height == case.rows
    assert loaded.rows["_row"].to_list() == list(range(1, case.rows + 1))
    assert set(loaded.rows["_partition"]) <= {month(1)}
    assert set(HEADER) <= set(loaded.rows.columns)
    told = {row: wrong for row, wrong in loaded.rows.select("_row", "_malformed").iter_rows() if wrong is not None}
    assert told.keys() == case.malformed.keys()
    for row, part in case.malformed.items():
        assert part in told[row]


# ---------------------------------------------------------------------------- what is wrong around the file


def nothing(path: Path) -> None:
    path.unlink()


def folder_gone(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.csv")


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def a_link_out(path: Path) -> None:
    outside = path.parents[2] / "outside.csv"
    path.rename(outside)
    path.symlink_to(outside)


def a_folder_that_is_a_file(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")


AROUND: dict[str, tuple[Callable[[Path], None], str]] = {
    "no file": (nothing, "there is no such file for the partition 2024-01"),
    "no folder": (folder_gone, "there is no such file for the partition 2024-01"),
    "a file in the folder's place": (a_folder_that_is_a_file, "there is no such file for the partition 2024-01"),
    "a folder in the file's place": (a_folder, "it is no file"),
    "a pipe": (a_pipe, "it is no file"),
    "a link to nowhere": (a_link_to_nowhere, "there is no such file for the partition 2024-01"),
    "a link to itself": (a_link_to_itself, "cannot be read"),
    "a link out of the data folder": (a_link_out, "leads out of the data folder"),
}


@pytest.mark.parametrize(("breaks", "part"), AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("pattern", ["sales/%Y-%m.csv", "sales/%Y-%m.c*"])
def test_what_is_no_file_within_the_data_folder_is_an_error(
    tmp_path: Path, breaks: Callable[[Path], None], part: str, pattern: str
) -> None:
    breaks(place(tmp_path / "data", GOOD))
    if breaks is a_folder and "*" in pattern:
        part = "there is no such file"  # wildcards mean files
    with pytest.raises(SourceError, match=part) as refused:
        read(tmp_path / "data", pattern)
    assert str(refused.value).startswith("sales/2024-01.c")
    assert "Remedy: " in str(refused.value)


def test_a_folder_that_vanishes_while_its_files_are_read_is_an_error(tmp_path: Path) -> None:
    from ml_assets.sources.files import FileReader
    from ml_assets.sources.reading import Reading

    paths = [place(tmp_path, GOOD, f"sales/{name}.csv") for name in "ab"]
    frames = FileReader("sales/*.csv", tmp_path, lambda: pytest.fail("no database")).frames([], HEADER, Reading())
    next(frames)
    for path in paths:
        path.unlink()
    paths[0].parent.rmdir()
    with pytest.raises(SourceError, match=r"^sales/b\.csv: there is no such file"):
        list(frames)


def test_a_parquet_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    import duckdb

    from ml_assets.sources.files import FileReader
    from ml_assets.sources.reading import Reading

    path = place(tmp_path, parquet(), "a.parquet")
    frames = FileReader("a.parquet", tmp_path, duckdb.connect).frames([], HEADER, Reading())
    next(frames)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"^a\.parquet: was changed while it was read"):
        list(frames)


def test_two_long_malformed_records_are_told_apart(tmp_path: Path) -> None:
    rows = load(tmp_path, "nr,town,price\n" + "x" * 5000 + "a\n" + "x" * 5000 + "b\n").rows

    first, second = rows["_malformed"].to_list()
    assert len(first) < 1200
    assert first != second


def test_a_small_file_that_unpacks_to_a_large_one_does_not_fill_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    content = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    assert len(content) < 200_000
    place(tmp_path, content, "sales/2024-01.csv.gz")
    with pytest.raises(SourceError, match=r"line 1: the record is longer than 16 MB"):
        read(tmp_path, "sales/%Y-%m.csv.gz")
