from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.sources import functions
from ml_assets.sources.functions import FunctionReader
from ml_assets.sources.reading import Part, Reading, SourceError
from ml_assets.sources.texts import Number, load_json, text

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC


def days(count: int) -> list[Part]:
    starts = [FIRST + timedelta(days=number) for number in range(count)]
    return [Part(f"{start:%Y-%m-%d}", start, start + timedelta(days=1)) for start in starts]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FunctionReader]:
    """Makes a function importable, and a reader of it."""

    def reader(function: Any, *, timed: bool = True) -> FunctionReader:
        module = ModuleType("a_team")
        module.sensors = function
        monkeypatch.setitem(sys.modules, "a_team", module)
        return FunctionReader("a_team:sensors", timed=timed)

    return reader


def read(
    reader: FunctionReader, count: int = 1, required: tuple[str, ...] = (), reading: Reading | None = None
) -> pl.DataFrame:
    frames = list(reader.frames(days(count), required, reading or Reading()))
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def test_a_function_is_called_once_per_partition_with_its_start_and_end(source: Callable[..., FunctionReader]) -> None:
    called: list[tuple[datetime, datetime]] = []

    def sensors(start: datetime, end: datetime) -> Iterator[dict[str, object]]:
        called.append((start, end))
        yield {"at": start, "n": 1}
        yield {"at": end - timedelta(microseconds=1), "x": Decimal("1.10")}

    reading = Reading()
    rows = read(source(sensors), 2, ("at",), reading)
    assert called == [(part.start, part.end) for part in days(2)]
    assert rows.select("at", "n", "x", "_partition", "_source", "_row").rows() == [
        ("2024-01-01T00:00:00", "1", None, FIRST, "a_team:sensors 2024-01-01", 1),
        ("2024-01-01T23:59:59.999999", None, "1.10", FIRST, "a_team:sensors 2024-01-01", 2),
        ("2024-01-02T00:00:00", "1", None, days(2)[1].start, "a_team:sensors 2024-01-02", 1),
        ("2024-01-02T23:59:59.999999", None, "1.10", days(2)[1].start, "a_team:sensors 2024-01-02", 2),
    ]
    assert reading.unexpected == {f"a_team:sensors {part.key}": ("n", "x") for part in days(2)}
    assert list(reading.facts) == ["2024-01-01", "2024-01-02"]


def test_a_function_of_rows_without_time_is_called_once_without_arguments(
    source: Callable[..., FunctionReader],
) -> None:
    rows = read(source(lambda: [{"n": 1}], timed=False), 3)
    assert rows["n"].to_list() == ["1"]
    assert "_partition" not in rows.columns


VALUES = {
    "s": ["a", None],
    "i": [2**62, None],
    "f": [0.1, None],
    "b": [True, None],
    "d": [date(2024, 1, 31), None],
    "t": [datetime(2024, 1, 31, 9, 30, 0, 500_000), None],  # noqa: DTZ001 - a naive value
    "z": [datetime(2024, 1, 31, 9, 30, tzinfo=UTC), None],
    "bin": [b"\xde\xad", None],
    "list": [[1, None], None],
    "more": [{"a": 1.5, "b": "x"}, None],
}
TEXTS = {
    "s": "a",
    "i": str(2**62),
    "f": "0.1",
    "b": "true",
    "d": "2024-01-31",
    "t": "2024-01-31T09:30:00.500000",
    "z": "2024-01-31T09:30:00+00:00",
    "bin": "dead",
    "list": "[1,null]",
    "more": '{"a":1.5,"b":"x"}',
}


@pytest.mark.parametrize(
    "made",
    [
        lambda: [{name: values[row] for name, values in VALUES.items()} for row in range(2)],
        lambda: pl.DataFrame(VALUES),
        lambda: pl.DataFrame(VALUES).lazy(),
        lambda: pl.DataFrame(VALUES).to_arrow(),
        lambda: pl.DataFrame(VALUES).to_arrow().to_batches()[0],
        lambda: pl.DataFrame(VALUES).to_arrow().to_reader(),
        lambda: pd.DataFrame(VALUES, dtype=object, index=[7, 7]),
        lambda: pl.DataFrame(VALUES).to_pandas(use_pyarrow_extension_array=True),
        lambda: iter([pl.DataFrame(VALUES)[:1], {"s": None}]),
    ],
    ids=["dicts", "polars", "lazy", "table", "batch", "reader", "objects", "pandas", "both"],
)
def test_rows_are_the_same_texts_whatever_form_they_come_in(
    source: Callable[..., FunctionReader], made: Callable[[], object]
) -> None:
    rows = read(source(lambda _, __: made())).select(*VALUES).rows(named=True)
    times = {"t", "z"}
    assert {name: value for name, value in rows[0].items() if name not in times} == {
        name: value for name, value in TEXTS.items() if name not in times
    }
    for name in times:
        assert datetime.fromisoformat(rows[0][name] or "") == VALUES[name][0]
    assert rows[1] == dict.fromkeys(VALUES)


def test_numpy_and_pandas_missing_values_are_missing(source: Callable[..., FunctionReader]) -> None:
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan],
            "s": ["x", np.nan],
            "t": pd.to_datetime(["2024-01-01 10:00", None]),
            "i": pd.array([1, None], dtype="Int64"),
            "c": pd.Categorical(["k", None]),
        }
    )
    rows = read(source(lambda _, __: frame)).select(*frame.columns).rows()
    assert rows[0][:2] == ("1.5", "x")
    assert rows[0][3:] == ("1", "k")
    assert rows[1] == (None,) * 5
    assert read(source(lambda _, __: [{"n": np.float32(0.5), "i": np.int64(3)}])).select("n", "i").row(0) == (
        "0.5",
        "3",
    )


def test_many_rows_come_in_frames_and_are_numbered_through(
    source: Callable[..., FunctionReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "FRAME", 10)
    reader = source(lambda _, __: ({"n": number} for number in range(25)))
    frames = list(reader.frames(days(1), (), Reading()))
    assert [frame.height for frame in frames] == [10, 10, 5]
    assert pl.concat(frames)["_row"].to_list() == list(range(1, 26))


def test_nothing_of_a_partition_is_given_when_its_function_fails_and_the_cause_is_chained(
    source: Callable[..., FunctionReader],
) -> None:
    def sensors(start: datetime, _: datetime) -> Iterator[dict[str, object]]:
        yield {"n": 1}
        if start > FIRST:
            raise KeyError("voltage")

    frames: list[pl.DataFrame] = []
    words = r"'a_team:sensors' failed for the partition 2024-01-02 \(2024-01-02 00:00:00 to .*\): KeyError: 'voltage'"
    with pytest.raises(SourceError, match=words) as caught:
        frames.extend(source(sensors).frames(days(2), (), Reading()))
    assert isinstance(caught.value.__cause__, KeyError)
    assert [frame["_partition"][0] for frame in frames] == [FIRST]


@pytest.mark.parametrize(
    ("given_back", "words"),
    [
        (None, "the function gave a NoneType"),
        ("text", "the function gave a str"),
        ({"n": 1}, "the function gave a dict"),
        (7, "the function gave a int"),
        ([{"n": 1}, (1, 2)], "row 2: it is a tuple, not a dict"),
        ([{"n": 1}, {"n": object()}], "row 2, column 'n': a value of type object has no text form"),
        ([{"n": "x"}, {"n": "\ud800"}], "row 2, column 'n'"),
        ([{1: 1}], "row 1: the field name 1 is no text"),
        ([{"_row": 1}], "the column name '_row' is repeated, empty or reserved"),
        ([{"n": 1, "N": 1}], "the column name 'n' is repeated"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the column name 'a' is repeated"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "the column name 'a' is repeated"),
        ([{"m": 1}], r"the column 'n' is missing; did you mean 'm'\?|the column 'n' is missing\."),
    ],
)
def test_what_is_no_row_is_an_error(source: Callable[..., FunctionReader], given_back: object, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read(source(lambda _, __: given_back), required=("n",))


def test_names_that_differ_in_case_are_one_column(source: Callable[..., FunctionReader]) -> None:
    def given(start: datetime, _: datetime) -> object:
        return [{"N": 1}, {"n": 2}] if start == FIRST else pd.DataFrame({"Town": ["a"], "n": [3]})

    rows = pl.concat(list(source(given).frames(days(2), ("n",), Reading())), how="diagonal")
    assert rows["n"].to_list() == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["no_such_module:f", "json:no_such_function", "json", ":f"])
def test_a_function_that_does_not_import_is_an_error(name: str) -> None:
    with pytest.raises(SourceError, match=f"the source function {name!r} does not import"):
        read(FunctionReader(name))


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_nested_values_are_json_that_reads_back(value: object) -> None:
    assert json.loads(text([value]) or "") == [value]


def test_numbers_of_json_keep_their_digits() -> None:
    written = '{"a":[1.10,-0,1E400,12345678901234567890],"b":NaN}'
    assert text(load_json(written)) == written
    assert text(load_json("1.10")) == "1.10"
    assert isinstance(load_json("1"), Number)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json("[" * 100_000)


def test_other_values_have_their_usual_text() -> None:
    assert text(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
    assert text(Decimal("1.10")) == "1.10"
    with pytest.raises(TypeError, match="a value of type set has no text form"):
        text({1})
