"""The orders into a table of a DuckDB file by `read_csv`, in the schema's types: what no platform can be faster than.

Rows with a value that does not cast are left out and counted, nothing else is checked. Prints one line of JSON.

Usage: `python read_csv.py FILE DATABASE`
"""

from __future__ import annotations

import json
import sys
import time

import duckdb

TYPES = {
    "order_id": "BIGINT",
    "day": "DATE",
    "customer": "VARCHAR",
    "country": "VARCHAR",
    "category": "VARCHAR",
    "quantity": "BIGINT",
    "unit_price": "DOUBLE",
    "discount": "DOUBLE",
    "weight": "DOUBLE",
    "express": "BOOLEAN",
    "rating": "BIGINT",
    "note": "VARCHAR",
}


def main(file: str, database: str) -> None:
    """Read the file."""
    connection = duckdb.connect(database)
    sql = "CREATE TABLE orders AS FROM read_csv(?, columns => ?, header => true, store_rejects => true)"
    began = time.perf_counter()
    connection.execute(sql, [file, TYPES])
    connection.execute("CHECKPOINT")
    seconds = time.perf_counter() - began
    (rows,) = connection.execute("SELECT count(*) FROM orders").fetchall()[0]
    (rejected,) = connection.execute("SELECT count(DISTINCT line) FROM reject_errors").fetchall()[0]
    print(json.dumps({"rows_raw": rows + rejected, "rows_typed": rows, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
