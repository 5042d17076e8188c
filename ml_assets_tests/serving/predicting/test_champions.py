"""Who serves: what the ledger says, soon after it says so, and never a version that is broken."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from small_market import PREPARING, Market, open_market, sales
from small_service import ROW, Service

from ml_assets.assets.acts import Person, promote, roll_back
from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.export import ONNX, PARITY
from ml_assets.registry.models import MODEL
from ml_assets.serving.predicting import champions as following
from ml_assets.serving.predicting.champions import Champions
from ml_assets.serving.predicting.metrics import Metrics
from ml_assets.serving.predicting.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHO = Person("somebody", "to see who serves then")
SEVERAL = 5


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A market with two versions that say different things; the tests let one and the other serve."""
    market = open_market(tmp_path_factory.mktemp("moving"))
    for number, level in enumerate((1, 1, 1, 3, 3), 1):
        month = f"2024-{number:02}"
        market.write(month, sales(month, level=level))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain(through="2024-03")
    market.retrain(through="2024-05")
    with market.settings():
        yield market


def serve(market: Market, number: int) -> None:
    """Let a version serve, whatever serves now."""
    serving = [one.version for one in market.ledger("promoted")]
    if serving[-1] == number:
        return
    (roll_back if number in serving else promote)(market.project, market.lake, number, WHO)


def follow(market: Market) -> Champions:
    found = Champions({"flats": market.project}, market.lake, market.registry, Metrics())
    found.look()
    return found


def test_while_champions_change_no_request_fails_and_each_answer_is_that_of_the_version_it_names(
    moving: Market,
) -> None:
    serve(moving, 1)
    features = moving.table("features", "2024-03").head(1).to_dicts()[0]
    row = {"month": str(features["month"]), "town": features["town"], "area": features["area"]}
    frame = moving.table("features", "2024-03").head(1)
    own = {n: float(moving.registry.predict(moving.registry.version("flats", n), frame)[0]) for n in (1, 2)}
    service, seen = Service(moving.project), []

    async def ask_until(over: asyncio.Event) -> None:
        async with service.client() as client:
            while not over.is_set():
                response = await client.post("/predict/flats", json=row)
                assert response.status_code == 200, response.text
                answer = response.json()
                seen.append(answer["version"])
                assert answer["predictions"][0]["prediction"] == pytest.approx(own[answer["version"]], rel=1e-5)

    async def seen_newest(number: int) -> None:
        while not seen or seen[-1] != number:  # noqa: ASYNC110 - another task appends
            await asyncio.sleep(0.02)

    async def play() -> None:
        over = asyncio.Event()
        async with service.app.router.lifespan_context(service.app):
            asking = [asyncio.create_task(ask_until(over)) for _ in range(SEVERAL)]
            try:
                for number in (1, 2, 1, 2):
                    await asyncio.to_thread(serve, moving, number)
                    # Sooner than five seconds after the ledger says so, on a machine that is busy with this.
                    await asyncio.wait_for(seen_newest(number), 5)
            finally:
                over.set()
                await asyncio.gather(*asking)

    asyncio.run(play())
    assert own[1] != pytest.approx(own[2], rel=0.1)
    assert {1, 2} == set(seen)


def test_a_broken_version_leaves_the_old_one_serving_and_takes_over_once_it_is_whole(
    moving: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(moving, 1)
    found = follow(moving)
    serve(moving, 2)
    file = moving.registry.path(moving.registry.version("flats", 2), MODEL)
    content = file.read_bytes()
    file.write_bytes(content + b"changed")
    try:
        found.look()
        state = found.state()["flats"]
        assert (state["champion"], state["serves"], found.is_ready) == (2, 1, True)
        assert state["failed"]["version"] == 2
        assert "it was changed. Remedy: restore it" in state["failed"]["reason"]
    finally:
        file.write_bytes(content)
    monkeypatch.setattr(following, "AGAIN", 0)
    found.look()
    assert found.state() == {"flats": {"champion": 2, "serves": 2, "engine": "onnx"}}


def test_an_onnx_file_that_is_made_after_the_promotion_is_waited_for_a_moment_and_taken_up_later(
    moving: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(moving, 1)
    found = follow(moving)
    # A rollback makes the file again: what the server may see before.
    serve(moving, 2)
    version = moving.registry.version("flats", 2)
    note = moving.registry.path(version, PARITY)
    away = note.rename(note.with_name("away"))
    try:
        monkeypatch.setattr(following, "GRACE", 1e9)
        found.look()
        assert found.state()["flats"]["serves"] == 1
        monkeypatch.setattr(following, "GRACE", 0)
        found.look()
        assert (found.state()["flats"]["serves"], found.state()["flats"]["engine"]) == (2, "scikit-learn")
    finally:
        away.rename(note)
    found.look()
    assert found.state() == {"flats": {"champion": 2, "serves": 2, "engine": "onnx"}}


def test_without_any_version_to_serve_it_is_not_ready(moving: Market) -> None:
    serve(moving, 1)
    file = moving.registry.path(moving.registry.version("flats", 1), MODEL)
    lost = file.rename(file.with_name("lost"))
    try:
        service = Service(moving.project)
        response = service.predict(ROW)
        assert response.status_code == 503
        assert "the champion of flats, version 1, cannot answer" in response.json()["error"]
        ready = service.get("/readyz")
        assert ready.status_code == 503
        assert "the model file is missing" in ready.text
        assert ready.json()["reason"] == "a champion cannot be loaded: the server's log says which and why"
        assert str(moving.folder) not in ready.text + response.text, "anybody may read it"
        assert 'ml_assets_champion_failed_loads_total{project="flats"} 1.0' in service.get("/metrics").text
    finally:
        lost.rename(file)


def test_an_onnx_file_that_was_changed_is_not_served(moving: Market) -> None:
    serve(moving, 1)
    file: Path = moving.registry.path(moving.registry.version("flats", 1), ONNX)
    content = file.read_bytes()
    (by_onnx,) = Service(moving.project).predict(ROW).json()["predictions"]
    file.write_bytes(content[:-1])
    try:
        service = Service(moving.project)
        answer = service.predict(ROW).json()
        assert answer["engine"] == "scikit-learn"
        assert answer["predictions"][0]["prediction"] == pytest.approx(by_onnx["prediction"], rel=1e-6)
        told = service.get("/readyz").json()["projects"]["flats"]
        assert told["why_not_onnx"] == "its ONNX file is not the one that was exported: it was changed"
    finally:
        file.write_bytes(content)


def test_a_version_can_be_asked_for_whoever_serves(moving: Market) -> None:
    serve(moving, 2)
    service = Service(moving.project)
    first, second = (service.predict(ROW, params={"version": number}).json() for number in (1, 2))
    assert (first["version"], second["version"]) == (1, 2)
    assert first["predictions"] != second["predictions"]
    assert second == service.predict(ROW).json()


def change(market: Market, *statements: str) -> None:
    with market.lake.transaction(Commit("flats", "test")) as transaction:
        for statement in statements:
            transaction.cursor.execute(statement)


@contextmanager
def levels(market: Market) -> Iterator[Champions]:
    """What serves a project whose statement may read the reference table `levels`."""
    table = market.project.table("levels").path
    change(market, f"CREATE TABLE {table} AS SELECT 'levels.csv' AS _source, 1 AS _row, 2.0 AS level")
    declared: Any = {"levels": None}
    found = Champions({"flats": replace(market.project, references=declared)}, market.lake, market.registry, Metrics())
    try:
        found.look()
        yield found
    finally:
        change(market, f"DROP TABLE IF EXISTS {table}")


def of(found: Champions, number: int) -> Served:
    one = found.pinned("flats", number).result(30)
    assert isinstance(one, Served), one
    return one


def test_a_pinned_version_does_not_go_on_with_tables_that_are_others_by_now(moving: Market) -> None:
    serve(moving, 1)
    with levels(moving) as found:
        first = of(found, 2)
        found.look()
        assert of(found, 2) is first
        change(moving, f"INSERT INTO {moving.project.table('levels').path} VALUES ('levels.csv', 2, 3.0)")
        found.look()
        second = of(found, 2)
        assert second is not first
        assert second.features.fingerprint != first.features.fingerprint


def test_a_table_that_is_gone_is_told_of_its_project_and_stops_no_other(moving: Market) -> None:
    serve(moving, 1)
    with levels(moving) as found:
        change(moving, f"DROP TABLE {moving.project.table('levels').path}")
        found.look()
        state = found.state()["flats"]
        assert (state["serves"], found.is_ready) == (1, True)
        assert "levels" in state["failed"]["reason"]


def test_what_is_replaced_goes_with_its_tables_as_soon_as_nobody_asks_it(moving: Market) -> None:
    serve(moving, 1)
    found = follow(moving)
    served = found.current("flats")
    assert served is not None
    asyncio.run(served.batcher.ask([served.example]))
    kept = weakref.ref(served.features)
    serve(moving, 2)
    gc.disable()
    try:
        found.look()
        assert kept() is not None, "a request is under way"
        del served
        assert kept() is None
    finally:
        gc.enable()


def test_a_folder_that_the_ledger_does_not_know_is_not_served(moving: Market) -> None:
    serve(moving, 1)
    own = moving.registry.path(moving.registry.version("flats", 2), MODEL).parent
    copy = own.with_name("9")
    shutil.copytree(own, copy)
    try:
        record = copy / "version.json"
        record.write_text(record.read_text().replace('"number": 2', '"number": 9'))
        response = Service(moving.project).predict(ROW, params={"version": "9"})
        assert response.status_code == 409
        assert "flats version 9: the ledger does not know it" in response.json()["error"]
    finally:
        shutil.rmtree(copy)


def test_a_version_whose_statement_no_longer_runs_is_refused_in_words_by_the_api_and_the_form(moving: Market) -> None:
    serve(moving, 1)
    table = moving.project.table("validated").path
    change(moving, f"ALTER TABLE {table} RENAME COLUMN area TO size")
    try:
        service = Service(moving.project)
        pinned, champion = service.predict(ROW, params={"version": "2"}), service.predict(ROW)
        assert (pinned.status_code, champion.status_code) == (409, 503)
        assert "version 2 of flats cannot answer: " in pinned.json()["error"]
        form = service.get("/try/flats?_version=2")
        assert form.status_code == 409
        assert "version 2 of flats cannot answer" in form.text
    finally:
        change(moving, f"ALTER TABLE {table} RENAME COLUMN size TO area")


def test_while_the_lake_cannot_be_read_the_first_request_is_told_to_come_again(
    moving: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Lake(tmp_path / "lake").catalogue
    catalogue.parent.mkdir(parents=True)
    catalogue.write_bytes(b"this is no database" * 500)
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    service = Service(moving.project)
    response = service.predict(ROW)
    assert response.status_code == 503
    assert response.json()["error"].startswith("the lake cannot be read now")
    assert str(tmp_path) not in response.text
