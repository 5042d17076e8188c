from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.repetition import fingerprints, is_repeated
from ml_assets.core.validation import (
    FileFailure,
    Verdict,
    cast_column,
    is_row_by_row,
    judge,
    outline,
    reasons_in_words,
    unique_keys,
)

JANUARY, FEBRUARY, MARCH = datetime(2024, 1, 1), datetime(2024, 2, 1), datetime(2024, 3, 1)  # noqa: DTZ001 - naive UTC
ENDS = {JANUARY: FEBRUARY, FEBRUARY: MARCH, MARCH: datetime(2024, 4, 1)}  # noqa: DTZ001
LINEAGE = ["_partition", "_row"]


class Sale(pa.DataFrameModel):
    """A row with a check of every sort."""

    day: date
    contract: str = pa.Field(unique=True)
    area: float = pa.Field(gt=0, le=400)
    rooms: int = pa.Field(nullable=True, ge=1)

    class Config:
        unique = ["day", "area"]  # noqa: RUF012 - as pandera has it

    @pa.dataframe_check
    def roomy(cls, data: Any) -> pl.LazyFrame:  # noqa: N805 - pandera's way
        return data.lazyframe.select(pl.col("area") >= 10 * pl.col("rooms"))


SALE_CHECKS = [
    *("day__cast", "day__not_null", "contract__cast", "contract__not_null", "contract__unique"),
    *("area__cast", "area__not_null", "area__greater_than", "area__less_than_or_equal_to"),
    *("rooms__cast", "rooms__greater_than_or_equal_to"),
    *("rows__roomy", "rows__unique", "rows__well_formed", "rows__in_partition"),
]


def sale(**changed: Any) -> dict[str, Any]:
    sale.count += 1
    good = {"day": "2024-01-05", "contract": f"C{sale.count}", "area": str(100 + sale.count / 1000), "rooms": "3"}
    return good | {"_partition": JANUARY, "_malformed": None, "_row": sale.count} | changed


sale.count = 0


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = dict.fromkeys(("day", "contract", "area", "rooms", "_malformed"), pl.String)
    made = pl.DataFrame(rows, schema={**types, "_partition": pl.Datetime("us"), "_row": pl.Int64})
    return made.with_columns(
        pl.col("_partition").replace_strict(ENDS, return_dtype=pl.Datetime("us")).alias("_partition_end")
    )


def judged(*rows: dict[str, Any]) -> Verdict:
    return judge(frame(list(rows)), Sale, time="day", carried=LINEAGE)


def reasons(verdict: Verdict) -> dict[int, list[tuple[str, str | None, str | None]]]:
    return {
        index: [(reason["check"], reason["column"], reason["value"]) for reason in many]
        for index, many in verdict.failed.iter_rows()
    }


def checks_of(verdict: Verdict, index: int) -> list[str]:
    return [check for check, _, _ in reasons(verdict)[index]]


def of_columns(time: list[Any] | None = None, **columns: Any) -> pl.DataFrame:
    """Rows of January for a schema with a date `t` and other columns."""
    height = len(time) if time is not None else len(next(iter(columns.values())))
    days = pl.Series(time if time is not None else [date(2024, 1, 5)] * height)
    return pl.DataFrame({"t": days, **columns}).with_columns(
        pl.lit(JANUARY).alias("_partition"),
        pl.lit(FEBRUARY).alias("_partition_end"),
        pl.lit(None, dtype=pl.String).alias("_malformed"),
        pl.int_range(height).alias("_row"),
    )


def judge_columns(model: type[pa.DataFrameModel], rows: pl.DataFrame) -> Verdict:
    return judge(rows, model, time="t", carried=["_row"])


# What a value must be to be read


def read(values: list[Any], dtype: Any, source: Any = pl.String) -> list[Any]:
    return cast_column(pl.Series("x", values, dtype=source), dtype).to_list()


@pytest.mark.parametrize(
    "text", ["12.7", "12.0", "1e3", "0x10", "1_000", "1,000", "\uff19", "", "x", str(2**63), "nan"]
)
def test_a_text_that_is_no_integer_is_not_made_one(text: str) -> None:
    assert read([text, " 7 ", "-0", "+5"], pl.Int64) == [None, 7, 0, 5]


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "Infinity", "1e400", "1_0", "", "0x1p3"])
def test_neither_nan_nor_infinity_is_a_number(text: str) -> None:
    assert read([text, " 5.5 ", "1e5", ".5"], pl.Float64) == [None, 5.5, 100000.0, 0.5]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_not_finite_is_missing_in_every_type_of_number(value: float) -> None:
    assert read([value, 1.0], pl.Float64, pl.Float64) == [None, 1.0]
    assert read([value, 1.0], pl.Float32, pl.Float64) == [None, 1.0]
    assert read([value, 1.0], pl.Int64, pl.Float64) == [None, 1]
    assert read([value, 1.0], pl.Decimal(10, 2), pl.Float64) == [None, Decimal("1.00")]


@pytest.mark.parametrize(
    ("source", "value", "dtype"),
    [
        (pl.Float64, 12.7, pl.Int64),
        (pl.Float64, 2.0**63, pl.Int64),
        (pl.Float64, 300.0, pl.UInt8),
        (pl.Float64, 1.239, pl.Decimal(10, 2)),
        (pl.Float64, 1e300, pl.Float32),
        (pl.Decimal(10, 2), Decimal("12.70"), pl.Int64),
        (pl.Int64, 300, pl.Int8),
        (pl.Int64, -1, pl.UInt8),
        (pl.Int64, 2**53 + 1, pl.Float64),
        (pl.Int64, 2, pl.Boolean),
        (pl.Float64, 0.5, pl.Boolean),
        (pl.Int64, 5, pl.Date),
        (pl.Int64, 5, pl.Datetime("us")),
        (pl.Boolean, True, pl.Date),
        (pl.Date, date(2024, 1, 1), pl.Int64),
        (pl.Datetime("us"), datetime(2024, 1, 1, 12), pl.Date),  # noqa: DTZ001
        (pl.Datetime("us"), datetime(2024, 1, 1, 0, 0, 0, 1), pl.Datetime("ms")),  # noqa: DTZ001
        (pl.Duration("us"), timedelta(days=1), pl.Int64),
        (pl.String, "1.239", pl.Decimal(10, 2)),
    ],
)
def test_nothing_is_rounded_cut_off_or_wrapped(source: Any, value: Any, dtype: Any) -> None:
    assert read([value, None], dtype, source) == [None, None]


@pytest.mark.parametrize(
    ("source", "value", "dtype", "expected"),
    [
        (pl.Float64, 12.0, pl.Int64, 12),
        (pl.Float64, 0.1, pl.Float32, pytest.approx(0.1)),
        (pl.Float64, 1.25, pl.Decimal(10, 2), Decimal("1.25")),
        (pl.Decimal(10, 2), Decimal("12.00"), pl.Int64, 12),
        (pl.Decimal(20, 19), Decimal("0.1234567890123456789"), pl.Float64, 0.1234567890123456789),
        (pl.Int64, 7, pl.Int8, 7),
        (pl.Int64, 7, pl.String, "7"),
        (pl.Boolean, True, pl.String, "true"),
        (pl.Float64, 1.5, pl.String, "1.5"),
        (pl.Date, date(2024, 1, 1), pl.String, "2024-01-01"),
        (pl.Int64, 1, pl.Boolean, True),
        (pl.Date, date(2024, 1, 1), pl.Datetime("us"), JANUARY),
        (pl.Datetime("us"), JANUARY, pl.Date, date(2024, 1, 1)),
        (pl.String, "1.2300", pl.Decimal(10, 2), Decimal("1.23")),
        (pl.String, " a ", pl.Enum(["a"]), "a"),
        (pl.String, " a ", pl.String, " a "),
        (pl.Null, None, pl.Int64, None),
        (pl.Null, None, pl.Datetime("us"), None),
    ],
)
def test_a_value_that_the_type_holds_exactly_is_cast(source: Any, value: Any, dtype: Any, expected: Any) -> None:
    assert read([value], dtype, source) == [expected]


@pytest.mark.parametrize(
    "text",
    ["2024-1-5", "20240105", "05/01/2024", "2024-02-30", "2024-01-05T00:00:00", "+2024-01-05", "12024-01-05", ""],
)
def test_a_date_is_written_as_iso_8601(text: str) -> None:
    assert read([text, " 2024-02-29 "], pl.Date) == [None, date(2024, 2, 29)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-05", datetime(2024, 1, 5)),  # noqa: DTZ001
        ("2024-01-05T10:00", datetime(2024, 1, 5, 10)),  # noqa: DTZ001
        ("2024-01-05 10:00:30", datetime(2024, 1, 5, 10, 0, 30)),  # noqa: DTZ001
        ("2024-01-05T10:00:00.25", datetime(2024, 1, 5, 10, 0, 0, 250000)),  # noqa: DTZ001
        ("2024-01-05T10:00:00Z", datetime(2024, 1, 5, 10)),  # noqa: DTZ001
        ("2024-01-05T10:00:00+08:00", datetime(2024, 1, 5, 2)),  # noqa: DTZ001
        ("9999-12-31T23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),  # noqa: DTZ001
        ("05/01/2024 10:00:00", None),
        ("2024-01-05T24:00:00", None),
        ("2024-01-05T10:00:60", None),
        ("2024-01-05T10", None),
        ("2024-01-05T10:00:00.1234567", None),
        ("2024-13-05T10:00:00", None),
        ("garbage", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("company", [[], ["2024-01-01"], ["01/02/2020 10:00:00"], ["2020-01-01T00:00:00+01:00"]])
def test_a_moment_is_read_the_same_in_any_company(text: str, expected: datetime | None, company: list[str]) -> None:
    assert read([*company, text], pl.Datetime("us"))[-1] == expected


def test_a_moment_without_a_zone_is_utc() -> None:
    (read_as_utc,) = read(["2024-01-05T20:00"], pl.Datetime("us", "Asia/Singapore"))

    assert read_as_utc == datetime(2024, 1, 5, 20, tzinfo=UTC)
    assert read_as_utc.utcoffset() == timedelta(hours=8)


def test_booleans_are_read_from_words() -> None:
    words = ["True", " YES ", "t", "y", "1", "FALSE", "no", "f", "N", "0", "2", "on", ""]

    assert read(words, pl.Boolean) == [True] * 5 + [False] * 5 + [None] * 3


@given(values=st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_value_is_read_alone_as_among_others(values: list[Any]) -> None:
    texts = [str(value) for value in values]

    for dtype in (pl.Int64, pl.Float64, pl.Date, pl.Datetime("us"), pl.Boolean, pl.Decimal(10, 2)):
        assert read(texts, dtype) == [read([text], dtype)[0] for text in texts]


@given(moment=st.datetimes(timezones=st.builds(timezone, st.integers(-800, 800).map(lambda m: timedelta(minutes=m)))))
@settings(max_examples=60, deadline=None)
def test_every_moment_that_python_writes_is_read_back(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return

    assert read([moment.isoformat()], pl.Datetime("us", "UTC")) == [expected]


# Every row and all its reasons


def test_good_rows_pass_in_the_types_of_the_schema_with_what_they_carry() -> None:
    verdict = judged(sale(area="99.5", rooms=None, _row=7))

    assert verdict.passed.rows(named=True) == [
        {"day": date(2024, 1, 5), "contract": f"C{sale.count}", "area": 99.5, "rooms": None}
        | {"_partition": JANUARY, "_row": 7}
    ]
    assert verdict.failed.height == 0
    assert verdict.failed.schema == judged(sale(area="x")).failed.schema


def test_a_row_has_all_its_reasons_with_the_column_and_the_value() -> None:
    bad = sale(day="2024-02-01", contract="twice", area="-1", rooms="many", _malformed="5 fields")
    verdict = judged(sale(), bad, sale(contract="twice"))

    assert reasons(verdict) == {
        1: [
            ("area__greater_than", "area", "-1.0"),
            ("contract__unique", "contract", "twice"),
            ("rooms__cast", "rooms", "many"),
            ("rows__in_partition", "day", "2024-02-01"),
            ("rows__well_formed", None, "5 fields"),
        ],
        2: [("contract__unique", "contract", "twice")],
    }


def test_a_value_that_does_not_cast_is_not_also_missing() -> None:
    verdict = judged(sale(area="wide"), sale(area=None), sale(day="soon"))

    assert [checks_of(verdict, index) for index in range(3)] == [["area__cast"], ["area__not_null"], ["day__cast"]]


def test_a_row_missing_one_value_and_misspelling_another_has_both_reasons() -> None:
    verdict = judged(sale(area="wide", contract=None))

    assert checks_of(verdict, 0) == ["area__cast", "contract__not_null"]


def test_another_reason_does_not_hide_that_a_value_is_missing() -> None:
    assert checks_of(judged(sale(day=None, _malformed="2 fields")), 0) == ["day__not_null", "rows__well_formed"]


def test_a_check_between_columns_is_blamed_on_the_row() -> None:
    (reason,) = reasons(judged(sale(area="10", rooms="9")))[0]

    assert reason[:2] == ("rows__roomy", None)
    assert '"area":10.0' in reason[2]


def test_every_check_is_counted_also_those_that_nothing_fails() -> None:
    verdict = judged(sale(area="-1"), sale(area="x"), sale(area="-2"))

    assert list(verdict.failures) == SALE_CHECKS == [check.name for check in outline(Sale).checks]
    failed = {name: count for name, count in verdict.failures.items() if count}
    assert failed == {"area__cast": 1, "area__greater_than": 2, "rows__roomy": 2}
    assert reasons_in_words(verdict.failures) == "area__greater_than 2, rows__roomy 2, area__cast 1"
    examples = {"area__cast": "large", "rows__roomy": None}
    told = "area__greater_than 2, rows__roomy 2 (missing), area__cast 1 ('large')"
    assert reasons_in_words(verdict.failures, examples) == told


def test_no_rows_are_a_verdict_too() -> None:
    verdict = judged()

    assert verdict.passed.columns == ["day", "contract", "area", "rooms", *LINEAGE]
    assert (verdict.passed.height, verdict.failed.height) == (0, 0)
    assert verdict.failures == dict.fromkeys(SALE_CHECKS, 0)


def test_all_rows_may_be_bad() -> None:
    verdict = judged(*[sale(day="x", contract=None, area="x", rooms="x") for _ in range(3)])

    assert verdict.passed.height == 0
    assert verdict.passed.schema == judged(sale()).passed.schema
    assert verdict.failed["index"].to_list() == [0, 1, 2]


def test_judging_changes_neither_the_schema_nor_the_rows() -> None:
    rows = frame([sale(contract="A"), sale(contract="A")])
    before = rows.clone()

    first, second = (judge(rows, Sale, time="day", carried=LINEAGE) for _ in range(2))

    assert reasons(first) == reasons(second) != {}
    assert rows.equals(before)
    assert Sale.to_schema().columns["contract"].unique


# Uniqueness


def test_every_copy_of_a_key_fails() -> None:
    verdict = judged(sale(contract="A"), sale(), sale(contract="A"), sale(contract="A"))

    assert list(reasons(verdict)) == [0, 2, 3]


def test_a_key_may_be_there_again_in_another_partition() -> None:
    february = {"_partition": FEBRUARY, "day": "2024-02-05"}

    assert judged(sale(contract="A"), sale(contract="A", **february)).failed.height == 0


def test_a_key_with_a_missing_part_is_no_copy_of_another() -> None:
    assert checks_of(judged(sale(contract=None), sale(contract=None)), 1) == ["contract__not_null"]
    assert judged(sale(area="x"), sale(area="x")).failures["rows__unique"] == 0


def test_a_key_of_several_columns_is_told_whole() -> None:
    assert reasons(judged(sale(area="50"), sale(area="50.0"), sale(area="51")))[1] == [
        ("rows__unique", None, "2024-01-05 · 50.0")
    ]


rows_of_any_sort = st.lists(
    st.builds(
        sale,
        day=st.sampled_from(["2024-01-05", "2024-02-05", "2024-03-31", "soon", None]),
        contract=st.sampled_from(["A", "B", "C", None]),
        area=st.sampled_from(["50", " 50 ", "60", "500", "-1", "wide", "nan", None]),
        rooms=st.sampled_from(["1", "6", "0", "1.5", None]),
        _partition=st.sampled_from([JANUARY, FEBRUARY, MARCH]),
        _malformed=st.sampled_from([None, None, "3 fields"]),
    ),
    max_size=14,
)


@given(rows=rows_of_any_sort, cut=st.integers(0, 14))
@settings(max_examples=60, deadline=None)
def test_pieces_are_judged_as_the_whole_where_it_is_told_which_keys_are_repeated(
    rows: list[dict[str, Any]], cut: int
) -> None:
    rows = [{**row, "_partition": JANUARY} for row in rows]
    whole, pieces = frame(rows), [frame(rows[:cut]), frame(rows[cut:])]
    parts = [unique_keys(one, Sale) for one in pieces]
    prints = {check: pl.concat([fingerprints(part[check]) for part in parts]) for check in parts[0]}
    complete = {
        check: pl.concat([part[check].select(pl.all_horizontal(pl.all().is_not_null())) for part in parts]).to_series()
        for check in prints
    }
    repeated = {check: is_repeated(prints[check], complete[check]) for check in prints}

    expected = reasons(judge(whole, Sale, time="day", carried=LINEAGE))
    found = {}
    for at, one in ((0, pieces[0]), (min(cut, len(rows)), pieces[1])):
        known = {check: flags[at : at + one.height] for check, flags in repeated.items()}
        verdict = judge(one, Sale, time="day", carried=LINEAGE, repeated=known)
        found |= {index + at: many for index, many in reasons(verdict).items()}
    assert found == expected


def test_a_key_that_is_missing_or_never_casts_fails_the_file_before_rows_are_judged() -> None:
    with pytest.raises(FileFailure, match=r"has the column 'contract', which clean\.sql does not"):
        unique_keys(frame([sale()]).drop("contract"), Sale)
    with pytest.raises(FileFailure, match=r"area: List\(Int64\) is not read as .*Remedy: convert the column"):
        unique_keys(frame([sale()]).with_columns(area=pl.lit([1], pl.List(pl.Int64))), Sale)


class ByRow(pa.DataFrameModel):
    """Checks that pandera brings, and one that is asked value by value."""

    a: str = pa.Field(unique=True, isin=["x", "y"], str_length={"max_value": 3})
    b: float = pa.Field(ge=0, lt=9, nullable=True)

    @pa.check("b", element_wise=True)
    def whole(cls, value: float) -> bool:  # noqa: N805 - pandera's way
        return value == round(value)


class AllValues(pa.DataFrameModel):
    """A check that pandera brings, on the column as a whole."""

    a: str = pa.Field(unique_values_eq=["x", "y"])


class OfTheirOwn(pa.DataFrameModel):
    """A check called as one of pandera's."""

    a: float

    @pa.check("a", name="isin")
    def not_far(cls, data: Any) -> pl.LazyFrame:  # noqa: N805 - pandera's way
        return data.lazyframe.select(pl.col("a") < 9 * pl.col("a").mean())


@pytest.mark.parametrize(("model", "expected"), [(ByRow, True), (AllValues, False), (OfTheirOwn, False), (Sale, False)])
def test_only_checks_that_are_known_to_look_at_one_row_are_taken_for_such(
    model: type[pa.DataFrameModel],
    expected: bool,  # noqa: FBT001
) -> None:
    assert is_row_by_row(model) is expected


@given(rows=rows_of_any_sort)
@settings(max_examples=60, deadline=None)
def test_a_range_is_judged_as_each_of_its_partitions_alone(rows: list[dict[str, Any]]) -> None:
    together = judged(*rows)
    positions: dict[datetime, list[int]] = {
        start: [index for index, row in enumerate(rows) if row["_partition"] == start] for start in ENDS
    }
    alone = {start: judged(*[rows[index] for index in many]) for start, many in positions.items()}

    assert reasons(together) == {
        positions[start][index]: found for start, verdict in alone.items() for index, found in reasons(verdict).items()
    }
    assert together.passed.sort("_row").equals(pl.concat([one.passed for one in alone.values()]).sort("_row"))
    assert together.failures == {name: sum(one.failures[name] for one in alone.values()) for name in SALE_CHECKS}


@given(rows=rows_of_any_sort)
@settings(max_examples=60, deadline=None)
def test_every_row_either_passes_or_has_reasons(rows: list[dict[str, Any]]) -> None:
    verdict = judged(*rows)

    assert verdict.passed.height + verdict.failed.height == len(rows)
    kept = set(verdict.passed["_row"])
    assert kept | {rows[index]["_row"] for index in reasons(verdict)} == {row["_row"] for row in rows}
    assert all(found for found in reasons(verdict).values())
    assert list(verdict.failures) == SALE_CHECKS
    assert sum(verdict.failures.values()) == sum(len(found) for found in reasons(verdict).values())


# Time and partition


class Dated(pa.DataFrameModel):
    t: date


class Timed(pa.DataFrameModel):
    t: datetime


class Zoned(pa.DataFrameModel):
    t: Annotated[pl.Datetime, "us", "Asia/Singapore"]


@pytest.mark.parametrize(
    ("model", "inside", "outside"),
    [
        (Dated, ["2024-01-01", "2024-01-31"], ["2023-12-31", "2024-02-01"]),
        (Timed, ["2024-01-01", "2024-01-31T23:59:59.999999"], ["2023-12-31T23:59:59.999999", "2024-02-01T00:00"]),
        (
            Zoned,
            ["2024-01-01T08:00:00+08:00", "2024-02-01T07:59:59+08:00", "2024-01-31T23:59"],
            ["2024-01-01T07:59:59+08:00", "2024-02-01T08:00:00+08:00", "2024-02-01"],
        ),
    ],
)
def test_a_row_lies_in_its_partition_by_utc(
    model: type[pa.DataFrameModel], inside: list[str], outside: list[str]
) -> None:
    verdict = judge_columns(model, of_columns([*inside, *outside]))

    assert verdict.failed["index"].to_list() == list(range(len(inside), len(inside) + len(outside)))
    assert verdict.failures == {
        "t__cast": 0,
        "t__not_null": 0,
        "rows__well_formed": 0,
        "rows__in_partition": len(outside),
    }


# What makes rows impossible to judge


class Measured(pa.DataFrameModel):
    """The schema that others add a check to."""

    t: date
    a: float


@pytest.mark.parametrize("height", [1, 3])
@pytest.mark.parametrize("as_frame", [True, False])
def test_a_failing_check_on_a_whole_column_fails_the_file(height: int, as_frame: bool) -> None:  # noqa: FBT001
    class Averaged(Measured):
        @pa.check("a")
        def small_mean(cls, data: Any) -> Any:  # noqa: N805
            small = data.lazyframe.select(pl.col(data.key).mean() < 2)
            return small if as_frame else small.collect().item()

    assert judge_columns(Averaged, of_columns(a=[1.0] * height)).passed.height == height
    with pytest.raises(FileFailure, match=r"Averaged, a: .*whole column.*small_mean"):
        judge_columns(Averaged, of_columns(a=[9.0] * height))


def test_a_failing_check_on_all_rows_together_fails_the_file() -> None:
    class Averaged(Measured):
        @pa.dataframe_check
        def small_mean(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
            return data.lazyframe.select(pl.col("a").mean() < 2)

    for values in ([9.0], [1.0, 9.0]):
        with pytest.raises(FileFailure, match=r"Averaged.*whole column.*small_mean"):
            judge_columns(Averaged, of_columns(a=values))


@pytest.mark.parametrize("decorate", [pa.check("a"), pa.dataframe_check])
def test_a_check_by_row_also_judges_a_single_row(decorate: Any) -> None:
    class Limited(Measured):
        @decorate
        def small(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
            return data.lazyframe.select((pl.col("a") < 2) & pl.struct("a").is_unique())

    assert list(reasons(judge_columns(Limited, of_columns(a=[9.0])))) == [0]


def test_a_check_that_answers_for_other_rows_than_it_is_asked_fails_the_file() -> None:
    class Filtering(Measured):
        @pa.check("a")
        def filtered(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
            return data.lazyframe.filter(pl.col(data.key) > 5).select(pl.col(data.key) < 0)

    with pytest.raises(FileFailure, match="filtered"):
        judge_columns(Filtering, of_columns(a=[1.0, 7.0, 9.0]))


def test_a_check_that_raises_fails_the_file() -> None:
    class Raising(Measured):
        @pa.check("a")
        def explodes(cls, data: Any) -> pl.LazyFrame:  # noqa: ARG002, N805
            raise RuntimeError("boom")

    with pytest.raises(FileFailure, match=r"Raising, a: .*boom.*explodes"):
        judge_columns(Raising, of_columns(a=[1.0, 2.0]))


def test_a_missing_column_fails_the_file() -> None:
    with pytest.raises(FileFailure, match=r"Measured has the column 'a', which clean.sql does not return.*: t"):
        judge_columns(Measured, of_columns([date(2024, 1, 5)]))


def test_a_column_of_a_type_that_nothing_casts_fails_the_file() -> None:
    with pytest.raises(FileFailure, match=r"Measured, a: List\(Int64\) is not read as Float64.*clean\.sql"):
        judge_columns(Measured, of_columns(a=[[1], [2]]))


def test_a_schema_without_the_time_fails_the_file() -> None:
    with pytest.raises(FileFailure, match="Measured has no column 'sold_at'"):
        judge(of_columns(a=[1.0]), Measured, time="sold_at", carried=["_row"])


# What a schema may ask for


def test_a_check_that_stops_reporting_after_a_few_rows_still_judges_all() -> None:
    class Brief(pa.DataFrameModel):
        t: date
        a: float = pa.Field(gt=0, n_failure_cases=1)

    assert list(reasons(judge_columns(Brief, of_columns(a=[-1.0, -2.0, 3.0])))) == [0, 1]


def test_the_settings_of_a_schema_do_not_change_the_verdict() -> None:
    class Strict(Measured):
        class Config:
            strict = True
            coerce = True
            ordered = True
            drop_invalid_rows = True

    verdict = judge_columns(Strict, of_columns(more=[1, 2], a=["1", "x"]))

    assert verdict.passed["a"].to_list() == [1.0]
    assert reasons(verdict) == {1: [("a__cast", "a", "x")]}


def test_a_check_on_each_element_names_the_row() -> None:
    class Elements(Measured):
        @pa.check("a", element_wise=True)
        def small(cls, value: float) -> bool:  # noqa: N805
            return value < 5

    assert reasons(judge_columns(Elements, of_columns(a=[1.0, 9.0]))) == {1: [("a__small", "a", "9.0")]}


def test_a_missing_value_that_may_be_missing_fails_no_check() -> None:
    class Sparse(pa.DataFrameModel):
        t: date
        a: float = pa.Field(gt=0, nullable=True)

    assert judge_columns(Sparse, of_columns(a=[None, 1.0])).passed["a"].to_list() == [None, 1.0]


def test_the_outline_says_what_a_schema_demands() -> None:
    class Described(pa.DataFrameModel):
        t: date = pa.Field(description="Day of the sale.")
        a: float = pa.Field(nullable=True, gt=0, title="Area")

    made = outline(Described)

    assert [(c.name, c.dtype, c.nullable, c.description) for c in made.columns] == [
        ("t", "Date", False, "Day of the sale."),
        ("a", "Float64", True, "Area"),
    ]
    assert [(c.name, c.column) for c in made.checks] == [
        *(("t__cast", "t"), ("t__not_null", "t"), ("a__cast", "a"), ("a__greater_than", "a")),
        *(("rows__well_formed", None), ("rows__in_partition", None)),
    ]
    assert made.checks[3].description == "greater_than(0)"


# Names of checks


class Alike(pa.DataFrameModel):
    """Columns and checks that want the same names."""

    t: date
    rows: int = pa.Field(unique=True, isin=[1, 2])
    spaced: int = pa.Field(alias="a b", gt=0)
    dashed: int = pa.Field(alias="a-b", gt=0)
    nested: int = pa.Field(alias="a", gt=0)
    umlaut: int = pa.Field(alias="Größe", gt=0)
    foreign: int = pa.Field(alias="面積", gt=0)
    column: int = pa.Field(gt=0)

    class Config:
        unique = ["t", "rows"]  # noqa: RUF012

    @pa.check("rows", name="same")
    def first(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key) > 1)

    @pa.check("rows", name="same")
    def second(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key) < 3)

    @pa.check("rows", name="well_formed")
    def third(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key) != 4)

    @pa.check("a", name="b__greater_than")
    def fourth(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key) != 5)

    @pa.check("column", name="cast")
    def fifth(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key) != 6)

    @pa.dataframe_check(name="isin")
    def sixth(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("a") != 7)

    @pa.dataframe_check(name="accounted_for")
    def seventh(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("a") != 8)

    @pa.dataframe_check(name="quarantine_share")
    def eighth(cls, data: Any) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("a") != 9)


def test_names_of_checks_are_unique_and_fit_dagster() -> None:
    names = [check.name for check in outline(Alike).checks]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_]+", name) for name in names)
    assert not {"rows__accounted_for", "rows__quarantine_share"} & set(names)
    assert names[-2:] == ["rows__well_formed", "rows__in_partition"]


ALIKE = {"rows": 2, "a b": 1, "a-b": 1, "a": 1, "Größe": 1, "面積": 1, "column": 1}


@pytest.mark.parametrize(
    ("column", "value", "checks"),
    [
        ("rows", 1, {"rows__same"}),
        ("rows", 3, {"rows__isin", "rows__same_2"}),
        ("rows", 4, {"rows__isin", "rows__same_2", "rows__well_formed_2"}),
        ("a b", 0, {"a_b__greater_than"}),
        ("a-b", 0, {"a_b__greater_than_2"}),
        ("a", 5, {"a__b__greater_than"}),
        ("a", 7, {"rows__isin_2"}),
        ("a", 8, {"rows__accounted_for_2"}),
        ("a", 9, {"rows__quarantine_share_2"}),
        ("Größe", 0, {"Gr_e__greater_than"}),
        ("面積", 0, {"column__greater_than"}),
        ("column", 0, {"column__greater_than_2"}),
        ("column", 6, {"column__cast_3"}),
        ("column", "x", {"column__cast_2"}),
        ("column", None, {"column__not_null_2"}),
    ],
)
def test_a_row_is_counted_under_the_check_that_it_fails_whatever_that_is_called(
    column: str, value: Any, checks: set[str]
) -> None:
    verdict = judge_columns(Alike, of_columns(**{name: [one] for name, one in (ALIKE | {column: value}).items()}))

    assert set(checks_of(verdict, 0)) == checks
    assert {name for name, count in verdict.failures.items() if count} == checks
    assert list(verdict.failures) == [check.name for check in outline(Alike).checks]


def test_a_value_that_is_there_twice_also_fails_the_other_checks_of_its_column() -> None:
    verdict = judge_columns(Alike, of_columns(**{name: [one] * 2 for name, one in (ALIKE | {"rows": 3}).items()}))

    assert checks_of(verdict, 1) == ["rows__isin", "rows__same_2", "rows__unique", "rows__unique_2"]


def test_uniqueness_of_a_column_and_of_the_rows_are_told_apart() -> None:
    verdict = judge_columns(Alike, of_columns(**{name: [one] * 2 for name, one in ALIKE.items()}))

    assert reasons(verdict)[0] == [("rows__unique", "rows", "2"), ("rows__unique_2", None, "2024-01-05 · 2")]


class WithoutZone(pa.DataFrameModel):
    """A local time, as a moment."""

    t: date
    at: datetime


class WithZone(pa.DataFrameModel):
    """A local time, with its zone."""

    t: date
    at: Annotated[pl.Datetime, "us", "Europe/Berlin"]


@pytest.mark.parametrize("model", [WithoutZone, WithZone])
def test_a_local_time_that_the_clocks_skip_is_told_as_such_and_other_values_as_they_are(
    model: type[pa.DataFrameModel],
) -> None:
    rows = of_columns(at=["2023-03-26T02:00:00", "2023-03-26T03:00:00", "2023-03-32", "2023-10-29T02:30:00"])
    verdict = judge(rows, model, time="t", carried=["_row"], timezone="Europe/Berlin")

    told = {index: [(check, value) for check, _, value in found] for index, found in reasons(verdict).items()}
    assert told == {
        0: [("at__cast", "2023-03-26T02:00:00 (not a time in Europe/Berlin: the clocks skip it)")],
        2: [("at__cast", "2023-03-32")],
    }
