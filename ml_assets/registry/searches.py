"""What a search has finished, on disk: a line for each attempt, so that a search that was killed goes on where it was.

It is gone once the version that came of the search is registered: its record holds the trials.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
