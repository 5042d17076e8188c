"""The sides of the rows about profiles.

    python -m benchmarks.platform_profile make FILE ROWS NUMBERS CATEGORIES
    python -m benchmarks.platform_profile ours|floor|evidently|window FILE

`ours` profiles the columns of a Parquet file, `floor` reads and hashes them, `evidently` compares it with itself and
`window` takes the drift of 24 partitions from their profiles. Prints one line of JSON; imports, opening the
database and choosing the bins, which happens once in a project's life, are left out.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import Any

SAMPLE = 100_000
PIECE = 250_000


def make(file: str, rows: str, numbers: str, categories: str) -> dict[str, Any]:
    """Write a table of normal and lognormal numbers and of categories with 30 values, in pieces."""
    import numpy as np  # noqa: PLC0415
    import polars as pl
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    values = np.array([f"category {number}" for number in range(30)])
    writer, left = None, int(rows)
    while left:
        size = min(left, PIECE)
        left -= size
        columns: dict[str, Any] = {"_partition": np.full(size, datetime(2024, 1, 1), dtype="datetime64[us]")}  # noqa: DTZ001
        for index in range(int(numbers)):
            columns[f"n{index}"] = random.normal(size=size) if index % 2 else random.lognormal(size=size)
        columns |= {f"c{index}": values[random.integers(0, 30, size)] for index in range(int(categories))}
        table = pl.DataFrame(columns).to_arrow()
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()
    return {}


def _open(file: str) -> tuple[Any, str, list[str]]:
    import duckdb  # noqa: PLC0415

    connection = duckdb.connect()
    source = f"FROM read_parquet('{file}')"
    names = [name for name, *_ in connection.execute(f"DESCRIBE {source}").fetchall() if name != "_partition"]
    return connection, source, names


def _bins(connection: Any, source: str, names: list[str]) -> list[Any]:
    from ml_assets.core.profiles import choose_bins  # noqa: PLC0415

    first = connection.execute(f"{source} LIMIT {SAMPLE}").pl()
    return choose_bins(first, {name: "category" if name.startswith("c") else "number" for name in names})


def ours(file: str) -> dict[str, Any]:
    """The profile of all columns, in one pass."""
    from ml_assets.lake.profiling import take_profiles  # noqa: PLC0415

    connection, source, names = _open(file)
    bins = _bins(connection, source, names)
    take_profiles(connection, bins, f"{source} LIMIT 1000")
    began = time.perf_counter()
    (counts,) = take_profiles(connection, bins, source).values()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": counts[0].rows, "columns": len(counts)}


def floor(file: str) -> dict[str, Any]:
    """Reading and hashing the same columns."""
    connection, source, names = _open(file)
    hashes = ", ".join(f'bit_xor(hash("{name}"))' for name in names)
    connection.execute(f"SELECT {hashes} FROM ({source} LIMIT 1000)").fetchall()
    began = time.perf_counter()
    rows = connection.execute(f"SELECT count(*), {hashes} {source}").fetchall()[0]
    return {"seconds": time.perf_counter() - began, "rows": rows[0], "columns": len(rows) - 1}


def evidently(file: str) -> dict[str, Any]:
    """Evidently's drift of the same columns against themselves: it keeps no profile, so it reads both sides."""
    from evidently import Dataset, Report
    from evidently.presets import DataDriftPreset

    connection, source, names = _open(file)
    rows = connection.execute(f"SELECT {', '.join(names)} {source}").df()
    began = time.perf_counter()
    data = Dataset.from_pandas(rows)
    Report([DataDriftPreset()]).run(data, data)
    return {"seconds": time.perf_counter() - began, "rows": len(rows), "columns": len(names)}


def window(file: str) -> dict[str, Any]:
    """The drift of a window of 24 partitions against a reference of 24, from profiles as they come from their table."""
    from ml_assets.core.alarms import Place, calibrate, judge  # noqa: PLC0415
    from ml_assets.core.drift import drift  # noqa: PLC0415
    from ml_assets.core.profiles import add_up  # noqa: PLC0415
    from ml_assets.lake.profiling import take_profiles  # noqa: PLC0415

    connection, source, names = _open(file)
    bins = _bins(connection, source, names)
    month = "TIMESTAMP '2020-01-01' + to_months((place % 48)::INTEGER)"
    by_month = f"SELECT * REPLACE ({month} AS _partition) FROM (SELECT *, row_number() OVER () AS place {source})"
    profiles = [take for _, take in sorted(take_profiles(connection, bins, by_month).items())]
    then, now = profiles[:24], profiles[24:]
    places = [Place(index, {one.column: one for one in columns}) for index, columns in enumerate(then)]
    watch = calibrate(places, places, budget=1 / 24, period=12)
    began = time.perf_counter()
    reference, current = (add_up(one for columns in part for one in columns) for part in (then, now))
    told = drift(reference, current, {one.name: one for one in bins})
    judged = judge(watch, Place(24, current))
    return {"seconds": time.perf_counter() - began, "columns": len(names), "statistics": len(told) + len(judged)}


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    sides = {"make": make, "ours": ours, "floor": floor, "evidently": evidently, "window": window}
    sys.stdout.write(json.dumps(sides[what](*arguments)) + "\n")
