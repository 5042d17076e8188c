"""A file of rows, predicted piece by piece: a row that does not pass goes to a file of its own, with its reasons."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
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
            stays away where there are none, and an older one goes. In both, a column given that has a name of these is
            passed on as `given_NAME`.
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
            _require_columns(served, given, piece.columns)
            first = done + bad
            whole = [place for place in range(piece.height) if place not in malformed]
            good, wrong = _predicted(served, piece[whole])
            reasons = malformed | {whole[place]: reason for place, reason in wrong.items()}
            if len(good) or not first:
                write(output, good)
            if reasons:
                places = sorted(reasons)
                told = pl.DataFrame(
                    {ROW: [first + place + 1 for place in places], REASONS: [reasons[place] for place in places]},
                    {ROW: pl.Int64, REASONS: pl.String},
                )
                write(refused, pl.concat([told, _beside(piece[places], told)], how="horizontal"))
            done, bad = done + good.height, bad + len(reasons)
            say(f"{done + bad:,} rows: {done:,} predicted, {bad:,} refused")
    if not bad:
        refused.unlink(missing_ok=True)  # an older one would be taken for this one's
    return Done(done, bad)


def _require_columns(served: Served, given: Path, there: Sequence[str]) -> None:
    """Refuse rows without a column that the version needs: mostly they are raw ones."""
    columns = served.contract.columns
    missing = sorted(served.contract.needed - set(there))
    if missing:
        raise ValueError(
            f"{given}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. Remedy: rows as "
            f"{served.project.name}.validated has them, after clean.sql and not as they come from the source; "
            f"its columns are {', '.join(columns)}"
        )


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
    return pl.concat([_beside(kept, told), told], how="horizontal"), reasons


def _beside(given: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """The columns given, to stand beside others: one that has a name of theirs gets another."""
    taken, names = {*given.columns, *told.columns}, {}
    for name in sorted({*given.columns} & {*told.columns}):
        free = f"given_{name}"
        while free in taken:
            free = f"given_{free}"
        names[name] = free
        taken.add(free)
    return given.rename(names)


def _pieces(given: Path) -> Iterator[tuple[pl.DataFrame, dict[int, str]]]:
    """A file's rows, some at a time, at least once; and of each piece what cannot be read: place → reason."""
    return _read_csv(given) if given.suffix == ".csv" else _read_parquet(given)


def _read_csv(given: Path) -> Iterator[tuple[pl.DataFrame, dict[int, str]]]:
    """As text; an empty field is missing."""
    import polars as pl

    with given.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            if not header or len(set(header)) < len(header):
                raise ValueError(f"{given}: expected a header of names that differ")
            began = False
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
                if records or not began:
                    yield rows.with_columns(pl.all().replace("", None)), malformed
                began = True
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
    """Refuse files of other kinds, one that is not there, to write over what is read, and to replace a file.

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
    # Whatever is forced: the file given would be gone, or one of those written replace the other.
    twice = next((one for one, other in combinations(paths, 2) if _is_same(one, other)), None)
    if twice is not None:
        told = ", ".join(map(str, written))
        raise ValueError(f"{twice} would be read and written, or written twice: {told}. Remedy: another --output")
    there = next((path for path in written if path.exists()), None)
    if there is not None and not force:
        raise ValueError(f"{there} is there already. Remedy: another name, or --force")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, through links and in whatever case the disk takes them."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
