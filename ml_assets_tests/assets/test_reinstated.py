"""A regime that comes back: the version that knew it serves again, and nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from small_market import JUDGING, PREPARING, open_market, sales

if TYPE_CHECKING:
    from pathlib import Path

DOUBLED = ("2024-07", "2024-08", "2024-09", "2024-10")


def test_prices_that_fall_back_bring_back_the_version_that_knew_them(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        training={"window": 2, "test": 1},
        retraining={"policy": "worth_it", "price": 0.5, "cooldown": 0, "minimum_rows": 20},
        gates=[],
    )
    for number in range(1, 13):
        month = f"2024-{number:02}"
        market.write(month, sales(month, level=2 if month in DOUBLED else 1))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain()
    market.materialize(JUDGING, "2024-01", "2024-05")
    for number in range(6, 13):
        month = f"2024-{number:02}"
        market.refresh(month)
        decision = market.decision(month)
        if decision.action == "retrain":
            market.retrain(through=month, decision=decision.id)

    decided = {entry.partition: entry.action for entry in market.ledger("decision")}
    promoted = [(entry.version, entry.action, entry.partition) for entry in market.ledger("promoted")]
    assert "retrain" in {decided[month] for month in DOUBLED}, decided
    (back,) = [one for one in promoted if one[1] == "reinstate"]
    assert back[0] == 1
    assert decided["2024-12"] == "reinstate", decided
    assert back[2] == "2025-01", "from the first partition that has no predictions"
    assert "is better on the newest partitions by more than noise" in market.ledger("promoted")[-1].reason
