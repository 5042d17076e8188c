"""What Dagster's UI shows of an asset: pictures in Markdown."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Mapping

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
