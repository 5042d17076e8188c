"""Who serves: what the ledger says, soon after it says so, and never a version that is broken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from small_market import PREPARING, Market, open_market, sales
from small_service import ROW, Service

from ml_assets.assets.acts import Person, promote, roll_back
from ml_assets.registry.export import ONNX, PARITY
from ml_assets.registry.models import MODEL
from ml_assets.serving.predicting import champions as following
from ml_assets.serving.predicting.champions import Champions
from ml_assets.serving.predicting.metrics import Metrics

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
