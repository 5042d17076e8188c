"""A feature that features.sql no longer returns, or returns as something else: the way on is open, and it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_market import FEATURES, NAME, Market, open_market, sales

from ml_assets import cli
from ml_assets.errors import RunFailedError
from ml_assets.history import backfill
from ml_assets.lake.connection import LakeError
from ml_assets.reentry import replay
from ml_assets.registry.ledger import Ledger
from ml_assets.runs import run_job

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
WITH_ROOMS = FEATURES.replace("town, area", "town, area, area // 10 AS rooms")
AS_TEXT = FEATURES.replace("town, area", "town, area, 'r' || (area // 20)::INTEGER AS rooms")


def fill(market: Market) -> list[str]:
    """Backfill all months; what was said."""
    said: list[str] = []
    ledger = Ledger(market.lake)
    with market.settings():
        backfill(
            market.instance, market.defs, ledger, market.project, first=MONTHS[0], last=MONTHS[-1], say=said.append
        )
    return said


@pytest.mark.parametrize(
    ("features", "why"),
    [
        (FEATURES, "version 1 needs the feature 'rooms', which features.sql no longer returns"),
        (AS_TEXT, "version 1 needs the feature 'rooms' as a number, and features.sql returns a category now"),
    ],
    ids=["struck", "of another type"],
)
def test_after_a_feature_was_struck_a_backfill_a_retraining_and_a_backfill_lead_on(
    tmp_path: Path, features: str, why: str
) -> None:
    first = open_market(tmp_path, features=WITH_ROOMS)
    for month in MONTHS:
        first.write(month, sales(month))
    fill(first)
    assert [entry.version for entry in first.ledger("promoted")] == [1]

    changed = replace(open_market(tmp_path, features=features), instance=first.instance)
    if features == AS_TEXT:
        with changed.settings():
            cli.drop(NAME, ["features"])
    told = why.replace("version 1 needs", f"version 1 of {NAME} needs")
    with pytest.raises(RunFailedError) as failure:
        fill(changed)
    assert told in str(failure.value)
    assert f"`ml-assets retrain {NAME}`" in str(failure.value)

    with changed.settings():
        run_job(changed.instance, changed.defs, f"{NAME}_retrain")
    promoted = changed.ledger("promoted")
    assert [entry.version for entry in promoted] == [1, 2]
    assert promoted[-1].reason == f"the first version that passes the gates since: {why}"

    fill(changed)
    predictions = changed.table("predictions")
    assert predictions["version"].unique().to_list() == [2]
    assert predictions["hindsight"].all(), "version 2 came later"
    assert changed.metadata("predictions", MONTHS[0])["in_place_of"] == 1
    assert changed.table("performance").height == 0, "hindsight measures nothing"
    assert set(changed.table("drift")["version"]) == {2}


def test_a_type_that_changes_in_two_tables_is_told_of_both_at_once_and_one_command_leads_on(tmp_path: Path) -> None:
    first = open_market(tmp_path)
    for month in MONTHS:
        first.write(month, sales(month))
    said = fill(first)
    assert "  240 rows: 240 validated, 0 in quarantine" in said

    # The month is a moment now; a version needs it not: it orders rows.
    changed = replace(open_market(tmp_path, schema="timed_flat_schema:Flat"), instance=first.instance)
    validated = first.table("validated")
    with pytest.raises(RunFailedError) as failure:
        fill(changed)
    told = "column 'month' is DATE in the lake and TIMESTAMP in this write"
    for part in (
        f"{NAME}.validated: {told}; {NAME}.features: {told}",
        f"`ml-assets lake drop {NAME} validated features`",
    ):
        assert part in str(failure.value)
    assert first.table("validated").equals(validated)

    with pytest.raises(RunFailedError), changed.settings():
        replay(changed.instance, changed.defs, changed.lake, changed.project, keys=MONTHS[:1], say=said.append)
    assert said[-1] == "  the run failed before any row was judged: validated and quarantine are as they were"
    assert not [line for line in said if "re-entered" in line]

    with changed.settings():
        cli.drop(NAME, ["validated", "features"])
    fill(changed)
    assert set(changed.table("predictions")["version"]) == {1}


def test_tables_are_dropped_together_or_not_at_all(market: Market) -> None:
    market.materialize(("raw", "validated", "quarantine"), "2024-01")
    with market.settings():
        with pytest.raises(LakeError, match=r"no table flats\.featurs; nothing was dropped"):
            cli.drop(NAME, ["validated", "featurs"])
        assert {"raw", "validated"} <= market.tables()
        cli.drop(NAME, ["validated", "raw"])
    assert not {"raw", "validated"} & market.tables()
