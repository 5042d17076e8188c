"""What the processes of the ledger's tests do; they import this module only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import Draft, Ledger

if TYPE_CHECKING:
    from pathlib import Path

THREADS, TURNS = 2, 3


def draft(project: str, reason: str = "because", **fields: object) -> Draft:
    return Draft(**{"project": project, "kind": "decision", "reason": reason, "evidence": {}} | fields)  # type: ignore[arg-type]


def append_from_threads(folder: Path, name: str) -> None:
    """Entries for two projects, one and two at a time."""
    ledger = Ledger(Lake(folder))

    def work(thread: int) -> None:
        for turn in range(TURNS):
            project = f"project_{turn % 2}"
            new = [draft(project, f"{name}/{thread}/{turn}/{part}") for part in range(1 + turn % 2)]
            ledger.append(Commit(project, "decision", f"{name}/{thread}"), lambda _, new=new: new)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
