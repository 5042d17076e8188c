"""Why partitions alarm, from the lake: what does harm is acted on, the rest is told; explanations are kept."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from small_market import FEATURES, JUDGING, PREPARING, Market, Row, open_market, sales

from ml_assets.assets import why
from ml_assets.core.causes import Cause

if TYPE_CHECKING:
    from pathlib import Path

# A column that means nothing, and that hardly moves a prediction: prices hang on the area.
WITH_NOISE = FEATURES.replace("area,", "area, (hash(contract) % 100)::DOUBLE + NOISE AS noise,")
DRIFTED = "CASE WHEN month >= DATE '2024-06-01' THEN 200 ELSE 0 END"


def opened(folder: Path, policy: str = "drift") -> Market:
    """A champion of five months, which nothing was wrong with."""
    features = WITH_NOISE.replace("NOISE", DRIFTED)
    market = open_market(folder, features=features, retraining={"policy": policy}, monitoring={"harm": 0.5})
    for month in range(1, 9):
        market.write(f"2024-{month:02}", sales(f"2024-{month:02}", rows=200))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain()
    market.materialize(JUDGING, "2024-01", "2024-05")
    return market


def in_feet(month: str) -> list[Row]:
    return [row | {"area": str(min(float(row["area"]) * 2, 399))} for row in sales(month, rows=200)]


def test_drift_that_does_no_harm_is_told_and_not_acted_on_and_drift_that_does_is(tmp_path: Path) -> None:
    market = opened(tmp_path)
    market.refresh("2024-06")

    ((name, harmful, metric),) = (
        market.table("causes", "2024-06").select("column_name", "harmful", "metric").iter_rows()
    )
    assert (name, harmful, metric) == ("noise", False, "mape")
    assert market.decision("2024-06").action == "hold"
    assert market.decision("2024-06").reason == "drift in noise does the model no harm"
    assert "noise" in market.metadata("drift", "2024-06")["why"]

    market.write("2024-07", in_feet("2024-07"))
    market.refresh("2024-07")

    causes = dict(market.table("causes", "2024-07").select("column_name", "harmful").iter_rows())
    assert causes["area"] is True
    assert market.decision("2024-07").action == "retrain"


def test_of_a_range_the_newest_alarms_are_explained_and_explanations_of_older_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "EXPLAINED", 1)
    market = opened(tmp_path, policy="performance")
    market.materialize((*PREPARING, *JUDGING), "2024-06", "2024-08")

    def told() -> dict[str, tuple[float | None, bool | None, str]]:
        rows = market.table("causes").select("_partition", "effect", "harmful", "note").iter_rows()
        return {market.project.key_of(start): tuple(more) for start, *more in rows}  # type: ignore[misc]

    assert told()["2024-06"] == told()["2024-07"] == (None, None, why.OLDER)
    assert told()["2024-08"][1:] == (False, "")
    assert f"unknown: {why.OLDER}" in market.metadata("drift", "2024-06")["why"]

    market.materialize(("drift",), "2024-06")
    explained = told()["2024-06"]
    assert explained[1:] == (False, ""), "one partition is always explained"
    market.materialize(("drift",), "2024-06", "2024-08")
    assert told()["2024-06"] == explained
    assert told()["2024-07"] == (None, None, why.OLDER)


def test_what_is_unknown_is_harmful_and_what_nobody_has_asked_is_neither() -> None:
    start = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC
    causes = [Cause("a", 9.0, None, note="why"), Cause("b", None, None, note=why.OLDER), Cause("c", 1.0, 0.1)]

    frame = why.causes_frame({start: causes}, harm=0.2)

    assert dict(frame.select("column_name", "harmful").iter_rows()) == {"a": True, "b": None, "c": False}


def test_the_summary_names_the_error_that_a_cost_is_of_and_says_what_is_unknown(shared: Market) -> None:
    causes = [Cause("town", None, None, note="ValueError: no"), Cause("area", 9.0, 0.5, -2.0, metric="mae")]

    told = why.told_why(shared.project, causes)

    assert "| town | unknown: ValueError: no |  | unknown |" in told
    assert "| area | 50% of a typical error | -2 MAE | all rows alike |" in told
