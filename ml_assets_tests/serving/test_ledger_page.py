"""The ledger: newest first, filtered, page by page; whether it holds; what served on a day."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from small_site import PROJECT, Browser

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import LEDGER, Draft, Ledger, read_entries
from ml_assets.serving import ledgers
from ml_assets.serving.remembering import entries_of

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "/projects/houses/ledger"


def text_of(html: str) -> str:
    """A page's text on one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def numbers(html: str) -> list[int]:
    """The entries of a page, in its order."""
    return [int(one) for one in re.findall(r'<tr id="entry-(\d+)">', html)]


def test_entries_stand_newest_first_in_words(client: Browser) -> None:
    page = client.get(PAGE).text
    assert numbers(page) == [6, 5, 4, 3, 2, 1]
    text = text_of(page)
    assert "4 retrain 2024-04 more than 1.25 times" in text
    assert "6 hold again 2024-04 asked once more" in text
    assert "2 version 1 serves from 2024-04 the first version that passes" in text
    assert "The chain holds: 6 entries follow one on another" in text


def test_a_decision_has_the_same_word_on_every_page(client: Browser) -> None:
    overview, partition, ledger = (
        text_of(client.get(f"/projects/houses{path}").text) for path in ("", "/partitions/2024-03", "/ledger")
    )
    assert re.search(r"2024-03 .* hold backfill within 1\.25 times", overview)
    assert "The decision was to hold (recorded only" in partition
    assert "3 hold backfill 2024-03 within 1.25 times" in ledger


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("kind=decision", [6, 4, 3]),
        ("kind=promoted", [2]),
        ("kind=answered", []),
        ("since=2000-01-01&until=2999-12-31", [6, 5, 4, 3, 2, 1]),
        ("since=2999-01-01", []),
        ("until=2000-01-01", []),
        ("before=3", [2, 1]),
        ("kind=decision&before=4", [3]),
        ("before=999999999999", [6, 5, 4, 3, 2, 1]),
    ],
)
def test_they_are_filtered_by_what_they_are_and_by_day(client: Browser, asked: str, found: list[int]) -> None:
    page = client.get(f"{PAGE}?{asked}").text
    assert numbers(page) == found
    assert ("No such entry" in page) == (not found)


@pytest.mark.parametrize("asked", ["kind=nothing", "since=yesterday", "until=2024-13-01", "on=tomorrow"])
def test_what_cannot_be_asked_is_answered_with_what_can(client: Browser, asked: str) -> None:
    answer = client.get(f"{PAGE}?{asked}")
    assert answer.status_code == 404
    assert re.search("there are decision, answered|such as 2024-05-03", answer.text)


def test_all_entries_are_reached_page_by_page(client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "PAGE", 2)
    path, found = f"{PAGE}?kind=decision", []
    while path:
        page = client.get(path).text
        found.append(numbers(page))
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert found == [[6, 4], [3]]


def test_the_ledger_of_all_names_the_project_of_each(client: Browser) -> None:
    page = client.get("/ledger").text
    assert numbers(page) == [6, 5, 4, 3, 2, 1]
    assert page.count('<td><a href="/projects/houses/ledger">houses</a></td>') == 6


def test_what_served_on_a_day_is_told_by_partition_and_by_the_clock(client: Browser) -> None:
    text = text_of(client.get(f"{PAGE}?on=2024-04-07").text)
    assert "2024-04 version 1 version 1" in text
    assert "2024-04-07 00:00 UTC none no version had been promoted" in text


@pytest.fixture
def home(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(filled / "home", tmp_path / "home")
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_ledger_that_was_changed_is_said_to_be_broken(home: Path) -> None:
    lake = Lake(home / "lake")
    with lake.transaction(Commit("houses", "forger")) as transaction:
        transaction.cursor.execute(f"UPDATE {LEDGER.path} SET reason = '<b>fine</b>' WHERE id = 4")
    lake.close()
    page = Browser().get(PAGE).text
    assert "The chain is broken." in page
    assert "entry 4 (decision of houses version 1" in page
    assert "<b>fine</b>" not in page


def test_what_is_remembered_of_a_ledger_is_what_stands_in_it(home: Path) -> None:
    lake = Lake(home / "lake")

    def remembered() -> list[int]:
        with lake.reader() as cursor:
            found = entries_of(cursor, home, PROJECT.name)
            assert list(found) == read_entries(cursor, PROJECT.name)
            return [one.id for one in found]

    def write(project: str) -> None:
        Ledger(lake).append(Commit(project, "test"), lambda _: [Draft(project, "decision", "more", {}, "2024-05")])

    assert remembered() == remembered() == [1, 2, 3, 4, 5, 6]
    with lake.reader() as before:
        before.execute(f"SELECT count(*) FROM {LEDGER.path}").fetchall()
        write("houses")
        write("rents")
        assert remembered() == [1, 2, 3, 4, 5, 6, 7]
        assert [one.id for one in entries_of(before, home, "houses")] == [1, 2, 3, 4, 5, 6], "its transaction is older"
    assert remembered() == [1, 2, 3, 4, 5, 6, 7]
    with lake.transaction(Commit("houses", "restored")) as transaction:
        transaction.cursor.execute(f"DELETE FROM {LEDGER.path} WHERE id > 3")
    assert remembered() == [1, 2, 3]
    lake.close()
