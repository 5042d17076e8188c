"""The lake as a Dagster resource.

It is a `DuckDBResource` with the lake attached, so that assets of a team's own use it exactly as they use DuckDB.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_duckdb import DuckDBResource

from ml_assets import settings
from ml_assets.lake.connection import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


class LakeResource(DuckDBResource):
    """DuckLake through `DuckDBResource`.

    Attributes:
        folder: the lake's folder: catalogue, lock and Parquet files.
    """

    database: str = ":memory:"
    folder: str

    @property
    def lake(self) -> Lake:
        """The process's lake at this folder."""
        return open_lake(Path(self.folder))

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor with the lake attached as `lake`, for reading. Writes go through `lake.transaction`."""
        with self.lake.reader() as cursor:
            yield cursor


@cache
def open_lake(folder: Path) -> Lake:
    """The process's one lake at a folder."""
    return Lake(folder)


@cache
def shared_lake() -> LakeResource:
    """The resource that all projects share: one object, so that Dagster can merge their definitions."""
    return LakeResource(folder=str(settings.home() / "lake"))
