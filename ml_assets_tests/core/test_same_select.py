"""Whether rows that an older statement made are what a newer one would make."""

from __future__ import annotations

import pytest

from ml_assets.core.statement import gives_all_of, same_select


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT a, 'x' AS b FROM raw", "select a,\n 'x' as b -- why\nfrom raw", True),
        ("SELECT 'x' AS b FROM raw", "SELECT 'X' AS b FROM raw", False),
        ("SELECT a FROM raw", "SELECT A FROM raw", False),
        ("SELECT a FROM raw WHERE a > 1", "SELECT a FROM raw WHERE a > 2", False),
        ("SELECT a FROM", "SELECT a FROM raw", False),
    ],
)
def test_statements_are_the_same_but_for_how_they_are_written(one: str, other: str, *, same: bool) -> None:
    assert same_select(one, other) is same


@pytest.mark.parametrize(
    ("older", "newer", "all_there"),
    [
        ("SELECT a, b, c FROM raw", "SELECT a, c FROM raw", True),
        ("SELECT a, b FROM raw", "SELECT a, b, c FROM raw", False),
        ("SELECT a, b FROM raw", "SELECT a, b + 1 AS b FROM raw", False),
        ("SELECT a, b FROM raw", "SELECT a FROM raw WHERE a > 1", False),
        ("SELECT DISTINCT a, b FROM raw", "SELECT DISTINCT a FROM raw", False),
        ("SELECT a, count(*) AS n FROM raw GROUP BY ALL", "SELECT count(*) AS n FROM raw GROUP BY ALL", False),
        ("SELECT a + 1 AS x, x * 2 AS y FROM raw", "SELECT x * 2 AS y FROM raw", False),
    ],
)
def test_a_struck_column_leaves_all_that_is_asked_for(older: str, newer: str, *, all_there: bool) -> None:
    assert gives_all_of(older, newer) is all_there
