"""Work that goes on while the caller is busy with what came before: readers and writers let go of Python's lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice, repeat, takewhile
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")


def one_ahead(tasks: Iterable[Callable[[], T]]) -> Generator[T]:
    """The results of tasks, in order; the next task runs in a thread while the caller works on the last result.

    Tasks are asked for in the caller's thread and run one after the other, so that no two of them meet. An error of a
    task is raised where its result would have come. A caller that stops early waits for the task that is running.
    """
    with ThreadPoolExecutor(1, "one_ahead") as pool:
        last: Future[T] | None = None
        for task in tasks:
            running = pool.submit(task)
            if last is not None:
                yield last.result()
            last = running
        if last is not None:
            yield last.result()


def read_ahead(items: Iterator[T]) -> Generator[T]:
    """The same items; the next one is made in a thread while the caller works on the last. See `one_ahead`."""
    # In a list, which is empty at the end: an item may be anything.
    with closing(one_ahead(repeat(lambda: list(islice(items, 1))))) as made:
        yield from chain.from_iterable(takewhile(bool, made))
