"""A range at once, partition by partition, again, and after a file has changed: always the rows of the files, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_market import JUDGED, JUDGING, PREPARING, Market, Row, open_market, sales

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = ("2024-01", "2024-02", "2024-03")
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
