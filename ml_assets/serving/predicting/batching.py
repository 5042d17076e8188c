"""Requests that wait while others are answered are answered together: one query and one prediction for all of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")
# Requests that are answered at once, at most: the others would wait too long for the first.
MOST = 64


class Batcher(Generic[_Asked, _Answer]):
    """Answers requests in one thread, as many at once as have come while the last were answered.

    It never waits for more to come: alone, a request is answered at once.

    Args:
        answer: an answer, or the error to raise, for each of some requests.
    """

    def __init__(self, answer: Callable[[Sequence[_Asked]], Sequence[_Answer | Exception]]) -> None:
        self._answer = answer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._waiting: list[tuple[_Asked, asyncio.Future[_Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, asked: _Asked) -> _Answer:
        """The answer to a request.

        Raises:
            Exception: that of this request; what is wrong with another is not its concern.
        """
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                try:
                    answers = await loop.run_in_executor(self._thread, self._answer, [asked for asked, _ in taken])
                except asyncio.CancelledError:
                    for _, future in taken:
                        future.cancel()
                    raise
                except BaseException as error:  # noqa: BLE001 - raised where each is awaited; polars' panic is no Exception
                    broken = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
                    answers = [broken] * len(taken)
                for (_, future), answer in zip(taken, answers, strict=True):
                    if future.done():
                        continue  # whoever asked has gone
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._task = None
