"""Drift against what the champion learnt from; and decisions, made once, acted on only when live."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_market import NAME, Market, entry, open_market

from ml_assets.assets.common import Span
from ml_assets.assets.decision import Known, acting_decision, decide
from ml_assets.registry.ledger import Entry, seal

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Story

NOTHING_DRIFTED = pl.DataFrame(
    schema={"_partition": pl.Datetime("us"), "version": pl.Int64, "column_name": pl.String, "alarm": pl.Boolean}
)
NOTHING_EXPLAINED = pl.DataFrame(schema={"_partition": pl.Datetime("us"), "harmful": pl.Boolean})
NOTHING_MEASURED = pl.DataFrame(
    schema={"_partition": pl.Datetime("us"), "version": pl.Int64, "metric": pl.String, "value": pl.Float64}
)
HISTORY = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05")


def test_every_partition_is_decided_and_only_live_ones_retrain(story: Story) -> None:
    decided = [
        (entry.partition, entry.version, entry.action, entry.standing) for entry in story.market.ledger("decision")
    ]

    assert decided == [
        *((month, 1, "hold", "backfill") for month in HISTORY),
        ("2024-06", 1, "hold", "live"),
        ("2024-07", 1, "retrain", "live"),
        ("2024-08", 1, "hold", "live"),
        ("2024-09", 1, "retrain", "live"),
        ("2024-10", 3, "hold", "live"),
        ("2024-07", 1, "retrain", "again"),
    ]


def test_the_reason_gives_the_figures(story: Story) -> None:
    reasons = {entry.partition: entry.reason for entry in story.market.ledger("decision") if entry.standing != "again"}

    assert reasons["2024-04"] == "0 labelled rows that the champion has not learnt from; 20 are needed"
    assert reasons["2024-06"].endswith("when version 1 was judged: within 1.5 times")
    assert reasons["2024-07"].endswith("when version 1 was judged: more than 1.5 times")
    assert reasons["2024-08"].endswith("but a retraining was decided 1 partition ago")
    assert "when version 3 was judged" in reasons["2024-10"]


def test_the_evidence_is_the_tables_of_that_partition(story: Story) -> None:
    market = story.market
    facts = market.decision("2024-09").facts
    measured = dict(market.table("performance", "2024-09").select("metric", "value").iter_rows())
    evaluation = market.registry.evaluation(NAME, 1)
    assert evaluation is not None
    drift = market.table("drift", "2024-09")

    assert facts == {
        "partition": "2024-09",
        "champion": 1,
        "rows": 60,
        "metric": "mape",
        "error": measured["mape"],
        "reference": evaluation["metrics"]["test"]["mape"],
        "since_retraining": 2,
        "alarms": sorted(set(drift.filter(drift["alarm"])["column_name"])),
        "drift_alarm": True,
        "served": 4,
        "wear": None,
        "retired": None,
        "rests_on": "",
        "too_few": None,
    }


@pytest.mark.parametrize(("harmful", "acts"), [([False, None], True), ([None], True), ([False], False), ([], True)])
def test_an_alarm_that_nobody_has_explained_is_taken_at_its_word(
    shared: Market, month: str, harmful: list[bool | None], *, acts: bool
) -> None:
    start = shared.project.start_of(month)
    drifted = NOTHING_DRIFTED.vstack(
        pl.DataFrame([(start, 1, "area", True)], schema=NOTHING_DRIFTED.schema, orient="row")
    )
    causes = pl.DataFrame([(start, one) for one in harmful], schema=NOTHING_EXPLAINED.schema, orient="row")

    with shared.settings():
        span = Span(shared.project.window(month, month), (start,), (month,), is_range=False)
        (draft,) = decide(shared.project, span, Known(drifted, causes, NOTHING_MEASURED), [])

    assert draft.evidence["drift_alarm"] is acts


def test_the_ledger_is_numbered_without_gaps_and_chained_by_hashes(story: Story) -> None:
    entries = story.market.ledger()

    assert [entry.id for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.previous for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
    assert all(
        seal({name: getattr(entry, name) for name in Entry.__dataclass_fields__}) == entry.hash for entry in entries
    )


def test_the_materialization_names_its_ledger_entry_and_the_decision_to_act_on(story: Story) -> None:
    market = story.market
    shown = {month: market.metadata("decision", month) for month in (*HISTORY, "2024-07", "2024-09", "2024-10")}

    for month, metadata in shown.items():
        entry = market.decision(month)
        assert (metadata["ledger_id"], metadata["action"], metadata["standing"], metadata["reason"]) == (
            entry.id,
            entry.action,
            entry.standing,
            entry.reason,
        )
        assert metadata["evidence"] == entry.facts
    assert shown["2024-09"]["acting_decision"] == market.asked("2024-09")
    assert {month: metadata["acting_decision"] for month, metadata in shown.items() if month != "2024-09"} == {
        month: 0 for month in shown if month != "2024-09"
    }, "nothing to act on in a history, when it holds, or when it is decided again"


def test_prices_that_double_are_an_alarm_until_a_champion_has_learnt_them(story: Story) -> None:
    market = story.market

    def location_of_price(month: str) -> tuple[int, float, bool]:
        rows = market.table("drift", month)
        ((version, value, alarm),) = (
            rows.filter((rows["column_name"] == "price") & (rows["statistic"] == "location"))
            .select("version", "value", "alarm")
            .iter_rows()
        )
        return version, value, alarm

    before, shifted, learnt = (location_of_price(month) for month in ("2024-06", "2024-09", "2024-10"))
    assert (before[0], before[2]) == (1, False)
    assert (shifted[0], shifted[2]) == (1, True)
    assert (learnt[0], learnt[2]) == (3, False)
    assert shifted[1] > 0.5, "in standard deviations"
    assert "price" in market.metadata("drift", "2024-09")["alarming_columns"]
    assert "| price | is the target |" in market.metadata("drift", "2024-09")["why"]
    assert market.metadata("drift", "2024-09")["report"] == "http://127.0.0.1:3001/projects/flats/drift/2024-09"


def test_inputs_target_and_predictions_are_all_compared(story: Story) -> None:
    rows = story.market.table("drift", "2024-10")

    assert {(column, statistic) for column, statistic in rows.select("column_name", "statistic").iter_rows()} == {
        (column, statistic)
        for column, statistics in {
            "town": ("shape", "new_categories", "missing", "chi_squared", "psi", "js"),
            "prediction": ("ks", "psi", "js"),
            **dict.fromkeys(
                ("area", "price"),
                ("location", "spread", "shape", "missing", "ks", "wasserstein", "out_of_range", "psi", "js"),
            ),
        }.items()
        for statistic in statistics
    }


def test_a_partition_that_champion_learnt_from_has_not_drifted(story: Story) -> None:
    rows = story.market.table("drift", "2024-04")

    assert rows.height > 0
    assert not rows["alarm"].any()
    told = rows.filter(rows["statistic"] != "chi_squared")
    assert told["value"].to_list() == pytest.approx([0.0] * told.height, abs=1e-9)


# ------------------------------------------------------------------------------------ standings, told of a ledger only


def standings(market: Market, months: tuple[str, ...], entries: list[Entry], *, is_range: bool = False) -> list[str]:
    project = market.project
    window = project.window(months[0], months[-1])
    span = Span(window, tuple(map(project.start_of, months)), months, is_range=is_range)
    drafts = decide(project, span, Known(NOTHING_DRIFTED, NOTHING_EXPLAINED, NOTHING_MEASURED), entries)
    assert [draft.partition for draft in drafts] == list(months)
    return [draft.standing for draft in drafts]


def test_who_is_live(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    march, april = ("2024-03",), ("2024-04",)

    assert standings(market, march, []) == ["live"]
    assert standings(market, march, [], is_range=True) == ["backfill"], "a range, even of one, fills a history"
    assert standings(market, march, [entry(1, "2024-04")]) == ["backfill"], "there is a newer one"
    assert standings(market, march, [entry(1, "2024-04", standing="backfill")]) == ["backfill"]
    assert standings(market, april, [entry(1, "2024-04", standing="backfill")]) == ["live"], "the newest, at last alone"
    assert standings(market, april, [entry(1, "2024-04")]) == ["again"]
    assert standings(market, april, [entry(1, "2024-04"), entry(2, "2024-05")]) == ["again"]
    assert standings(market, (*march, *april), [entry(1, "2024-04")], is_range=True) == ["backfill", "again"]


def test_the_newest_live_decision_to_retrain_is_acted_on_until_it_has_a_verdict() -> None:
    asked = entry(5, "2024-04", "retrain")
    again = entry(6, "2024-04", "retrain", standing="again")

    assert acting_decision([asked]) is asked
    assert acting_decision([asked, again]) is asked, "a run that is repeated acts on the decision that stands"
    assert acting_decision([asked, entry(6, "2024-05")]) is asked, (
        "told again: the run that made it may have been killed"
    )
    assert acting_decision([asked, entry(6, "2024-03", "retrain", standing="backfill")]) is asked
    assert acting_decision([asked, entry(6, "", kind="rejected")]) is None
    assert acting_decision([asked, entry(6, "", kind="promoted")]) is None
    assert acting_decision([asked, entry(7, "", kind="promoted")]) is asked, "a verdict on another decision"
    newer = entry(7, "2024-05", "retrain")
    assert acting_decision([asked, newer]) is newer
    assert acting_decision([asked, newer, entry(8, "", kind="rejected")]) is None, "the older is not taken up again"
    assert acting_decision([replace(asked, action="hold")]) is None
    assert acting_decision([replace(asked, standing="backfill")]) is None
    assert acting_decision([]) is None
