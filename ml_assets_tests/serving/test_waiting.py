"""What waits for a person, and what may not have reached one, stand on the pages."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from small_site import Browser, fill_home

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import Draft, Ledger
from ml_assets.registry.outbox import Message, outbox

if TYPE_CHECKING:
    from pathlib import Path


def text_of(html: str) -> str:
    """A page's text on one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill_home(tmp_path / "home")
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_decision_that_asks_is_shown_until_it_is_answered(home: Path) -> None:
    lake = Lake(home / "lake")

    def write(draft: Draft) -> int:
        return Ledger(lake).append(Commit("houses", "test"), lambda _: [draft])[0].id

    asked = write(Draft("houses", "decision", "the error has doubled", {}, "2024-05", 1, "ask", "live"))
    pages = [text_of(Browser().get(path).text) for path in ("/", "/projects/houses")]
    for page in pages:
        assert f"decision {asked} on 2024-05: the error has doubled. ml-assets decide houses {asked} --yes" in page
    write(Draft("houses", "answered", "yes from Ann", {"decision": asked}, "2024-05", 1, "yes"))
    lake.close()
    assert "ml-assets decide" not in Browser().get("/projects/houses").text


def test_an_alert_that_may_not_have_arrived_stands_on_the_first_page(home: Path) -> None:
    assert home.is_dir()
    box = outbox()
    for number in (1, 2):
        box.add([Message(f"ledger-{number}", time.time(), "houses", "ask", f"<b>{number}</b>", "", "")], ["a"])
    sent, doubted = box.due(["a"], time.time())
    box.begin(sent)
    box.end(sent, time.time(), taken=True)
    box.begin(doubted)
    with box.sender():
        pass  # the sender before was killed
    page = Browser().get("/").text

    assert "Alerts that may not have arrived" in page
    assert "<code>ledger-2</code></td><td>&lt;b&gt;2&lt;/b&gt;" in page
    assert "ledger-1" not in page
