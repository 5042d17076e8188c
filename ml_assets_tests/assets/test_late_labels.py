"""A market whose prices become known late: a tenth at once, half after a month, all but a twentieth after two."""

from __future__ import annotations

import asyncio
import math

import httpx
import pytest
from small_market import JUDGING, NAME, PREPARING, Market, Row, open_market, sales

from ml_assets.core.maturity import usable
from ml_assets.serving.app import create_app

SHARES = (0.1, 0.5, 0.95)
ROWS = 80
MONTHS = tuple(f"2024-{number:02}" for number in range(1, 13))
CLEAN = """\
SELECT month || '-01' AS month, contract, trim(town) AS town, area, nullif(price, '') AS price,
    _partition, _source, _row
FROM raw
"""


def known(month: str, age: int) -> list[Row]:
    """A month's sales with the prices that are known when the newest month is so many later."""
    rows = sales(month, rows=ROWS, level=1.3 if month >= "2024-11" else 1)
    share = SHARES[min(age, 2)]
    return [row | ({} if number < share * ROWS else {"price": ""}) for number, row in enumerate(rows)]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Nine months filled as a range, a model, and three months that are lived, each with what came late for others."""
    market = open_market(
        tmp_path_factory.mktemp("late"), clean=CLEAN, schema="late_schema:LateFlat",
        training={"window": 3}, retraining={"minimum_rows": 30},
    )  # fmt: skip
    for place, month in enumerate(MONTHS[:9]):
        market.write(month, known(month, 8 - place))
    market.materialize(PREPARING, MONTHS[0], MONTHS[8])
    market.retrain(through="2024-04")
    market.materialize(JUDGING, MONTHS[0], MONTHS[8])
    for newest in (9, 10, 11):
        for age in (2, 1, 0):
            market.write(MONTHS[newest - age], known(MONTHS[newest - age], age))
        market.materialize((*PREPARING, *JUDGING), MONTHS[newest - 2], MONTHS[newest])
    return market


def measured(market: Market, month: str) -> dict[str, tuple[float | None, str, float]]:
    rows = market.table("performance", month).select("metric", "value", "standing", "labels")
    return {metric: (value, standing, labels) for metric, value, standing, labels in rows.iter_rows()}


def test_a_version_learns_and_is_judged_where_labels_have_matured_and_from_rows_that_have_one(late: Market) -> None:
    version, evaluation = late.registry.version(NAME, 1), late.registry.evaluation(NAME, 1)
    assert evaluation is not None

    assert (version.training_set.train, version.training_set.test) == (("2024-02", "2024-03"), ("2024-04",))
    assert evaluation["rows"]["train"] == 2 * 76
    assert evaluation["rows"]["test"] == 76


def test_metrics_are_matured_provisional_or_missing_by_the_labels_that_are_there(late: Market) -> None:
    for month, standing, rows in (
        ("2024-10", "matured", 76),
        ("2024-11", "provisional", 40),
        ("2024-12", "estimated", 8),
    ):
        found = measured(late, month)
        assert {one for _, one, _ in found.values()} == {standing}
        assert (found["rows"][0], found["scored"][0]) == (rows, ROWS)
        assert found["mape"][2] == rows / ROWS
        assert (found["mape"][0] is None) == (standing == "estimated")


def test_every_look_is_kept_and_one_that_sees_nothing_new_is_not_noted(late: Market) -> None:
    looks = {month: late.table("label_looks", month).sort("looked_at")["labelled"].to_list() for month in MONTHS}

    assert looks["2024-10"] == [8, 40, 76]
    assert looks["2024-03"] == [76]
    # September was looked at in three runs: when the history was filled, and then twice.
    assert looks["2024-09"] == [8, 40, 76]
    late.materialize(("performance",), "2024-09", "2024-10")
    assert [late.table("label_looks", month).height for month in ("2024-09", "2024-10")] == [3, 3]


def test_an_estimate_stands_beside_every_metric_and_its_error_is_known_once_estimates_have_met_labels(
    late: Market,
) -> None:
    rows = late.table("performance").filter(late.table("performance")["metric"] == "mape").sort("_partition")
    by_month = dict(zip(rows["_partition"].dt.strftime("%Y-%m"), rows.iter_rows(named=True), strict=True))

    assert all(row["estimate"] > 0 for row in by_month.values())
    # April was tested on and taught the estimates. Those of May, June and July met their labels by September.
    assert [month for month, row in by_month.items() if row["margin"] is None] == list(MONTHS[1:8])
    october = by_month["2024-10"]
    assert abs(october["value"] - october["estimate"]) < october["margin"]


def test_prices_that_have_risen_are_seen_by_the_labels_and_not_by_the_inputs(late: Market) -> None:
    rows = late.table("performance", "2024-11")
    mape = next(row for row in rows.iter_rows(named=True) if row["metric"] == "mape")

    assert mape["value"] > 5 * (mape["estimate"] + mape["margin"])


def test_once_labels_have_told_of_risen_prices_the_estimate_is_scaled_by_them(late: Market) -> None:
    # October is two months older than December, and its labels were the newest to mature: all as it used to be.
    rows = late.table("performance").filter(late.table("performance")["metric"] == "mape").sort("_partition")
    by_month = dict(zip(rows["_partition"].dt.strftime("%Y-%m"), rows.iter_rows(named=True), strict=True))
    ratios = [by_month[month]["value"] / by_month[month]["expected"] for month in ("2024-08", "2024-09", "2024-10")]
    december = by_month["2024-12"]

    assert december["estimate"] == pytest.approx(december["expected"] * math.prod(ratios) ** (1 / 3))


def test_a_decision_may_use_the_newest_number_that_has_labels(late: Market) -> None:
    measured, start = late.table("performance"), late.project.start_of("2024-12")
    found = usable(measured, "mape", start, minimum_rows=30)
    estimate = usable(measured, "mape", start, minimum_rows=30, standings=("estimated",))

    assert found is not None
    assert estimate is not None
    assert (late.project.key_of(found.partition), found.standing, found.rows) == ("2024-11", "provisional", 40)
    assert found.said("2024-11").endswith("of 2024-11 (provisional, 50% of labels)")
    assert (estimate.standing, estimate.rows) == ("estimated", ROWS)


def test_the_metadata_says_which_number_it_is(late: Market) -> None:
    shown = {month: late.metadata("performance", month) for month in ("2024-10", "2024-11", "2024-12")}

    assert shown["2024-10"]["said"].startswith("MAPE 0.0")
    assert "(matured, 95% of labels); MAPE estimated without labels 0.0" in shown["2024-10"]["said"]
    assert "(provisional, 50% of labels)" in shown["2024-11"]["said"]
    assert shown["2024-12"]["said"].startswith("MAPE estimated without labels 0.0")
    assert "mape" not in shown["2024-12"]
    assert late.metadata("performance")["labels"] == "there after 2 partitions: 95% of rows have a label in the end"


def test_labels_that_come_late_make_no_row_in_sample_that_was_not_learnt_from(late: Market) -> None:
    # Of February a twentieth had no price when the version was trained: nothing was learnt from those rows.
    predictions = late.table("predictions", "2024-02")

    assert predictions["in_sample"].sum() == 76
    assert measured(late, "2024-02").get("rows", (None,))[0] in {None, 0.0}


def test_the_page_tells_what_was_measured_from_what_was_estimated(late: Market) -> None:
    with late.settings():
        page = asyncio.run(_page(late)).partition('aria-label="Partitions"')[2]

    row = {month: page.partition(f">{month}</a>")[2].partition("</tr>")[0] for month in MONTHS}
    assert "provisional" not in row["2024-10"]
    assert 'title="50 % of labels are there">provisional' in row["2024-11"]
    assert "≈ " in row["2024-12"]
    assert 'title="estimated without labels">estimated' in row["2024-12"]


async def _page(market: Market) -> str:
    transport = httpx.ASGITransport(create_app({NAME: market.project}))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", timeout=60) as client:
        answer = await client.get(f"/projects/{NAME}", headers={"accept": "text/html"})
    assert answer.status_code == httpx.codes.OK
    return answer.text
