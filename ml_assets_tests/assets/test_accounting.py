"""raw = validated + quarantine + duplicates, for every partition and whatever the rows are."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_market import COLUMNS, NAME, Market, Row, RunFailed, open_market, sales

from ml_assets.assets.common import Span
from ml_assets.assets.raw import source_file
from ml_assets.assets.validated import AccountingError, Judged, account, judge_rows
from ml_assets.lake.tables import run_select
from ml_assets.sources.files import load_csv

if TYPE_CHECKING:
    import polars as pl

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
        sources = [source_file(market.project, market.project.start_of(month)) for month in files]
    raw = load_csv(sources, COLUMNS).rows.sort("_partition", "_source", "_row")
    with duckdb.connect() as connection:
        connection.register("loaded", raw)
        cleaned = run_select(connection, market.project.clean_sql, {"raw": "FROM loaded ORDER BY hash(_row)"})
    return judge_rows(market.project, raw, cleaned)


def rows_of(frame: pl.DataFrame, month: str) -> list[int]:
    return [row for source, row in frame.select("_source", "_row").iter_rows() if month in source]


@settings(max_examples=60, deadline=None)
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


@pytest.mark.parametrize("name", ["index", "reasons", "check", "column", "value"])
def test_a_source_may_have_a_column_of_any_name(market: Market, name: str) -> None:
    rows = [{**row, name: "theirs"} for row in sales("2024-01", rows=20)]
    market.write("2024-01", [{**rows[0], "area": "large"}, *rows[1:]], columns=(*COLUMNS, name))
    market.materialize(["raw", "validated", "quarantine"], "2024-01")

    (bad,) = market.table("quarantine").iter_rows(named=True)
    assert (bad[name], [reason["check"] for reason in bad["_reasons"]]) == ("theirs", ["area__cast"])


def test_a_run_of_a_range_reports_the_counts_of_each_partition_and_of_each_check(market: Market) -> None:
    first, second = sales("2024-01", rows=40), sales("2024-02", rows=40)
    first[3] |= {"area": "large", "town": "NORTH"}
    copy = {**first[5], "nr": "99"}
    second[0]["contract"] = second[1]["contract"]
    market.write("2024-01", [*first, copy, copy])
    market.write("2024-02", second)
    run = market.materialize(["raw", "validated", "quarantine"], "2024-01", "2024-03")

    expected = {
        "2024-01": {"raw_rows": 42, "validated_rows": 39, "quarantine_rows": 1, "duplicates_rows": 2},
        "2024-02": {"raw_rows": 40, "validated_rows": 38, "quarantine_rows": 2, "duplicates_rows": 0},
        "2024-03": {"raw_rows": 60, "validated_rows": 60, "quarantine_rows": 0, "duplicates_rows": 0},
    }
    for month, counts in expected.items():
        for name, rows in [("validated", "validated_rows"), ("quarantine", "quarantine_rows")]:
            assert counts.items() <= market.metadata(name, month).items()
            assert market.metadata(name, month)["dagster/partition_row_count"] == counts[rows]
            assert market.table(name, month).height == counts[rows]
        assert market.table("raw", month).height == counts["raw_rows"]
    assert market.metadata("quarantine")["reasons"] == "contract__unique 2, area__cast 1, town__isin 1"

    checks = {name: market.check(name, run) for name in ("area__cast", "town__isin", "contract__unique", "price__cast")}
    assert {name: (check.passed, check.metadata["rows"].value) for name, check in checks.items()} == {
        "area__cast": (False, 1),
        "town__isin": (False, 1),
        "contract__unique": (False, 2),
        "price__cast": (True, 0),
    }
    assert "| sales/2024-01.csv | 4 | area | large |" in checks["area__cast"].metadata["sample"].value


def test_every_check_of_the_schema_is_evaluated_also_when_nothing_fails(market: Market) -> None:
    run = market.materialize(["raw", "validated", "quarantine"], "2024-01")

    keys = market.defs.resolve_assets_def(market.key("validated")).check_keys
    assert all(market.check(key.name, run).passed for key in keys)
    assert market.metadata("quarantine")["reasons"] == "none"


def test_a_quarantined_row_is_the_raw_row_with_all_its_reasons(market: Market) -> None:
    rows = sales("2024-01", rows=20)
    rows[7] |= {"area": "large", "town": "NORTH", "price": "-5", "month": "2024-02"}
    market.write("2024-01", rows)
    market.materialize(["raw", "validated", "quarantine"], "2024-01")

    (bad,) = market.table("quarantine").iter_rows(named=True)
    assert {name: bad[name] for name in COLUMNS} == rows[7]
    assert (bad["_source"], bad["_row"]) == ("sales/2024-01.csv", 8)
    assert {(reason["check"], reason["column"], reason["value"]) for reason in bad["_reasons"]} == {
        ("area__cast", "area", "large"),
        ("town__isin", "town", "NORTH"),
        ("price__greater_than", "price", "-5.0"),
        ("rows__in_partition", "month", "2024-02-01 00:00:00.000000"),
    }


def with_bad(rows: list[Row], count: int) -> list[Row]:
    return [{**row, "area": "large"} if position < count else row for position, row in enumerate(rows)]


@pytest.mark.parametrize(("bad", "passes"), [(10, True), (11, False)])
def test_a_share_of_bad_rows_above_the_limit_blocks_what_is_downstream(market: Market, bad: int, passes: bool) -> None:
    market.materialize(("raw", "validated", "quarantine", "features"), "2024-01")
    before = market.table("features")
    market.write("2024-01", with_bad(sales("2024-01", rows=100), bad))
    run: Any = None
    try:
        run = market.materialize(("raw", "validated", "quarantine", "features"), "2024-01")
    except RunFailed as failure:
        assert failure.step == f"{NAME}__validated"
        assert "rows__quarantine_share" in failure.message
        run = failure.run_id

    share = market.check("rows__quarantine_share", run)
    assert (share.passed, share.metadata["share"].value, share.metadata["limit"].value) == (passes, bad / 100, 0.1)
    assert market.table("quarantine").height == bad, "the bad rows can be looked at"
    assert market.steps(run)[-1] == (f"{NAME}__features" if passes else f"{NAME}__validated")
    if not passes:
        assert market.table("features").equals(before)
