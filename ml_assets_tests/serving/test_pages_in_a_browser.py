"""The pages in real Chromium, on a phone and on a desk, light and dark, and by keyboard alone."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvicorn
from small_site import Browser
from test_all_pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
REQUIRED = os.environ.get("ML_ASSETS_REQUIRE_BROWSER") == "1"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and not REQUIRED,
        reason="needs Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path",
    ),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
# Relative luminance and contrast as WCAG 2.2 has them; 4.5 is what it demands of text (AA).
CONTRAST = """() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map(one => one / 255)
      .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (/^rgb\\(/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    if (!element.checkVisibility()) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)}: ${contrast}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def address(filled: Path) -> Iterator[str]:
    """The small site behind a real server."""
    with pytest.MonkeyPatch.context() as environment, socket.socket() as listening:
        environment.setenv("ML_ASSETS_HOME", str(filled / "home"))
        environment.setenv("ML_ASSETS_DATA", str(filled / "data"))
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(Browser()._app, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "Chromium is required here and not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    page = chromium.new_page()
    yield page
    page.close()


# Evidently's reports, framed in these, take seconds to make: they have tests of their own.
SEEN = [path for path in PAGES if "/drift/" not in path]


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")])
def test_nothing_is_cut_off_and_all_text_is_readable(page: Page, address: str, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in SEEN:
        page.goto(address + path)
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond == 0, f"{path} is {beyond} px wider than the window"
        assert page.evaluate(CONTRAST) == [], path


@pytest.mark.parametrize("path", ["/projects/houses", "/projects/houses/versions"])
def test_on_a_desk_every_table_is_seen_as_a_whole(page: Page, address: str, path: str) -> None:
    page.set_viewport_size({"width": 1200, "height": 800})
    page.goto(address + path)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    cut = page.locator(".scroll").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"
    )
    assert cut == []


def test_the_first_key_skips_to_the_content_and_what_has_the_focus_is_seen(page: Page, address: str) -> None:
    page.goto(f"{address}/projects/houses")
    page.keyboard.press("Tab")
    skip = page.locator("a.skip")
    assert skip.evaluate("one => one === document.activeElement")
    box = skip.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = "document.querySelector('main').contains(document.activeElement)"
    assert page.evaluate(inside), "the header's links are skipped"
    for _ in range(12):
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) != "none", page.evaluate("document.activeElement.outerHTML")
        page.keyboard.press("Tab")


def test_a_phone_gets_a_picture_drawn_for_it(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 320, "height": 800})
    page.goto(f"{address}/projects/houses")
    chart = page.locator("img.chart")
    assert chart.evaluate("one => one.decode().then(() => one.naturalWidth > 100)")
    assert chart.evaluate("one => one.currentSrc").endswith("?size=phone")


def test_a_form_leads_to_the_row_that_was_asked_for(page: Page, address: str) -> None:
    page.goto(f"{address}/projects/houses/partitions/2024-04")
    page.get_by_role("textbox", name="Row").fill("7")
    page.get_by_role("button", name="Trace this row").click()
    assert page.inner_text("h1") == "Row 7 of 2024-04.csv"
