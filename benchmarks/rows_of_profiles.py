"""The rows about profiles: what counting costs, beside reading alone and beside Evidently, and how it grows."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from benchmarks.harness import Comparison, alternate, row, value_of
from benchmarks.rows import python, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.process import Measured

SCRIPT = ("-m", "benchmarks.platform_profile")
MILLION, MANY = 1_000_000, 10_000_000
WIDE, COLUMNS = 300_000, 1_000


@contextmanager
def table(rows: int = MILLION, numbers: int = 20, categories: int = 5) -> Iterator[Path]:
    """Write a Parquet file, which is removed afterwards."""
    with workspace() as folder:
        file = folder / "table.parquet"
        python(*SCRIPT, "make", str(file), str(rows), str(numbers), str(categories))
        yield file


@row("profile", target="<= 4 x", unit="s", ours="profile of 1 M x 25", other="the same columns read and hashed")
def profile() -> Comparison:
    """To count a column costs a few times what reading it does."""
    with table() as file:
        return alternate(
            lambda: python(*SCRIPT, "ours", str(file)), lambda: python(*SCRIPT, "floor", str(file)),
            repeats=7, figure="reported", same_work=("rows", "columns"),
        )  # fmt: skip


@row("profile-evidently", target="<= 0.01 x", unit="s", ours="profile of 1 M x 25", other="DataDriftPreset")
def profile_evidently() -> Comparison:
    """Evidently reads both sides again for every report."""
    with table() as file:
        return alternate(
            lambda: python(*SCRIPT, "ours", str(file)), lambda: python(*SCRIPT, "evidently", str(file)),
            repeats=1, figure="reported", same_work=("rows", "columns"),
        )  # fmt: skip


@cache
def of_each_length() -> tuple[Measured, Measured]:
    """Profile ten million rows and one million; the same figures for every row."""
    with table(MANY) as file:
        many = python(*SCRIPT, "ours", str(file))
    with table() as file:
        few = python(*SCRIPT, "ours", str(file))
    return many, few


@row("profile-long", target="<= 1.3 x", unit="s", ours="a million rows of 10 M x 25", other="a million of 1 M")
def profile_long() -> Comparison:
    """Ten times the rows take ten times the time."""
    many, few = of_each_length()
    return Comparison((value_of(many, "reported") * MILLION / MANY,), (value_of(few, "reported"),))


@row("profile-memory", target="<= 1024 MiB", unit="MiB", ours="peak of 10 M x 25", other="of 1 M x 25")
def profile_memory() -> Comparison:
    """Rows are counted in batches: memory does not grow with them."""
    many, few = (one.peak_rss_bytes / 2**20 for one in of_each_length())
    return Comparison((many,), (few,))


@row(
    "profile-wide", target="<= 1.3 x", unit="s", ours="a hundred columns of 300 k x 1,000",
    other="a hundred of 300 k x 100",
)  # fmt: skip
def profile_wide() -> Comparison:
    """Ten times the columns take ten times the time."""
    with (
        table(WIDE, COLUMNS * 4 // 5, COLUMNS // 5) as wide,
        table(WIDE, COLUMNS * 4 // 50, COLUMNS // 50) as narrow,
    ):
        sides = [(python(*SCRIPT, "ours", str(wide)), python(*SCRIPT, "ours", str(narrow))) for _ in range(3)]
    return Comparison(
        tuple(value_of(one, "reported") / 10 for one, _ in sides), tuple(value_of(one, "reported") for _, one in sides)
    )


@row("drift-window", target="<= 0.1 s", unit="s", ours="drift of 24 partitions, 25 columns", other="reading their rows")
def drift_window() -> Comparison:
    """The drift of any window is a sum of profiles: no row is read again."""
    with table() as file:
        return alternate(
            lambda: python(*SCRIPT, "window", str(file)), lambda: python(*SCRIPT, "floor", str(file)),
            repeats=5, figure="reported", same_work=("columns",),
        )  # fmt: skip
