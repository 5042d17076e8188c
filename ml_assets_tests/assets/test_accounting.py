"""raw = validated + quarantine + duplicates, for every partition and whatever the rows are."""

from __future__ import annotations

import csv
from collections import Counter

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_market import COLUMNS, JUDGED, NAME, Market, Row, RunFailed, open_market, sales

from ml_assets.assets.common import Span
from ml_assets.assets.source import open_source, parts_of
from ml_assets.assets.validated import AccountingError, Judged, account, judge_rows
from ml_assets.automation.alerts import failure_of
from ml_assets.lake.tables import run_select
from ml_assets.sources.reading import Reading

MONTHS = ("2024-01", "2024-02")
FIELDS = {
    "nr": st.sampled_from(["1", "2", ""]),
    "contract": st.sampled_from(["a", "b", "c", "d", ""]),
    "month": st.sampled_from(["2024-01", "2024-02", "2024-13", ""]),
    "town": st.sampled_from(["EAST", " WEST ", "NORTH", ""]),
    "area": st.sampled_from(["20", "400", "19.9", "401", "large", "nan", ""]),
    "price": st.sampled_from(["1", "5e5", "0", "-3", "1,000", "inf", ""]),
}
GOOD = {"month": "2024-01", "town": "EAST", "area": "80", "price": "400000"}
LINES = st.one_of(
    st.fixed_dictionaries(FIELDS).map(lambda row: list(row.values())),
    st.fixed_dictionaries({"nr": FIELDS["nr"], "contract": FIELDS["contract"]}).map(
        lambda row: [*row.values(), *GOOD.values()]
    ),
    st.lists(st.sampled_from(["1", "EAST", ""]), min_size=1, max_size=8),
)


def number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def fate_of_each(month: str, lines: list[list[str]]) -> list[str]:
    """What must become of a file's lines, told without the platform: the test's own reading of the rules."""
    fates, seen, kept = [], set(), []
    for line in lines:
        padded = tuple(field for field in ([*line] + [""] * 6)[:6])
        known = (padded[1:], tuple(line) if len(line) != len(COLUMNS) else ())
        fates.append("duplicate" if known in seen else "kept")
        if known not in seen:
            kept.append(padded)
        seen.add(known)
    contracts = Counter(row[1] for row in kept)
    for position, line in enumerate(lines):
        if fates[position] == "duplicate":
            continue
        _, contract, when, town, area, price = (line + [""] * 6)[:6]
        fine = (
            len(line) == len(COLUMNS)
            and contract != ""
            and contracts[contract] == 1
            and when == month
            and town.strip() in {"EAST", "WEST"}
            and 20 <= (number(area) or 0) <= 400
            and (number(price) or 0) > 0
        )
        fates[position] = "validated" if fine else "quarantine"
    return fates


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(tmp_path_factory.mktemp("accounts"))


def judged(market: Market, files: dict[str, list[list[str]]]) -> Judged:
    for month, lines in files.items():
        with market.file(month).open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([COLUMNS, *lines])
    with market.settings():
        parts = parts_of(market.project, [market.project.start_of(month) for month in files])
        frames = open_source(market.project).frames(parts, COLUMNS, Reading())
        raw = pl.concat(frames, how="diagonal").sort("_partition", "_source", "_row")
    with duckdb.connect() as connection:
        connection.register("loaded", raw)
        cleaned = run_select(connection, market.project.clean_sql, {"raw": "FROM loaded ORDER BY hash(_row)"})
    return judge_rows(market.project, raw, cleaned)


def rows_of(frame: pl.DataFrame, month: str) -> list[int]:
    return [row for source, row in frame.select("_source", "_row").iter_rows() if month in source]


@settings(max_examples=40, deadline=None)
@given(files=st.fixed_dictionaries({month: st.lists(LINES, min_size=1, max_size=9) for month in MONTHS}))
def test_every_raw_row_is_in_exactly_one_place_and_that_is_the_right_one(
    declared: Market, files: dict[str, list[list[str]]]
) -> None:
    found = judged(declared, files)

    span = Span(declared.project.window(*MONTHS), tuple(map(declared.project.start_of, MONTHS)), MONTHS, is_range=True)
    accounts = account(declared.project, span, found)
    places = {"validated": found.validated, "quarantine": found.quarantine, "duplicate": found.duplicates}
    for month, lines in files.items():
        fates = fate_of_each(month, lines)
        expected = {fate: [row for row, one in enumerate(fates, 1) if one == fate] for fate in places}
        assert {fate: rows_of(frame, month) for fate, frame in places.items()} == expected
        assert accounts[month] == {
            "raw_rows": len(lines),
            "validated_rows": len(expected["validated"]),
            "quarantine_rows": len(expected["quarantine"]),
            "duplicates_rows": len(expected["duplicate"]),
        }
    assert all(found.quarantine["_reasons"].list.len() > 0)


def test_rows_that_do_not_add_up_are_an_error_that_names_the_partition(declared: Market) -> None:
    good = ["1", "a", *GOOD.values()]
    found = judged(declared, {"2024-01": [good, ["2", "b", *GOOD.values()]]})
    span = Span(
        declared.project.window("2024-01", "2024-01"),
        (declared.project.start_of("2024-01"),),
        ("2024-01",),
        is_range=False,
    )
    lost = Judged(found.validated.head(1), found.quarantine, found.duplicates, found.verdict, found.raw)

    with pytest.raises(AccountingError, match="flats, 2024-01"):
        account(declared.project, span, lost)


def test_a_source_may_have_columns_of_any_name(shared: Market, month: str) -> None:
    theirs = {"index": "i", "reasons": "r", "check": "c", "column": "o", "value": "v", "incoming": "n"}
    rows = [{**row, **theirs} for row in sales(month, rows=20)]
    shared.write(month, [{**rows[0], "area": "large"}, *rows[1:]], columns=(*COLUMNS, *theirs))
    shared.materialize(JUDGED, month)

    (bad,) = shared.table("quarantine", month).iter_rows(named=True)
    assert {name: bad[name] for name in theirs} == theirs
    assert [reason["check"] for reason in bad["_reasons"]] == ["area__cast"]


def test_a_run_of_a_range_reports_the_counts_of_each_partition_and_of_each_check(
    shared: Market, months: list[str]
) -> None:
    first, second, third = (sales(month, rows=40) for month in months)
    first[3] |= {"area": "large", "town": "NORTH"}
    copy = {**first[5], "nr": "99"}
    second[0]["contract"] = second[1]["contract"]
    for month, rows in zip(months, [[*first, copy, copy], second, third], strict=True):
        shared.write(month, rows)
    run = shared.materialize(JUDGED, months[0], months[2])

    expected = [
        {"raw_rows": 42, "validated_rows": 39, "quarantine_rows": 1, "duplicates_rows": 2},
        {"raw_rows": 40, "validated_rows": 38, "quarantine_rows": 2, "duplicates_rows": 0},
        {"raw_rows": 40, "validated_rows": 40, "quarantine_rows": 0, "duplicates_rows": 0},
    ]
    for month, counts in zip(months, expected, strict=True):
        assert shared.table("raw", month).height == counts["raw_rows"]
        for name in ("validated", "quarantine"):
            assert counts.items() <= shared.metadata(name, month).items()
            assert shared.metadata(name, month)["dagster/partition_row_count"] == counts[f"{name}_rows"]
            assert shared.table(name, month).height == counts[f"{name}_rows"]
    assert shared.metadata("quarantine", month)["reasons"] == "contract__unique 2, town__isin 1, area__cast 1"

    checks = {name: shared.check(name, run) for name in ("area__cast", "town__isin", "contract__unique", "price__cast")}
    assert {name: (check.passed, check.metadata["rows"].value) for name, check in checks.items()} == {
        "area__cast": (False, 1),
        "town__isin": (False, 1),
        "contract__unique": (False, 2),
        "price__cast": (True, 0),
    }
    assert f"| sales/{months[0]}.csv | 4 | area | large |" in checks["area__cast"].metadata["sample"].value


def test_every_check_of_the_schema_is_evaluated_also_when_nothing_fails(shared: Market, month: str) -> None:
    shared.write(month, sales(month))
    run = shared.materialize(JUDGED, month)

    keys = shared.defs.resolve_assets_def(shared.key("validated")).check_keys
    assert all(shared.check(key.name, run).passed for key in keys)
    assert shared.metadata("quarantine", month)["reasons"] == "none"


def test_a_quarantined_row_is_the_raw_row_with_all_its_reasons(shared: Market, month: str) -> None:
    rows = sales(month, rows=20)
    rows[7] |= {"area": "large", "town": "NORTH", "price": "-5", "month": "2099-02"}
    shared.write(month, rows)
    shared.materialize(JUDGED, month)

    (bad,) = shared.table("quarantine", month).iter_rows(named=True)
    assert {name: bad[name] for name in COLUMNS} == rows[7]
    assert (bad["_source"], bad["_row"]) == (f"sales/{month}.csv", 8)
    assert {(reason["check"], reason["column"], reason["value"]) for reason in bad["_reasons"]} == {
        ("area__cast", "area", "large"),
        ("town__isin", "town", "NORTH"),
        ("price__greater_than", "price", "-5.0"),
        ("rows__in_partition", "month", "2099-02-01"),
    }


def with_bad(rows: list[Row], count: int) -> list[Row]:
    return [{**row, "area": "large"} if position < count else row for position, row in enumerate(rows)]


def test_a_share_of_bad_rows_at_the_limit_passes(shared: Market, month: str) -> None:
    shared.write(month, with_bad(sales(month, rows=50), 5))
    run = shared.materialize((*JUDGED, "features"), month)

    assert shared.check("rows__quarantine_share", run).passed
    assert shared.table("features", month).height == 45


def test_a_share_above_the_limit_fails_the_run_and_blocks_what_is_downstream(shared: Market, month: str) -> None:
    shared.write(month, sales(month))
    shared.materialize((*JUDGED, "features"), month)
    before = shared.table("features", month)
    shared.write(month, with_bad(sales(month, rows=50), 6))
    with pytest.raises(RunFailed) as failure:
        shared.materialize((*JUDGED, "features"), month)

    run = failure.value.run_id
    assert failure.value.step == f"{NAME}__validated"
    assert "rows__quarantine_share" in failure.value.message
    share = shared.check("rows__quarantine_share", run)
    assert share.description == (
        f"flats {month}: 6 of 50 rows (12 %) in quarantine, the limit is 10 %: area__cast 6 ('large'). Nothing "
        "downstream ran. Remedy: see `ml-assets quarantine show flats`, mend the source or clean.sql, or raise "
        "validation.quarantine_limit"
    )
    assert failure_of(shared.instance, run) == (f"{NAME}__validated", share.description)
    assert (share.passed, share.metadata["share"].value, share.metadata["limit"].value) == (False, 0.12, 0.1)
    assert shared.steps(run) == [f"{NAME}__raw", f"{NAME}__validated"]
    assert shared.table("quarantine", month).height == 6, "the bad rows can be looked at"
    assert shared.table("features", month).equals(before)
