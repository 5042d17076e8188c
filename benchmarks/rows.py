"""The rows of the benchmark, and the commands that they measure.

A row is a function that measures both sides and returns their figures; the decorator names it and states its target.
The peers under `peers/` report counts, so that a row can insist that both sides did the same work.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Comparison, alternate, row, value_of
from benchmarks.process import Measured, timed_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BENCHMARKS = Path(__file__).parent
WORK = BENCHMARKS / ".work"

# How many orders most rows read, and the one about size.
ORDERS, MANY_ORDERS = 1_000_000, 10_000_000

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
        # Both sides with bytecode, as installed packages have it: else the platform's modules alone are compiled anew.
        around = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return timed_process([sys.executable, *arguments], {**around, **quiet, **(env or {})}, whole_tree=whole_tree)


def data_folder() -> Path:
    """Return the folder of the monthly CSV files.

    Raises:
        FileNotFoundError: `ML_ASSETS_DATA` is not set, or holds no `hdb_resale`.
    """
    folder = Path(os.environ.get("ML_ASSETS_DATA", "")) / "hdb_resale"
    if "ML_ASSETS_DATA" not in os.environ or not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: set ML_ASSETS_DATA to the folder that holds hdb_resale/")
    return folder.resolve()


def plain_script(peer: str = "plain_script.py") -> Measured:
    """Run a plain script over all months."""
    with workspace() as out:
        return python(str(BENCHMARKS / "peers" / peer), str(data_folder()), str(out))


def by_the_book(months: int) -> Measured:
    """Run the by-the-book project over the last months."""
    with workspace() as out:
        peer = str(BENCHMARKS / "peers" / "by_the_book.py")
        return python(peer, str(data_folder()), str(out), "--months", str(months))


def platform(script: str, *options: str) -> Measured:
    """Run one of the platform's scripts over the data in a fresh home."""
    with workspace() as home:
        return python("-m", f"benchmarks.{script}", str(data_folder()), str(home / "home"), *options)


def warm_home() -> Path:
    """Return a home in which the code location has been loaded before, as in every load but the first."""
    home = WORK / "warm"
    if not home.is_dir():
        home.mkdir(parents=True)
        python("-c", "from ml_assets.definitions import defs; defs()", env={"ML_ASSETS_HOME": str(home)})
    return home


@row("load", target="<= 1.8 x", unit="s", ours="load the code location", other="import dagster")
def load() -> Comparison:
    """Loading the code location costs little more than Dagster itself."""
    return alternate(
        lambda: python(
            "-c", "from ml_assets.definitions import defs; defs()", env={"ML_ASSETS_HOME": str(warm_home())}
        ),
        lambda: python("-c", "import dagster"),
        repeats=7,
    )


@row("history", target="<= 2 x", unit="s", ours="94 months, all partitioned assets", other="plain script, same work")
def history() -> Comparison:
    """Filling a history costs at most twice what a script without orchestration, versions or checks costs."""
    measured = alternate(lambda: platform("platform_history"), plain_script, repeats=3, same_work=ROW_COUNTS)
    profile = platform("platform_history", "--profile").report()["profile"]
    return replace(measured, profile=profile)


@row(
    "history-pandas",
    target="<= 2 x",
    unit="s",
    ours="94 months, all partitioned assets",
    other="the same in pandas and pandera",
)
def history_pandas() -> Comparison:
    """The same against the script that most teams would write."""
    other = partial(plain_script, "plain_script_pandas.py")
    return alternate(lambda: platform("platform_history"), other, repeats=3, same_work=ROW_COUNTS)


@row("memory", target="<= 2 x", unit="MiB", ours="94 months, all partitioned assets", other="plain script, same work")
def memory() -> Comparison:
    """Peak memory of the same."""
    return alternate(
        lambda: platform("platform_history"), plain_script, repeats=2, figure="peak_rss_mib", same_work=ROW_COUNTS
    )


@row(
    "month",
    target="<= 0.2 x",
    unit="s",
    ours="a month, averaged over a run of 94",
    other="a month by the book, averaged over 12",
)
def month() -> Comparison:
    """A month of history costs at most a fifth of what it costs in the project that the tutorials teach.

    Both sides are without imports and training: what is left is what each further month costs.
    """
    ours, other = [], []
    for _ in range(2):
        report = platform("platform_history").report()
        timings = report["timings"]
        ours.append((timings["raw to profile"] + timings["predictions to decision"]) / report["months"])
        peer = by_the_book(12).report()
        other.append(peer["seconds"] / peer["months"])
    return Comparison(tuple(ours), tuple(other))


@row(
    "decision",
    target="<= 8 s",
    unit="s",
    ours="decision to start of the retraining run",
    other="load the code location",
)
def decision() -> Comparison:
    """A retraining starts within seconds of the decision; loading the code location is the floor of any run."""
    waited = platform("platform_latency").report()["seconds"]
    loading = "from ml_assets.definitions import defs; defs()"
    floor = [python("-c", loading, env={"ML_ASSETS_HOME": str(warm_home())}).seconds for _ in waited]
    return Comparison(tuple(waited), tuple(floor))


@contextmanager
def orders(rows: int = ORDERS) -> Iterator[Path]:
    """Write a CSV file of orders, which is removed afterwards."""
    with workspace() as folder:
        file = folder / f"orders_{rows}.csv"
        python("-m", "benchmarks.orders.making", str(file), str(rows))
        yield file


def checks_against(peer: str, *, repeats: int) -> Comparison:
    """Compare judging the orders with a peer that gives the same rows as many reasons."""
    with orders() as file:
        return alternate(
            lambda: python("-m", "benchmarks.platform_judge", str(file)),
            lambda: python(str(BENCHMARKS / "peers" / peer), str(file)),
            repeats=repeats,
            figure="reported",
            same_work=("rows_passed", "rows_failed", "reasons"),
        )


@row("validation", target="<= 1.5 x", unit="s", ours="1 M x 12, from text, all reasons", other="one query by hand")
def validation() -> Comparison:
    """Every failing row with all its reasons costs little more than the same checks written in SQL by hand."""
    return checks_against("checks_in_sql.py", repeats=5)


@row(
    "validation-pandas",
    target="<= 0.25 x",
    unit="s",
    ours="1 M x 12, from text, all reasons",
    other="pandera on pandas",
)
def validation_pandas() -> Comparison:
    """The same against the validation that most teams have."""
    return checks_against("checks_in_pandas.py", repeats=3)


def materialized(file: Path, *options: str) -> Measured:
    """Run the platform over a file of orders in a fresh home."""
    with workspace() as home:
        return python("-m", "benchmarks.platform_orders", str(file), str(home / "home"), *options)


def read_csv(file: Path) -> Measured:
    """Load a file of orders with DuckDB."""
    with workspace() as folder:
        return python(str(BENCHMARKS / "peers" / "read_csv.py"), str(file), str(folder / "orders.duckdb"))


@row("csv", target="<= 2 x", unit="s", ours="a CSV of 1 M x 12 to raw and validated", other="DuckDB's read_csv")
def csv() -> Comparison:
    """From a file to validated rows, against DuckDB reading it in the right types and checking nothing."""
    with orders() as file:
        measured = alternate(
            lambda: materialized(file), lambda: read_csv(file), repeats=3, figure="reported", same_work=("rows_raw",)
        )
        return replace(measured, profile=materialized(file, "--profile").report()["profile"])


@cache
def of_each_size() -> tuple[Measured, Measured]:
    """Run ten million orders, a hundred days in one run, and one million; the same figures for every row."""
    with orders(MANY_ORDERS) as file:
        many = materialized(file)
    with orders() as file:
        few = materialized(file)
    return many, few


@row("large", target="<= 2048 MiB", unit="MiB", ours="peak of 10 M rows in one run", other="of 1 M rows")
def large() -> Comparison:
    """A range of any size is worked on in bounded memory."""
    many, few = (one.peak_rss_bytes / 2**20 for one in of_each_size())
    return Comparison((many,), (few,))


@row("linear", target="<= 1.3 x", unit="s", ours="a million rows of 10 M in one run", other="a million of 1 M")
def linear() -> Comparison:
    """Ten times the rows take ten times the time."""
    many, few = of_each_size()
    return Comparison((value_of(many, "reported") * ORDERS / MANY_ORDERS,), (value_of(few, "reported"),))


@row("model", target="<= 1.3 x", unit="s", ours="the asset model, 190 k rows", other="the same rows read and fitted")
def model() -> Comparison:
    """A version with all its provenance costs little more than reading its rows and fitting them."""
    with workspace() as folder:
        script = ("-m", "benchmarks.platform_model", str(data_folder()), str(folder / "home"))
        python(*script, "prepare")
        return alternate(
            lambda: python(*script, "ours"), lambda: python(*script, "bare"), repeats=5, figure="reported",
            same_work=("rows", "rows_fitted"),
        )  # fmt: skip


@row(
    "retraining", target="<= 4 x", unit="s", ours="a whole retraining with every check, 190 k rows",
    other="the same rows read and fitted",
)  # fmt: skip
def retraining() -> Comparison:
    """To trust a version costs a few times its fit: the leakage gate, baselines, intervals, the champion's test."""
    with workspace() as folder:
        script = ("-m", "benchmarks.platform_model", str(data_folder()), str(folder / "home"))
        python(*script, "prepare")
        return alternate(
            lambda: python(*script, "retraining"), lambda: python(*script, "bare"), repeats=5, figure="reported",
            same_work=("rows", "rows_fitted"),
        )  # fmt: skip


@row("search", target="<= 1.1 x", unit="s", ours="9 trials on 3 folds of 60 k rows", other="GridSearchCV, all cores")
def search() -> Comparison:
    """A search that keeps every fit, so that it survives being killed, costs no more than scikit-learn's own."""
    script = ("-m", "benchmarks.platform_search", str(data_folder()))
    return alternate(
        lambda: python(*script, "ours"), lambda: python(*script, "sklearn"), repeats=3, figure="reported",
        same_work=("fits", "best"),
    )  # fmt: skip


@row("replay", target="<= 1.2 x", unit="s", ours="70 fits, judged on all later months", other="the same fits, no more")
def replay() -> Comparison:
    """To say what every policy would have come to costs little more than the fits, each made once."""
    with workspace() as folder:
        script = ("-m", "benchmarks.platform_replay", str(data_folder()), str(folder / "home"))
        python(*script, "prepare")
        return alternate(
            lambda: python(*script, "ours"), lambda: python(*script, "fits"), repeats=2, figure="reported",
            same_work=("fits",),
        )  # fmt: skip
