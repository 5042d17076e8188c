"""Keeping the lake small: merge small files, forget old snapshots, delete files that nothing refers to.

A snapshot that a registered model was trained on is never forgotten: "the data this model saw" must stay readable.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.lake.tables import PIECES

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from ml_assets.lake.connection import Lake

DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Upkeep:
    """What one upkeep did.

    Attributes:
        files_merged: data files that were written into larger ones.
        snapshots_expired: snapshots that can no longer be read.
        files_deleted: files removed from the disk.
    """

    files_merged: int
    snapshots_expired: int
    files_deleted: int


def compact(lake: Lake, *, keep: timedelta, protected: Collection[int]) -> Upkeep:
    """Compact the lake under its writer lock.

    Args:
        lake: the lake.
        keep: snapshots younger than this stay; readers that began within it are never disturbed.
        protected: snapshot ids that stay whatever their age: those that the registry names.
    """
    seconds = int(keep.total_seconds())
    old = f"now() - to_seconds({seconds})"
    with lake.exclusive() as cursor:
        # Fetched to the end: DuckDB commits only then.
        merged = cursor.execute("SELECT files_processed FROM ducklake_merge_adjacent_files('lake')").fetchall()
        expired = [
            snapshot
            for (snapshot,) in cursor.execute(
                f"SELECT snapshot_id FROM ducklake_snapshots('lake') WHERE snapshot_time < {old} "
                "AND snapshot_id < (SELECT id FROM lake.current_snapshot()) ORDER BY snapshot_id"
            ).fetchall()
            if snapshot not in protected
        ]
        if expired:
            versions = ", ".join(str(int(snapshot)) for snapshot in expired)
            cursor.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{versions}])").fetchall()
        # DuckLake compares the times in a SQLite catalogue as text, of which only the day counts: a day more is kept,
        # so that no file goes which a reader may still need.
        unneeded = f"now() - to_seconds({seconds + DAY if seconds else 0})"
        deleted = 0
        for cleaner, limit in (("ducklake_cleanup_old_files", unneeded), ("ducklake_delete_orphaned_files", old)):
            deleted += len(cursor.execute(f"CALL {cleaner}('lake', older_than => {limit})").fetchall())
    # A process that was killed left its pieces behind.
    for folder in (lake.folder / PIECES).glob("*"):
        if time.time() - folder.stat().st_mtime > DAY:
            shutil.rmtree(folder, ignore_errors=True)
    return Upkeep(sum(files for (files,) in merged), len(expired), deleted)
