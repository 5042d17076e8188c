"""What a person does from a page: who may, what they are told before, and what the ledger says of it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from keyed_site import Server, serving

sys.path.append(str(Path(__file__).parents[2] / "assets"))  # where the small market is

from small_market import NAME, PREPARING, Market, open_market, sales

from ml_assets.assets import publishing
from ml_assets.assets.acts import Person, approve
from ml_assets.lake.connection import Commit
from ml_assets.registry.ledger import Draft, stages
from ml_assets.serving.access import acting, record
from ml_assets.serving.access.store import home_store

if TYPE_CHECKING:
    from collections.abc import Iterator

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
REQUIRED = os.environ.get("ML_ASSETS_REQUIRE_BROWSER") == "1"
VERSION_2 = f"/projects/{NAME}/versions/2"


@pytest.fixture(scope="module")
def waited(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Version 1 serves by approval; version 2, better by far, waits; a decision asks. Tests only read it."""
    market = open_market(tmp_path_factory.mktemp("waited"), promotion={"approval": "required"})
    for month in MONTHS:
        market.write(month, sales(month, level=2 if month > "2024-02" else 1))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    market.retrain(through="2024-02")
    with market.settings():
        approve(market.project, market.lake, 1, Person("Anna", "the first", "anna"))
    market.retrain(through="2024-04")
    ask = Draft(NAME, "decision", "the <b>error</b> has doubled", {}, "2024-05", 1, "ask", "live")
    market.book().append(Commit(NAME, "test"), lambda _: [ask])
    return market


@pytest.fixture
def market(waited: Market, tmp_path: Path) -> Market:
    """The same, to act upon."""
    shutil.copytree(waited.folder / "home", tmp_path / "home")
    return open_market(tmp_path, promotion={"approval": "required"})


@pytest.fixture
def site(market: Market) -> Iterator[Server]:
    """Its pages, with Bea signed in, who may decide."""
    with market.settings():
        server = Server(home_store(), projects={NAME: market.project})
        server.sign_in(server.key("decide", projects=(NAME,), name="Bea <b>"))
        yield server


def test_an_approval_says_what_will_happen_and_then_does_it_with_name_key_and_reason(
    site: Server, market: Market
) -> None:
    page = site.page(f"{VERSION_2}/approve").text
    assert "Version 2 becomes champion. It serves from the first partition that has not been decided on." in page
    assert "Version 1 retires" in page
    assert "Bea &lt;b&gt;" in page

    answer = site.act(f"{VERSION_2}/approve", why="looked at <i>slices</i>")

    assert (answer.status_code, answer.headers["location"]) == (303, VERSION_2)
    assert stages(market.ledger()) == {1: "retired", 2: "champion"}
    entry = market.ledger("promoted")[-1]
    (key,) = {one.key for one in record.read(site.store) if one.what == "signed in"}
    assert {name: entry.facts[name] for name in ("by", "why", "login")} == {
        "by": "Bea <b>", "why": "looked at <i>slices</i>", "login": f"key {key}",
    }  # fmt: skip
    assert "&lt;i&gt;slices&lt;/i&gt;" in site.page(f"/projects/{NAME}").text

    again = site.act(f"{VERSION_2}/approve", why="once more")
    assert again.status_code == 403  # the page shows no form by now: nothing was sent that could be taken


def test_of_two_who_act_on_the_same_page_the_second_is_told(site: Server, market: Market) -> None:
    page = site.page(f"{VERSION_2}/approve").text
    token = page.split('name="form_token" value="')[1].split('"')[0]
    assert site.act(f"{VERSION_2}/reject", why="no").status_code == 303
    late = site.page(f"{VERSION_2}/approve", method="POST", data={"form_token": token, "why": "yes"})
    assert late.status_code == 409
    assert "version 2 is rejected; no version waits for approval" in late.text
    assert stages(market.ledger()) == {1: "champion", 2: "rejected"}


def test_a_version_is_promoted_whatever_its_verdict_and_one_goes_back(site: Server, market: Market) -> None:
    assert site.act(f"{VERSION_2}/reject", why="not now").headers["location"] == VERSION_2
    assert "nothing judges it again" in site.page(f"{VERSION_2}/promote").text
    assert site.act(f"{VERSION_2}/promote", why="needed").headers["location"] == VERSION_2
    assert stages(market.ledger())[2] == "champion"

    assert f"Go back to version 1 of {NAME}" in site.page(f"/projects/{NAME}/rollback").text
    back = site.act(f"/projects/{NAME}/rollback", version="1", why="it was wrong")
    assert back.headers["location"] == f"/projects/{NAME}/versions/1"
    assert stages(market.ledger()) == {1: "champion", 2: "retired"}
    assert "Version 1 is champion: only one that has served" in site.page(f"/projects/{NAME}/rollback?version=1").text


def test_a_decision_that_asks_is_answered_once(site: Server, market: Market) -> None:
    asked = market.ledger("decision")[-1].id
    address = f"/projects/{NAME}/decisions/{asked}/answer"
    assert "the &lt;b&gt;error&lt;/b&gt; has doubled" in site.page(address).text
    assert site.act(address, why="enough", answer="perhaps").status_code == 422

    assert site.act(address, why="enough", answer="no").headers["location"] == f"/projects/{NAME}"

    (entry,) = market.ledger("answered")
    assert (entry.action, entry.facts["by"]) == ("no", "Bea <b>")
    assert "was answered no" in site.page(address).text


@pytest.mark.parametrize("why", ["", "   ", "x" * 2001])
def test_an_act_without_a_reason_is_not_done(site: Server, market: Market, why: str) -> None:
    assert site.act(f"{VERSION_2}/approve", why=why).status_code == 422
    assert stages(market.ledger())[2] == "awaiting"


def test_who_may_not_decide_sees_what_would_happen_and_no_form(site: Server) -> None:
    site.cookies.clear()
    site.sign_in(site.key("look"))
    page = site.page(f"{VERSION_2}/approve")
    assert page.status_code == 200
    assert "This needs the scope <code>decide</code>" in page.text
    assert "<form" not in page.text
    assert 'class="acts"' not in site.page(VERSION_2).text


def test_pages_lead_to_what_can_be_done(site: Server) -> None:
    assert f'href="{VERSION_2}/approve"' in site.page(VERSION_2).text
    project = site.page(f"/projects/{NAME}").text
    assert f'href="{VERSION_2}/reject"' in project
    assert f'href="/projects/{NAME}/rollback"' in project
    assert "Answer decision" in project


def test_an_act_that_takes_long_shows_where_it_is(
    site: Server, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    published, real = threading.Event(), publishing.publish

    def slowly(*arguments: object) -> object:
        published.wait(30)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("ml_assets.assets.acts.publish", slowly)
    monkeypatch.setattr(acting, "WAIT_SECONDS", 0.2)
    answer = site.act(f"{VERSION_2}/approve", why="slow")
    assert answer.status_code == 202
    where = answer.headers["refresh"].partition("url=")[2]
    assert site.page(where).status_code == 202
    published.set()
    while (page := site.page(where)).status_code == 202:
        pass
    assert (page.status_code, page.headers["location"]) == (303, VERSION_2)
    assert stages(market.ledger())[2] == "champion"


def test_an_act_that_is_done_but_not_published_says_both_and_leaves_a_trace(
    site: Server, market: Market, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("ml_assets.assets.acts.publish", full)
    answer = site.act(f"{VERSION_2}/approve", why="better")
    entry = market.ledger("promoted")[-1]
    assert stages(market.ledger())[2] == "champion"
    assert answer.status_code == 500
    assert (
        f"this stands in the ledger as entry {entry.id}, but its ONNX file, cards or tracking were not" in answer.text
    )
    assert "the disk is full" in answer.text
    assert f"ml-assets models export {NAME}@2" in answer.text
    assert f"an act in {NAME} was not done, or not all of it" in caplog.text
    assert "the disk is full" in caplog.text


def test_an_act_that_is_not_known_any_more_is_not_said_to_be_done(site: Server) -> None:
    page = site.page(f"/projects/{NAME}/acts/0123456789abcdef")
    assert page.status_code == 404
    assert "not known any more" in page.text


def test_a_broken_evaluation_is_told_before_an_act(site: Server, market: Market) -> None:
    assert site.act(f"{VERSION_2}/reject", why="broken").status_code == 303
    (market.folder / "home" / "registry" / NAME / "2" / "evaluation.json").write_text("{")
    page = site.page(f"{VERSION_2}/promote")
    assert page.status_code == 404
    assert "evaluation.json" in page.text


def test_a_number_that_no_version_has_is_not_taken(site: Server, market: Market) -> None:
    token = site.page(f"{VERSION_2}/approve").text.split('name="form_token" value="')[1].split('"')[0]
    fields = {"form_token": token, "why": "far", "version": "9" * 5000}
    assert site.page(f"/projects/{NAME}/rollback", method="POST", data=fields).status_code == 422
    assert stages(market.ledger()) == {1: "champion", 2: "awaiting"}


@pytest.mark.browser
@pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED,
    reason="needs Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path",
)
def test_in_a_browser_one_signs_in_approves_and_signs_out(site: Server, market: Market) -> None:
    from playwright.sync_api import sync_playwright

    key = site.key("decide", name="Cleo")
    with serving(site.app) as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(base_url=f"http://127.0.0.1:{port}")
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))

        page.goto(f"{VERSION_2}/approve")
        assert "/sign-in?next=" in page.url
        page.get_by_label("Your key").fill(f"{key[:-1]}!")
        page.get_by_role("button", name="Sign in").click()
        assert "opens nothing" in page.get_by_role("alert").inner_text()
        page.get_by_label("Your key").fill(key)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{VERSION_2}/approve")

        page.get_by_role("button", name="Approve version 2").click()  # the browser itself asks for the reason
        assert page.evaluate("document.querySelector('#why').validity.valueMissing")
        page.get_by_label("Why").fill("better on all slices")
        page.get_by_role("button", name="Approve version 2").click()
        page.wait_for_url(f"**{VERSION_2}")
        assert page.get_by_role("heading", level=1).inner_text() == "Version 2 champion"
        assert market.ledger("promoted")[-1].facts["by"] == "Cleo"

        page.get_by_role("link", name="Cleo: sign out").click()
        page.get_by_role("button", name="Sign out").click()
        page.goto(VERSION_2)
        assert "/sign-in?next=" in page.url
        assert not [text for text in refused if "status of 401" not in text]
        browser.close()
