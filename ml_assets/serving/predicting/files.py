"""A file of rows, predicted piece by piece: a row that does not pass goes to a file of its own, with its reasons."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from ml_assets.core.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import polars as pl

    from ml_assets.serving.predicting.served import Served

# Rows that are worked on at a time.
PIECE = 50_000
ROW, REASONS = "_row", "_reasons"
KINDS = (".csv", ".parquet")


@dataclass(frozen=True)
class Done:
    """What became of a file's rows: all of them are in one of two files."""

    predicted: int
    refused: int


class _Writer(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def add(self, rows: pl.DataFrame) -> None: ...


def predict_file(served: Served, given: Path, output: Path, refused: Path, say: Callable[[str], None]) -> Done:
    """Predict the rows of a file; memory holds a piece of it at a time.

    Args:
        served: who predicts.
        given: CSV with a header, or Parquet; columns that the schema does not have are passed on.
        output: of the same kind: the columns given, `prediction`, of a classification `label`, and `version`.
        refused: of the same kind: rows that have no prediction, with `_row`, their number from 1, and `_reasons`. It
            stays away where there are none.
        say: hears of the progress.

    Raises:
        ValueError: if the file cannot be read, or lacks a column that the version needs.
    """
    import polars as pl

    done = bad = 0
    with ExitStack() as stack:
        writers: dict[Path, _Writer] = {}

        def write(path: Path, rows: pl.DataFrame) -> None:
            if path not in writers:
                draft = stack.enter_context(replacing(path))
                writer: _Writer = _CsvWriter(draft) if path.suffix == ".csv" else _ParquetWriter(draft)
                writers[path] = stack.enter_context(writer)
            writers[path].add(rows)

        for piece, malformed in _pieces(given):
            first = done + bad
            whole = [place for place in range(piece.height) if place not in malformed]
            good, wrong = _predicted(served, piece[whole].drop(ROW))
            reasons = malformed | {whole[place]: reason for place, reason in wrong.items()}
            if len(good) or not first:
                write(output, good)
            if reasons:
                told = pl.DataFrame(
                    {"place": list(reasons), REASONS: list(reasons.values())}, {"place": pl.Int64, REASONS: pl.String}
                ).sort("place")
                rows = piece[told["place"].to_list()]
                write(refused, pl.concat([rows.select(ROW), told.select(REASONS), rows.drop(ROW)], how="horizontal"))
            done, bad = done + good.height, bad + len(reasons)
            say(f"{done + bad:,} rows: {done:,} predicted, {bad:,} refused")
    return Done(done, bad)


def _predicted(served: Served, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, str]]:
    """The rows with their predictions, and why the others have none: place → reasons."""
    import polars as pl

    given = [name for name in served.contract.columns if name in rows.columns]
    judged = served.judge(rows.select(given))
    reasons = {place: "; ".join(one.message for one in found) for place, found in judged.mistakes.items()}
    answers, others = served.answer_each(judged.rows)
    reasons |= {int(judged.at[place]): reason for place, reason in others.items()}
    kept = rows[judged.at.gather(answers["_row"]).to_list()]
    told = answers.drop("_row").with_columns(pl.lit(served.number).alias("version"))
    return pl.concat([kept.drop(told.columns, strict=False), told], how="horizontal"), reasons


def _pieces(given: Path) -> Iterator[tuple[pl.DataFrame, dict[int, str]]]:
    """A file's rows with their numbers, some at a time; and of each piece what cannot be read: place → reason."""
    import polars as pl

    number = 1
    for piece, malformed in _read_csv(given) if given.suffix == ".csv" else _read_parquet(given):
        yield piece.with_columns(pl.int_range(number, number + pl.len(), dtype=pl.Int64).alias(ROW)), malformed
        number += piece.height


def _read_csv(given: Path) -> Iterator[tuple[pl.DataFrame, dict[int, str]]]:
    """As text; an empty field is missing."""
    import polars as pl

    with given.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            if not header or len(set(header)) < len(header):
                raise ValueError(f"{given}: expected a header of names that differ")
            while True:
                taken = [record for _, record in zip(range(PIECE), reader, strict=False)]
                records = [record for record in taken if record]
                malformed = {
                    place: f"{len(record)} fields, {len(header)} in the header; beyond it: {record[len(header) :]}"
                    for place, record in enumerate(records)
                    if len(record) != len(header)
                }
                full = [[*record, *[""] * len(header)][: len(header)] for record in records]
                rows = pl.DataFrame(full, schema=dict.fromkeys(header, pl.String), orient="row")
                if records or reader.line_num <= 1:
                    yield rows.with_columns(pl.all().replace("", None)), malformed
                if not taken:
                    return
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{given}, near line {reader.line_num}: this is no CSV in UTF-8: {error}") from error


def _read_parquet(given: Path) -> Iterator[tuple[pl.DataFrame, dict[int, str]]]:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(given) as file:
            empty = True
            for batch in file.iter_batches(PIECE):
                empty = False
                yield pl.DataFrame(pa.Table.from_batches([batch])), {}
            if empty:
                yield pl.DataFrame(file.schema_arrow.empty_table()), {}
    except pa.ArrowException as error:
        raise ValueError(f"{given}: this is no Parquet file: {error}") from error


class _CsvWriter:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._has_header = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: pl.DataFrame) -> None:
        rows.write_csv(self._file, include_header=not self._has_header)
        self._has_header = True


class _ParquetWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, rows: pl.DataFrame) -> None:
        import polars as pl
        import pyarrow.parquet as pq

        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table.cast(self._writer.schema))


def check_paths(paths: Sequence[Path], *, force: bool) -> None:
    """Refuse files of other kinds, one that is not there, and to replace one.

    Args:
        paths: the file given, then those to be written.
        force: whether those may be replaced.

    Raises:
        ValueError: naming the file.
    """
    given, *written = paths
    for path in paths:
        if path.suffix not in KINDS or path.suffix != given.suffix:
            raise ValueError(f"{path}: expected .csv or .parquet, the same for what is read and written")
    if not given.is_file():
        raise ValueError(f"{given}: there is no such file")
    there = next((path for path in written if path.exists()), None)
    if there is not None and not force:
        raise ValueError(f"{there} is there already. Remedy: another name, or --force")
