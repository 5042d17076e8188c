"""How columns of text are read: pure guesses."""

from __future__ import annotations

from collections import Counter
from datetime import date

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.scaffold.formats import Format, decimal_sign, guess_format, may_be_thousands


def guess(*values: str, name: str = "x") -> Format:
    return guess_format(name, Counter(values))


def cleaned(form: Format, value: str) -> str | None:
    """What the guessed SQL makes of a value."""
    sql = form.sql.replace("{0}", "{}").replace("{}", "x")
    (found,) = duckdb.execute(f"SELECT CAST({sql} AS VARCHAR) FROM (SELECT ? AS x)", [value]).fetchone() or (None,)
    return found


@pytest.mark.parametrize(
    ("values", "kind", "value", "read"),
    [
        (("1,234", "12,000,000", "5"), "int", "12,000,000", "12000000"),
        (("$1,618.50", "$(4,533.75)", "$-"), "float", "$(4,533.75)", "-4533.75"),
        (("$1,618.50", "$(4,533.75)", "$-"), "float", "$-", "0"),
        (("1.234,5", "3,75"), "float", "1.234,5", "1234.5"),
        (("2,6", "0,65"), "float", "2,6", "2.6"),
        (("1 234,50", "22,10"), "float", "1 234,50", "1234.50"),
        (("12 km", "3.5 km"), "float", "3.5 km", "3.5 "),
        (("45%", "7.5%"), "float", "7.5%", "7.5"),
        (("17", *["25"] * 20, "1,258"), "int", "1,258", "1258"),
        (("$9.50", *["$1,618.50"] * 20, "€7.00"), "float", "$1,618.50", "1618.50"),
        (("ja", "nein"), "bool", "JA", "true"),
        (("13/02/2020", "01/02/2020"), "date", "01/02/2020", "2020-02-01"),
        (("02/13/2020", "01/02/2020"), "date", "01/02/2020", "2020-01-02"),
        (("01.02.2020", "03.02.2020"), "date", "01.02.2020", "2020-02-01"),
        (("2/25/14 18:30", "12/3/14 4:05"), "datetime", "12/3/14 4:05", "2014-12-03T04:05:00"),
        (("25/02/2014 6:30 PM", "03/12/2014 4:05 AM"), "datetime", "25/02/2014 6:30 PM", "2014-02-25T18:30:00"),
        (("20140101", "20140203"), "date", "20140203", "2014-02-03"),
        (("1-Jan-14", "12-Feb-15"), "date", "12-Feb-15", "2015-02-12"),
        (("Jan 5, 2014", "March 3, 2015"), "date", "March 3, 2015", "2015-03-03"),
        (("2023-05", "2023-06"), "date", "2023-06", "2023-06-01"),
        (("2023/5/1", "2023/06/12"), "date", "2023/5/1", "2023-05-01"),
    ],
)
def test_a_format_is_told_and_its_sql_reads_it(values: tuple[str, ...], kind: str, value: str, read: str) -> None:
    form = guess(*values)
    assert form.type == kind
    assert form.reason
    assert cleaned(form, value) == read


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "-2", "+3"), "int"),
        (("1.5", "2", "1e3"), "float"),
        (("yes", "No", "NO"), "bool"),
        (("2024-01-05", "2024-02-05"), "date"),
        (("2024-01-05T10:00:00Z", "2024-01-05 11:00"), "datetime"),
        (("01234", "98765"), "str"),
        (("yes", "yes"), "str"),
        (("12 km", "3 miles"), "str"),
        (("10.1", "1,5", "x"), "str"),
        (("", "word"), "str"),
        (("SO-10000", "SO-10001"), "str"),
        (("R00001", "R00002"), "str"),
        (("00012 A", "00013 A"), "str"),
        (("#12", "#13"), "str"),
    ],
)
def test_what_reads_by_itself_and_what_is_text_is_left_as_it_is(values: tuple[str, ...], kind: str) -> None:
    form = guess(*values)
    assert (form.type, form.sql) == (kind, "{}")


def test_seconds_since_1970_are_told_by_the_name_too() -> None:
    assert guess("1589846400", "1589846500", name="x").type == "int"
    form = guess("1589846400", "1589846500", name="created_at")
    assert cleaned(form, "1589846400") == "2020-05-19T00:00:00"


def test_dates_that_may_be_either_are_asked_about() -> None:
    form = guess("01/02/2020", "03/04/2020")
    assert "Is 01/02/2020 written with the month first?" in form.question
    assert form.other


@pytest.mark.parametrize("value", ["abc", "31/31/2020", "12 miles"])
@pytest.mark.parametrize("values", [("13/02/2020", "01/02/2020"), ("12 km", "3 km"), ("ja", "nein")])
def test_what_does_not_read_stays_as_it_is_for_the_quarantine(values: tuple[str, ...], value: str) -> None:
    assert cleaned(guess(*values), value) == value


@pytest.mark.parametrize(
    ("values", "nulls", "asked"),
    [
        ([*map(str, range(100)), *["-999"] * 5], ("-999",), False),
        ([*(f"{number / 10}" for number in range(1, 90)), *["-200"] * 40], ("-200",), False),
        ([*map(str, range(243, 310)), *["0"] * 10], ("0",), True),
        ([*map(str, range(100)), "NA", "?"], ("?", "NA"), False),
        ([*map(str, range(100)), "5000"], (), False),
        ([*map(str, range(-50, 50)), *["-50"] * 9], (), False),
        (["0"] * 50 + ["1"] * 50 + ["9999"] * 4, ("9999",), True),
        (["1"] * 50 + ["2"] * 50 + ["3"] * 9, (), False),
        (["10"] * 50 + ["50"] * 50 + ["99"] * 9, (), False),
        ([*(f"{number},5" for number in range(100)), "k.A."], ("k.A.",), False),
    ],
)
def test_numbers_that_mean_a_missing_value(values: list[str], nulls: tuple[str, ...], asked: bool) -> None:  # noqa: FBT001
    form = guess(*values)
    assert form.nulls == nulls
    assert bool(form.question) == asked
    assert bool(form.why_nulls) == bool(nulls)


def test_na_among_codes_of_two_letters_is_a_code() -> None:
    assert guess("NA", "EU", "AS").nulls == ()
    assert guess("NA", "Private", "State").nulls == ("NA",)


@settings(deadline=None)
@given(st.lists(st.dates(date(1970, 1, 1), date(2068, 12, 31)), min_size=2, max_size=9, unique=True))
def test_every_date_of_a_known_pattern_reads_as_itself(days: list[date]) -> None:
    days = [*days, date(2020, 12, 25)]  # which leaves no doubt
    for pattern in ("%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%d-%b-%Y", "%d.%m.%y"):
        form = guess(*(day.strftime(pattern) for day in days))
        for day in days:
            assert cleaned(form, day.strftime(pattern)) == day.isoformat()


@settings(deadline=None)
@given(st.lists(st.integers(1000, 10**9), min_size=2, max_size=9, unique=True))
def test_thousands_read_as_themselves(numbers: list[int]) -> None:
    form = guess(*(f"{number:,}" for number in [*numbers, 1_234_567]))
    assert [cleaned(form, f"{number:,}") for number in numbers] == [str(number) for number in numbers]


def test_the_decimal_sign_of_other_columns_tells_what_a_point_means() -> None:
    kilometres = Counter(["46.774", "120.005", "812"])
    litres = Counter(["1,4", "2,0"])
    alone = guess_format("km", kilometres)
    assert (alone.type, alone.sql) == ("float", "{}")
    sign = decimal_sign([(alone, kilometres), (guess_format("litres", litres), litres)])
    assert sign == ","
    assert may_be_thousands(alone, kilometres)
    form = guess_format("km", kilometres, sign)
    assert (form.type, form.question) == ("int", "")
    assert [cleaned(form, text) for text in kilometres] == ["46774", "120005", "812"]


def test_a_comma_before_three_digits_is_a_decimal_one_where_the_others_are() -> None:
    assert cleaned(guess("2,125", "3,250"), "2,125") == "2125"
    form = guess_format("x", Counter(["2,125", "3,250"]), ",")
    assert (cleaned(form, "2,125"), form.question) == ("2.125", "")


def test_columns_that_contradict_each_other_tell_no_decimal_sign() -> None:
    columns = [Counter(["1,4", "2,0"]), Counter(["1.4", "2.0"]), Counter(["a"]), Counter(["1.400"])]
    forms = [(guess_format("x", values), values) for values in columns]
    assert decimal_sign(forms) == ""
    assert decimal_sign(forms[1:]) == "."
    assert decimal_sign(forms[2:]) == ""


def test_three_digits_after_every_point_are_asked_about() -> None:
    fixed = guess(*(f"{number}.{number + 100}" for number in range(1, 40)))
    assert fixed.type == "float"
    assert "Is 1.101 more than a thousand? Three digits follow each point" in fixed.question
    mixed = guess(*(f"{number}.{number + 100}" for number in range(1, 40)), "812")
    assert cleaned(mixed, "46.774") == "46774"
    assert "more than a thousand?" in mixed.question
    assert guess(*(f"{number / 1000:.3f}" for number in range(500, 1500))).question == ""


def test_another_currency_and_a_unit_that_only_some_have_are_for_the_quarantine() -> None:
    prices = guess(*["$1,618.50"] * 30, *["$2.00"] * 30, "€7.00")
    assert (cleaned(prices, "$1,618.50"), cleaned(prices, "€7.00")) == ("1618.50", "€7.00")
    assert guess(*map(str, range(60)), "3 kids").sql == "{}"


def test_what_stands_in_the_file_is_quoted_as_it_stands() -> None:
    assert guess("1", "2", "-999", "N/A", "unknown", *["-999"] * 9, *map(str, range(90))).why_nulls == (
        "'N/A', 'unknown' mean a missing value; '-999' means a missing value: it is repeated, and far from all others"
    )
    assert guess("ja", "nein").reason == "'ja', 'nein' are words for yes and no."
