from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import PARTS, load, place, read

from ml_assets.declared import sources as declared
from ml_assets.sources import delimited, text
from ml_assets.sources.delimited import DelimitedFile, Dialect
from ml_assets.sources.files import FileReader
from ml_assets.sources.names import Names
from ml_assets.sources.reading import FRAME, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

SMS = Dialect(header=False, quote=None, columns=("label", "text"))


class ByTheBook(DelimitedFile):
    """Reads every byte with the csv module."""

    def _survey(self, data: bytes) -> tuple[int, bool]:
        return 0 * len(data), False


# ------------------------------------------------------------------------------- two ways to read, one result

PARTS_OF_LINES = ("a,b\n", '"x,y",z\n', '"p\nq",z\n')
PIECES = st.sampled_from(
    [*"ab01é,,\"\n\n\r \t\\#'\0\ufeff\x85\u2028", '""', '","', '"\n', '\n"', "\r\n", "NULL", "nan", *PARTS_OF_LINES]
)
RANDOM = st.lists(PIECES, max_size=25).map("".join)


@st.composite
def written(draw: st.DrawFn) -> str:
    """What csv.writer makes of random fields, all lines of one width."""
    width = draw(st.integers(1, 3))
    field = st.lists(PIECES, max_size=3).map("".join)
    rows = draw(st.lists(st.lists(field, min_size=width, max_size=width), min_size=1, max_size=8))
    out = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    csv.writer(out, lineterminator=draw(st.sampled_from(["\n", "\r\n"])), quoting=quoting).writerows(rows)
    return out.getvalue()


def outcome(kind: type[DelimitedFile], data: bytes, dialect: Dialect, block: int) -> object:
    blocks = (data[start : start + block] for start in range(0, len(data), block))
    file = kind("file.csv", blocks, dialect, ",", Names(()))
    try:
        rows = pl.concat(file.frames()).rows()
    except SourceError as error:
        return str(error)
    return rows, file.columns, file.skipped


@pytest.fixture(params=[8, 64, 4096])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of a block, so few that a file has many of them."""
    size = int(request.param)
    monkeypatch.setattr(text.Buffer.fill, "__defaults__", (size,))
    monkeypatch.setattr(delimited, "BLOCK", size)
    return size


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Heights of the frames that polars read."""
    heights: list[int] = []
    parse = DelimitedFile._fast

    def counted(self: DelimitedFile, block: bytes) -> pl.DataFrame | None:
        frame = parse(self, block)
        heights.append(0 if frame is None else frame.height)
        return frame

    monkeypatch.setattr(DelimitedFile, "_fast", counted)
    return heights


def same_both_ways(block: int, files: st.SearchStrategy[str], examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(
        body=files,
        columns=st.integers(1, 3),
        quote=st.sampled_from(['"', '"', None]),
        escape=st.sampled_from([None, None, "\\"]),
        blank_lines=st.sampled_from(["skip", "quarantine"]),
    )
    def check(body: str, columns: int, quote: str | None, escape: str | None, blank_lines: str) -> None:
        dialect = Dialect(quote=quote, escape=escape, blank_lines=blank_lines)  # type: ignore[arg-type]
        data = (",".join(f"c{number}" for number in range(columns)) + "\n" + body).encode()
        assert outcome(DelimitedFile, data, dialect, block) == outcome(ByTheBook, data, dialect, block)

    check()


def test_any_bytes_are_read_as_the_csv_module_reads_them(block: int) -> None:
    same_both_ways(block, RANDOM, 100)


def test_whatever_csv_writer_wrote_is_read_as_the_csv_module_reads_it(block: int, fast: list[int]) -> None:
    same_both_ways(block, written(), 60)
    assert sum(fast) > 0, "some of it was read by polars"


def test_a_regular_file_is_read_by_polars_but_for_its_odd_blocks(
    tmp_path: Path, fast: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (text, delimited):
        monkeypatch.setattr(module, "BLOCK", 1000)
    monkeypatch.setattr(text.Buffer.fill, "__defaults__", (1000,))
    lines = [f'{number},"town, ""{number}""",{number}.5' for number in range(1000)]
    lines[500] = "short"
    loaded = load(tmp_path, "nr,town,price\n" + "\n".join(lines) + "\n")

    assert loaded.rows["_row"].to_list() == list(range(1, 1001))
    assert loaded.rows.filter(pl.col("_malformed").is_not_null())["_row"].to_list() == [501]
    assert loaded.rows["town"][999] == 'town, "999"'
    assert 900 < sum(fast) < 1000


@pytest.mark.parametrize("quote", ['"', None])
def test_errors_after_many_blocks_name_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
    monkeypatch.setattr(text, "BLOCK", 500)
    monkeypatch.setattr(text.Buffer.fill, "__defaults__", (500,))
    good = 'x,"a\nb",1\n' * 1000 if quote else "x,y,1\n" * 2000
    bad = 'x,"ab"c,1\n' if quote else "x,\udcff,1\n"
    content = f"nr,town,price\n{good}{bad}{good}".encode(errors="surrogateescape")
    with pytest.raises(SourceError, match=r"^sales/2024-01\.csv, line 2002: "):
        load(tmp_path, content, Dialect(quote=quote))


# ------------------------------------------------------------------------------------------------- dialects


def test_the_sms_file_is_read_without_header_and_quotes() -> None:
    root = Path(os.environ.get("ML_ASSETS_DATA", ""))
    if not (root / "sms_spam").is_dir():
        pytest.skip("the real data are not here")
    loaded = read(root, "sms_spam/*.tsv", SMS, required=("label", "text"))

    assert loaded.rows.height == 5574
    assert loaded.rows["_malformed"].null_count() == 5574
    assert loaded.rows["label"].value_counts().sort("label").rows() == [("ham", 4827), ("spam", 747)]
    assert loaded.rows.columns == ["label", "text", "_row", "_malformed", "_source"], "the caller places the rows"
    assert loaded.facts[""]["source"] == "sms_spam/SMSSpamCollection.tsv"


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        ("nr;town;price\n1;EA,ST;2\n", Dialect(delimiter=";")),
        ("nr|town|price\n1|'EA,ST'|2\n", Dialect(delimiter="|", quote="'")),
        ("nr§town§price\n1§EA,ST§2\n", Dialect(delimiter="§")),
        ("1;EA,ST;2\n", Dialect(delimiter=";", header=False, columns=["nr", "town", "price"])),
        ("made by hand\n\nnr,town,price\n1,'EA,ST',2\n", Dialect(quote="'", skip=2)),
        ('"an open\nnr,town,price\n1,"EA,ST",2\n', Dialect(skip=1)),
        ("nr,town,price\n1,'EA\\,ST',2\n", Dialect(quote="'", escape="\\")),
        ("\ufeffnr,town,price\n1,'EA,ST',2\n", Dialect(quote="'", encoding="utf-8-sig")),
    ],
)
def test_a_dialect_changes_how_a_file_is_read(tmp_path: Path, content: str, dialect: Dialect) -> None:
    loaded = load(tmp_path, content, dialect)

    assert loaded.rows.select("nr", "town", "price", "_row", "_malformed").rows() == [("1", "EA,ST", "2", 1, None)]


def test_what_a_project_declares_is_what_a_reader_takes() -> None:
    assert Dialect(**declared.Dialect().model_dump()) == replace(Dialect(), columns=[])


def test_an_escaped_quote_is_part_of_its_field(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'nr,town,price\n1,"EAST \\"side\\"",2\n', Dialect(escape="\\"))

    assert loaded.rows["town"].to_list() == ['EAST "side"']


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis"])
def test_a_declared_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    town = "東京" if encoding == "shift_jis" else "Orléans"
    loaded = load(tmp_path, f"nr,town,price\n1,{town},2\n".encode(encoding), Dialect(encoding=encoding))

    assert loaded.rows["town"].to_list() == [town]


def test_blanks_in_the_header_are_cut_off_unless_they_are_declared_to_count(tmp_path: Path) -> None:
    content = "nr , town,price, CO (mg) \n1,EAST,2,3\n"

    assert "CO (mg)" in load(tmp_path, content).rows.columns
    assert " CO (mg) " in load(tmp_path, content, Dialect(trim_header=False)).rows.columns


# ------------------------------------------------------------------------------- which files, however stored

LINES = "nr,town,price\n1,EAST,2\n"


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("ending", "packed"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_a_compressed_file_is_read_as_what_it_holds(tmp_path: Path, ending: str, packed: object) -> None:
    path = place(tmp_path, packed(LINES.encode()), f"sales/2024-01.csv{ending}")  # type: ignore[operator]
    loaded = read(tmp_path, f"sales/%Y-%m.csv{ending}")

    assert loaded.rows.select("nr", "town", "price").rows() == [("1", "EAST", "2")]
    assert loaded.facts["2024-01"]["sha256"] == text.hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_files_of_a_partition_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    place(tmp_path, "nr,town,price\n3,WEST,4\n5,EAST,6\n", "sales/2024-01/b.csv")
    place(tmp_path, gzip.compress(b"price,town,nr,more\n2,EAST,1,x\n"), "sales/2024-01/a.csv.gz")
    place(tmp_path, LINES, "sales/2024-02/a.csv")
    loaded = read(tmp_path, "sales/%Y-%m/*.csv*", months=2)

    assert loaded.rows.select("nr", "more", "_row", "_source").rows() == [
        ("1", "x", 1, "sales/2024-01/a.csv.gz"),
        ("3", None, 1, "sales/2024-01/b.csv"),
        ("5", None, 2, "sales/2024-01/b.csv"),
        ("1", None, 1, "sales/2024-02/a.csv"),
    ]
    told = loaded.facts["2024-01"]
    assert told["source"] == "sales/2024-01/a.csv.gz, sales/2024-01/b.csv"
    assert told["files"] == "2"
    lines = [
        f"{text.hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}\n"
        for name in told["source"].split(", ")
    ]
    assert told["sha256"] == text.hashlib.sha256("".join(lines).encode()).hexdigest()


def test_without_a_date_in_the_pattern_the_files_hold_the_rows_of_all_partitions(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        place(tmp_path, LINES, number=number)
    loaded = read(tmp_path, "sales/*.csv", months=2)

    assert loaded.rows.height == 3
    assert "_partition" not in loaded.rows.columns
    assert loaded.facts[""]["files"] == "3"


def test_what_is_there_is_told_without_reading(tmp_path: Path) -> None:
    place(tmp_path, b"\xff not read", number=2)

    def never() -> object:
        raise AssertionError

    def there(pattern: str) -> list[str]:
        return [part.key for part in FileReader(pattern, tmp_path, never).there(PARTS)]  # type: ignore[arg-type]

    assert there("sales/%Y-%m.csv") == ["2024-02"]
    assert there("sales/%Y-%m*") == ["2024-02"]
    assert there("sales/*.csv") == [part.key for part in PARTS]
    assert there("gone/*.csv") == there("gone/%Y.csv") == []


# -------------------------------------------------------------------------------------------- bounded memory


def test_a_large_file_comes_in_frames_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK", 1_000_000)
    monkeypatch.setattr(text.Buffer.fill, "__defaults__", (1_000_000,))
    place(tmp_path, "nr,town,price\n" + "1,2,3\n" * 250_000 + "x\n" * 120_000)
    loaded = read(tmp_path)

    assert loaded.rows.height == 370_000
    assert loaded.rows["_row"].equals(pl.int_range(1, 370_001, eager=True).alias("_row"))
    assert loaded.rows["_malformed"].null_count() == 250_000
    assert loaded.frames >= 370_000 / FRAME


MEASURED = """
import resource, sys, duckdb
from pathlib import Path
from ml_assets.sources.files import FileReader
from ml_assets.sources.reading import Reading, SourceError
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)
def read(name):
    frames = FileReader(name, Path(sys.argv[1]), duckdb.connect).frames([], [], Reading())
    try:
        return sum(frame.height for frame in frames)
    except SourceError as error:
        return str(error)
read("small.csv")
before = peak()
print(peak() - before, read("large.csv"), peak() - before, sep="|")
"""


def megabytes_of(folder: Path, chunks: Iterator[bytes]) -> tuple[str, int]:
    """What reading a large file ends with, and by how much that raises the peak of a fresh process's memory."""
    place(folder, "a,b\n1,2\n" * 1000, "small.csv")
    with (folder / "large.csv").open("wb") as out:
        out.writelines(chunks)
    try:
        command = [sys.executable, "-c", MEASURED, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    finally:
        (folder / "large.csv").unlink()
    _, result, grown = done.stdout.strip().rsplit("|", 2)
    return result, int(grown)


def test_a_line_of_200_megabytes_is_an_error_and_never_in_memory(tmp_path: Path) -> None:
    result, grown = megabytes_of(tmp_path, iter([b"a,b\n1,2\n3,", *[b"x" * 1_000_000] * 200, b"\n"]))

    assert result.startswith("large.csv, line 3: ")
    assert "longer than 16 MB" in result
    assert grown < 150


def test_a_file_of_200_megabytes_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    line = b"123456789," + b"y" * 89 + b"\n"
    result, grown = megabytes_of(tmp_path, iter([b"a,b\n", *[line * 10_000] * 200]))

    assert result == "2000000"
    assert grown < 150
