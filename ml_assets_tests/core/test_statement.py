"""What the form of a statement tells."""

from __future__ import annotations

import pytest

from ml_assets.core.statement import is_row_wise

ROW_WISE, NOT = True, False


@pytest.mark.parametrize(
    ("expected", "sql"),
    [
        (ROW_WISE, "SELECT * FROM raw"),
        (ROW_WISE, "FROM raw"),
        (ROW_WISE, "SELECT * EXCLUDE (a), a + 1 AS a FROM raw WHERE b > 1"),
        (ROW_WISE, "SELECT _partition, _source, _row, upper(a) AS a FROM raw AS r"),
        (
            False,
            "SELECT any_value(_partition) AS _partition, any_value(_source) AS _source, max(_row) AS _row FROM raw",
        ),
        (NOT, "SELECT *, avg(a) OVER () AS mean FROM raw"),
        (NOT, "SELECT *, lag(a) OVER w AS before FROM raw WINDOW w AS (ORDER BY b)"),
        (NOT, "FROM raw QUALIFY row_number() OVER () = 1"),
        (NOT, "SELECT *, (SELECT max(a) FROM raw) AS largest FROM raw"),
        (NOT, "SELECT * FROM raw WHERE a IN (SELECT a FROM raw)"),
        (NOT, "SELECT * FROM raw WHERE EXISTS (FROM raw)"),
        (NOT, "SELECT r.* FROM raw AS r JOIN raw AS s USING (_row)"),
        (NOT, "SELECT r.* FROM raw AS r, raw AS s"),
        (NOT, "SELECT DISTINCT * FROM raw"),
        (NOT, "SELECT * FROM raw ORDER BY a"),
        (NOT, "SELECT * FROM raw LIMIT 3"),
        (NOT, "SELECT * FROM raw TABLESAMPLE 10%"),
        (NOT, "SELECT * FROM raw USING SAMPLE 3"),
        (NOT, "SELECT _partition, _source, _row, a FROM raw GROUP BY ALL"),
        (NOT, "WITH a AS (FROM raw) FROM a"),
        (NOT, "SELECT * FROM raw UNION ALL SELECT * FROM raw"),
    ],
)
def test_a_statement_is_row_wise_only_where_no_row_can_see_another(*, expected: bool, sql: str) -> None:
    assert is_row_wise(sql, kept=("_partition", "_source", "_row")) is expected
