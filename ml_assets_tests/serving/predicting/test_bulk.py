"""Bodies of many rows: read as they are, and refused before they fill the memory."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_assets.serving.predicting.bulk import ARROW, PARQUET, read_body, written
from ml_assets.serving.predicting.request import MalformedError

ROWS = pl.DataFrame({"town": ["EAST", "WEST", None], "area": [100.0, None, 1.5], "known": [True, False, None]})


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    made = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(made, table.schema, options=options) as out:
        out.write_table(table)
    return made.getvalue()


def parquet(table: pa.Table) -> bytes:
    made = io.BytesIO()
    pq.write_table(table, made, compression="zstd")
    return made.getvalue()


def read(kind: str, body: bytes, most: int = 10_000, size: int = 2**20) -> pl.DataFrame:
    before = pa.total_allocated_bytes()
    try:
        return read_body(kind, body, list, most, size)
    finally:
        assert pa.total_allocated_bytes() - before < 8 * 2**20


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
@pytest.mark.parametrize("text", [pl.String, pl.Categorical, pl.Enum(["EAST", "WEST"])])
def test_what_is_written_is_read_again_as_plain_values(kind: str, text: Any) -> None:
    assert read(kind, written(kind, ROWS.cast({"town": text}))).equals(ROWS)


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_a_stream_may_be_compressed(compression: str | None) -> None:
    table = pa.table({"town": pa.array(["EAST", "WEST", "EAST"]).dictionary_encode(), "area": [1.0, 2.0, 3.0]})
    assert read(ARROW, stream(table, compression)).rows() == [("EAST", 1.0), ("WEST", 2.0), ("EAST", 3.0)]


TEXT = "x" * 10_000
BOMBS = {
    "one text that stands there once": (PARQUET, lambda: parquet(pa.table({"a": [TEXT] * 4_000})), "bytes"),
    "one text pointed at": (ARROW, lambda: stream(pa.table({"a": pointed_at()})), "bytes"),
    "zeros, compressed": (ARROW, lambda: stream(pa.table({"a": [0.0] * 2_000_000}), "zstd"), "bytes"),
    "views of one text": (ARROW, lambda: stream(pa.table({"a": views()})), "bytes"),
    "nulls that are only counted": (ARROW, lambda: stream(pa.table({"a": pa.nulls(2_000_000_000)})), "rows"),
    "rows of Parquet": (PARQUET, lambda: parquet(pa.table({"a": [0] * 10_001})), "rows"),
}  # fmt: skip


def pointed_at() -> pa.Array:
    return pa.array([TEXT] * 4_000).dictionary_encode()


def views() -> pa.Array:
    """Many views of the same letters."""
    one = pa.array([TEXT], pa.string_view())
    _, view, letters = one.buffers()
    return pa.Array.from_buffers(pa.string_view(), 4_000, [None, pa.py_buffer(view.to_pybytes()[:16] * 4_000), letters])


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_body_that_unfolds_to_much_is_refused_before_it_does(name: str) -> None:
    kind, make, what = BOMBS[name]
    body = make()
    assert len(body) < 100_000
    with pytest.raises(MalformedError, match=f"unfolds to more {what} than one request may hold"):
        read(kind, body)


@pytest.mark.parametrize(
    "values", [pa.array([[1]]), pa.array([1], pa.decimal256(60, 2)), pa.RunEndEncodedArray.from_arrays([10], [1.0])]
)
def test_what_is_nested_or_exotic_is_not_read(values: pa.Array) -> None:
    with pytest.raises(MalformedError, match="is not read here"):
        read(ARROW, stream(pa.table({"a": values})))


def test_a_column_that_is_there_twice_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(MalformedError, match="two columns have the same name"):
        read(ARROW, stream(table))


@pytest.mark.parametrize("cut", range(8, 400, 24))
def test_a_body_that_breaks_off_is_told(cut: int) -> None:
    body = written(ARROW, ROWS)
    try:
        read(ARROW, body[:cut])
    except MalformedError:
        return
    assert cut >= len(body) - 8, "only the end of the stream may be missing"
