"""Names, dialects, grains and tasks: pure guesses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.scaffold.dialects import guess_dialect
from ml_assets.scaffold.formats import Format
from ml_assets.scaffold.guesses import Column, Facts
from ml_assets.scaffold.guessing import choose_task
from ml_assets.scaffold.names import identifiers
from ml_assets.scaffold.times import Spread, choose_grain


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("Sale Price", "sale_price"), ("flatType", "flat_type"), ("Rate (%)", "rate_percent"), ("Größe", "groesse"),
        ("order", "order_"), ("left", "left_"), ("class", "class_"), ("PT08.S1(CO)", "pt08_s1_co"), ("2019", "n_2019"),
        ("", "column_1"), ("日本", "column_1"), ("_id", "id"), ("str", "str_"),
    ],
)  # fmt: skip
def test_names_become_what_sql_and_python_take(name: str, identifier: str) -> None:
    assert identifiers([name]) == [identifier]


@given(st.lists(st.text(), max_size=12))
def test_no_two_names_are_alike(names: list[str]) -> None:
    found = identifiers(names)
    assert len(set(found)) == len(names)
    assert all(name.isidentifier() and name == name.lower() for name in found)


def test_a_plain_file_declares_no_dialect() -> None:
    assert guess_dialect("a,b\n1,x\n2,y\n").settings == {}


def test_semicolons_win_over_decimal_commas() -> None:
    assert guess_dialect("a;b;c\n1,5;2,5;x\n2,5;3,5;y\n").settings == {"delimiter": ";"}


def test_titles_above_the_header_are_skipped() -> None:
    found = guess_dialect("Report of May\n\na,b\n1,2\n3,4\n")
    assert (found.settings, found.header) == ({"skip": 2}, ["a", "b"])


def test_a_file_without_header_is_asked_about() -> None:
    found = guess_dialect("ham\tOk lar\nspam\tFree\nham\tGo\n", default="\t")
    assert found.settings == {"header": False, "columns": ["column_1", "column_2"]}
    assert "What are its columns called?" in found.questions[0]
    named = guess_dialect("ham\tOk lar\nspam\tFree\nham\tGo\n", default="\t", columns=["label", "text"])
    assert (named.header, named.questions) == (["label", "text"], [])


def test_names_that_repeat_or_are_empty_are_given() -> None:
    found = guess_dialect("Town,town,,x\na,b,,1\na,c,,2\n")
    assert found.settings == {"skip": 1, "header": False, "columns": ["Town", "town_2", "column_3", "x"]}


def test_quotes_within_fields_mean_nothing() -> None:
    assert guess_dialect('a\tb\n1\t"so" he said\n2\ty\n', default="\t").settings == {"quote": None}


def test_the_finest_grain_with_some_hundreds_of_rows_is_chosen() -> None:
    spreads = {"hour": Spread(2000, 2400, 1), "day": Spread(100, 100, 24), "week": Spread(15, 15, 168),
               "month": Spread(4, 4, 700)}  # fmt: skip
    assert choose_grain(spreads)[0] == "month"  # type: ignore[arg-type]
    spreads["week"] = Spread(15, 15, 300)
    assert choose_grain(spreads)[0] == "week"  # type: ignore[arg-type]


def test_few_rows_take_the_coarsest_grain_that_can_be_split() -> None:
    spreads = {"day": Spread(20, 25, 3), "week": Spread(4, 4, 15), "month": Spread(1, 1, 60)}
    assert choose_grain(spreads)[0] == "week"  # type: ignore[arg-type]
    assert choose_grain({"day": Spread(2, 2, 30), "month": Spread(1, 1, 60)})[0] == "none"


def column(kind: str, distinct: int, least: object = 0, most: object = 0) -> Column:
    return Column("y", "y", Format(kind), "y", facts=Facts(1000, 1000, distinct, least=least, most=most))  # type: ignore[arg-type]


def test_the_task_follows_from_the_target() -> None:
    assert choose_task(column("float", 900))[0] == "regression"
    assert choose_task(column("str", 2))[0] == "binary"
    assert choose_task(column("bool", 2))[0] == "binary"
    assert choose_task(column("str", 7))[0] == "multiclass"
    assert choose_task(column("int", 300, 0, 999))[0] == "regression"
    task, _, question = choose_task(column("int", 6, 3, 8))
    assert task == "multiclass"
    assert "a class, or a quantity" in question


@pytest.mark.parametrize(("kind", "distinct"), [("str", 900), ("date", 40), ("float", 1)])
def test_what_cannot_be_predicted_is_refused(kind: str, distinct: int) -> None:
    with pytest.raises(ValueError, match="--target y: "):
        choose_task(column(kind, distinct))
