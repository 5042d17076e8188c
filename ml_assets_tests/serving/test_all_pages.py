"""What holds for every page: each link answers, and a screen reader and a keyboard find their way."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from small_site import HOSTILE, HOSTILE_COLUMN, Browser
from test_replay_page import REPLAY

from ml_assets.registry.replays import write_replay

if TYPE_CHECKING:
    from pathlib import Path

ROW = "/projects/houses/predictions/2024-04?source=2024-04.csv&row=3"
PAGES = [
    "/",
    "/ledger",
    "/projects/houses",
    "/projects/houses/partitions",
    "/projects/houses/partitions?before=2024-03",
    "/projects/houses/partitions/2024-04",
    "/projects/houses/partitions/2024-01",
    "/projects/houses/quarantine",
    "/projects/houses/drift",
    "/projects/houses/drift/2024-04",
    "/projects/houses/drift/report?from=2024-03&to=2024-04&against=version:1",
    "/projects/houses/versions",
    "/projects/houses/versions/1",
    "/projects/houses/versions/1/diff/1",
    "/projects/houses/versions/1/card",
    "/projects/houses/exploration",
    "/projects/houses/replay",
    "/projects/houses/ledger",
    "/projects/houses/ledger?on=2024-04-05",
    "/projects/houses/lineage",
    "/projects/houses/predictions/2024-04",
    ROW,
    "/projects/houses/nothing",
    "/nothing",
]
# Elements that stand alone.
VOID = {"meta", "link", "img", "input", "br", "source", "hr", "path", "circle"}


class Page(HTMLParser):
    """A page as a tree would tell it: its elements with the ones around them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.texts: dict[int, str] = {}
        self._at: list[int] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)
            self._at.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()
        self._at.pop()

    def handle_data(self, data: str) -> None:
        for at in self._at:
            self.texts[at] = self.texts.get(at, "") + data

    def all(self, *tags: str) -> list[tuple[dict[str, str | None], tuple[str, ...], str]]:
        """The elements of some tags: attributes, what is around them, and their text."""
        return [
            (attributes, around, self.texts.get(at, "").strip())
            for at, (tag, attributes, around) in enumerate(self.elements)
            if tag in tags
        ]


@pytest.fixture(scope="module")
def replayed(filled: Path) -> Path:
    """The filled home, with a replay."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ML_ASSETS_HOME", str(filled / "home"))
        write_replay("houses", REPLAY, {"over_time": b"\x89PNG", "frontier": b"\x89PNG"})
    return filled


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("path", PAGES)
def test_a_screen_reader_and_a_keyboard_find_their_way(client: Browser, path: str) -> None:
    answer = client.get(path)
    page = Page(answer.text)

    assert answer.status_code == (404 if path.endswith("/nothing") else 200)
    assert page.open == [], "every element is closed"
    ((html, _, _),) = page.all("html")
    assert html["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("h1", "main", "title")] == [1, 1, 1]
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels)), levels
    assert all(text for _, _, text in page.all("h1", "h2", "h3", "summary", "button", "title", "option"))
    assert all(attributes.get("aria-label") for attributes, _, _ in page.all("nav", "svg"))
    assert all(attributes.get("role") == "img" for attributes, _, _ in page.all("svg"))
    assert all(attributes.get("alt") for attributes, _, _ in page.all("img"))
    assert all(attributes.get("title") for attributes, _, _ in page.all("iframe"))
    assert all(attributes.get("scope") in {"col", "row"} for attributes, _, _ in page.all("th"))
    assert all(text or attributes.get("aria-label") for attributes, _, text in page.all("a"))
    for attributes, around, _ in page.all("input", "select"):
        assert "label" in around, attributes
    # What scrolls is reached by the keyboard, and says what it is.
    for attributes, around, _ in page.all("table"):
        assert "div" in around, attributes
    for attributes, _, _ in page.all("div"):
        if "scroll" in (attributes.get("class") or "").split():
            assert (attributes["tabindex"], bool(attributes["aria-label"])) == ("0", True)
    identities = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert not [one for _, one, _ in page.elements if (one.get("tabindex") or "0") not in {"0", "-1"}]
    assert page.elements[[tag for tag, _, _ in page.elements].index("a")][1]["href"] == "#content", "skips come first"


@pytest.mark.usefixtures("replayed")
def test_every_page_has_a_title_of_its_own(client: Browser) -> None:
    titles = [Page(client.get(path).text).all("title")[0][2] for path in PAGES[:-2]]
    assert len(set(titles)) == len(titles), sorted(titles)


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("path", PAGES)
def test_what_stands_in_the_data_is_text(client: Browser, path: str) -> None:
    page = client.get(path).text
    assert HOSTILE not in page
    assert HOSTILE_COLUMN not in page
    assert "<b>houses</b>" not in page
    assert "<script" not in page
    assert " style=" not in page
    assert not re.search(r"\son[a-z]+=(?!\w*\()", re.sub(r">[^<]*<|\"[^\"]*\"", "", page))


@pytest.mark.usefixtures("replayed")
def test_every_link_from_the_first_page_on_answers(client: Browser) -> None:
    found: dict[str, str] = {"/": "where one begins"}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        answer = client.get(path)
        assert answer.status_code == 200, f"{path}, linked on {found[path]}"
        if not answer.headers["content-type"].startswith("text/html") or "/evidently" in path:
            continue
        page = Page(answer.text)
        links = [value for _, one, _ in page.elements for name in ("href", "src", "srcset") if (value := one.get(name))]
        for link in (value.partition("#")[0] for value in links):
            # Evidently's reports take seconds each, and have tests of their own.
            if link.startswith("/") and link not in found and "/evidently" not in link:
                found[link] = path
                waiting.append(link)
    kinds = {re.sub(r"\d{4}-\d{2}|\?.*", "*", path) for path in found}
    assert {"/ledger", "/projects/houses/partitions/*", "/projects/houses/predictions/**"} <= kinds
    assert len(found) > 40


def test_a_project_is_entered_and_left_by_the_same_header_everywhere(client: Browser) -> None:
    for path in PAGES[2:-2]:
        page = Page(client.get(path).text)
        current = [one["href"] for one, around, _ in page.all("a") if "nav" in around and one.get("aria-current")]
        assert "/projects/houses" in current, path
        assert len(current) <= 2, path


def test_every_page_of_a_project_leads_to_its_asset_in_dagster(client: Browser) -> None:
    about = {
        "": "", "/partitions/2024-04": "/predictions", "/drift/2024-04": "/drift", "/versions/1/card": "/model",
        "/quarantine": "/quarantine", "/exploration": "/exploration", "/replay": "/replay", "/ledger": "/decision",
        "/predictions/2024-04": "/raw", "/nothing": "",
    }  # fmt: skip
    for path, asset in about.items():
        page = client.get(f"/projects/houses{path}").text
        assert f'href="http://127.0.0.1:3000/assets/houses{asset}">In Dagster</a>' in page, path


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/", "ml-assets backfill houses"),
        ("/ledger", "ml-assets backfill PROJECT"),
        ("/projects/houses", "ml-assets backfill houses"),
        ("/projects/houses/partitions", "ml-assets backfill houses"),
        ("/projects/houses/partitions/2024-01", "ml-assets backfill houses"),
        ("/projects/houses/versions", "ml-assets backfill houses"),
        ("/projects/houses/replay", "ml-assets replay houses"),
        ("/projects/houses/exploration", "ml-assets explore houses"),
        ("/projects/houses/lineage", "ml-assets backfill houses"),
        ("/projects/houses/predictions/2024-01?source=a&row=1", "ml-assets backfill houses"),
    ],
)
def test_an_empty_page_names_the_command_that_fills_it(empty: Browser, path: str, command: str) -> None:
    assert command in empty.get(path).text


def test_what_is_not_there_is_answered_with_what_is(client: Browser) -> None:
    answer = client.get("/projects/houses/nothing")
    assert answer.status_code == 404
    for section in ("partitions", "versions", "replay", "lineage"):
        assert f'href="/projects/houses/{section}"' in answer.text
    assert "There are 4, the newest is 2024-04." in client.get("/projects/houses/partitions/2031-01").text
    assert client.get("/projects/houses/partitions/2024-4").status_code == 404


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/projects/houses/predictions/2024-04?source=2024-04.csv&row=x", "row: "),
        ("/projects/houses/ledger?before=-1", "before: "),
        ("/projects/houses/versions/diff?one=1&other=two", "other: "),
        ("/projects/houses/drift/report?from=2024-04", "against: field required"),
    ],
)
def test_an_address_that_is_not_understood_is_answered_by_a_page(client: Browser, path: str, said: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert said in answer.text


def test_links_lead_to_dagster_where_it_is_said_to_be(
    filled: Path, monkeypatch: pytest.MonkeyPatch, client: Browser
) -> None:
    assert 'href="http://127.0.0.1:3000/assets/houses"' in client.get("/projects/houses").text
    monkeypatch.setenv("ML_ASSETS_HOME", str(filled / "home"))
    monkeypatch.setenv("ML_ASSETS_DAGSTER_URL", "https://dagster.example.org/")
    assert 'href="https://dagster.example.org/assets/houses"' in Browser().get("/projects/houses").text


def test_pages_are_found_in_the_documentation() -> None:
    from ml_assets.serving.site import SECTIONS

    text = (_root() / "docs" / "pages.md").read_text(encoding="utf-8")
    missing = [path for path, _, _ in SECTIONS if f"/projects/PROJECT{path}`" not in text]
    assert missing == []


def _root() -> Any:
    from pathlib import Path

    return Path(__file__).parents[2]


def test_a_replay_is_json(replayed: Path) -> None:
    assert json.loads((replayed / "home" / "reports" / "houses" / "replay" / "replay.json").read_text()) == json.loads(
        json.dumps(REPLAY)
    )
