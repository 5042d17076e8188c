"""`worth_it` decides live by the tables and the ledger, as in a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_market import JUDGING, NAME, PREPARING, Market, open_market, sales

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = [f"2024-{month:02}" for month in range(1, 11)]
# Prices grow by half in September: four times an ordinary error, in one month.
LEVELS = dict.fromkeys(MONTHS[8:], 1.5)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Version 1 learns from January, is tested on February and serves from March on."""
    retraining = {"policy": "worth_it", "price": 2.0, "minimum_rows": 20}
    made = open_market(tmp_path_factory.mktemp("worth"), retraining=retraining)
    for month in MONTHS:
        made.write(month, sales(month, level=LEVELS.get(month, 1.0)))
    made.materialize(PREPARING, "2024-01", "2024-02")
    made.retrain()
    made.materialize(PREPARING, "2024-03", "2024-07")
    made.materialize(JUDGING, "2024-03", "2024-07")
    made.refresh("2024-08")
    made.refresh("2024-09")
    return made


def test_it_holds_while_the_champion_is_as_good_as_ever(market: Market) -> None:
    one = market.decision("2024-08")
    errors = market.table("performance")
    errors = errors.filter((errors["metric"] == "mape") & errors["value"].is_not_null())["value"]

    assert (one.action, one.standing) == ("hold", "live")
    assert "a retraining costs" in one.reason
    wear = one.facts["wear"]
    assert 0.8 * min(errors) < wear["usual"] < 2 * min(errors)
    assert wear["excess"] < 2 * wear["usual"]
    assert (wear["futile"], one.facts["served"]) == (0, 6)


def test_it_retrains_when_keeping_the_champion_has_cost_the_price(market: Market) -> None:
    one = market.decision("2024-09")
    wear = one.facts["wear"]

    assert (one.action, one.standing) == ("retrain", "live")
    assert wear["excess"] + wear["expected"] >= 2 * wear["usual"]
    assert one.facts["error"] > wear["usual"]
    assert market.asked("2024-09") == one.id


def test_who_asks_launches_nothing(tmp_path: Path) -> None:
    market = open_market(tmp_path, retraining={"policy": "periodic", "every": 1, "minimum_rows": 20, "ask": True})
    for month in MONTHS[:4]:
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-02")
    market.retrain()
    market.refresh("2024-03")

    one = market.decision("2024-03")
    assert (one.action, one.standing) == ("ask", "live")
    assert one.reason.endswith("; a person is asked")
    assert market.metadata("decision", "2024-03")["acting_decision"] == 0
    assert one.project == NAME
