"""Requests that wait are answered together, and what is wrong with one is not the others' concern."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from ml_assets.serving.predicting.batching import MOST, Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_what_came_while_one_was_answered_is_answered_at_once() -> None:
    seen: list[list[int]] = []
    first = threading.Event()

    def answer(asked: Sequence[int]) -> list[int]:
        seen.append(list(asked))
        if len(seen) == 1:
            first.wait(5)
        return [2 * one for one in asked]

    async def play() -> list[int]:
        batcher = Batcher(answer)
        waiting = [asyncio.create_task(batcher.ask(0))]
        await asyncio.sleep(0.01)
        waiting += [asyncio.create_task(batcher.ask(number)) for number in range(1, MOST + 3)]
        await asyncio.sleep(0.01)
        first.set()
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(play()) == [2 * number for number in range(MOST + 3)]
    assert [len(one) for one in seen] == [1, MOST, 2]


def test_an_error_is_that_of_its_own_request_and_a_request_that_was_given_up_holds_nobody_up() -> None:
    def answer(asked: Sequence[int]) -> list[int | Exception]:
        return [ValueError(f"{one} is odd") if one % 2 else one for one in asked]

    async def play() -> list[int | BaseException]:
        batcher = Batcher(answer)
        given_up = asyncio.create_task(batcher.ask(4))
        waiting = [asyncio.create_task(batcher.ask(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        given_up.cancel()
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    odd, even = asyncio.run(play())
    assert (str(odd), even) == ("1 is odd", 2)


def test_what_breaks_inside_is_told_to_all_and_the_next_is_answered() -> None:
    broken = [True]

    def answer(asked: Sequence[int]) -> list[int]:
        if broken.pop() if broken else False:
            raise RuntimeError("broken")
        return list(asked)

    async def play() -> int:
        batcher = Batcher(answer)
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.ask(1)
        return await batcher.ask(2)

    assert asyncio.run(play()) == 2


def test_a_library_that_panics_leaves_nobody_waiting() -> None:
    class Panic(BaseException):  # as polars raises
        pass

    def answer(asked: Sequence[int]) -> list[int]:
        if 1 in asked:
            raise Panic("a decimal of 256 bits")
        return list(asked)

    async def play() -> int:
        batcher = Batcher(answer)
        with pytest.raises(RuntimeError, match="Panic: a decimal"):
            await asyncio.wait_for(batcher.ask(1), 5)
        return await asyncio.wait_for(batcher.ask(2), 5)

    assert asyncio.run(play()) == 2
