"""Versions that are asked for by number: loaded once, a few at a time, and nobody waits for another's."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ml_assets.serving.predicting import pinned
from ml_assets.serving.predicting.pinned import AT_ONCE, KEPT, WAITING, Failure, NotNowError, Pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 5


class Loader:
    """Loads what only has a number; as long as it is held, nothing is done."""

    def __init__(self) -> None:
        self.loads: list[int] = []
        self.bad: set[int] = set()
        self.free = threading.Event()
        self.free.set()

    def __call__(self, project: str, number: int) -> Any:
        self.loads.append(number)
        self.free.wait(SOON)
        return Failure(number, "its file is gone", time.monotonic()) if number in self.bad else (project, number)


@pytest.fixture
def loader() -> Iterator[Loader]:
    found = Loader()
    yield found
    found.free.set()


def test_a_version_is_loaded_once_for_all_who_ask_and_the_last_few_are_kept(loader: Loader) -> None:
    versions = Pinned(loader)
    loader.free.clear()
    waiting = [versions.ask("flats", 1) for _ in range(3)]
    loader.free.set()
    assert {one.result(SOON) for one in waiting} == {("flats", 1)}
    for number in (*range(2, KEPT + 2), 1, KEPT + 1):
        versions.ask("flats", number).result(SOON)
    assert loader.loads == [*range(1, KEPT + 2), 1]


def test_a_version_that_loads_slowly_holds_up_neither_another_nor_whoever_asks(loader: Loader) -> None:
    versions = Pinned(loader)
    loader.free.clear()
    asked = [versions.ask("flats", number) for number in range(AT_ONCE + WAITING)]
    assert versions.ask("flats", 0) is asked[0]
    with pytest.raises(NotNowError, match="ask again"):
        versions.ask("flats", 99)
    assert versions.loaded() == []
    assert len(loader.loads) <= AT_ONCE
    loader.free.set()
    assert [one.result(SOON) for one in asked] == [("flats", number) for number in range(AT_ONCE + WAITING)]
    assert versions.ask("flats", 99).result(SOON) == ("flats", 99)


def test_a_failure_is_remembered_for_a_while(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Pinned(loader)
    loader.bad = {1}
    for _ in range(3):
        found: Any = versions.ask("flats", 1).result(SOON)
        assert found.reason == "its file is gone"
    assert loader.loads == [1]
    loader.bad = set()
    monkeypatch.setattr(pinned, "AGAIN", 0)
    assert versions.ask("flats", 1).result(SOON) == ("flats", 1)


def test_a_library_that_panics_is_a_failure_as_any_other() -> None:
    class Panic(BaseException):
        pass

    def load(_: str, __: int) -> Any:
        raise Panic("a decimal of 256 bits")

    versions = Pinned(load)
    found = versions.ask("flats", 1).result(SOON)
    assert isinstance(found, Failure)
    assert found.reason == "Panic: a decimal of 256 bits"
    assert versions.ask("flats", 1).result(SOON) is found
