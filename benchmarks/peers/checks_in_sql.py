"""The checks of the orders as one query by hand: every row that fails one, with all its reasons.

Prints one line of JSON, as `benchmarks.platform_judge` does.

Usage: `python checks_in_sql.py FILE`
"""

from __future__ import annotations

import json
import sys
import time

import duckdb
import polars as pl  # noqa: F401, TID253 - not part of what is measured

QUERY = r"""
WITH typed AS (
    SELECT
        *,
        TRY_CAST(order_id AS BIGINT) AS order_id_,
        TRY_CAST(day AS DATE) AS day_,
        TRY_CAST(quantity AS BIGINT) AS quantity_,
        TRY_CAST(unit_price AS DOUBLE) AS unit_price_,
        TRY_CAST(discount AS DOUBLE) AS discount_,
        TRY_CAST(weight AS DOUBLE) AS weight_,
        TRY_CAST(express AS BOOLEAN) AS express_,
        TRY_CAST(rating AS BIGINT) AS rating_
    FROM orders
),

repeated AS (
    SELECT TRY_CAST(order_id AS BIGINT) AS id FROM orders GROUP BY ALL HAVING count(*) > 1 AND id IS NOT NULL
),

told AS (
    SELECT
        number,
        list_filter(
            [
                if(order_id_ IS NULL AND order_id IS NOT NULL, {'check': 'order_id__cast', 'value': order_id}, NULL),
                if(order_id IS NULL, {'check': 'order_id__not_null', 'value': NULL}, NULL),
                if(order_id_ IN (FROM repeated), {'check': 'order_id__unique', 'value': order_id}, NULL),
                if(day_ IS NULL AND day IS NOT NULL, {'check': 'day__cast', 'value': day}, NULL),
                if(day IS NULL, {'check': 'day__not_null', 'value': NULL}, NULL),
                if(
                    day_ < DATE '2024-01-01' OR day_ >= DATE '2025-01-01',
                    {'check': 'rows__in_partition', 'value': day},
                    NULL
                ),
                if(customer IS NULL, {'check': 'customer__not_null', 'value': NULL}, NULL),
                if(
                    NOT regexp_matches(customer, '^C\d{6}$'),
                    {'check': 'customer__str_matches', 'value': customer},
                    NULL
                ),
                if(country IS NULL, {'check': 'country__not_null', 'value': NULL}, NULL),
                if(
                    country NOT IN ('AT', 'BE', 'CH', 'DE', 'DK', 'ES', 'FR', 'IT', 'NL', 'PL'),
                    {'check': 'country__isin', 'value': country},
                    NULL
                ),
                if(category IS NULL, {'check': 'category__not_null', 'value': NULL}, NULL),
                if(
                    category NOT IN ('books', 'clothes', 'food', 'garden', 'music', 'sports', 'tools', 'toys'),
                    {'check': 'category__isin', 'value': category},
                    NULL
                ),
                if(quantity_ IS NULL AND quantity IS NOT NULL, {'check': 'quantity__cast', 'value': quantity}, NULL),
                if(quantity IS NULL, {'check': 'quantity__not_null', 'value': NULL}, NULL),
                if(quantity_ < 1, {'check': 'quantity__ge', 'value': quantity}, NULL),
                if(quantity_ > 100, {'check': 'quantity__le', 'value': quantity}, NULL),
                if(
                    unit_price_ IS NULL AND unit_price IS NOT NULL,
                    {'check': 'unit_price__cast', 'value': unit_price},
                    NULL
                ),
                if(unit_price IS NULL, {'check': 'unit_price__not_null', 'value': NULL}, NULL),
                if(unit_price_ <= 0, {'check': 'unit_price__gt', 'value': unit_price}, NULL),
                if(unit_price_ > 1000, {'check': 'unit_price__le', 'value': unit_price}, NULL),
                if(discount_ IS NULL AND discount IS NOT NULL, {'check': 'discount__cast', 'value': discount}, NULL),
                if(discount_ < 0, {'check': 'discount__ge', 'value': discount}, NULL),
                if(discount_ > 1, {'check': 'discount__le', 'value': discount}, NULL),
                if(weight_ IS NULL AND weight IS NOT NULL, {'check': 'weight__cast', 'value': weight}, NULL),
                if(weight IS NULL, {'check': 'weight__not_null', 'value': NULL}, NULL),
                if(weight_ < 0, {'check': 'weight__ge', 'value': weight}, NULL),
                if(weight_ > 50, {'check': 'weight__le', 'value': weight}, NULL),
                if(express_ IS NULL AND express IS NOT NULL, {'check': 'express__cast', 'value': express}, NULL),
                if(express IS NULL, {'check': 'express__not_null', 'value': NULL}, NULL),
                if(rating_ IS NULL AND rating IS NOT NULL, {'check': 'rating__cast', 'value': rating}, NULL),
                if(rating_ < 1, {'check': 'rating__ge', 'value': rating}, NULL),
                if(rating_ > 5, {'check': 'rating__le', 'value': rating}, NULL),
                if(length(note) > 40, {'check': 'note__str_length', 'value': note}, NULL)
            ],
            lambda reason: reason IS NOT NULL
        ) AS reasons
    FROM typed
    -- Reasons are only put together for rows that have one.
    WHERE
        order_id_ IS NULL OR order_id_ IN (FROM repeated)
        OR day_ IS NULL OR day_ < DATE '2024-01-01' OR day_ >= DATE '2025-01-01'
        OR customer IS NULL OR NOT regexp_matches(customer, '^C\d{6}$')
        OR country IS NULL OR country NOT IN ('AT', 'BE', 'CH', 'DE', 'DK', 'ES', 'FR', 'IT', 'NL', 'PL')
        OR category IS NULL
        OR category NOT IN ('books', 'clothes', 'food', 'garden', 'music', 'sports', 'tools', 'toys')
        OR quantity_ IS NULL OR quantity_ < 1 OR quantity_ > 100
        OR unit_price_ IS NULL OR unit_price_ <= 0 OR unit_price_ > 1000
        OR (discount_ IS NULL AND discount IS NOT NULL) OR discount_ < 0 OR discount_ > 1
        OR weight_ IS NULL OR weight_ < 0 OR weight_ > 50
        OR express_ IS NULL
        OR (rating_ IS NULL AND rating IS NOT NULL) OR rating_ < 1 OR rating_ > 5
        OR length(note) > 40
)

FROM told ORDER BY number
"""


def main(file: str) -> None:
    """Read the orders as text and check them."""
    duckdb.execute("SET python_enable_replacements = false")
    duckdb.execute(
        "CREATE TABLE orders AS SELECT row_number() OVER () AS number, * FROM read_csv(?, all_varchar => true)", [file]
    )
    (rows,) = duckdb.execute("SELECT count(*) FROM orders").fetchall()[0]
    began = time.perf_counter()
    failed = duckdb.execute(QUERY).pl()
    seconds = time.perf_counter() - began
    report = {
        "rows_passed": rows - failed.height,
        "rows_failed": failed.height,
        "reasons": int(failed["reasons"].list.len().sum()),
    }
    print(json.dumps({**report, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
