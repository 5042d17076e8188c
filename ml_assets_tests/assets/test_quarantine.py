"""Quarantined rows: why they are there, out to a file and back, and into their own partitions once they pass."""

from __future__ import annotations

import csv
import json
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small_market import COLUMNS, JUDGED, JUDGING, NAME, PREPARING, Market, Row, RunFailed, open_market, sales
from typer.testing import CliRunner

from ml_assets import cli, reentry, runs
from ml_assets.core.showing import WIDTH, visible
from ml_assets.errors import RunFailedError
from ml_assets.lake.resource import shared_lake
from ml_assets.quarantine import Quarantine, export, read_quarantine
from ml_assets.quarantine_tables import tables

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
BAD = {"2024-02": ("NORTH", "NORTH", "[red]S[/red]\x1b[31m"), "2024-04": ("NORTH",)}
LARGE = {"2024-02": ("410", "420", "large"), "2024-04": ("499",)}
WRITTEN = (*PREPARING, "predictions")
WINDOW = {"window": 3, "test": 1}


def dirty(month: str, column: str = "town") -> list[Row]:
    """A month whose first rows do not pass."""
    rows = sales(month)
    for row, value in zip(rows, (BAD if column == "town" else LARGE).get(month, ()), strict=False):
        row[column] = value
    return rows


def trained(folder: Path) -> Market:
    """Four months, two of them with rows in quarantine, and a version that learnt from the second."""
    market = open_market(folder, training=WINDOW)
    for month in MONTHS:
        market.write(month, dirty(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[3])
    market.retrain(through="2024-03")
    market.materialize(JUDGING, MONTHS[0], MONTHS[3])
    return market


def again(market: Market, **changes: Any) -> Market:
    """The same project, declared otherwise, in the same home."""
    return replace(open_market(market.folder, training=WINDOW, **changes), instance=market.instance)


def replay(market: Market, *keys: str, rules: bool = False) -> tuple[list[reentry.Replayed], list[str]]:
    said: list[str] = []
    with market.settings():
        done = reentry.replay(
            market.instance, market.defs, market.lake, market.project, keys=keys, rules=rules, say=said.append
        )
    return done, said


def found(market: Market, **options: object) -> Quarantine:
    with market.lake.reader() as cursor:
        return read_quarantine(cursor, market.project, **options)  # type: ignore[arg-type]


def accounted(market: Market, month: str) -> bool:
    counts = {name: market.table(name, month).height for name in JUDGED}
    return counts["raw"] == counts["validated"] + counts["quarantine"]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Rows in quarantine, which tests only look at."""
    return trained(tmp_path_factory.mktemp("dirty"))


@dataclass(frozen=True)
class Repaired:
    """A market in which two rows of February were repaired and all was replayed; tests only read it."""

    market: Market
    others: dict[tuple[str, str], tuple[pl.DataFrame, object]]
    done: list[reentry.Replayed]
    said: list[str]


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Repaired:
    market = trained(tmp_path_factory.mktemp("repaired"))
    places = [(name, month) for name in WRITTEN for month in ("2024-01", "2024-03")]
    others = {place: (market.table(*place), market.event(*place)) for place in places}
    rows = dirty("2024-02")
    rows[0]["town"], rows[2]["town"] = "EAST", "WEST"
    market.write("2024-02", rows)
    return Repaired(market, others, *replay(market))


def test_a_repaired_file_lets_its_rows_in_and_names_the_version_that_had_missed_them(repaired: Repaired) -> None:
    assert [str(one) for one in repaired.done] == [
        "2024-02: read again from the source: quarantine 3 → 1, 2 rows re-entered; version 1 had learnt without them",
        "2024-04: judged again: quarantine 1 → 1, 0 rows re-entered",
    ]
    assert f"  {repaired.done[0]}" in repaired.said
    market = repaired.market
    assert {"2024-02/1", "2024-02/3"} < set(market.table("validated", "2024-02")["contract"])
    assert market.table("features", "2024-02").height == market.table("predictions", "2024-02").height == 59
    assert all(accounted(market, month) for month in MONTHS)


def test_other_partitions_are_neither_written_nor_run(repaired: Repaired) -> None:
    for place, (rows, event) in repaired.others.items():
        assert rows.height > 0 or place[0] == "quarantine"
        assert repaired.market.table(*place).equals(rows), place
        assert repaired.market.event(*place) == event, place


def test_what_re_entered_can_be_asked_later(repaired: Repaired) -> None:
    (entry,) = repaired.market.ledger("replayed")
    assert entry.partition == "2024-02"
    assert entry.facts["quarantine"] == [3, 1]
    assert entry.facts["missed_by"] == [1]
    assert entry.facts["read_again"]
    assert found(repaired.market).replayed == (entry,)
    assert found(repaired.market, partition="2024-04").replayed == ()
    assert repaired.market.registry.version(NAME, 1).training_set.train == ("2024-01", "2024-02")


def test_a_replay_launches_nothing(repaired: Repaired) -> None:
    decisions = repaired.market.ledger("decision")
    assert [entry.partition for entry in decisions[-2:]] == ["2024-02", "2024-04"]
    assert "live" not in {entry.standing for entry in decisions}
    assert repaired.market.registry.numbers(NAME) == [1]


def test_a_changed_schema_lets_rows_in_without_a_look_at_the_source(tmp_path: Path) -> None:
    before = open_market(tmp_path, training=WINDOW)
    for month in MONTHS:
        before.write(month, dirty(month, "area"))
    before.materialize(PREPARING, MONTHS[0], MONTHS[3])
    events = {month: before.event("raw", month) for month in MONTHS}
    for month in BAD:
        before.file(month).unlink()
    loose = again(before, schema="loose_schema:LooseFlat")
    done, _ = replay(loose, rules=True)

    assert [(one.key, one.read_again, one.before, one.after, one.reentered) for one in done] == [
        ("2024-02", False, 3, 1, 2),
        ("2024-04", False, 1, 0, 1),
    ]
    assert {month: loose.event("raw", month) for month in MONTHS} == events
    assert all(accounted(loose, month) for month in MONTHS)
    assert 499.0 in loose.table("features", "2024-04")["area"]


def test_a_changed_rule_is_found_by_itself_where_the_source_holds_what_the_lake_holds(tmp_path: Path) -> None:
    before = open_market(tmp_path, training=WINDOW)
    for month in ("2024-02", "2024-04"):
        before.write(month, dirty(month))
        before.materialize(PREPARING, month)
    event = before.event("raw", "2024-04")
    mended = again(before, clean=before.project.clean_sql.replace("trim(town)", "replace(town, 'NORTH', 'EAST')"))
    done, _ = replay(mended, "2024-04")

    assert [(one.key, one.read_again, one.reentered) for one in done] == [("2024-04", False, 1)]
    assert mended.event("raw", "2024-04") == event
    assert mended.table("quarantine", "2024-02").height == 3, "not asked for"


def test_a_line_taken_out_of_a_file_lets_nothing_in(shared: Market, month: str) -> None:
    rows = sales(month)
    rows[0]["town"] = rows[2]["town"] = "NORTH"
    shared.write(month, rows)
    shared.materialize(PREPARING, month)
    shared.write(month, [rows[1], *rows[3:]])
    done, said = replay(shared, month)

    assert f"rows that have left {month} may belong elsewhere now: `ml-assets catch-up {NAME}` finds them" in said[1]
    assert [(one.read_again, one.before, one.after, one.reentered) for one in done] == [(True, 2, 0, 0)]
    assert [entry for entry in shared.ledger("replayed") if entry.partition == month] == []


def test_rows_that_re_entered_are_told_also_when_the_run_fails_afterwards(shared: Market, month: str) -> None:
    rows = sales(month)
    rows[0]["town"] = "NORTH"
    shared.write(month, rows)
    shared.materialize(PREPARING, month)
    rows[0]["town"] = "EAST"
    for row in rows[5:20]:
        row["area"] = "large"
    shared.write(month, rows)
    with pytest.raises(RunFailedError, match=r"15 of 60 rows \(25 %\) in quarantine"):
        replay(shared, month)

    (entry,) = [entry for entry in shared.ledger("replayed") if entry.partition == month]
    assert entry.facts["quarantine"] == [1, 15]
    assert entry.facts["reentered"] == 1


def test_a_row_of_another_partition_is_told_where_it_belongs_and_stays_where_it_is(shared: Market, month: str) -> None:
    rows = sales(month)
    rows[0]["month"], rows[1]["month"], rows[2]["month"] = "2031-05", "2031-05", "1999-12"
    shared.write(month, rows)
    shared.materialize(JUDGED, month)
    seen = found(shared, partition=month)

    (one,) = seen.checks
    assert one.name == "rows__in_partition"
    assert [(each.value, each.rows, each.belongs) for each in one.examples] == [
        ("2031-05-01", 2, "2031-05"),
        ("1999-12-01", 1, "before 2019-01"),
    ]
    assert seen.partitions[0].why == "rows__in_partition 3; belong to 2031-05 2, before 2019-01 1"
    done, _ = replay(shared, month)
    assert (done[0].after, done[0].reentered) == (3, 0)
    assert shared.table("validated", "2031-05").height == 0


def test_show_counts_by_check_and_by_partition(market: Market) -> None:
    seen = found(market)

    assert (seen.raw, seen.rows) == (240, 4)
    (one,) = seen.checks
    assert (one.name, one.column, one.rows, one.first, one.newest) == ("town__isin", "town", 4, "2024-02", "2024-04")
    assert one.share == pytest.approx(4 / 240)
    assert [(each.value, each.rows, each.source, each.row) for each in one.examples] == [
        ("NORTH", 3, "sales/2024-02.csv", 1),
        ("[red]S[/red]\x1b[31m", 1, "sales/2024-02.csv", 3),
    ]
    assert [(held.key, held.raw, held.rows, held.why) for held in seen.partitions] == [
        ("2024-04", 60, 1, "town__isin 1"),
        ("2024-02", 60, 3, "town__isin 3"),
    ]
    assert found(market, partition="2024-04").rows == 1
    assert found(market, check="town__isin", examples=1).checks[0].examples == one.examples[:1]
    with pytest.raises(ValueError, match="for 'area__cast'; there are: town__isin"):
        found(market, check="area__cast")
    with pytest.raises(ValueError, match="keys look like '2024-01'"):
        found(market, partition="2024-4")


def test_since_is_when_the_rows_came_in_also_after_they_were_read_again(shared: Market, month: str) -> None:
    rows = sales(month)
    rows[0]["town"] = "NORTH"
    shared.write(month, rows)
    shared.materialize(JUDGED, month)
    now = datetime.now(UTC).replace(tzinfo=None)
    shared.materialize(JUDGED, month)
    shared.materialize(["validated", "quarantine"], month)
    since = found(shared, partition=month).checks[0].since

    assert since is not None
    assert now - timedelta(minutes=1) < since < now


def test_the_tables_take_nothing_for_markup_and_print_no_control_character(market: Market) -> None:
    console = Console(width=200, record=True, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        for table in tables(found(market)):
            console.print(table)
    text = capture.get()

    assert "[red]S[/red]\\x1b[31m" in text
    assert "\x1b[31m" not in text
    assert "sales/2024-02.csv" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "(missing)"),
        ("plain, ÅÉ 漢", "plain, ÅÉ 漢"),
        ("a\tb\r\nc\0", "a\\tb\\r\\nc\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("x" * 61, "x" * 59 + "…"),
        ("\x1b" * 40, "\\x1b" * 14 + "\\x1…"),
    ],
)
def test_values_are_made_visible_and_cut(value: str | None, shown: str) -> None:
    assert visible(value) == shown


@given(st.text())
def test_a_value_never_moves_the_cursor_and_never_fills_the_screen(value: str) -> None:
    shown = visible(value)
    assert len(shown) <= WIDTH
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Zl", "Zp"}


HOSTILE = ["=1+1", "@x", "-2", 'say "a, b"', "two\nlines", "ein\rzwei", " blanks ", "a;b\tc", "NULL", "\\N", "漢字"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_an_export_holds_the_rows_as_they_came(shared: Market, month: str, tmp_path: Path, ending: str) -> None:
    rows = sales(month, rows=20)
    for row, value in zip(rows, HOSTILE, strict=False):
        row["town"] = value
    rows[11]["town"] = ""
    rows[11]["area"] = "large"
    # A source may call its columns as it likes, and need not fill them.
    theirs = {"_key": "k", "check": "c", "empty": ""}
    shared.write(month, [{**row, **theirs} for row in rows], (*COLUMNS, *theirs))
    shared.materialize(["raw"], month)
    with pytest.raises(RunFailed):
        shared.materialize([*JUDGED, "features"], month)
    file = tmp_path / f"rows{ending}"
    with shared.lake.reader() as cursor:
        done = export(cursor, shared.project, file, partition=month)

    assert (done.rows, done.formulas) == (12, 2 if ending == ".csv" else 0)
    if ending == ".csv":
        with file.open(newline="", encoding="utf-8") as content:
            back = [{name: value or None for name, value in row.items()} for row in csv.DictReader(content)]
    elif ending == ".jsonl":
        back = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    else:
        back = pl.read_parquet(file).to_dicts()
    assert [{name: row[name] or "" for name in COLUMNS} for row in back] == rows[:12]
    assert [(row["_partition"], row["_source"], int(row["_row"])) for row in back] == [
        (month, f"sales/{month}.csv", number) for number in range(1, 13)
    ]
    assert {(row["_key"], row["check"]) for row in back} == {("k", "c")}
    assert back[11]["_reasons"] == "area__cast: large; town__not_null: (missing)"
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_a_csv_export_put_back_unchanged_is_the_same_rows(shared: Market, month: str, tmp_path: Path) -> None:
    rows = sales(month, rows=20)
    for row, value in zip(rows, HOSTILE, strict=False):
        row["town"] = value
    shared.write(month, rows)
    with pytest.raises(RunFailed):
        shared.materialize([*JUDGED, "features"], month)
    with shared.lake.reader() as cursor:
        export(cursor, shared.project, tmp_path / "rows.csv", partition=month)
    before = shared.table("raw", month)
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as content:
        shared.write(month, [*csv.DictReader(content), *rows[len(HOSTILE) :]])
    shared.materialize(["raw"], month)

    assert shared.table("raw", month).equals(before)


def test_an_export_overwrites_nothing_unasked(market: Market, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("mine")
    with market.lake.reader() as cursor:
        with pytest.raises(ValueError, match="is there already"):
            export(cursor, market.project, file)
        assert file.read_text() == "mine"
        assert export(cursor, market.project, file, check="town__isin", force=True).rows == 4
        with pytest.raises(ValueError, match=r"must end in one of \.csv, \.parquet, \.jsonl"):
            export(cursor, market.project, tmp_path / "rows.xlsx")
        with pytest.raises(ValueError, match="for 'nothing'; there are: town__isin"):
            export(cursor, market.project, tmp_path / "other.csv", check="nothing")
        assert export(cursor, market.project, tmp_path / "none.csv", partition="2024-01").rows == 0
    assert not (tmp_path / "none.csv").exists()


def test_what_is_not_there_is_said(market: Market, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ValueError, match=r"holds no partition 2024-09\. It holds: 2024-01 … 2024-04"):
        replay(market, "2024-09")
    fresh = open_market(tmp_path_factory.mktemp("fresh"))
    assert replay(fresh) == ([], [f"{NAME}: no row is in quarantine"])
    assert found(fresh) == Quarantine(NAME)


def test_the_commands_say_what_there_is_and_what_to_do(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_project", lambda _: market.project)
    monkeypatch.setattr(runs, "open_instance", lambda: market.instance)
    monkeypatch.setattr(runs, "load_definitions", lambda: market.defs)
    shared_lake.cache_clear()

    def run(*words: str) -> Any:
        with market.settings():
            return CliRunner().invoke(cli.app, ["quarantine", words[0], NAME, *words[1:]])

    shown = run("show", "--partition", "2024-02", "--limit", "1")
    assert shown.exit_code == 0
    assert f"{NAME}: 3 of 60 rows are in quarantine" in shown.output
    assert "NORTH" in shown.output
    assert "[red]" not in shown.output
    file = tmp_path / "rows.jsonl"
    assert f"4 rows written to {file}" in run("export", str(file)).output.replace("\n", " ")
    assert "is there already" in str(run("export", str(file)).exception)
    assert run("export", str(file), "--force").exit_code == 0
    assert "keys look like" in str(run("replay", "--partition", "2024-9", "--rules").exception)
    shared_lake.cache_clear()
