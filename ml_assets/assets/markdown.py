"""What Dagster's UI shows of an asset: tables and pictures as Markdown."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Dagster's UI loads all metadata of a materialization at once.
LARGEST = 60_000


def as_pictures(drawn: Mapping[str, bytes], titles: Mapping[str, str]) -> dict[str, Any]:
    """Pictures as metadata that Dagster's UI shows; one that is too large for it is on the page only."""
    found = {}
    for name, content in drawn.items():
        text = base64.b64encode(content).decode()
        shown = f"![{titles[name]}](data:image/png;base64,{text})"
        found[f"picture_{name}"] = dg.MetadataValue.md(shown if len(shown) <= LARGEST else "Too large: see the page.")
    return found


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty where there are no rows."""
    lines = [f"| {' | '.join(as_text(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(map(as_text, head))} |", "|---" * len(head) + "|", *lines]) if lines else ""


def as_text(text: str) -> str:
    """Text of the data as Markdown text: it must not become a link, a picture or a cell of its own."""
    shown = " ".join(text.split())
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_[]<>|!&$~#" else sign for sign in shown)
