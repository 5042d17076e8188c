"""Work that is done again and again beside the answering of requests."""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Does something in a thread of its own, again and again, until it is stopped or the process ends.

    Args:
        name: of the thread.
        seconds: the pause between two times.
        do: what is done. Its errors are its own to tell: one that it raises ends the thread.
    """

    def __init__(self, name: str, seconds: float, do: Callable[[], None]) -> None:
        self._name, self._seconds, self._do = name, seconds, do
        self._stop, self._changing = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and not stopped."""
        return self._thread is not None

    def start(self) -> None:
        """Begin, now. To start twice does nothing."""
        with self._changing:
            if self._thread is None:
                self._stop.clear()
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
                # A thread that is inside DuckDB while the interpreter goes away takes the process down with it.
                atexit.register(self.stop)

    def stop(self) -> None:
        """End it; what is being done is finished first."""
        with self._changing:
            self._stop.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
                atexit.unregister(self.stop)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._do()
            self._stop.wait(self._seconds)
