"""When a unit was mended in SQL, rows lie beyond the bins of their column: it gets new ones, and drift sees again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_market import FEATURES, JUDGED, JUDGING, PREPARING, Market, open_market, sales

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MONTHS = tuple(f"2024-{number:02}" for number in range(1, 6))
WITH_METRES = FEATURES.replace("town, area", "town, area, area AS metres")
BY_CONTRACT = FEATURES.replace("town, area", "CASE WHEN month < '2024-06-01' THEN town ELSE contract END AS town, area")
MENDED = FEATURES.replace("town, area", "town, area, area * 1000 AS metres")
SHIFTED = FEATURES.replace("town, area", "town, area, area * 5000 AS metres")


def statistics(market: Market, month: str, column: str = "metres") -> Mapping[str, float]:
    drift = market.table("drift", month)
    drift = drift.filter(drift["column_name"] == column)
    return dict(drift.select("statistic", "value").iter_rows())


def alarms(market: Market, month: str) -> set[str]:
    drift = market.table("drift", month)
    return set(drift.filter(drift["alarm"])["column_name"])


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Four months and a champion; then the unit of a column is mended, and the months are filled anew."""
    folder = tmp_path_factory.mktemp("mended")
    first = open_market(folder, features=WITH_METRES)
    for month in MONTHS:
        first.write(month, sales(month, rows=200))
    first.materialize(PREPARING, MONTHS[0], MONTHS[3])
    first.retrain()
    first.materialize(JUDGING, MONTHS[0], MONTHS[3])
    assert "bins_chosen_again" not in first.metadata("profile")

    market = replace(open_market(folder, features=MENDED), instance=first.instance)
    market.materialize(("features", "profile"), MONTHS[0], MONTHS[3])
    return market


def test_a_column_that_has_left_its_bins_gets_new_ones_for_all_partitions(mended: Market) -> None:
    assert mended.metadata("profile")["bins_chosen_again"] == "metres"
    for month in MONTHS[:4]:
        profile = mended.table("profile", month)
        of = {
            name: profile.filter((profile["column_name"] == name) & (profile["rows"] > 0))
            for name in ("metres", "area")
        }
        assert of["metres"]["bin"].n_unique() == of["area"]["bin"].n_unique()
        assert of["metres"]["rows"].sum() == 200


def test_what_the_champion_learnt_from_is_counted_in_the_new_bins_and_the_change_of_unit_alarms(mended: Market) -> None:
    mended.materialize(("predictions", "drift"), MONTHS[3])

    found = statistics(mended, MONTHS[3])
    assert found["ks"] > 0.95
    assert found["psi"] > 1
    assert statistics(mended, MONTHS[3], "area")["ks"] < 0.3, "other columns are compared as before"


def test_a_shift_after_a_champion_of_the_new_unit_alarms(mended: Market) -> None:
    mended.retrain()
    mended.materialize((*JUDGED, "features", "profile", *JUDGING), MONTHS[4])
    assert mended.table("predictions", MONTHS[4])["version"].unique().to_list() == [2]
    assert "metres" not in alarms(mended, MONTHS[4])
    assert "bins_chosen_again" not in mended.metadata("profile")

    shifted = replace(open_market(mended.folder, features=SHIFTED), instance=mended.instance)
    shifted.materialize(("features", "profile", "predictions", "drift"), MONTHS[4])
    assert statistics(shifted, MONTHS[4])["ks"] > 0.5
    assert "metres" in alarms(shifted, MONTHS[4])


def test_a_category_that_outgrows_its_names_is_counted_by_its_most_frequent_values_everywhere(tmp_path: Path) -> None:
    market = open_market(tmp_path, features=BY_CONTRACT)
    for month in ("2024-05", "2024-06"):
        market.write(month, sales(month, rows=300))
    market.materialize(PREPARING, "2024-05")
    market.materialize(PREPARING, "2024-06")

    assert market.metadata("profile")["bins_chosen_again"] == "town"

    def towns(month: str) -> dict[str | None, int]:
        profile = market.table("profile", month)
        return dict(profile.filter(profile["column_name"] == "town").select("bin", "rows").iter_rows())

    assert towns("2024-05").keys() == {None, "EAST", "WEST"}
    # Of 302 values 200 have a name: the two towns, and 198 contracts.
    assert len(towns("2024-06")) == 198 + 2
    assert towns("2024-06")["(other)"] == 300 - 198

    market.materialize(("profile",), "2024-06")
    assert "bins_chosen_again" not in market.metadata("profile"), "once"
