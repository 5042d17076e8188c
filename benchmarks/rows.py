"""The rows of the benchmark, and the commands that they measure.

A row is a function that measures both sides and returns their figures; the decorator names it and states its target.
The peers under `peers/` report counts, so that a row can insist that both sides did the same work.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Comparison, alternate, row
from benchmarks.process import Measured, timed_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BENCHMARKS = Path(__file__).parent
WORK = BENCHMARKS / ".work"

# Counts that the plain script and by_the_book print, and that a row about the same months must find equal.
ROW_COUNTS = ("months", "rows_raw", "rows_duplicate", "rows_validated", "rows_quarantined")


@contextmanager
def workspace() -> Iterator[Path]:
    """Give an empty folder that is removed afterwards: output of a peer, or a project's storage."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        yield Path(folder)


def python(*arguments: str, env: Mapping[str, str] | None = None, whole_tree: bool = False) -> Measured:
    """Run this Python with arguments, an empty DAGSTER_HOME and no telemetry, and return what it cost.

    Args:
        arguments: What follows `python` on the command line.
        env: Variables to add.
        whole_tree: Count the memory of child processes too.
    """
    with workspace() as home:
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        quiet = {"DAGSTER_HOME": str(home), "DO_NOT_TRACK": "1"}
        return timed_process(
            [sys.executable, *arguments], {**os.environ, **quiet, **(env or {})}, whole_tree=whole_tree
        )


def data_folder() -> Path:
    """Return the folder of the monthly CSV files.

    Raises:
        FileNotFoundError: `ML_ASSETS_DATA` is not set, or holds no `hdb_resale`.
    """
    folder = Path(os.environ.get("ML_ASSETS_DATA", "")) / "hdb_resale"
    if "ML_ASSETS_DATA" not in os.environ or not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: set ML_ASSETS_DATA to the folder that holds hdb_resale/")
    return folder.resolve()


def plain_script() -> Measured:
    """Run the plain script over all months."""
    with workspace() as out:
        return python(str(BENCHMARKS / "peers" / "plain_script.py"), str(data_folder()), str(out))


def by_the_book(months: int) -> Measured:
    """Run the by-the-book project over the last months."""
    with workspace() as out:
        peer = str(BENCHMARKS / "peers" / "by_the_book.py")
        return python(peer, str(data_folder()), str(out), "--months", str(months))


@row("load", target="<= 1.8 x", unit="s", ours="load the code location", other="import dagster")
def load() -> Comparison:
    """Loading the code location costs little more than Dagster itself."""
    return alternate(
        lambda: python("-c", "from ml_assets.definitions import defs"),
        lambda: python("-c", "import dagster"),
        repeats=7,
    )
