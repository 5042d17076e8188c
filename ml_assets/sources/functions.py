"""Reading what a Python function gives: for scraping, sensors, queues, and all that no other source reaches."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.sources.reading import FRAME, Part, Reading, SourceError
from ml_assets.sources.staging import Spool
from ml_assets.sources.texts import (
    check_columns,
    columns_of_records,
    series_of_texts,
    spellings,
    spelt,
    unasked,
    with_lineage,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import polars as pl


@dataclass(frozen=True)
class FunctionReader:
    """A function as a source: called once per partition with its start and end, naive UTC, the end not included.

    It gives dicts, one a row (a list, a generator), or frames of pandas, polars or Arrow, or several of them.

    Attributes:
        name: `module:function`.
        timed: whether a partition is asked for; False where the function is called without arguments for all rows.
    """

    name: str
    timed: bool = True

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """All of them: a function says what it holds only when it is called."""
        return list(parts)

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        """The rows of some partitions, one partition after the other, each once the function has given all.

        Raises:
            SourceError: the function does not import, raises, or gives what is no row; the cause is chained.
        """
        function = self._function()
        known = spellings(required)
        goals: Sequence[Part | None] = parts if self.timed else [None]
        for part in goals:
            source = f"{self.name} {part.key}" if part else self.name
            names: dict[str, None] = {}
            with Spool() as spool:
                for piece in self._called(function, part, source):
                    frame = spelt(piece, known, source)
                    names.update(dict.fromkeys(frame.columns))
                    start = None if part is None else part.start
                    spool.add(with_lineage(frame, source=source, before=spool.rows, start=start))
                if spool.rows:
                    check_columns(source, list(names), required)
                reading.facts[part.key if part else ""] = {"source": source, "sha256": spool.sha256}
                if extra := unasked(names, required):
                    reading.unexpected[source] = extra
                yield from spool.frames()

    @property
    def code(self) -> str:
        """The text of the module that defines the function; "" where there is none to read.

        Raises:
            SourceError: the function does not import; the cause is chained.
        """
        try:
            return inspect.getsource(inspect.getmodule(self._function()) or self._function())
        except (OSError, TypeError):  # built in, or typed into a terminal
            return ""

    def _function(self) -> Any:
        module, _, name = self.name.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except Exception as error:
            raise SourceError(
                f"the source function {self.name!r} does not import: {type(error).__name__}: {error}. "
                "Remedy: write `module:function`, the module where Python finds it"
            ) from error

    def _called(self, function: Any, part: Part | None, source: str) -> Iterator[pl.DataFrame]:
        """Frames of texts with rows, at most about `FRAME` of them each."""
        try:
            result = function() if part is None else function(part.start, part.end)
            for frame in _pieces(result, source):
                yield from (piece for piece in frame.iter_slices(FRAME) if piece.height)
        except SourceError:
            raise
        except Exception as error:
            asked = f" for the partition {part.key} ({part.start} to {part.end})" if part else ""
            raise SourceError(
                f"the source function {self.name!r} failed{asked}: {type(error).__name__}: {error}. "
                "Remedy: see the error that caused this; nothing was written"
            ) from error


def _pieces(result: object, where: str) -> Iterator[pl.DataFrame]:
    """What a function gave, piece by piece, as frames of texts."""
    if (frame := _frame(result, where)) is not None:
        yield frame
        return
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
        raise SourceError(
            f"{where}: the function gave a {type(result).__name__}. Remedy: let it return or yield dicts, one a row, "
            "or a frame of pandas, polars or Arrow"
        )
    records: list[Mapping[str, object]] = []
    number = 0
    for item in result:
        if isinstance(item, Mapping):
            records.append(item)
            number += 1
        elif (frame := _frame(item, where)) is not None:
            if records:
                yield columns_of_records(records, where, number - len(records))
                records = []
            number += frame.height
            yield frame
        else:
            raise SourceError(
                f"{where}, row {number + 1}: it is a {type(item).__name__}, not a dict. "
                "Remedy: let the function give each row as a dict of column and value"
            )
        if len(records) == FRAME:
            yield columns_of_records(records, where, number - len(records))
            records = []
    if records:
        yield columns_of_records(records, where, number - len(records))


def _frame(value: object, where: str) -> pl.DataFrame | None:
    """A frame of any of the libraries as one of texts; None for what is no frame."""
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    if isinstance(value, pd.DataFrame):
        names = [str(name) for name in value.columns]
        check_columns(where, names, ())
        return pl.DataFrame([_from_pandas(name, value.iloc[:, i], where) for i, name in enumerate(names)])
    if isinstance(value, pa.Table | pa.RecordBatch):
        check_columns(where, list(value.schema.names), ())
        value = pl.from_arrow(value)
    if isinstance(value, pl.LazyFrame):
        value = value.collect()
    if isinstance(value, pl.DataFrame):
        return pl.DataFrame([_texts(column, where) for column in value.iter_columns()])
    return None


def _from_pandas(name: str, values: Any, where: str) -> pl.Series:
    import pandas as pd
    import polars as pl

    if values.dtype == object:
        # Anything may be in there, also NaN for a missing text.
        whole = [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in values]
        return series_of_texts(name, whole, where)
    return _texts(pl.from_pandas(values, nan_to_null=True).alias(name), where)


def _texts(column: pl.Series, where: str) -> pl.Series:
    import polars as pl

    kind = column.dtype
    if kind == pl.Datetime:
        form = "%Y-%m-%dT%H:%M:%S%.f" + ("%:z" if getattr(kind, "time_zone", None) else "")
        return column.dt.strftime(form)
    if kind.is_integer() or isinstance(kind, pl.Boolean | pl.Decimal | pl.Date | pl.Time | pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    # A float as Python writes it, which reads back exactly; lists and structs as JSON.
    return column if kind == pl.String else series_of_texts(column.name, column.to_list(), where)
