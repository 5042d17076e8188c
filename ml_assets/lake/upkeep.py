"""Keeping the lake small: merge small files, forget old snapshots, delete files that nothing refers to.

A snapshot that a registered model was trained on is never forgotten: "the data this model saw" must stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from ml_assets.lake.connection import Lake


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
        merged = cursor.execute("SELECT sum(files_processed) FROM ducklake_merge_adjacent_files('lake')").fetchone()
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
            cursor.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{versions}])")
        deleted = 0
        for cleaner in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
            deleted += len(cursor.execute(f"CALL {cleaner}('lake', older_than => {old})").fetchall())
    return Upkeep(int(merged[0] or 0) if merged else 0, len(expired), deleted)
