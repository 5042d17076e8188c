"""What a browser finds on the pages: every link followed, and each page looked at as people have it before them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urldefrag

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Pages of one kind are alike: so many of each are opened.
OF_A_KIND = 2
NARROW = {"width": 320, "height": 700}
WIDE = {"width": 1280, "height": 900}
LINKS = "links => links.map(link => link.href)"
# What reaches beyond the window's right edge and does not scroll by itself.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Seen:
    """What was found: address → what is wrong with its page; and the kinds of pages that were opened."""

    wrong: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)


def kind_of(address: str, base: str) -> str:
    """An address without what names a partition, a version or a row."""
    path = address.removeprefix(base).partition("?")[0]
    return re.sub(r"/\d{4}-\d\d|/\d+|(?<=/)[^/]*\.\.[^/]*", "/…", path)


def look_around(page: Page, base: str) -> Seen:
    """Open every kind of page that links lead to, from the start page on."""
    seen, waiting, known = Seen(), [f"{base}/"], {f"{base}/"}
    while waiting:
        address = waiting.pop(0)
        kind = kind_of(address, base)
        if seen.kinds.get(kind, 0) >= OF_A_KIND:
            continue
        seen.kinds[kind] = seen.kinds.get(kind, 0) + 1
        if wrong := _wrong_with(page, address):
            seen.wrong[address] = wrong
            continue
        for link in page.locator("a[href]").evaluate_all(LINKS):
            target = urldefrag(link).url
            if target.startswith(f"{base}/") and target not in known:
                known.add(target)
                waiting.append(target)
    return seen


def _wrong_with(page: Page, address: str) -> str:
    said: list[str] = []

    def listen(message: object) -> None:
        said.append(str(message))

    page.on("pageerror", listen)
    page.set_viewport_size(WIDE)
    response = page.goto(address)
    page.remove_listener("pageerror", listen)
    if response is None or response.status != 200:
        return f"answers {response.status if response else 'nothing'}"
    # Evidently's own pages are as they are.
    if "text/html" not in response.headers.get("content-type", "") or "/evidently" in address:
        return ""
    if said:
        return f"errors: {said}"
    if page.locator("h1").count() != 1:
        return f"{page.locator('h1').count()} main headings"
    page.set_viewport_size(NARROW)
    beyond = page.evaluate(OVERFLOW)
    return f"{beyond} pixels too wide for a phone" if beyond > 0 else ""


def keep_picture(page: Page, name: str) -> None:
    """Keep what the page shows for the README, where `ML_ASSETS_PICTURES` names a folder."""
    folder = os.environ.get("ML_ASSETS_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", clip={"x": 0, "y": 0, "width": 1280, "height": 900})
