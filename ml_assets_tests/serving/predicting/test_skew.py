"""Requests are kept, and what was served is held against the training path."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from small_market import PREPARING, Market, open_market, sales

from ml_assets.assets.skew import replay_requests
from ml_assets.declared.serving import Serving
from ml_assets.lake.connection import Commit
from ml_assets.registry.requests import Logged, hashed, read_requests, salt_of, write_requests
from ml_assets.serving.predicting import log as logging
from ml_assets.serving.predicting.champions import Champions
from ml_assets.serving.predicting.log import RequestLog
from ml_assets.serving.predicting.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEATURES = """\
SELECT _partition, _source, _row, month, town, area, area / avg(area) OVER (PARTITION BY town) AS relative, price
FROM validated
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A market whose features hang on the other rows of the month."""
    market = open_market(tmp_path_factory.mktemp("asked"), features=FEATURES)
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    market.materialize(PREPARING, "2024-01", "2024-02")
    market.retrain()
    with market.settings():
        yield market


@pytest.fixture(autouse=True)
def empty(asked: Market) -> Iterator[None]:
    yield
    with asked.lake.transaction(Commit("flats", "test")) as one:
        one.cursor.execute(f"DROP TABLE IF EXISTS {asked.project.table('requests').path}")


def ask(market: Market, rows: list[dict[str, Any]], **serving: Any) -> Metrics:
    """Ask and keep, as the API does."""
    metrics = Metrics()
    project = replace(market.project, serving=Serving(**serving))
    champions = Champions({"flats": project}, market.lake, market.registry, metrics)
    champions.look()
    served = champions.current("flats")
    assert served is not None
    log = RequestLog(market.lake, market.folder / "home", metrics)
    log.start()
    for row in rows:
        found = served.contract.read(json.dumps(row).encode(), 10)
        log.note(served, found, served.answer(found))
    log.stop()
    return metrics


def requests(market: Market) -> list[dict[str, Any]]:
    rows = market.table("validated", "2024-02").select("month", "contract", "town", "area").to_dicts()
    return [row | {"month": str(row["month"]), "area": row["area"] + 0.5} for row in rows[:20]]


def kept(market: Market) -> list[Logged]:
    with market.lake.reader() as cursor:
        return read_requests(cursor, market.project.table("requests"), 100)


def test_kept_requests_are_certified_also_after_the_lake_has_changed(asked: Market) -> None:
    metrics = ask(asked, requests(asked))
    asked.write("2024-02", sales("2024-02", rows=30))
    asked.materialize(PREPARING, "2024-02")
    try:
        found = replay_requests(asked.project, asked.lake)
    finally:
        asked.write("2024-02", sales("2024-02"))
        asked.materialize(PREPARING, "2024-02")
    assert found.words == "20 requests compared: no feature differs, and no prediction"
    assert {name: (one.rows, one.greatest) for name, one in found.columns.items() if name != "prediction"} == {
        "town": (20, 0), "area": (20, 0), "relative": (20, 0),
    }  # fmt: skip
    assert b'ml_assets_requests_logged_total{project="flats"} 20.0' in metrics.page()


def test_a_statement_that_looks_at_other_rows_sees_the_newest_within_a_look(asked: Market) -> None:
    champions = Champions({"flats": asked.project}, asked.lake, asked.registry, Metrics())
    row = {"month": date(2024, 2, 1), "town": "EAST", "area": 100.0}

    def relative() -> float:
        champions.look()
        served = champions.current("flats")
        assert served is not None
        return float(served.answer([row])[0].features["relative"])

    before = relative()
    asked.write("2024-02", [one | {"area": "160"} for one in sales("2024-02")])
    asked.materialize(PREPARING, "2024-02")
    try:
        assert relative() < before
    finally:
        asked.write("2024-02", sales("2024-02"))
        asked.materialize(PREPARING, "2024-02")
    assert relative() == before


def test_a_served_value_that_differs_is_told_with_its_column(asked: Market) -> None:
    ask(asked, requests(asked)[:3])
    with_fault = [replace(one, features={**one.features, "area": 99.0}, predicted=1.0) for one in kept(asked)[:1]]
    write_requests(asked.lake, asked.project.table("requests"), with_fault)

    found = replay_requests(asked.project, asked.lake)

    assert found.at_fault == ["area", "prediction"]
    served, replayed = found.columns["area"].example or (0, 0)
    assert (found.columns["area"].different, served) == (1, 99.0)
    assert found.words == (
        f"area differs in 1 of 4 requests, by {abs(99 - replayed):.4g} at most: "
        f"99.0 was served and training would have had {replayed}"
    )


def test_the_asset_tells_and_its_check_fails(asked: Market) -> None:
    ask(asked, requests(asked)[:3])
    run = asked.rerun("skew")
    assert asked.metadata("skew")["verdict"] == "3 requests compared: no feature differs, and no prediction"
    assert asked.check("no_skew", run).passed
    with_fault = [replace(one, features={**one.features, "area": 99.0}) for one in kept(asked)[:1]]
    write_requests(asked.lake, asked.project.table("requests"), with_fault)
    assert not asked.check("no_skew", asked.rerun("skew")).passed
    assert asked.metadata("skew")["at_fault"] == "area"


def test_without_requests_nothing_is_certified(asked: Market) -> None:
    assert replay_requests(asked.project, asked.lake).words == "no request was compared"


def test_personal_columns_are_kept_hashed_or_not_at_all_nor_what_is_made_of_them(asked: Market) -> None:
    ask(asked, requests(asked)[:2], personal={"town": "hash", "contract": "drop"})
    first, second = sorted(kept(asked), key=lambda one: one.features["area"])
    for one in (first, second):
        assert "contract" not in one.input
        assert set(one.features) == {"area"}, "relative is of the town's other rows"
        assert one.input["town"] in {hashed(salt_of(asked.folder / "home"), town) for town in ("EAST", "WEST")}
    assert replay_requests(asked.project, asked.lake).columns.keys() == {"area"}


def test_only_the_declared_share_is_kept(asked: Market) -> None:
    ask(asked, requests(asked), log=0)
    assert kept(asked) == []


def test_what_does_not_fit_into_the_queue_is_counted_and_nobody_waits(
    asked: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "WAITING", 5)
    metrics = ask(asked, requests(asked)[:8])
    assert len(kept(asked)) == 5
    assert b'ml_assets_requests_not_logged_total{project="flats"} 3.0' in metrics.page()


def test_the_salt_is_this_homes_own_and_nobody_elses_to_read(tmp_path: Path) -> None:
    salt = salt_of(tmp_path)
    assert salt_of(tmp_path) == salt != salt_of(tmp_path / "other")
    assert (tmp_path / "requests.salt").stat().st_mode & 0o777 == 0o600
    assert hashed(salt, "a") == hashed(salt, "a") != hashed(salt, "b")
    assert hashed(salt, None) is None


def test_requests_older_than_they_are_to_be_kept_are_forgotten_once_they_were_replayed(asked: Market) -> None:
    ask(asked, requests(asked)[:3])
    old = [replace(one, at=one.at - timedelta(days=31)) for one in kept(asked)[:2]]
    write_requests(asked.lake, asked.project.table("requests"), old)

    asked.rerun("skew")

    assert asked.metadata("skew")["rows_compared"] == 5
    assert asked.metadata("skew")["forgotten"] == 2
    assert len(kept(asked)) == 3
