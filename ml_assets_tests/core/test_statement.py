"""What the form of a statement tells."""

from __future__ import annotations

import pytest

from ml_assets.core.statement import is_row_wise, passed_on

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
        (ROW_WISE, "WITH a AS (FROM raw) FROM a"),
        (ROW_WISE, "WITH a AS (SELECT *, 2 * a AS b FROM raw), c AS (FROM a WHERE b > 1) SELECT * FROM c"),
        (NOT, "WITH a AS (SELECT *, count(*) OVER () AS n FROM raw) FROM a"),
        (NOT, "WITH a AS (SELECT a, count(*) AS n FROM raw GROUP BY a) SELECT r.* FROM raw AS r JOIN a USING (a)"),
        (NOT, "WITH RECURSIVE a AS (FROM raw) FROM a"),
        (ROW_WISE, "SELECT raw.*, o.b FROM raw JOIN other AS o USING (a)"),
        (ROW_WISE, "SELECT r.* FROM raw AS r ASOF LEFT JOIN other AS o ON r.a = o.a AND r.t >= o.t"),
        (ROW_WISE, "SELECT r.* FROM raw AS r LEFT JOIN (SELECT a, max(b) AS b FROM other GROUP BY a) AS o USING (a)"),
        (ROW_WISE, "WITH o AS (SELECT a, avg(b) OVER () AS b FROM other) SELECT r.* FROM raw AS r JOIN o USING (a)"),
        (ROW_WISE, "SELECT r.* FROM raw AS r, other AS o WHERE r.a = o.a"),
        (ROW_WISE, "SELECT r.* FROM raw AS r SEMI JOIN other AS o USING (a)"),
        (NOT, "SELECT r.* FROM raw AS r RIGHT JOIN other AS o USING (a)"),
        (NOT, "SELECT r.* FROM raw AS r FULL JOIN other AS o USING (a)"),
        (NOT, "SELECT r.* FROM raw AS r POSITIONAL JOIN other AS o"),
        (NOT, "SELECT o.* FROM other AS o JOIN raw USING (a)"),
        (NOT, "SELECT r.* FROM raw AS r LEFT JOIN (SELECT max(a) AS a FROM raw) AS m USING (a)"),
        (NOT, "SELECT * FROM other"),
        (NOT, "SELECT 1 AS one"),
        (NOT, "SELECT * FROM raw UNION ALL SELECT * FROM raw"),
    ],
)
def test_a_statement_is_row_wise_only_where_no_row_can_see_another(*, expected: bool, sql: str) -> None:
    assert is_row_wise(sql, table="raw", kept=("_partition", "_source", "_row")) is expected


@pytest.mark.parametrize(
    ("expected", "sql"),
    [
        (["a", "b", None], "SELECT a, raw.b AS c, trim(b) AS d FROM raw"),
        (["a", "a"], "SELECT r.a, a AS again FROM raw AS r"),
        (['"odd" name'], 'SELECT """odd"" name" FROM raw'),
        ([None, None], "SELECT A, missing FROM raw"),
        ([None, "a"], "SELECT s.a, a FROM raw"),
        (["b", "b"], "SELECT b AS a, b FROM raw AS a"),
        ([], "SELECT * FROM raw"),
        ([], "SELECT raw.* FROM raw"),
        ([], "SELECT a, * EXCLUDE (a) FROM raw"),
        ([], "SELECT COLUMNS('a|b') FROM raw"),
        ([], "FROM raw"),
        ([], "SELECT a FROM raw WHERE a > 1"),
        ([], "SELECT DISTINCT a FROM raw"),
        ([], "SELECT a FROM raw ORDER BY a"),
        ([], "SELECT a FROM raw LIMIT 1"),
        ([], "SELECT raw.a FROM raw, other"),
        ([], "SELECT raw.a FROM raw JOIN other USING (a)"),
        ([], "WITH raw AS (SELECT 1 AS a) SELECT a FROM raw"),
        ([], "SELECT a FROM (SELECT b AS a FROM raw) AS raw"),
        ([], "SELECT a FROM raw AS raw (b, a)"),
        ([], "SELECT a FROM raw UNION ALL SELECT a FROM raw"),
        ([], "SELECT a FROM other"),
    ],
)
def test_a_column_is_passed_on_only_where_it_is_the_inputs_own(expected: list[str | None], sql: str) -> None:
    assert passed_on(sql, table="raw", columns=["a", "b", '"odd" name']) == expected
