from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import HEADER, START, Loaded, load, month, place, read

from ml_assets.sources.delimited import Dialect
from ml_assets.sources.reading import SourceError

if TYPE_CHECKING:
    from pathlib import Path

LINEAGE = ["_row", "_malformed", "_source", "_partition"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def fields(loaded: Loaded) -> list[tuple[str | None, ...]]:
    return loaded.rows.select(HEADER).rows()


def refusal(folder: Path, content: bytes | str) -> str:
    with pytest.raises(SourceError) as refused:
        load(folder, content)
    message = str(refused.value)
    assert message.startswith("sales/2024-01.csv"), "every error names the file first"
    assert "Remedy: " in message
    return message


# ------------------------------------------------------------------------------------------------ what is loaded


def test_every_field_stays_text_and_every_row_says_where_it_stood(folder: Path) -> None:
    rows = load(folder, "nr,town,price\n007,EAST,1e5\n8,WEST, 2 \n").rows

    assert rows.schema == {
        **dict.fromkeys(HEADER, pl.String),
        "_row": pl.Int64,
        "_malformed": pl.String,
        "_source": pl.String,
        "_partition": pl.Datetime("us"),
    }
    assert rows.rows() == [
        ("007", "EAST", "1e5", 1, None, "sales/2024-01.csv", START),
        ("8", "WEST", " 2 ", 2, None, "sales/2024-01.csv", START),
    ]


def test_the_digest_is_that_of_the_files_bytes(folder: Path) -> None:
    content = b"\xef\xbb\xbfnr,town,price\r\n1,EAST,2\r\n"

    digest = hashlib.sha256(content).hexdigest()
    assert load(folder, content).facts == {"2024-01": {"source": "sales/2024-01.csv", "sha256": digest}}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfnr,town,price\n1,EAST,2\n",
        b"nr,town,price\r\n1,EAST,2\r\n",
        b"nr,town,price\r1,EAST,2\r",
        b" nr ,town, price\n1,EAST,2\n",
        b'"nr","town","price"\n"1","EAST","2"\n',
        b"price,nr,town\n2,1,EAST\n",
    ],
    ids=["byte-order mark", "CRLF", "CR", "spaces in the header", "all quoted", "other order"],
)
def test_the_way_a_file_is_written_changes_nothing(folder: Path, content: bytes) -> None:
    loaded = load(folder, content)

    assert fields(loaded) == [("1", "EAST", "2")]
    assert loaded.rows["_malformed"].to_list() == [None]
    assert loaded.unexpected == {}


def test_a_blank_line_is_a_malformed_row(folder: Path) -> None:
    loaded = load(folder, "nr,town,price\n\n1,EAST,2\n\r\n2,WEST,3\n\n")

    assert loaded.rows["nr"].to_list() == [None, "1", None, "2", None]
    assert loaded.rows["_row"].to_list() == [1, 2, 3, 4, 5]
    assert [text is None for text in loaded.rows["_malformed"]] == [False, True, False, True, False]


def test_blank_lines_before_the_header_are_nothing(folder: Path) -> None:
    assert fields(load(folder, "\n\r\n \nnr,town,price\n1,EAST,2\n")) == [("1", "EAST", "2")]


@pytest.mark.parametrize("odd", ["", "8,a\rb,9\n"], ids=["all alike", "one for the csv module"])
def test_blank_lines_are_left_out_and_counted_where_that_is_declared(folder: Path, odd: str) -> None:
    content = f"nr,town,price\n1,EAST,2\n,,\n\n , \t,\u00a0\n2,WEST,3\n,,,,,\n   \n{odd}"
    loaded = load(folder, content, Dialect(blank_lines="skip"))

    assert fields(loaded)[:2] == [("1", "EAST", "2"), ("2", "WEST", "3")]
    assert loaded.rows["_row"].to_list()[:2] == [1, 5], "what was left out still counts"
    assert loaded.facts["2024-01"]["blank_lines_skipped"] == "5"


def test_a_long_line_with_a_value_beyond_the_header_is_not_blank(folder: Path) -> None:
    loaded = load(folder, "nr,town,price\n,,,,x\n", Dialect(blank_lines="skip"))

    assert loaded.rows["_malformed"].to_list() == ["5 fields, the header has 3: ,,,,x"]


def test_a_line_of_only_commas_is_a_row_without_values(folder: Path) -> None:
    loaded = load(folder, "nr,town,price\n,,\n1,EAST,2\n")

    assert fields(loaded) == [(None, None, None), ("1", "EAST", "2")]
    assert loaded.rows["_malformed"].to_list() == [None, None]


def test_an_empty_field_is_a_missing_value_and_a_space_is_not(folder: Path) -> None:
    assert fields(load(folder, 'nr,town,price\n"",, \n')) == [(None, None, " ")]


def test_a_short_and_a_long_line_are_kept_and_say_what_is_wrong_with_them(folder: Path) -> None:
    loaded = load(folder, "nr,town,price\n1,EAST\n2,WEST,3\n4,EAST,5,6,7\n")

    assert fields(loaded) == [("1", "EAST", None), ("2", "WEST", "3"), ("4", "EAST", "5")]
    assert loaded.rows["_row"].to_list() == [1, 2, 3]
    assert loaded.rows["_malformed"].to_list() == [
        "2 fields, the header has 3: 1,EAST",
        None,
        "5 fields, the header has 3: 4,EAST,5,6,7",
    ]


def test_half_a_last_line_is_kept_as_malformed(folder: Path) -> None:
    loaded = load(folder, "nr,town,price\n1,EAST,2\n2,WE")

    assert fields(loaded)[1] == ("2", "WE", None)
    assert loaded.rows["_malformed"].to_list() == [None, "2 fields, the header has 3: 2,WE"]


def test_a_last_line_that_does_not_end_may_be_cut_off(folder: Path) -> None:
    loaded = load(folder, "nr,town,price\n1,EAST,2\n2,WEST,34")

    assert fields(loaded) == [("1", "EAST", "2"), ("2", "WEST", "34")]
    wrong = loaded.rows["_malformed"].to_list()
    assert wrong[0] is None
    assert "its last field may be cut off" in wrong[1]


def test_a_quoted_newline_is_part_of_its_field_and_counts_no_row(folder: Path) -> None:
    loaded = load(folder, 'nr,town,price\n1,"EAST\r\n\nside",2\n2,WEST,3\n')

    assert fields(loaded) == [("1", "EAST\r\n\nside", "2"), ("2", "WEST", "3")]
    assert loaded.rows["_row"].to_list() == [1, 2]


def test_a_quote_inside_an_unquoted_field_is_text(folder: Path) -> None:
    assert fields(load(folder, 'nr,town,price\n1,5" pipe,"a ""b"" c"\n')) == [("1", '5" pipe', 'a "b" c')]


def test_a_nul_byte_is_kept_as_it_came(folder: Path) -> None:
    assert fields(load(folder, b"nr,town,price\n1,EA\0ST,2\n\0,W,3\n")) == [("1", "EA\0ST", "2"), ("\0", "W", "3")]


def test_an_extra_column_is_kept_and_reported_for_its_file(folder: Path) -> None:
    place(folder, "nr,town,price\n1,EAST,2\n")
    place(folder, "nr,town,price,floor,agent\n1,EAST,2,9,x\n", number=2)
    loaded = read(folder, months=2)

    assert loaded.rows["floor"].to_list() == [None, "9"]
    assert loaded.unexpected == {"sales/2024-02.csv": ("floor", "agent")}


def test_files_of_one_range_may_order_and_extend_their_columns_differently(folder: Path) -> None:
    place(folder, "nr,town,price,old\n1,EAST,2,x\n3,WEST,4,y\n")
    place(folder, "new,price,town,nr\nz,6,EAST,5\n7,WEST\n", number=2)
    loaded = read(folder, months=2)

    assert fields(loaded) == [("1", "EAST", "2"), ("3", "WEST", "4"), ("5", "EAST", "6"), (None, None, "WEST")]
    assert loaded.rows.select("old", "new").rows() == [("x", None), ("y", None), (None, "z"), (None, "7")]
    assert loaded.rows["_row"].to_list() == [1, 2, 1, 2]
    assert loaded.rows["_partition"].to_list() == [START] * 2 + [month(2)] * 2
    assert loaded.rows["_malformed"].to_list() == [None, None, None, "2 fields, the header has 4: 7,WEST"]
    assert [facts["source"] for facts in loaded.facts.values()] == ["sales/2024-01.csv", "sales/2024-02.csv"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", '"', '""', ",", "\n", "\r", "\r\n", "\0", " ", "\ufeff", "\x85", "\u2028", "a\nb,c"]
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(TEXT, min_size=1, max_size=5), min_size=1, max_size=8),
    dialect=st.sampled_from(["excel", "unix"]),
)
def test_what_csv_writer_wrote_is_loaded_field_by_field(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], dialect: str
) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, dialect).writerows([HEADER, *rows])
    loaded = load(tmp_path_factory.mktemp("csv"), written.getvalue())

    expected = [tuple(field or None for field in [*row, "", ""][:3]) for row in rows]
    assert fields(loaded) == expected
    assert loaded.rows["_row"].to_list() == list(range(1, len(rows) + 1))
    assert [text is None for text in loaded.rows["_malformed"]] == [len(row) == len(HEADER) for row in rows]


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_missing_file_is_named_with_its_partition_and_where_it_was_looked_for(folder: Path) -> None:
    place(folder, "nr,town,price\n1,EAST,2\n")

    with pytest.raises(SourceError, match=r"^sales/2024-02\.csv: there is no such file") as refused:
        read(folder, months=2)
    for part in ("partition 2024-02", str(folder / "sales" / "2024-02.csv"), "ML_ASSETS_DATA"):
        assert part in str(refused.value)


def test_a_folder_in_the_files_place_cannot_be_read(folder: Path) -> None:
    (folder / "sales" / "2024-01.csv").mkdir(parents=True)

    with pytest.raises(SourceError, match=r"^sales/2024-01\.csv: cannot be read"):
        read(folder)


@pytest.mark.parametrize("content", [b"", b"\n\r\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_word_is_empty(folder: Path, content: bytes) -> None:
    assert "the file is empty" in refusal(folder, content)


def test_a_header_without_rows_is_no_rows_of_these_columns(folder: Path) -> None:
    loaded = load(folder, "nr,town,price,floor\n")

    assert loaded.rows.is_empty()
    assert loaded.rows.columns == ["nr", "town", "price", "floor", *LINEAGE]
    assert loaded.unexpected == {"sales/2024-01.csv": ("floor",)}
    assert "sha256" in loaded.facts["2024-01"]


def test_a_header_that_does_not_end_may_be_cut_off(folder: Path) -> None:
    assert "line 1: the file ends within its header" in refusal(folder, "nr,town,price")


def test_a_quote_that_never_closes_is_refused_with_its_line(folder: Path) -> None:
    message = refusal(folder, 'nr,town,price\n1,EAST,2\n2,"WEST,3\n4,EAST,5\n')

    assert "line 4" in message
    assert "a quote is not closed" in message


def test_text_after_a_closing_quote_is_refused_with_its_line(folder: Path) -> None:
    assert "line 2" in refusal(folder, 'nr,town,price\n1,"EA"ST,2\n')


def test_a_quote_that_never_closes_in_the_header_is_refused(folder: Path) -> None:
    assert "a quote is not closed" in refusal(folder, 'nr,"town,price\n1,EAST,2\n')


def test_a_field_beyond_the_readers_limit_is_refused_with_its_line(folder: Path) -> None:
    longest = "x" * 131_072
    assert fields(load(folder, f"nr,town,price\n1,{longest},2\n")) == [("1", longest, "2")]

    message = refusal(folder, f"nr,town,price\n1,EAST,2\n2,{longest}x,2\n")
    assert "line 3" in message
    assert "131072" in message


def test_latin_1_is_refused_with_line_and_byte(folder: Path) -> None:
    message = refusal(folder, "nr,town,price\r\n1,EAST,2\r\n2,ORLÉANS,3\r\n".encode("latin-1"))

    assert "line 3: the byte 0xc9 is not UTF-8" in message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused(folder: Path, encoding: str) -> None:
    refusal(folder, "nr,town,price\n1,EAST,2\n".encode(encoding))


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("nr,town,price,town", "'town'"),
        ("nr,town,price,Town", "'town'"),
        ("nr,town,price, town ", "'town'"),
        ("nr,town,price,", "''"),
        ("nr,town,price,  ", "''"),
        ("nr,town,price,_row", "'_row'"),
        ("nr,town,price,_source", "'_source'"),
        ("nr,town,price,_partition", "'_partition'"),
        ("nr,town,price,_malformed", "'_malformed'"),
        ("nr,town,price,_ingested_at", "'_ingested_at'"),
        ("nr,town,price,_simulated", "'_simulated'"),
        ("nr,town,price,_reasons", "'_reasons'"),
        ("nr,town,price,_ROW", "'_ROW'"),
    ],
)
def test_a_repeated_empty_or_reserved_column_name_is_refused_by_name(folder: Path, header: str, named: str) -> None:
    message = refusal(folder, f"{header}\n1,EAST,2,3\n")

    assert f"line 1: the column name {named} is repeated, empty or reserved" in message


def test_a_name_of_the_teams_own_may_begin_with_an_underscore(folder: Path) -> None:
    assert load(folder, "_id,nr,town,price\n9,1,EAST,2\n").rows["_id"].to_list() == ["9"]


@pytest.mark.parametrize("renamed", ["prices", "sale_price", "PRICES"])
def test_a_missing_required_column_is_named_with_the_nearest_that_is_there(folder: Path, renamed: str) -> None:
    message = refusal(folder, f"nr,town,{renamed}\n1,EAST,2\n")

    assert f"the column 'price' is missing; did it become {renamed!r}?" in message
    assert f"The file has: nr, town, {renamed}." in message


@pytest.mark.parametrize("line", ["NR,Town,price", " nr , Town, price "])
def test_a_column_is_found_whatever_its_letter_case_and_blanks(folder: Path, line: str) -> None:
    loaded = load(folder, f"{line}\n1,EAST,2\n")

    assert fields(loaded) == [("1", "EAST", "2")]
    assert "Town as town" in " ".join(loaded.facts["2024-01"]["columns_renamed"].split())
    assert loaded.unexpected == {}


def test_a_column_that_nobody_asked_for_has_one_spelling_in_all_files(folder: Path) -> None:
    place(folder, "nr,town,price,Floor\n1,EAST,2,9\n")
    place(folder, "nr,town,price,FLOOR\n1,EAST,2,8\n", number=2)

    assert read(folder, months=2).rows["Floor"].to_list() == ["9", "8"]


def test_no_name_is_offered_where_none_is_near(folder: Path) -> None:
    message = refusal(folder, "nr,town,x\n1,EAST,2\n")

    assert "the column 'price' is missing. The file has: nr, town, x." in message


def test_a_range_with_one_broken_file_is_refused_as_a_whole_naming_that_file(folder: Path) -> None:
    place(folder, "nr,town,price\n1,EAST,2\n")
    place(folder, "nr,town\n1,EAST\n", number=2)

    with pytest.raises(SourceError, match=r"^sales/2024-02\.csv: the column 'price' is missing"):
        read(folder, months=2)


def test_the_lineage_columns_stand_last(folder: Path) -> None:
    assert load(folder, "nr,town,price\n1,EAST,2\n").rows.columns[-4:] == LINEAGE
