"""Measure the rows, show them as a table, and keep them in `results.json`.

A benchmark is a report: a row that misses its target is shown as missed and the exit code stays 0. A row that cannot be
measured, or whose sides did unequal work, is an error: it is not written, and the exit code is 1.

Usage: `python -m benchmarks.run [--only NAME]`
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import rows, rows_of_profiles, rows_of_serving  # noqa: F401 - importing them registers the rows
from benchmarks.harness import ROWS, Comparison, Row, Target, UnequalWorkError
from benchmarks.process import ProcessFailedError

RESULTS = Path(__file__).parent / "results.json"
PACKAGES = ("dagster", "duckdb", "polars", "pandas", "pandera", "scikit-learn", "evidently")


def main() -> int:
    """Measure all rows, or the one that `--only` names, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure the benchmark's rows.")
    parser.add_argument("--only", choices=sorted(ROWS), metavar="NAME", help=f"one of: {', '.join(sorted(ROWS))}")
    only = parser.parse_args().only
    chosen = [ROWS[only]] if only else list(ROWS.values())

    measured, errors = {}, {}
    for row in chosen:
        print(f"{row.name}: {row.ours}, against {row.other} …", file=sys.stderr, flush=True)
        try:
            measured[row.name] = entry(row, row.measure())
        except (ProcessFailedError, UnequalWorkError, FileNotFoundError) as error:
            errors[row.name] = str(error)

    results = merge(load_results(), measured, machine(), keep=only is not None or bool(errors))
    if measured:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    show(measured, errors)
    return 1 if errors else 0


def entry(row: Row, comparison: Comparison) -> dict[str, Any]:
    """Return what `results.json` says about a row."""
    return {
        "ours": round(comparison.ours, 4),
        "other": round(comparison.other, 4),
        "ratio": round(comparison.ratio, 3),
        "unit": row.unit,
        "target": row.target,
        "met": Target.parse(row.target).met(comparison),
        "repeats": len(comparison.ours_each),
        "ours_is": row.ours,
        "other_is": row.other,
        "ours_each": [round(value, 4) for value in comparison.ours_each],
        "other_each": [round(value, 4) for value in comparison.other_each],
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"our_seconds_by_work": dict(comparison.profile)} if comparison.profile else {}),
    }


def machine() -> dict[str, Any]:
    """Return what a reader must know to judge the figures, and nothing that names the machine."""
    return {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def load_results() -> dict[str, Any]:
    """Return the stored results, empty before the first run."""
    if not RESULTS.exists():
        return {"machine": {}, "rows": {}}
    stored: dict[str, Any] = json.loads(RESULTS.read_text())
    return stored


def merge(stored: dict[str, Any], measured: dict[str, Any], facts: dict[str, Any], *, keep: bool) -> dict[str, Any]:
    """Return the new results in the order of the rows.

    Args:
        stored: The results so far.
        measured: The rows just measured.
        facts: The machine they were measured on.
        keep: Whether stored rows that were not measured now stay. They never do when the machine or the versions have
            changed: one file holds figures of one machine.
    """
    kept = stored["rows"] if keep and stored["machine"] == facts else {}
    known = {**kept, **measured}
    return {"machine": facts, "rows": {name: known[name] for name in ROWS if name in known}}


def show(measured: dict[str, Any], errors: dict[str, str]) -> None:
    """Print the table, and each error in full below it."""
    table = Table("row", "ours", "other", "unit", "ratio", "target", "outcome")
    for name, row in measured.items():
        figures = (f"{row['ours']:.3g}", f"{row['other']:.3g}", row["unit"], f"{row['ratio']:.2f} x")
        table.add_row(name, *figures, row["target"], "[green]met[/]" if row["met"] else "[red]missed[/]")
    for name in errors:
        table.add_row(name, "", "", ROWS[name].unit, "", ROWS[name].target, "[bold red]error[/]")
    console = Console()
    console.print(table)
    for name, row in measured.items():
        if "our_seconds_by_work" in row:
            parts = ", ".join(f"{work} {seconds:.1f}" for work, seconds in row["our_seconds_by_work"].items())
            console.print(f"{name}: where ours goes, in seconds of one run: {parts}")
    for name, error in errors.items():
        console.print(f"{name}: {error}", style="red", markup=False)


if __name__ == "__main__":
    raise SystemExit(main())
