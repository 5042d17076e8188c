"""JSON lines and Parquet: every value as text, whatever it was."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import month, place, read

from ml_assets.sources import text
from ml_assets.sources.reading import FRAME

if TYPE_CHECKING:
    from pathlib import Path

    from small_files import Loaded

# ------------------------------------------------------------------------------------------------ JSON lines


def of_json(folder: Path, content: str, **more: Any) -> Loaded:
    place(folder, content, "sales/2024-01.jsonl")
    return read(folder, "sales/%Y-%m.jsonl", required=("a",), **more)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"EAST"', "EAST"),
        ('""', None),
        ("null", None),
        ("1.10", "1.10"),
        ("1e400", "1e400"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-Infinity", "-Infinity"),
        ("true", "true"),
        ('"2024-01-01T00:00:00+08:00"', "2024-01-01T00:00:00+08:00"),
        ('{"b": [1.50, null, "é\\n"]}', '{"b":[1.50,null,"é\\n"]}'),
        ("[]", "[]"),
        ('"\\ud800"', "?"),
        ('"a\\u0000b"', "a\0b"),
    ],
)
def test_a_json_value_is_the_text_that_stands_in_the_file(tmp_path: Path, value: str, expected: str | None) -> None:
    assert of_json(tmp_path, f'{{"a": {value}}}\n').rows["a"].to_list() == [expected]


def test_objects_need_not_have_the_same_keys(tmp_path: Path) -> None:
    loaded = of_json(tmp_path, '{"a": 1}\n{"B": 2, "A": 3}\nnonsense\n{"b": 4, "c": 5}\n')

    assert loaded.rows.select("a", "B", "c", "_row", "_partition").rows() == [
        ("1", None, None, 1, month(1)),
        ("3", "2", None, 2, month(1)),
        (None, None, None, 3, month(1)),
        (None, "4", "5", 4, month(1)),
    ]
    assert loaded.unexpected == {"sales/2024-01.jsonl": ("B", "c")}
    assert loaded.facts["2024-01"]["columns_renamed"] == "A as a, b as B"
    assert loaded.rows["_malformed"][2].endswith(": nonsense")


def test_a_long_line_that_does_not_parse_is_shown_in_part(tmp_path: Path) -> None:
    wrong = of_json(tmp_path, '{"a": 1}\n{"a": "' + "x" * 9000 + "\n").rows["_malformed"][1]

    assert '{"a": "' + "x" * 73 + "…" in wrong
    assert len(wrong) < 300


def test_many_json_lines_come_in_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK", 100_000)
    monkeypatch.setattr(text.Buffer.fill, "__defaults__", (100_000,))
    loaded = of_json(tmp_path, "".join(f'{{"a": {number}}}\n' for number in range(FRAME + 5)))

    assert loaded.frames > 1
    assert loaded.rows["a"].cast(pl.Int64).equals(loaded.rows["_row"] - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.booleans() | st.integers(),
            min_size=1,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_json_dumps_wrote_is_read_value_by_value(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    rows = [{"a": 0}, *rows]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    loaded = of_json(tmp_path_factory.mktemp("json"), content)

    def shown(value: object) -> str | None:
        return None if value in {None, ""} else str(value).lower() if isinstance(value, bool) else str(value)

    for name in (*loaded.unexpected.get("sales/2024-01.jsonl", ()), "a"):
        assert loaded.rows[name].to_list() == [shown(row.get(name)) for row in rows]
    assert loaded.rows["_malformed"].null_count() == len(rows)


# --------------------------------------------------------------------------------------------------- Parquet


def of_parquet(folder: Path, frame: pl.DataFrame | pa.Table, name: str = "sales/2024-01.parquet") -> Loaded:
    path = place(folder, b"", name)
    pq.write_table(frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame, path)
    return read(folder, "sales/%Y-%m*.parquet", required=())


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["EAST", "", None], None, ["EAST", None, None]),
        ([1, None, -(2**63)], None, ["1", None, "-9223372036854775808"]),
        ([0.1, float("inf"), float("nan"), 1e300], None, ["0.1", "inf", "nan", "1e+300"]),
        ([Decimal("1.50"), None], pl.Decimal(10, 2), ["1.50", None]),
        ([True, None], None, ["true", None]),
        ([date(2024, 1, 31), date(1, 1, 1)], None, ["2024-01-31", "0001-01-01"]),
        ([datetime(2024, 1, 31, 8, 30)], pl.Datetime("us"), ["2024-01-31 08:30:00"]),  # noqa: DTZ001 - has no zone
        ([datetime(2024, 1, 31, 8, 30, 0, 5, tzinfo=UTC), None], None, ["2024-01-31 08:30:00.000005+00", None]),
        ([[1, None], None, []], None, ["[1,null]", None, "[]"]),
        ([{"x": 1, "y": "é"}, None], None, ['{"x":1,"y":"é"}', None]),
        ([b"a\0\xff"], None, ["a\\x00\\xFF"]),
    ],
)
def test_a_parquet_value_is_its_text(tmp_path: Path, values: list[Any], kind: Any, expected: list[str | None]) -> None:
    loaded = of_parquet(tmp_path, pl.DataFrame({"a": pl.Series(values, dtype=kind)}))

    assert loaded.rows["a"].to_list() == expected
    assert loaded.rows["_malformed"].null_count() == len(values)


def test_a_moment_with_a_zone_is_told_in_utc(tmp_path: Path) -> None:
    moment = datetime(2024, 1, 31, 0, 30, tzinfo=UTC)
    table = pa.table({"a": pa.array([moment], pa.timestamp("us", tz="Asia/Singapore"))})

    assert of_parquet(tmp_path, table).rows["a"].to_list() == ["2024-01-31 00:30:00+00"]


def test_rows_of_a_large_parquet_file_keep_their_order_and_number(tmp_path: Path) -> None:
    loaded = of_parquet(tmp_path, pl.DataFrame({"a": pl.int_range(2 * FRAME + 7, eager=True)}))

    assert loaded.frames >= 3
    assert loaded.rows["a"].cast(pl.Int64).equals((loaded.rows["_row"] - 1).alias("a"))


@pytest.mark.parametrize("name", ["sales/2024-01 it's.parquet", "sales/2024-01[1].parquet"])
def test_a_parquet_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    loaded = of_parquet(tmp_path, pl.DataFrame({"Some 'name'; \"x\"": [1], "b]": [2]}), name)

    assert loaded.rows["Some 'name'; \"x\""].to_list() == ["1"]
    assert loaded.rows["_source"].to_list() == [name]
    assert loaded.facts["2024-01"]["sha256"] == text.hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_formats_may_stand_side_by_side(tmp_path: Path) -> None:
    pl.DataFrame({"A": [1], "b": [2]}).write_parquet(place(tmp_path, b"", "all/1.parquet"))
    place(tmp_path, '{"a": 3}\n', "all/2.jsonl")
    place(tmp_path, "a\tc\n4\tx\n", "all/3.tsv")
    place(tmp_path, "a,c\n5,y\n", "all/4.csv")
    loaded = read(tmp_path, "all/*", required=("a",))

    assert loaded.rows.select("a", "b", "c").rows() == [
        ("1", "2", None),
        ("3", None, None),
        ("4", None, "x"),
        ("5", None, "y"),
    ]


def test_a_declared_format_goes_before_the_ending(tmp_path: Path) -> None:
    place(tmp_path, "a\tb\n1\t2\n", "sales/2024-01.txt")

    assert read(tmp_path, "sales/%Y-%m.txt", required=("a", "b"), format="tsv").rows["b"].to_list() == ["2"]
