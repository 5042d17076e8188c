"""What stands in somebody's data, as people may see it: it says what it is, and does nothing."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 60
MISSING = "(missing)"
# ASCII's punctuation that means something in Markdown, in its tables or in HTML, and what the graph draws as formulas.
_SIGNS = re.compile(r"[\\`*_\[\]<>|!&$~#]")
# At the beginning of a text these make a list or a heading of it.
_FIRST = re.compile(r"^(\d*)([-+.)=])(?=\s|$)")
# Dagster's UI makes links of bare addresses, also of those in entities; a space of no width keeps it from that.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_NO_WIDTH = "&#8203;"


def visible(value: str | None, width: int = WIDTH) -> str:
    """A value for people: control and formatting characters written out, cut to a width, `(missing)` where it is None.

    What stands in a source file must neither move a cursor, nor turn the direction of text, nor fill a screen.
    """
    if value is None:
        return MISSING
    # Cc, Cf, Cs, Co, Cn: control, formatting, surrogate, private, unassigned; Zl, Zp: separators of lines.
    odd = {"Zl", "Zp"}
    cut = value[: width + 1]
    written = "".join(
        one.encode("unicode_escape").decode()
        if unicodedata.category(one)[0] == "C" or unicodedata.category(one) in odd
        else one
        for one in cut
    )
    return written if len(value) <= width and len(written) <= width else written[: width - 1] + "…"


def escaped(text: str, width: int = 1000) -> str:
    """A text of the data as Markdown that shows just this text, on one line: no link, picture, HTML, list or cell.

    Space at its ends is not shown, any other is one space, as in all Markdown; else as `visible` has it.
    """
    shown = " ".join(visible(text, width).split())
    shown = _SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", shown)
    shown = _FIRST.sub(lambda found: f"{found[1]}&#{ord(found[2])};", shown)
    return _ADDRESS.sub(_NO_WIDTH, shown)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of texts of the data, shape (rows, columns); empty where there are no rows."""
    lines = [f"| {' | '.join(map(escaped, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(map(escaped, head))} |", "|---" * len(head) + "|", *lines]) if lines else ""
