"""Writing down what happens at the door, beside the answers: a file that is locked or full keeps nobody waiting.

One thread of its own writes, so that neither the event loop nor the threads that make pages wait for a disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ml_assets.serving.access import record
from ml_assets.serving.access.keys import note_use

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_assets.serving.access.keys import Key
    from ml_assets.serving.access.store import Store

# Refusals of people unknown that a process writes down in a day; of more it writes how many there were.
MOST_OF_STRANGERS = 100
LOG = logging.getLogger(__name__)


class Notes:
    """What one process writes into the record while it serves. All of it is called on the event loop.

    Args:
        store: where it is written.
        most: refusals of people unknown that are written down in a day.
    """

    def __init__(self, store: Store, most: int = MOST_OF_STRANGERS) -> None:
        self._store, self._most = store, most
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="notes")
        self._used: dict[str, str] = {}
        self._day, self._strangers = "", 0

    def use(self, key: Key) -> None:
        """Note that a key is used today: once a day, some time later."""
        today = _today()
        if today in {key.used, self._used.get(key.id)}:
            return
        self._used[key.id] = today

        def write() -> None:
            if not self._try(lambda: note_use(self._store, key, today)):
                self._used.pop(key.id, None)  # the next request tries again

        self._worker.submit(write)

    async def refused(self, what: str, detail: str, *, who: str = "", key: str = "") -> None:
        """Write down a refusal, before it is answered; where that fails, the server's log says so.

        Args:
            what: `act refused` or `sign-in refused`.
            detail: what was asked, from where, and why it was refused.
            who: the name of the key that asked; "" for people unknown, of whom so many are written down in a day.
            key: its id.
        """
        if not key and not self._counts():
            return

        def write() -> None:
            self._try(lambda: self._append(what, who, key, detail))

        await asyncio.wrap_future(self._worker.submit(write))

    def close(self) -> None:
        """Write what is still to be written."""
        self._tell_strangers()
        self._worker.shutdown()

    def _counts(self) -> bool:
        """Count a stranger, and say whether this one is written down."""
        today = _today()
        if today != self._day:
            self._tell_strangers()
            self._day = today
        self._strangers += 1
        return self._strangers <= self._most

    def _tell_strangers(self) -> None:
        """Write down how many refusals were not, and begin to count anew."""
        more, self._strangers = self._strangers - self._most, 0
        if more > 0:
            detail = f"{more:,} more of people unknown on {self._day}, not written down one by one"
            self._worker.submit(self._try, lambda: self._append("refusals", "", "", detail))

    def _append(self, what: str, who: str, key: str, detail: str) -> None:
        with self._store.writing() as database:
            record.append(database, what, who=who, key=key, detail=detail)

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except (sqlite3.Error, OSError) as error:
            LOG.warning("%s could not be written: %s", self._store.file.name, error)
            return False
        return True


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
