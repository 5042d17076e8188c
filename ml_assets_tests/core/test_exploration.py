"""What an exploration finds, on tables whose content is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ml_assets.core import columns, exploration
from ml_assets.core.exploration import Exploration, explore
from ml_assets.core.pictures import drawable, pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

LINEAGE = ("_partition", "_source", "_row")
# Half as many bytes again in base64; six of them are to stay under 400 kB.
SMALL = 45_000


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture
def look(connection: duckdb.DuckDBPyConnection) -> Any:
    def look(select: str, rows: int, target: str = "y", partition: str | None = None) -> Exploration:
        """Explore `rows` rows of a SELECT over the row's number `i`."""
        connection.execute(f"CREATE OR REPLACE TEMP TABLE t AS SELECT {select}, i AS _row FROM range({rows}) r(i)")
        columns = {name: kind for name, kind, *_ in connection.execute("DESCRIBE t").fetchall()}
        found = explore(
            lambda sql: connection.execute(sql).pl(), "t", columns, target=target, hidden=LINEAGE, partition=partition
        )
        json.dumps(asdict(found), allow_nan=False)  # whatever was found can be kept
        return found

    return look


def drawn(found: Exploration) -> set[str]:
    """The names of the pictures, each of which is one."""
    made = pictures(found)
    for name, content in made.items():
        assert content.startswith(b"\x89PNG"), name
        assert len(content) < SMALL, name
    return set(made)


def column(found: Exploration, name: str) -> Any:
    (one,) = [each for each in found.columns if each.name == name]
    return one


def strength(found: Exploration, name: str) -> tuple[str, float]:
    (one,) = [each for each in found.associations if each.column == name]
    return one.measure, one.value


# Columns


def test_a_number_has_its_limits_its_median_and_all_rows_in_bins(look: Any) -> None:
    found = look("CASE WHEN i < 10 THEN NULL ELSE i END AS x, i AS y", 1010)
    x = column(found, "x")

    assert (x.kind, x.missing, x.distinct, x.least, x.greatest) == ("number", 10, 1000, "10", "1009")
    assert float(x.median) == pytest.approx(509, abs=1)
    assert len(x.shares) == columns.BINS
    assert sum(share.rows for share in x.shares) == 1000


def test_a_number_of_few_values_has_a_bin_for_each(look: Any) -> None:
    x = column(look("i % 3 AS x, i AS y", 30), "x")

    assert [(share.label, share.rows) for share in x.shares] == [("0", 10), ("1", 10), ("2", 10)]


def test_neither_nan_nor_infinity_is_a_value(look: Any) -> None:
    x = column(look("CASE i WHEN 0 THEN 'nan' WHEN 1 THEN 'inf' ELSE '1' END::DOUBLE AS x, i AS y", 5), "x")

    assert (x.missing, x.least, x.greatest) == (2, "1", "1")


def test_a_category_has_its_most_frequent_values(look: Any) -> None:
    town = column(look("CASE WHEN i % 4 = 0 THEN 'EAST' ELSE 'WEST' END AS town, i AS y", 40), "town")

    assert (town.kind, town.distinct) == ("category", 2)
    assert [(share.label, share.rows) for share in town.shares] == [("WEST", 30), ("EAST", 10)]


def test_free_text_has_lengths_and_no_values(look: Any) -> None:
    text = column(look("repeat('x', (i % 7)::INT) || i AS text, i AS y", 500), "text")

    assert (text.kind, text.shares) == ("text", ())
    assert (text.least, text.greatest) == ("1", "9")


TYPES = [
        ("DATE '2024-01-01' + i::INT", "time"), ("TIMESTAMP '2024-01-01' + to_days(i::INT)", "time"),
        ("TIMESTAMPTZ '2024-01-01' + to_days(i::INT)", "time"), ("i % 2 = 0", "boolean"),
        ("i::DECIMAL(9, 2)", "number"), ("i::HUGEINT", "number"), ("['a', 'b']", "other"), ("{'a': i}", "other"),
        ("'a'::BLOB", "other"),
        ("('a')::ENUM('a', 'b')", "category"), ("NULL::INTEGER", "number"), ("NULL::VARCHAR", "category"),
        ("NULL::DATE", "time"), ("TIME '10:00:00'", "other"), ("INTERVAL 1 DAY", "other"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "kind"), TYPES)
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_a_column_of_any_type_is_looked_at(look: Any, expression: str, kind: str, rows: int) -> None:
    found = look(f"{expression} AS x, i AS y", rows)

    assert column(found, "x").kind == kind


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_columns_of_all_types_are_drawn_together(look: Any, rows: int) -> None:
    found = look(", ".join(f"{expression} AS x{n}" for n, (expression, _) in enumerate(TYPES)) + ", i AS y", rows)

    assert "target" in drawn(found)


def test_a_date_that_python_does_not_know_is_none(look: Any) -> None:
    x = column(
        look("CASE i WHEN 0 THEN 'infinity' WHEN 1 THEN '20000-01-01' ELSE '2024-01-31' END::DATE x, i y", 5), "x"
    )

    assert (x.missing, x.least, x.greatest) == (2, "2024-01-31", "2024-01-31")


@pytest.mark.parametrize(
    "name", ['a "quoted" one', "price in $ and $", "\N{CJK UNIFIED IDEOGRAPH-4EF7}", "a\nb", "{x}%s\\"]
)
def test_a_column_of_any_name_is_looked_at_and_drawn(look: Any, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    found = look(f"i % 5 AS {quoted}, '$x' || (i % 3) || '$' AS town, i AS y", 50)

    assert strength(found, name)[1] >= 0
    assert drawn(found) == {"target", "columns", "correlation", "associations", "relations"}


def test_what_is_drawn_of_a_name_fits_on_a_line_and_in_the_font() -> None:
    assert drawable("a\n  b") == "a b"
    assert drawable("\N{CJK UNIFIED IDEOGRAPH-4EF7}x") == "?x"
    assert len(drawable("x" * 100)) == 22


# Target and associations


def test_a_feature_that_is_the_target_in_disguise_is_suspicious(look: Any) -> None:
    found = look("(i * 7919) % 1000 AS y, exp(((i * 7919) % 1000) / 100) AS leak, i % 7 AS x", 1000)

    assert strength(found, "leak") == ("Spearman's \N{GREEK SMALL LETTER RHO}", 1.0)
    assert any(said.startswith("leak alone tells y almost exactly") for said in found.suspicions)
    assert not any(said.startswith("x ") for said in found.suspicions)


def test_what_is_constant_empty_unique_or_doubled_is_suspicious(look: Any) -> None:
    found = look(
        "(i * 7919) % 100 AS y, 'a' AS same, NULL::INT AS nothing, 'N' || i AS contract, (i * 31) % 97 AS one, "
        "2 * ((i * 31) % 97) + 1 AS two, CASE WHEN i % 3 = 0 THEN i % 5 END AS rare",
        600,
    )

    said = " ".join(found.suspicions)
    assert "same is the same in all rows" in said
    assert "nothing has no value in any row" in said
    assert "contract is different in almost every row" in said
    assert "one and two say nearly the same (Pearson's r 1.000)" in said
    assert "rare is missing in 67% of the rows" in said
    assert len(found.suspicions) == 5


def test_a_few_rows_are_not_called_suspicious(look: Any) -> None:
    assert look("i AS y, 2 * i AS x, 'N' || i AS contract", 5).suspicions == ()


@pytest.mark.parametrize("target", ["CASE WHEN i % 3 = 0 THEN 'spam' ELSE 'ham' END", "i % 3 = 0", "(i % 3 = 0)::INT"])
def test_a_target_of_classes_is_told_by_shares(look: Any, target: str) -> None:
    found = look(
        f"{target} AS y, i % 3 AS x, (i % 3)::VARCHAR AS town, i // 100 AS _partition", 300, partition="_partition"
    )

    assert len(found.classes) == 2
    assert [group.rows for group in found.over_time] == [100, 100, 100]
    assert "time" in drawn(found)
    assert sum(found.over_time[0].shares) == pytest.approx(1)
    assert sorted(found.over_time[0].shares) == pytest.approx([0.34, 0.66])
    assert strength(found, "town") == ("Cramér's V", pytest.approx(1, abs=0.01))
    assert strength(found, "x")[0] == "correlation ratio ε"
    (relation,) = [each for each in found.relations if each.column == "x"]
    assert [sorted(group.shares) for group in relation.groups] == [[0, 1]] * 3


def test_a_numeric_target_is_told_by_quartiles(look: Any) -> None:
    found = look("i % 100 + 1000 * (i // 100) AS y, i // 100 AS _partition, i // 100 AS x", 300, partition="_partition")

    assert [group.middle for group in found.over_time] == [49.5, 1049.5, 2049.5]
    (relation,) = found.relations
    assert [(group.label, group.rows, group.middle) for group in relation.groups] == [
        ("0", 100, 49.5), ("1", 100, 1049.5), ("2", 100, 2049.5),
    ]  # fmt: skip


def test_many_values_are_shown_in_ranges_of_about_as_many_rows(look: Any) -> None:
    (relation,) = look("i AS y, i * i AS x", 1200).relations

    assert [group.rows for group in relation.groups] == [100] * 12
    assert relation.groups[0].label == "0 \N{EN DASH} 9983.42"


def test_no_number_beside_the_target_means_no_heatmap(look: Any) -> None:
    found = look("(i % 2)::VARCHAR AS town, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END AS y", 40)

    assert (found.numbers, found.correlation) == ((), ())
    assert drawn(found) == {"target", "columns", "associations", "relations"}


def test_two_hundred_columns_are_all_told_and_some_are_drawn(look: Any) -> None:
    found = look(", ".join(f"hash(i * {n + 1}) % 1000 AS c{n}" for n in range(200)) + ", i AS y", 300)

    assert len(found.columns) == 201
    assert len(found.associations) == 200
    assert len(found.numbers) == exploration.CORRELATED
    assert found.numbers[0] == "y"
    assert len(found.relations) == exploration.RELATED
    assert "columns" in drawn(found)


def test_a_hundred_thousand_noisy_rows_make_small_pictures(look: Any) -> None:
    found = look(
        ", ".join(
            f"hash(i * {n}) % 100000 / 7 AS number_{n}, 'a rather long value ' || hash(i * {n}) % 40 AS text_{n}"
            for n in range(2, 16)
        )
        + ", hash(i * 99) % 1000 AS y, i // 500 AS _partition",
        100_000,
        partition="_partition",
    )

    assert len(drawn(found)) == 6


def test_a_target_that_is_not_there_is_named(look: Any) -> None:
    with pytest.raises(ValueError, match="there is no column 'price'"):
        look("i AS y", 3, target="price")


def test_a_sample_is_the_same_whatever_the_order_of_the_rows(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploration, "SAMPLE", 100)
    found = []
    for order in ("_row", "_row DESC"):
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE s AS "
            f"SELECT i AS _row, i % 17 AS y, i % 5 AS x FROM range(5000) r(i) ORDER BY {order}"
        )
        columns = {"_row": "BIGINT", "y": "BIGINT", "x": "BIGINT"}
        found.append(explore(lambda sql: connection.execute(sql).pl(), "s", columns, target="y", hidden=("_row",)))

    assert found[0].sampled == 100
    assert [(each.column, each.value) for each in found[0].associations] == [
        (each.column, each.value) for each in found[1].associations
    ]


def test_approximate_counts_say_so(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "EXACT", 500)
    found = look("i % 700 AS x, i AS y, i // 300 AS _partition", 1000, partition="_partition")

    assert found.approximate
    assert column(found, "x").distinct == pytest.approx(700, rel=0.2)
