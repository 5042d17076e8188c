"""Versions that were asked for by their number: the last few, loaded beside everything else, a few at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.serving.predicting.inputs import CannotServeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_assets.serving.predicting.served import Served

# Versions that are kept; that are loaded at once; and that may wait to be.
KEPT, AT_ONCE, WAITING = 4, 2, 8
# A version that could not be loaded is tried again after so many seconds: its file may have been restored.
AGAIN = 10.0


class NotNowError(CannotServeError):
    """It cannot be served at this moment; asked again, maybe."""


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded, why, and when (monotonic seconds)."""

    version: int
    reason: str
    at: float


class Pinned:
    """Loads versions and keeps the last few. Its lock is held for moments, never while something is loaded.

    Args:
        load: a project's version, or why there is none.
    """

    def __init__(self, load: Callable[[str, int], Served | Failure]) -> None:
        self._load = load
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pinned")
        self._asked: OrderedDict[tuple[str, int], Future[Served | Failure]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, project: str, number: int) -> Future[Served | Failure]:
        """A version, once it is loaded; whoever else asks for it meanwhile waits for the same.

        Raises:
            NotNowError: if too many others are being loaded.
        """
        key = (project, number)
        with self._lock:
            self._forget()
            if key not in self._asked:
                if sum(not one.done() for one in self._asked.values()) >= AT_ONCE + WAITING:
                    raise NotNowError("too many versions are being loaded. Remedy: ask again in some seconds")
                self._asked[key] = self._threads.submit(self._loaded, project, number)
            self._asked.move_to_end(key)
            return self._asked[key]

    def drop(self, project: str, number: int) -> None:
        """Load a version anew when it is asked for next."""
        with self._lock:
            self._asked.pop((project, number), None)

    def loaded(self) -> list[Served]:
        """The versions that are kept, oldest first."""
        with self._lock:
            done = [one.result() for one in self._asked.values() if one.done()]
        return [one for one in done if not isinstance(one, Failure)]

    def _loaded(self, project: str, number: int) -> Served | Failure:
        try:
            return self._load(project, number)
        except BaseException as error:  # noqa: BLE001 - polars' panic is no Exception; told to all who wait
            return Failure(number, f"{type(error).__name__}: {error}", time.monotonic())

    def _forget(self) -> None:
        """Let go of all but the last few, and of failures that are over."""
        done = {key: one.result() for key, one in self._asked.items() if one.done()}
        old = [key for key, one in done.items() if not isinstance(one, Failure)][:-KEPT]
        now = time.monotonic()
        for key in [*old, *(key for key, one in done.items() if isinstance(one, Failure) and now - one.at > AGAIN)]:
            del self._asked[key]
