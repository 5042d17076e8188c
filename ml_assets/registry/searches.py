"""What a search has finished, on disk: a line for each attempt, so that a search that was killed goes on where it was.

It is gone once the version that came of the search is registered: its record holds the trials. One that nobody came
back to for a month goes with the next search of the project.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ABANDONED_DAYS = 30


@dataclass(frozen=True)
class Journal:
    """The journal of one search.

    Attributes:
        folder: its own; named after all that decides what its attempts come to, so that no other search finds it.
    """

    folder: Path

    @property
    def file(self) -> Path:
        """One JSON object a line."""
        return self.folder / "attempts.jsonl"

    def lines(self) -> list[dict[str, Any]]:
        """What was finished, in order. A line that a kill cut short is none, and makes room for the next."""
        if not self.file.is_file():
            return []
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.file, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line, and wait until it is on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as out:
            out.write(json.dumps(line).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())

    def remove(self) -> None:
        """Forget it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def alone(self, say: Callable[[str], object]) -> Iterator[None]:
        """Within the block nobody else searches for the project: two of one journal would write into each other's rows.

        Journals of the project that were abandoned are removed first.

        Args:
            say: is told where another search has to end before.
        """
        searches = self.folder.parent
        searches.mkdir(parents=True, exist_ok=True)
        lock = FileLock(searches.with_name("searches.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("another search of this project is under way: waiting for its end")
            lock.acquire()
        try:
            for other in filter(Path.is_dir, searches.iterdir()):
                if other != self.folder and time.time() - _touched(other) > ABANDONED_DAYS * 86_400:
                    shutil.rmtree(other, ignore_errors=True)
            yield
        finally:
            lock.release()


def _touched(folder: Path) -> float:
    """When anything in a folder last changed, in seconds since 1970."""
    return max(each.stat().st_mtime for each in (folder, *folder.iterdir()))
