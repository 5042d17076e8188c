"""A range at once, partition by partition, again, and after a file has changed: always the rows of the files, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from small_market import CLEAN, JUDGED, JUDGING, PREPARING, Market, Row, open_market, sales

from ml_assets.assets import common, validated
from ml_assets.assets.common import register_blocks

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ml_assets.project import Project

MONTHS = ("2024-01", "2024-02", "2024-03")
FATES = ("raw", "validated", "quarantine", "duplicates")
WRITTEN = (*PREPARING, *JUDGING[:3])


def messy(month: str) -> list[Row]:
    """A month with bad rows, a duplicate, and rows that other months hold too."""
    rows = sales(month)
    rows[1]["area"] = "large"
    rows[2]["contract"] = rows[3]["contract"]
    return [*rows, {**rows[9], "nr": "99"}, {**sales("2024-01")[5], "month": month}, sales("2024-02")[6]]


def fill(market: Market) -> None:
    for month in MONTHS:
        market.write(month, messy(month))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Three messy months, through to the decision, with a champion."""
    market = open_market(tmp_path_factory.mktemp("again"), validation={"quarantine_limit": 1})
    fill(market)
    market.materialize(PREPARING, MONTHS[0], MONTHS[2])
    market.retrain()
    market.materialize(JUDGING, MONTHS[0], MONTHS[2])
    return market


def test_a_range_at_once_gives_what_one_partition_after_the_other_gives_in_any_order(
    scored: Market, tmp_path: Path
) -> None:
    in_turn = open_market(tmp_path, validation={"quarantine_limit": 1})
    fill(in_turn)
    for month in (MONTHS[1], MONTHS[2], MONTHS[0]):
        in_turn.materialize((*JUDGED, "features"), month)
    # Bins are fixed by the rows that are there when the first profile is made: from there on the order is free.
    for month in reversed(MONTHS):
        in_turn.materialize(["profile"], month)

    for name in PREPARING:
        assert scored.table(name).height > 0
        assert in_turn.table(name).equals(scored.table(name)), name
    for month in MONTHS:
        counts = [market.metadata("validated", month) for market in (scored, in_turn)]
        kept = [{key: one[key] for key in one if key.endswith("_rows")} for one in counts]
        assert kept[0] == kept[1]


def test_the_same_range_again_leaves_the_same_rows(scored: Market) -> None:
    before = {name: scored.table(name) for name in (*WRITTEN, "bins", "prediction_profile")}
    scored.materialize((*PREPARING, *JUDGING), MONTHS[0], MONTHS[2])

    for name, rows in before.items():
        assert rows.height > 0
        assert scored.table(name).equals(rows), name


def test_a_refresh_takes_in_late_and_corrected_rows_and_leaves_the_other_months_alone(scored: Market) -> None:
    others = [MONTHS[0], MONTHS[2]]
    before = {(name, month): scored.table(name, month) for name in WRITTEN for month in others}
    events = {(name, month): scored.event(name, month) for name in (*WRITTEN, "decision") for month in others}
    old = scored.table("validated", MONTHS[1])
    rows = messy(MONTHS[1])
    rows[1]["area"] = "77"
    rows[4]["price"] = "123456"
    del rows[10]
    late = [{**row, "contract": f"late/{number}"} for number, row in enumerate(sales("2024-02", rows=3))]
    scored.write(MONTHS[1], [*rows, *late])
    scored.refresh(MONTHS[1])

    counts = scored.metadata("validated", MONTHS[1])
    assert counts["raw_rows"] == scored.table("raw", MONTHS[1]).height == 65
    accounted = [counts[f"{name}_rows"] for name in ("validated", "quarantine", "duplicates")]
    assert sum(accounted) == 65
    new = scored.table("validated", MONTHS[1])
    assert new.height == counts["validated_rows"] == new.select("_source", "_row").n_unique()
    assert set(new["contract"]) - set(old["contract"]) == {"late/0", "late/1", "late/2", "2024-02/2"}
    assert set(old["contract"]) - set(new["contract"]) == {"2024-02/11"}
    assert 123456.0 in new["price"]
    for name in ("features", "predictions"):
        assert (
            scored.table(name, MONTHS[1])
            .select("_source", "_row")
            .sort("_row")
            .equals(new.select("_source", "_row").sort("_row"))
        )

    for (name, month), rows_before in before.items():
        assert scored.table(name, month).equals(rows_before), (name, month)
    for (name, month), event in events.items():
        assert scored.event(name, month) == event, (name, month)


def test_a_month_that_has_lost_all_its_rows_to_quarantine_keeps_no_old_ones(scored: Market) -> None:
    others = scored.table("features", MONTHS[0]).height
    scored.write(MONTHS[2], [{**row, "town": "NORTH"} for row in sales(MONTHS[2])])
    scored.refresh(MONTHS[2])

    assert {name: scored.table(name, MONTHS[2]).height for name in WRITTEN} == {
        **dict.fromkeys(WRITTEN, 0),
        "raw": 60,
        "quarantine": 60,
    }
    assert scored.table("features", MONTHS[0]).height == others > 0
    assert scored.decision(MONTHS[2]).action == "hold"


def untidy() -> list[Row]:
    """Rows of all months as one file would have them: bad ones, and copies of rows and of keys near and far."""
    rows = [row for month in MONTHS for row in messy(month)]
    return [*rows, *rows[3:9], {**rows[20], "price": "1"}, {**rows[40], "area": "none"}, {**rows[7], "contract": ""}]


def judged(market: Market, files: int, keys: list[str]) -> tuple[list[pl.DataFrame], object]:
    """The tables that the rows in some files make, and what the run tells of them."""
    rows = untidy()
    for number in range(files):
        market.write(f"part{number}", rows[number * len(rows) // files : (number + 1) * len(rows) // files])
    register_blocks(market.instance, market.project, keys)
    run = market.materialize(JUDGED, keys[0], keys[-1])
    counts = {key: {name: market.metadata("validated", key)[f"{name}_rows"] for name in FATES} for key in keys}
    checks = [market.check(name, run) for name in ("contract__unique", "area__cast", "rows__accounted_for")]
    return [market.table(name) for name in JUDGED], (counts, [(one.passed, one.metadata) for one in checks])


@pytest.mark.parametrize("files", [1, 5])
@pytest.mark.parametrize(
    ("partitions", "keys"),
    [({"grain": "none"}, ["all"]), ({"grain": "block", "rows": 90}, ["block-000001", "block-000002", "block-000003"])],
    ids=["none", "block"],
)
def test_a_large_partition_judged_in_slices_gives_what_it_gives_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: dict[str, Any], keys: list[str], files: int
) -> None:
    declared: dict[str, Any] = {
        "source": {"files": "sales/*.csv"},
        "partitions": {"start": "", "time": "", **partitions},
        "validation": {"quarantine_limit": 1},
    }
    at_once = judged(open_market(tmp_path / "whole", **declared), files, keys)
    heights: list[int] = []
    judge = validated.judge_rows

    def watched(project: Project, raw: pl.DataFrame, *arguments: Any, **named: Any) -> validated.Judged:
        heights.append(raw.height)
        return judge(project, raw, *arguments, **named)

    monkeypatch.setattr(validated, "judge_rows", watched)
    monkeypatch.setattr(validated, "LARGE", 50)
    for module in (common, validated):
        monkeypatch.setattr(module, "PIECE", 40)
    in_slices = judged(open_market(tmp_path / "sliced", **declared), files, keys)

    assert max(heights) <= 40
    assert sum(heights) == at_once[0][0].height
    for one, other in zip(at_once[0], in_slices[0], strict=True):
        assert one.equals(other)
        assert one.height > 0
    assert at_once[1] == in_slices[1]


@pytest.mark.parametrize(
    ("clean", "schema"),
    [
        (CLEAN.replace("trim(town)", "last_value(trim(town)) OVER (ORDER BY _row RANGE 0 PRECEDING)"), None),
        (CLEAN, "checked_flat_schema:CheckedFlat"),
    ],
    ids=["a window in clean.sql", "a check of the team's own"],
)
def test_a_large_partition_is_judged_at_once_where_its_rows_may_look_at_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: str, schema: str | None
) -> None:
    monkeypatch.setattr(validated, "LARGE", 10)
    monkeypatch.setattr(validated, "pieces_of", None)
    more = {"schema": schema} if schema else {}
    market = open_market(tmp_path, clean=clean, **more)
    market.write(MONTHS[0], sales(MONTHS[0]))
    market.materialize(JUDGED, MONTHS[0])

    assert market.table("validated").height == 60
