"""The hash of a training set's rows says what they are, not what lies in memory below a null."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from ml_assets.assets.rows import content_hash


def column(below_the_null: float) -> pl.DataFrame:
    values = pa.array([1.0, below_the_null, 3.0]).buffers()[1]
    valid = pa.py_buffer(bytes([0b101]))
    return pl.DataFrame({"x": pl.Series(pa.Array.from_buffers(pa.float64(), 3, [valid, values]))})


def test_what_lies_below_a_null_does_not_count() -> None:
    assert column(2.0).equals(column(7.0), null_equal=True)
    assert content_hash(column(2.0)) == content_hash(column(7.0))


def test_a_null_is_no_zero() -> None:
    frames = [pl.DataFrame({"x": values}, schema={"x": pl.Float64}) for values in ([1.0, None], [1.0, 0.0])]
    texts = [pl.DataFrame({"x": values}, schema={"x": pl.String}) for values in (["a", None], ["a", ""])]
    assert len({content_hash(frame) for frame in [*frames, *texts]}) == 4
