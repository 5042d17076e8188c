"""Requests are kept, and what was served is held against the training path."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import date, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from small_market import PREPARING, Market, open_market, sales
from small_service import Service

from ml_assets import settings
from ml_assets.assets.skew import UNKEPT, replay_requests
from ml_assets.declared.serving import Serving
from ml_assets.lake.connection import Commit, LakeError
from ml_assets.registry.certificates import read_certificate
from ml_assets.registry.export import parity
from ml_assets.registry.models import Registry
from ml_assets.registry.requests import Logged, hashed, read_requests, salt_of, write_requests
from ml_assets.serving.predicting import log as logging
from ml_assets.serving.predicting.champions import Champions
from ml_assets.serving.predicting.log import RequestLog
from ml_assets.serving.predicting.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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

    predicted, wanted = found.columns["prediction"].example or (0, 0)
    assert (predicted, wanted) == (1.0, pytest.approx(5000 * with_fault[0].input["area"], rel=0.1))
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


def shown(market: Market, path: str) -> str:
    """A page's text on one line."""
    response = Service(market.project).get(path)
    assert response.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.text)).split())


def test_the_newest_certificate_stands_on_the_projects_page_and_skew_beside_its_verdict(asked: Market) -> None:
    ask(asked, requests(asked)[:3])
    asked.rerun("skew")
    page = shown(asked, "/projects/flats")
    assert "Served as trained yes 3 requests compared: no feature differs, and no prediction" in page
    assert re.search(r"; greatest difference [\d.e-]+; replayed 20\d\d-\d\d-\d\d \d\d:\d\d UTC", page)
    assert "serving differs" not in page

    faulty = [replace(one, features={**one.features, "area": 99.0}) for one in kept(asked)[:1]]
    write_requests(asked.lake, asked.project.table("requests"), faulty)
    asked.rerun("skew")
    page = shown(asked, "/projects/flats")
    assert re.search(r"Served as trained no area differs in 1 of 4 requests, by [\d.]+ at most: 99.0 was served", page)
    for path in ("/", "/projects/flats"):
        text = shown(asked, path)
        assert "serving differs from training: area" in text
        assert "All right:" not in text


def test_a_certificate_of_nothing_says_so_and_one_of_what_is_no_number_too(asked: Market) -> None:
    asked.rerun("skew")
    assert "Served as trained not certified no request was compared; replayed" in shown(asked, "/projects/flats")
    ask(asked, requests(asked)[:1])
    right = kept(asked)[0]
    write_requests(asked.lake, asked.project.table("requests"), [replace(right, predicted=float("nan"))])
    asked.rerun("skew")
    found = read_certificate("flats")
    assert found is not None
    assert (found.greatest, found.at_fault, found.rows) == (None, ("prediction",), 2)
    assert "greatest difference: values that are no two numbers" in shown(asked, "/projects/flats")


@pytest.mark.parametrize("content", ['{"at": ', "[]", "{}"])
def test_a_certificate_that_cannot_be_read_takes_no_page_down(asked: Market, content: str) -> None:
    asked.rerun("skew")
    (settings.home() / "reports" / "flats" / "skew" / "certificate.json").write_text(content)
    page = shown(asked, "/projects/flats")
    assert "Served as trained not certified certificate.json cannot be read:" in page
    assert "Remedy: materialize flats/skew" in page


def test_without_requests_nothing_is_certified(asked: Market) -> None:
    assert replay_requests(asked.project, asked.lake).words == "no request was compared"
    check = asked.check("no_skew", asked.rerun("skew"))
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_prediction_alone_that_differs_is_told_as_it_was_served(asked: Market) -> None:
    ask(asked, requests(asked)[:1])
    right = kept(asked)[0]
    write_requests(asked.lake, asked.project.table("requests"), [replace(right, predicted=float("nan"))])
    found = replay_requests(asked.project, asked.lake)
    assert found.at_fault == ["prediction"]
    assert found.words.startswith("prediction differs in 1 of 2 requests, by inf at most: nan was served and training")
    assert found.words.endswith(f"would have had {found.columns['prediction'].example[1]!r}")  # type: ignore[index]


def test_an_onnx_file_may_be_as_far_off_as_at_its_parity_however_few_were_asked(asked: Market) -> None:
    ask(asked, requests(asked)[:1])
    (right,) = kept(asked)
    told = parity(asked.registry, asked.registry.version("flats", 1))
    assert right.engine == "onnx"
    assert told is not None
    for off, at_fault in ((0.9, []), (1.5, ["prediction"])):
        moved = replace(right, predicted=right.predicted + off * told["limit"])
        with asked.lake.transaction(Commit("flats", "test")) as one:
            one.cursor.execute(f"DELETE FROM {asked.project.table('requests').path}")
        write_requests(asked.lake, asked.project.table("requests"), [moved])
        assert replay_requests(asked.project, asked.lake).at_fault == at_fault


def test_what_is_not_compared_is_not_certified(asked: Market) -> None:
    ask(asked, requests(asked)[:2], personal={"town": "hash", "area": "hash"})
    found = replay_requests(asked.project, asked.lake)
    assert (found.rows, found.columns) == (0, {})
    assert found.words == f"no request was compared (2 left out: {UNKEPT})"
    ask(asked, requests(asked)[:3], personal={"town": "hash"})
    assert replay_requests(asked.project, asked.lake).words == (
        "3 requests compared: no feature differs; no prediction was compared, for not all features were kept "
        f"(2 left out: {UNKEPT})"
    )


def test_requests_that_the_statement_drops_are_told(asked: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(asked, requests(asked)[:2])
    version = asked.registry.version("flats", 1)
    changed = {**version.sources, "features_sql": f"{version.sources['features_sql']} WHERE area < 0"}
    monkeypatch.setattr(Registry, "version", lambda *_: replace(version, sources=changed))
    words = replay_requests(asked.project, asked.lake).words
    assert words == "no request was compared (2 left out: the statement drops them now)"


def test_personal_columns_are_kept_hashed_or_not_at_all_nor_what_is_made_of_them(asked: Market) -> None:
    ask(asked, requests(asked)[:2], personal={"town": "hash", "contract": "drop"})
    first, second = sorted(kept(asked), key=lambda one: one.features["area"])
    for one in (first, second):
        assert "contract" not in one.input
        assert set(one.features) == {"area"}, "relative is of the town's other rows"
        assert one.input["town"] in {hashed(salt_of(asked.folder / "home"), town) for town in ("EAST", "WEST")}
    assert replay_requests(asked.project, asked.lake).columns.keys() == {"area"}


def test_what_a_personal_column_brings_by_a_join_is_not_kept(tmp_path: Path) -> None:
    joined = """
        SELECT v._partition, v._source, v._row, v.month, v.town, v.area, level::DOUBLE AS level, v.price
        FROM validated v LEFT JOIN levels l ON v.contract = l.contract
    """
    market = open_market(tmp_path, features=joined, references={"levels": {"files": "levels.csv"}})
    listed = [f"2024-0{month}/{number},{number * 10}\n" for month in (1, 2) for number in range(1, 61)]
    (tmp_path / "data" / "levels.csv").write_text("contract,level\n" + "".join(listed))
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    market.rerun("levels")
    market.materialize(PREPARING, "2024-01", "2024-02")
    market.retrain()
    with market.settings():
        ask(market, requests(market)[:2], personal={"contract": "hash"})
        assert [set(one.features) for one in kept(market)] == [{"town", "area"}] * 2
        found = replay_requests(market.project, market.lake)
    assert {name: (one.rows, one.different) for name, one in found.columns.items()} == {"town": (2, 0), "area": (2, 0)}


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


def test_what_waits_is_bounded_in_bytes_too(asked: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "HELD", 100_000)
    rows = [{**row, "contract": "x" * 30_000} for row in requests(asked)[:5]]
    metrics = ask(asked, rows)
    assert len(kept(asked)) == 3
    assert b'ml_assets_requests_not_logged_total{project="flats"} 2.0' in metrics.page()


def test_a_long_text_is_cut_and_what_is_made_of_it_not_kept(asked: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "LONGEST", 3)
    ask(asked, [{**requests(asked)[0], "town": "EAST"}])
    (one,) = kept(asked)
    assert one.input["town"] == "EAS…"
    assert set(one.features) == {"area"}
    assert replay_requests(asked.project, asked.lake).columns.keys() == {"area"}


def fails_once(error: Exception, then: Any) -> Callable[..., Any]:
    errors = [error]

    def call(*given: Any) -> Any:
        if errors:
            raise errors.pop()
        return then(*given)

    return call


@pytest.mark.parametrize(
    ("what", "error", "lost"),
    [
        ("write_requests", OSError("no space"), 0),
        ("write_requests", LakeError("gone"), 0),
        ("salt_of", PermissionError("not readable"), 0),
        ("_logged", ValueError("a row that cannot be written"), 2),
    ],
)
def test_rows_that_cannot_be_written_wait_and_the_log_goes_on(
    asked: Market, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    what: str, error: Exception, lost: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(logging, "SECONDS", 0.05)
    monkeypatch.setattr(logging, what, fails_once(error, getattr(logging, what)))
    metrics = Metrics()
    project = replace(asked.project, serving=Serving(personal={"contract": "hash"}))
    champions = Champions({"flats": project}, asked.lake, asked.registry, metrics)
    champions.look()
    served = champions.current("flats")
    assert served is not None
    rows = [{"month": date(2024, 2, 1), "town": "EAST", "area": 100.0}] * 2
    log = RequestLog(asked.lake, asked.folder / "home", metrics)
    log.start()
    log.note(served, rows, served.answer(rows))
    end = time.monotonic() + 20
    while not (caplog.records and len(kept(asked)) >= 2 - lost) and time.monotonic() < end:
        time.sleep(0.05)
    log.note(served, rows, served.answer(rows))
    log.stop()
    assert str(error) in caplog.text
    assert len(kept(asked)) == 4 - lost
    assert f'ml_assets_requests_logged_total{{project="flats"}} {4.0 - lost}'.encode() in metrics.page()
    assert (f'requests_not_logged_total{{project="flats"}} {lost:.1f}'.encode() in metrics.page()) == (lost > 0)


def test_what_the_lake_never_takes_is_counted_at_the_end(asked: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(logging, "write_requests", full)
    metrics = ask(asked, requests(asked)[:3])
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
