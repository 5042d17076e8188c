"""Parquet files: every value as DuckDB writes it, nested ones as JSON, moments with a zone in UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from ml_assets.lake.sql import literal, quoted
from ml_assets.sources.reading import FRAME, MALFORMED, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl

    from ml_assets.sources.names import Names

NESTED = ("STRUCT", "MAP", "UNION")


class ParquetFile:
    """One Parquet file, while it is read.

    Args:
        name: how lineage names the file.
        path: where it is; without signs that DuckDB takes for wildcards.
        cursor: is closed when the file has been read.
        names: of all files of the reading.

    Attributes:
        columns: those of the file, known from the first frame on.
        skipped: none: every row is one.
    """

    def __init__(self, name: str, path: Path, cursor: duckdb.DuckDBPyConnection, names: Names) -> None:
        self.name = name
        self.columns: list[str] = []
        self.skipped = 0
        self._path = path
        self._cursor = cursor
        self._names = names

    def frames(self) -> Iterator[pl.DataFrame]:
        """The file's rows, in order: columns as text, `_row` and `_malformed`; without rows one empty frame.

        Raises:
            SourceError: the file is cut off or damaged, or a column cannot be used.
        """
        import polars as pl
        import pyarrow as pa

        try:
            self._begin()
            described = self._cursor.execute(f"DESCRIBE FROM read_parquet({literal(str(self._path))})").fetchall()
            given = [(column[0], column[1]) for column in described]
            listed = ", ".join(
                f"{_as_text(quoted(theirs), kind)} AS {quoted(ours)}"
                for (theirs, kind), ours in zip(given, self.columns, strict=True)
            )
            # Without numbers of their own, rows stay in the order of the file all the same: DuckDB preserves it.
            self._cursor.execute(f"SELECT {listed} FROM read_parquet({literal(str(self._path))})")
            first, batches = 1, self._cursor.to_arrow_reader(FRAME)
            yield self._numbered(pl.DataFrame(schema=dict.fromkeys(self.columns, pl.String)), 1)
            for batch in batches:
                frame = pl.DataFrame(pl.from_arrow(batch))
                yield self._numbered(frame, first)
                first += frame.height
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{self.name}: is no whole Parquet file: {error}. Remedy: fetch it again; nothing was written"
            ) from error
        finally:
            self._cursor.close()

    def _begin(self) -> None:
        import pyarrow.parquet as pq

        # DuckDB would give a repeated name another one, silently.
        self.columns = self._names.header(self.name, 1, pq.read_schema(self._path).names)

    def _numbered(self, frame: pl.DataFrame, first: int) -> pl.DataFrame:
        import polars as pl

        return frame.with_columns(
            pl.int_range(first, first + frame.height, dtype=pl.Int64, eager=True).alias("_row"),
            pl.lit(None, pl.String).alias(MALFORMED),
        )


def _as_text(column: str, kind: str) -> str:
    """SQL that yields a column's values as text, null for an empty one."""
    if kind.endswith("]") or kind.startswith(NESTED):
        return f"CAST(to_json({column}) AS VARCHAR)"
    if kind == "TIMESTAMP WITH TIME ZONE":
        # The cast to text would tell the time of the machine's zone.
        return f"CAST(make_timestamp(epoch_us({column})) AS VARCHAR) || '+00'"
    return f"nullif(CAST({column} AS VARCHAR), '')"
