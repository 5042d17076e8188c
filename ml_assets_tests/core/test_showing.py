"""What stands in the data is shown, and does nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ml_assets.core.showing import escaped, markdown_table, visible

PLAIN = {"text", "inline", "paragraph_open", "paragraph_close", "bullet_list_open", "list_item_open"}
CELLS = {"table_open", "thead_open", "tbody_open", "tr_open", "th_open", "td_open", "inline"}
SIGNS = st.text("|`[]()!<>&#*_~\\$-+=.:/@ \n\r\t1aäw\u202e\u2028", max_size=30) | st.text(max_size=30)


def spaced(text: str) -> str:
    """As Markdown shows a text: without what has no width, repeated spaces and those at its ends."""
    return " ".join(text.replace("\u200b", "").split())


def inline(tokens: list[object]) -> list[str]:
    """The texts of inline tokens, after making sure that there is nothing else in them."""
    found = []
    for token in tokens:
        if token.type == "inline":  # type: ignore[attr-defined]
            children = token.children or []  # type: ignore[attr-defined]
            assert {child.type for child in children} <= {"text", "text_special"}
            found.append("".join(child.content for child in children))
    return found


@given(SIGNS)
@example("![x](http://elsewhere.org/x.png) | <b>`")
@example("- a\n- b")
@example("1. one")
@example("\\|")
@example("&lt;b&gt;")
def test_an_escaped_text_is_one_line_and_shows_itself(text: str) -> None:
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"- {escaped(text)}")
    opened = [token.type for token in rendered if token.nesting >= 0]
    assert opened in (
        ["bullet_list_open", "list_item_open", "paragraph_open", "inline"], ["bullet_list_open", "list_item_open"]
    )  # fmt: skip
    assert spaced("".join(inline(rendered))) == spaced(visible(text, 1000))


@given(st.lists(st.tuples(SIGNS, SIGNS, SIGNS), min_size=1, max_size=3))
def test_every_text_has_its_own_cell_in_a_table(rows: list[tuple[str, str, str]]) -> None:
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown_table(("a", "b", "c"), rows))
    assert {token.type for token in rendered if token.nesting >= 0} <= CELLS
    shown = inline(rendered)
    assert [spaced(text) for text in shown[3:]] == [spaced(visible(text, 1000)) for row in rows for text in row]


@pytest.mark.parametrize("address", ["http://a.org/x", "HTTPS://a.org", "www.a.org", "WWW.a.org", "me@a.org"])
def test_an_address_is_no_link(address: str) -> None:
    # As the renderer of Dagster's UI finds them in text, after entities have been read.
    found = re.compile(r"(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(\.[-\w]+)+", re.IGNORECASE)
    assert found.search(address)
    assert not found.search(escaped(address).replace("&#8203;", "\u200b"))


def test_a_table_without_rows_is_nothing() -> None:
    assert not markdown_table(("a",), [])
