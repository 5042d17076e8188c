"""Write the orders as CSV: the same rows at every call, 100,000 a day from 2024-01-01, in order.

Usage: `python -m benchmarks.orders.making FILE ROWS`
"""

from __future__ import annotations

import sys

import duckdb

PER_DAY = 100_000
# Of every 2,000 rows ten have something wrong, each something else; the sixth has two things.
ORDERS = f"""
SELECT
    i - if(bad = 0, 1, 0) AS order_id,
    if(bad = 1, '2024-02-30', strftime(DATE '2024-01-01' + CAST(i // {PER_DAY} AS INTEGER), '%Y-%m-%d')) AS day,
    if(bad = 2, 'C12', 'C' || lpad(CAST(h % 1000000 AS VARCHAR), 6, '0')) AS customer,
    if(bad = 3, 'XX', ['AT', 'BE', 'CH', 'DE', 'DK', 'ES', 'FR', 'IT', 'NL', 'PL'][1 + h // 7 % 10]) AS country,
    if(bad = 4, NULL, ['books', 'clothes', 'food', 'garden', 'music', 'sports', 'tools', 'toys'][1 + h // 11 % 8])
        AS category,
    CASE bad WHEN 5 THEN '0' WHEN 6 THEN 'twelve' ELSE CAST(1 + h // 13 % 100 AS VARCHAR) END AS quantity,
    if(bad = 5, '-1.00', printf('%.2f', 0.5 + h // 17 % 90000 / 100)) AS unit_price,
    CASE WHEN bad = 7 THEN '1.5' WHEN h % 4 = 0 THEN NULL ELSE printf('%.2f', h // 19 % 50 / 100) END AS discount,
    if(bad = 8, 'heavy', printf('%.3f', h // 23 % 50000 / 1000)) AS weight,
    if(h // 29 % 5 = 0, 'true', 'false') AS express,
    CASE WHEN bad = 9 THEN '6' WHEN h // 31 % 3 = 0 THEN NULL ELSE CAST(1 + h // 37 % 5 AS VARCHAR) END AS rating,
    if(h // 41 % 2 = 0, NULL, 'left with neighbour ' || CAST(h // 43 % 500 AS VARCHAR)) AS note
FROM (
    SELECT i, i % 2000 - 1000 AS bad, CAST(hash(i) // 1024 AS BIGINT) AS h FROM range(CAST(? AS BIGINT)) AS numbers (i)
)
ORDER BY i
"""


def main(file: str, rows: str) -> None:
    """Write the file."""
    duckdb.sql(ORDERS, params=[int(rows)]).write_csv(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
