"""What is read ahead is the same as what is read as it is needed."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.core.ahead import one_ahead, read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


@given(st.lists(st.one_of(st.none(), st.integers(), st.lists(st.integers()))))
def test_the_same_items_come_in_the_same_order(items: list[object]) -> None:
    assert list(read_ahead(iter(items))) == items


def test_the_next_item_is_made_while_the_caller_works() -> None:
    begun = [threading.Event() for _ in range(3)]

    def made(number: int) -> int:
        begun[number].set()
        return number

    with closing(one_ahead((lambda number=number: made(number)) for number in range(3))) as results:
        assert next(results) == 0
        # The caller has asked for nothing more.
        assert begun[1].wait(10)
        assert not begun[2].wait(0.05)


def test_an_error_comes_where_the_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the file ends here")

    found = read_ahead(items())

    assert next(found) == 1
    with pytest.raises(ValueError, match="the file ends here"):
        next(found)


def test_who_stops_early_leaves_nothing_running() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        ended.wait(0.2)
        ended.set()
        yield 2

    with closing(read_ahead(items())) as found:
        assert next(found) == 1

    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("one_ahead")]
