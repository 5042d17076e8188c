"""Many rows at once: Arrow and Parquet read, judged by the schema itself, and written again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.validation import MALFORMED, FileFailure, judge
from ml_assets.schemas import load_schema
from ml_assets.serving.predicting.request import TOLD, MalformedError, Mistake, RefusedError, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ml_assets.project import Project
    from ml_assets.serving.predicting.request import Contract

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
# What a body may unfold to, in bytes.
UNFOLDED = 2 * 2**30


@dataclass(frozen=True)
class _Asked:
    """A schema with some of its columns only, each row by itself."""

    schema: Any
    __name__: str

    def to_schema(self) -> Any:
        """As `DataFrameModel.to_schema`."""
        return self.schema


@dataclass(frozen=True)
class Judged:
    """Rows held against the schema.

    Attributes:
        rows: those that pass, cast.
        at: their places, UInt32.
        mistakes: of the others: place, then each reason.
    """

    rows: pl.DataFrame
    at: pl.Series
    mistakes: dict[int, list[Mistake]]


def read_body(kind: str, body: bytes) -> pl.DataFrame:
    """The rows of an Arrow stream or a Parquet file.

    Raises:
        MalformedError: if it is none, or too large.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if kind == PARQUET:
            file = pq.ParquetFile(pa.BufferReader(body))
            of = file.metadata
            _refuse_large(sum(of.row_group(place).total_byte_size for place in range(of.num_row_groups)))
            found = file.read()
        else:
            batches, size = [], 0
            reader = pa.ipc.open_stream(pa.BufferReader(body))
            for batch in reader:
                size += batch.nbytes
                _refuse_large(size)
                batches.append(batch)
            found = pa.Table.from_batches(batches, reader.schema)
        found.validate(full=True)
        rows = pl.from_arrow(found)
    except (pa.ArrowException, OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise MalformedError(
            f"the body is no {'Parquet file' if kind == PARQUET else 'Arrow stream'}: {error}"
        ) from error
    if not isinstance(rows, pl.DataFrame) or not rows.height:
        raise MalformedError("the body holds no row")
    return rows


def _refuse_large(size: int) -> None:
    if size > UNFOLDED:
        raise MalformedError(f"the body unfolds to more than {UNFOLDED // 2**30} GiB. Remedy: several requests")


def written(kind: str, rows: pl.DataFrame) -> bytes:
    """Rows as an Arrow stream or a Parquet file."""
    made = io.BytesIO()
    if kind == PARQUET:
        rows.write_parquet(made)
    else:
        rows.write_ipc_stream(made)
    return made.getvalue()


class Judge:
    """Judges many rows by the project's schema, without what is not known of them.

    Args:
        project: the project.
        contract: what a row must be.
    """

    def __init__(self, project: Project, contract: Contract) -> None:
        self._project, self._columns, self._needed = project, contract.columns, contract.needed
        self._asked = list(contract.columns)
        self._model = load_schema(project.schema)

    @property
    def types(self) -> dict[str, Any]:
        """The asked columns' polars types."""
        columns = self._model.to_schema().columns
        return {name: columns[name].dtype.type for name in self._asked}

    def __call__(self, rows: pl.DataFrame) -> Judged:
        """Judge rows.

        Raises:
            RefusedError: if a column is missing, not known, or cannot be read.
        """
        import polars as pl

        self._refuse_columns(rows.columns)
        given = [name for name in self._asked if name in rows.columns]
        calendar = self._project.calendar
        judged = (
            rows.select(given)
            .with_columns(pl.lit(0).alias("_partition"), pl.lit(None, dtype=pl.String).alias(MALFORMED))
            .with_row_index("_place")
        )
        try:
            verdict = judge(judged, self._schema(given), time="", carried=["_place"], timezone=calendar.timezone)
        except FileFailure as error:
            raise RefusedError([Mistake(0, "", "", str(error))]) from error
        mistakes = {
            index: [self._mistake(index, one) for one in reasons] for index, reasons in verdict.failed.iter_rows()
        }
        return Judged(verdict.passed.drop("_place"), verdict.passed["_place"], mistakes)

    def refuse(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows, cast, where all pass.

        Raises:
            RefusedError: naming the first that do not.
        """
        judged = self(rows)
        if judged.mistakes:
            found = [one for place in sorted(judged.mistakes) for one in judged.mistakes[place]]
            raise RefusedError(found[:TOLD], max(len(found) - TOLD, 0))
        return judged.rows

    def _schema(self, given: Sequence[str]) -> Any:
        import pandera.polars as pa

        whole = self._model.to_schema()
        columns = {name: whole.columns[name] for name in given}
        for column in columns.values():
            # Rows of a request are not held against each other.
            column.unique = False
        # Without what it demands of whole rows: that may be about what is not known here.
        return _Asked(pa.DataFrameSchema(columns, name=whole.name), str(whole.name))

    def _refuse_columns(self, given: Sequence[str]) -> None:
        wrong = [
            Mistake(0, name, "", f"{name} is missing: expected {self._columns[name].words}")
            for name in sorted(self._needed - set(given))
        ]
        if self._project.serving.unknown_fields == "refuse":
            wrong += [
                Mistake(0, name[:60], "", f"{name[:60]}: there is no such column. There are: {', '.join(self._asked)}")
                for name in given
                if name not in self._asked
            ]
        if wrong:
            raise RefusedError(wrong[:TOLD], max(len(wrong) - TOLD, 0))

    def _mistake(self, place: int, reason: dict[str, Any]) -> Mistake:
        name = reason["column"]
        value = "null" if reason["value"] is None else cut(reason["value"])
        return Mistake(place, name, value, f"{name}: {value} is not {self._columns[name].words}")
