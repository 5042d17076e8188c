"""The platform's side of the validation rows: `judge`, from columns of text as they stand in `raw`.

Prints one line of JSON: counts that must equal the peers', and the seconds of judging. Imports, reading and
a first small partition are left out on both sides: a process judges many.

Usage: `python -m benchmarks.platform_judge FILE`
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime

import polars as pl  # noqa: TID253 - not part of what is measured

from benchmarks.orders.schema import Order
from ml_assets.core.validation import judge


def main(file: str) -> None:
    """Judge the orders of a file as one partition."""
    orders = pl.read_csv(file, infer_schema=False)
    rows = orders.with_columns(
        pl.lit(datetime(2024, 1, 1)).alias("_partition"),  # noqa: DTZ001 - naive UTC
        pl.lit(datetime(2025, 1, 1)).alias("_partition_end"),  # noqa: DTZ001
        pl.lit(None, pl.String).alias("_malformed"),
        pl.lit(file).alias("_source"),
        pl.int_range(1, pl.len() + 1).alias("_row"),
    )
    carried = ["_partition", "_source", "_row"]
    judge(rows.head(1000), Order, time="day", carried=carried)
    began = time.perf_counter()
    verdict = judge(rows, Order, time="day", carried=carried)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "rows_passed": verdict.passed.height,
                "rows_failed": verdict.failed.height,
                "reasons": sum(verdict.failures.values()),
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
