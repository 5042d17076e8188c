"""Many rows at once: Arrow and Parquet read, judged by the schema itself, and written again."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.validation import MALFORMED, FileFailure, judge
from ml_assets.schemas import load_schema
from ml_assets.serving.predicting.request import TOLD, MalformedError, Mistake, RefusedError, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import polars as pl
    import pyarrow as pa

    from ml_assets.project import Project
    from ml_assets.serving.predicting.request import Contract

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
# What a body may unfold to, in rows and in bytes; what a value takes at most beside the letters of a text.
MOST, UNFOLDED = 10_000_000, 2 * 2**30
VALUE = 16
# Rows that are read at a time.
BATCH = 65_536
# Of a message of an Arrow stream: that it holds the values that others point at.
DICTIONARY = 2


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


def read_body(
    kind: str, body: bytes, chosen: Callable[[Sequence[str]], list[str]], most: int = MOST, unfolded: int = UNFOLDED
) -> pl.DataFrame:
    """The rows of an Arrow stream or a Parquet file.

    A small body may unfold to any size: by compression, by a value that stands once and is pointed at often, by columns
    of nulls that are only counted. So sizes are looked at as it is read, before anything is repeated.

    Args:
        kind: `ARROW` or `PARQUET`.
        body: as it came.
        chosen: of the columns that are there, those to read; it refuses others.
        most: rows.
        unfolded: bytes of all values.

    Raises:
        MalformedError: if it is none, or too large.
        RefusedError: as `chosen` does.
    """
    import polars as pl
    import pyarrow as pa

    room = _Room(most, unfolded)
    try:
        batches = (_parquet if kind == PARQUET else _arrow)(body, chosen, room)
        found = [_plain(batch, room) for batch in batches]
    except (pa.ArrowException, OSError, ValueError, IndexError, struct.error, pl.exceptions.PolarsError) as error:
        raise MalformedError(
            f"the body is no {'Parquet file' if kind == PARQUET else 'Arrow stream'}: {error}"
        ) from error
    if not any(part.height for part in found):
        raise MalformedError("the body holds no row")
    return pl.concat(found, how="vertical_relaxed")


@dataclass
class _Room:
    """What a body may still unfold to: rows, and bytes."""

    rows: int
    size: int

    def refuse(self, rows: int, size: int) -> None:
        if rows > self.rows or size > self.size:
            what = "rows" if rows > self.rows else "bytes"
            raise MalformedError(f"the body unfolds to more {what} than one request may hold. Remedy: several requests")

    def take(self, rows: int, size: int) -> None:
        self.refuse(rows, size)
        self.rows, self.size = self.rows - rows, self.size - size


def _parquet(body: bytes, chosen: Callable[[Sequence[str]], list[str]], room: _Room) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    of = pq.ParquetFile(pa.BufferReader(body))
    names = _readable(of.schema_arrow, chosen)
    groups = [of.metadata.row_group(place) for place in range(of.num_row_groups)]
    room.refuse(of.metadata.num_rows, sum(group.total_byte_size for group in groups))
    # A text that stands there once is left so: then it can be seen how long all are, before they are written out.
    texts = [name for name in names if _is_text(of.schema_arrow.field(name).type)]
    file = pq.ParquetFile(pa.BufferReader(body), read_dictionary=texts)
    yield from file.iter_batches(BATCH, columns=names, use_threads=False)


def _arrow(body: bytes, chosen: Callable[[Sequence[str]], list[str]], room: _Room) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    # Compressed buffers say how long they will be, and are held to it: it is seen before one is unfolded.
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
    room.refuse(0, sum(unfolded_size(one.metadata.to_pybytes(), one.body) for one in messages if one.body))
    reader = pa.ipc.open_stream(pa.BufferReader(body))
    names = _readable(reader.schema, chosen)
    for batch in reader:
        yield batch.select(names)


def unfolded_size(metadata: bytes, body: Any) -> int:
    """The bytes that compressed buffers of a message of Arrow's stream say they have; 0 where none is compressed.

    A message is a flatbuffer; of it only the buffers of its record batch are read. See `Message.fbs` and
    `RecordBatch.compression` of the Arrow columnar format.
    """

    def number(form: str, at: int) -> int:
        return int(struct.unpack_from(f"<{form}", metadata, at)[0])

    def field(table: int, place: int) -> int:
        """Where a field of a table stands; 0 where it is left out."""
        known = table - number("i", table)
        entry = 4 + 2 * place
        offset = number("H", known + entry) if entry < number("H", known) else 0
        return table + offset if offset else 0

    def followed(at: int) -> int:
        return at + number("I", at)

    message = followed(0)
    header = field(message, 2)
    if not header:
        return 0
    batch = followed(header)
    if number("B", field(message, 1)) == DICTIONARY:
        batch = followed(field(batch, 1))
    if not field(batch, 3):
        return 0
    buffers = followed(field(batch, 2))
    size = 0
    for place in range(number("I", buffers)):
        offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * place)
        if length:
            # -1 stands where it is not compressed after all.
            (said,) = struct.unpack_from("<q", body, offset)
            size += max(said, length)
    return size


def _readable(schema: pa.Schema, chosen: Callable[[Sequence[str]], list[str]]) -> list[str]:
    """The columns to read; none of them nested or exotic, for of those nobody knows what they unfold to."""
    import pyarrow as pa

    if len(set(schema.names)) < len(schema.names):
        raise MalformedError("two columns have the same name. Remedy: one of each")
    names = chosen(schema.names)
    kinds = pa.types
    plain = (
        kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_null, kinds.is_decimal128, kinds.is_date,
        kinds.is_timestamp, kinds.is_time, _is_text,
    )  # fmt: skip
    for name in names:
        kind = schema.field(name).type
        kind = kind.value_type if kinds.is_dictionary(kind) else kind
        if not any(is_kind(kind) for is_kind in plain):
            raise MalformedError(f"{name}: {cut(str(kind))} is not read here. Remedy: numbers, text or times")
    return names


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _plain(batch: pa.RecordBatch, room: _Room) -> pl.DataFrame:
    """A batch as a frame, each text by itself; refused before that where it would be too much."""
    import polars as pl
    import pyarrow as pa

    room.refuse(batch.num_rows, 0)
    batch.validate(full=True)
    rows = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
    size = VALUE * rows.width * rows.height
    for column in rows:
        if isinstance(column.dtype, pl.Categorical | pl.Enum):
            size += int(column.cat.len_bytes().cast(pl.Int64).sum())
        elif column.dtype == pl.String:
            size += int(column.str.len_bytes().cast(pl.Int64).sum())
    room.take(rows.height, size)
    return rows.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


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

    def chosen(self, given: Sequence[str]) -> list[str]:
        """Of the columns of a body, those to read.

        Raises:
            RefusedError: if a column is missing, or not known where that is refused.
        """
        self._refuse_columns(given)
        return [name for name in self._asked if name in given]

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
            _meant(rows.select(given), self.types, calendar.timezone)
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


def _meant(rows: pl.DataFrame, types: Mapping[str, Any], timezone: str) -> pl.DataFrame:
    """Rows whose times are moments with a zone, or what the project's clocks show, as the schema's columns are.

    So JSON and text are read too; polars itself would take what the clocks show for UTC.
    """
    import polars as pl

    found = []
    for name, kind in rows.schema.items():
        given, wanted = (getattr(one, "time_zone", None) for one in (kind, types[name]))
        if kind != pl.Datetime or types[name] != pl.Datetime or bool(given) == bool(wanted):
            continue
        time = pl.col(name).dt
        if wanted:
            time = time.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").dt
            found.append(time.convert_time_zone(wanted))
        else:
            found.append(time.convert_time_zone(timezone).dt.replace_time_zone(None))
    return rows.with_columns(found)
