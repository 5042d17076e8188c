"""Reading the rows of a training set again, and making sure that they are the same rows."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from ml_assets.lake.tables import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.models import TrainingSet


class TrainingDataError(Exception):
    """The rows of a training set are not those that were recorded."""


def read_partitions(lake: Lake, project: Project, keys: Sequence[str], snapshot: int) -> pl.DataFrame:
    """Rows of `features` in some partitions, as a snapshot of the lake saw them, in the order of their lineage."""
    with lake.reader() as cursor:
        rows = read(cursor, project.table("features"), project.window(min(keys), max(keys)), snapshot)
    return of_partitions(project, rows, keys)


def of_partitions(project: Project, rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rows that stand in some partitions."""
    return rows.filter(rows["_partition"].is_in([project.start_of(key) for key in keys]))


def training_rows(lake: Lake, project: Project, training_set: TrainingSet) -> pl.DataFrame:
    """The rows of a training set.

    Raises:
        TrainingDataError: if they are not the rows that were recorded.
    """
    rows = read_partitions(lake, project, (*training_set.train, *training_set.test), training_set.snapshot)
    found = content_hash(rows)
    if found != training_set.content_hash:
        raise TrainingDataError(
            f"{project.name}: snapshot {training_set.snapshot} of the lake holds other rows than were recorded "
            f"({found[:12]}… instead of {training_set.content_hash[:12]}…). "
            f"Remedy: materialize {project.name}/training_set again"
        )
    return rows


def content_hash(rows: pl.DataFrame) -> str:
    """SHA-256 over the names, types and values of a frame, in order."""
    import polars as pl

    content = io.BytesIO()
    # The oldest layout keeps text in one run of bytes: the same rows are the same bytes however they were chunked.
    rows.rechunk().write_ipc(content, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return hashlib.sha256(content.getbuffer()).hexdigest()
