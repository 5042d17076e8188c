"""A project's ledger as the pages read it again and again: entries never change, so only those since are read.

The record of thousands of decisions is then not fetched for each page. What is remembered is held against the ledger
each time by the hash of its last entry, which seals all before it; the ledger's own page reads what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.registry.ledger import Entry, read_entries, read_new

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

# Home and project → its entries as they were last read. Replaced as a whole, so that threads need no lock.
_KNOWN: dict[tuple[Path, str], tuple[Entry, ...]] = {}


def entries_of(cursor: duckdb.DuckDBPyConnection, home: Path, project: str) -> tuple[Entry, ...]:
    """A project's entries as a cursor's transaction sees them, oldest first.

    Args:
        cursor: a read transaction.
        home: tells the ledger apart from that of another home in this process.
        project: the project's name.
    """
    known = _KNOWN.get((home, project), ())
    newer = read_new(cursor, known[-1].id - 1, project) if known else []
    # Else nothing is remembered, or the ledger is another: one that was restored, or seen before it was added to.
    is_longer = bool(newer) and newer[0] == known[-1]
    found = (*known, *newer[1:]) if is_longer else tuple(read_entries(cursor, project))
    _KNOWN[home, project] = found
    return found
