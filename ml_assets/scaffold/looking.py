"""What a source holds: its rows as they come, kept in a DuckDB of their own, and counts over all of them."""

from __future__ import annotations

import codecs
import re
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets import settings
from ml_assets.declared.sources import Database
from ml_assets.lake.connection import open_duckdb
from ml_assets.lake.sql import quoted
from ml_assets.scaffold.dialects import Dialect, guess_dialect
from ml_assets.sources import delimited
from ml_assets.sources.databases import DatabaseReader
from ml_assets.sources.files import FORMATS, FileReader
from ml_assets.sources.postgres import Postgres
from ml_assets.sources.reading import MALFORMED, RESERVED, Part, Reading, SourceError
from ml_assets.sources.sqlite import Sqlite
from ml_assets.sources.storage import COMPRESSIONS, OBJECT_STORE, Digested, Folder, ObjectStore, decompressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    Frames = Callable[[Reading], Iterator[pl.DataFrame]]

# Text by which a dialect is told, in bytes.
HEAD = 512 * 1024
# Rows by which the reading of a column is guessed; everything else counts all rows.
SAMPLE = 20_000
ENCODINGS = ("utf-8", "cp1252", "latin-1")
# What one digit or several stand for in the name of a file.
_CODES = {"%Y": "[0-9]" * 4, **dict.fromkeys(("%m", "%d", "%H", "%M", "%S", "%y"), "[0-9]" * 2), "%j": "[0-9]" * 3}
DUCKDB_TYPES = {
    "str": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "date": "DATE", "datetime": "TIMESTAMP",
}  # fmt: skip


@dataclass
class Origin:
    """A source as it is to be declared, and what its reading told.

    Attributes:
        declared: what is to stand under `source`.
        reasons: setting of the dialect, or of the source → why.
        questions: what to ask.
        files: how many files there are.
        pattern: the path with strftime codes, where files are partitions.
        blank_lines: how many there are.
        order: columns that order the rows of a database's table.
    """

    declared: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    files: int = 1
    pattern: str = ""
    blank_lines: int = 0
    order: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """All rows of a source, as text.

    Attributes:
        cursor: of a DuckDB that holds them as `raw`, with `_source`, `_row` and `_malformed`.
        origin: where they came from.
        columns: as the source names them.
        lacking: column → how many files lack it.
        rows: how many there are.
        malformed: what is wrong with some of them, and how many.
    """

    cursor: duckdb.DuckDBPyConnection
    origin: Origin
    columns: list[str]
    lacking: dict[str, int]
    rows: int
    malformed: Counter[str]

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query."""
        return self.cursor.execute(sql).fetchone() or ()

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.cursor.execute(sql).fetchall()

    def values(self, column: str) -> tuple[dict[str, int], bool, bool]:
        """The values of a column in a sample and how often each is there; whether some are padded, or blanks alone."""
        name = quoted(column)
        # Python's idea of a blank, and a space that does not break.
        sql = f"SELECT {name}, count(*) FROM sampled WHERE {name} IS NOT NULL GROUP BY 1"
        found: Counter[str] = Counter()
        for text, count in self.all(sql):
            found[text.strip(" \t\r\n\u00a0")] += count
        blank, padded = self.one(
            f"SELECT count(*) FILTER (trim({name}, e' \\t\\r\\n\u00a0') = ''), "
            f"count(*) FILTER (length(trim({name}, e' \\t\\r\\n\u00a0')) < length({name})) FROM raw"
        )
        found.pop("", None)
        return dict(found), bool(padded), bool(blank)


@contextmanager
def look(origin: str, *, columns: Sequence[str] = (), data: Path | None = None) -> Iterator[Table]:
    """Read all of a source.

    Args:
        origin: a path, a pattern of paths with wildcards or strftime codes, `s3://…`, `sqlite:path#table`, or
            `env:VARIABLE#table` for PostgreSQL.
        columns: names of the columns of a file without a header.
        data: the data folder; that of the settings where it is None.

    Raises:
        SourceError: if it cannot be read.
        ValueError: if it is no source that can be looked at.
    """
    data = data or settings.data_root()
    # On disk: some millions of rows of text need not fit into memory.
    with tempfile.TemporaryDirectory() as folder:
        connection = open_duckdb(f"{folder}/rows.duckdb")
        try:
            scheme, _, rest = origin.partition(":")
            if scheme in {"sqlite", "env"}:
                found = _database(scheme, rest, data)
                yield _spooled(connection, found, lambda reading: _rows_of_database(found, data, reading))
            else:
                yield _files(connection, origin, columns, data)
        finally:
            connection.close()


def _files(connection: duckdb.DuckDBPyConnection, origin: str, columns: Sequence[str], data: Path) -> Table:
    pattern, note = declared_path(origin, data)
    names, storage, root = _listed(pattern, data)
    ending = ending_of(names[0])
    # What has no ending that tells is delimited text, nearly always.
    kind = FORMATS.get(ending, "csv")
    found = Origin({"files": pattern}, files=len(names), pattern=pattern if "%" in pattern else "")
    if note:
        found.reasons["files"] = note
    if ending not in FORMATS:
        found.declared["format"] = kind
    dialect = Dialect()
    encodings: Sequence[str] = ENCODINGS
    if kind in {"csv", "tsv"}:
        head = _head(storage, names[0])
        encodings = _encodings(head)
        text = head.decode(encodings[0], errors="ignore").removeprefix("\ufeff")
        text = text if len(head) < HEAD else text[: text.rfind("\n") + 1]
        dialect = guess_dialect(text, default="\t" if kind == "tsv" else ",", columns=columns)
        dialect.settings["blank_lines"] = "skip"

    def frames(reading: Reading) -> Iterator[pl.DataFrame]:
        spoken = delimited.Dialect(**dialect.settings)
        wanted = _as_glob(pattern)
        wanted = wanted if isinstance(storage, ObjectStore) else wanted.lstrip("/")
        reader = FileReader(wanted, root, duckdb.connect, format=found.declared.get("format"), dialect=spoken)
        return reader.frames([], (), reading)

    table = _tried(connection, found, dialect, frames, encodings)
    if found.blank_lines:
        dialect.reasons["blank_lines"] = f"{found.blank_lines:,} lines hold nothing."
    else:
        dialect.settings.pop("blank_lines", None)
    if dialect.settings:
        found.declared["dialect"] = dialect.settings
    found.reasons |= dialect.reasons
    found.questions += dialect.questions
    return table


def _encodings(head: bytes) -> Sequence[str]:
    """The encodings that some text may have, the likeliest first."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ["utf-16"]
    for number, encoding in enumerate(ENCODINGS):
        try:
            # A character may be cut off at the end.
            codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        return ENCODINGS[number:]
    return ENCODINGS[-1:]


def _tried(
    connection: duckdb.DuckDBPyConnection, found: Origin, dialect: Dialect, frames: Frames, encodings: Sequence[str]
) -> Table:
    """The rows, read in the first encoding that all of the text has; without quotes where these do not pair."""
    left = list(encodings)
    while True:
        if left[0] != "utf-8":
            dialect.declare("encoding", left[0], "Not all of its text is UTF-8.")
        try:
            return _spooled(connection, found, frames)
        except SourceError as error:
            if "source.dialect.quote" in str(error) and dialect.settings.get("quote", "") is not None:
                dialect.declare("quote", None, "A quote stands inside a field: here it is a sign like any other.")
            elif "source.dialect.encoding" in str(error) and len(left) > 1:
                left.pop(0)
            else:
                raise


def declared_path(origin: str, data: Path) -> tuple[str, str]:
    """A path as a source declares it: relative to the data folder where it lies there, else absolute; and a note."""
    if origin.startswith(OBJECT_STORE):
        return origin, ""
    data = data.resolve()
    here = Path(origin).expanduser()
    if not here.is_absolute():
        # As the data folder has it, else as seen from here.
        if _has(data, str(here)):
            return here.as_posix(), ""
        here = Path.cwd() / here
    folder = here.parent.resolve() if not re.search(r"[*?\[%]", str(here.parent)) else here.parent
    path = folder / here.name
    if path.is_relative_to(data):
        return path.relative_to(data).as_posix(), ""
    return path.as_posix(), (
        f"It lies outside of the data folder, so its path is one of this machine. For others: move it to {data}, or "
        "set ML_ASSETS_DATA, and write the path from there."
    )


def _has(root: Path, pattern: str) -> bool:
    return bool(Folder(root).list(_as_glob(pattern)))


def _as_glob(pattern: str) -> str:
    return re.sub(r"%[A-Za-z]", lambda code: _CODES.get(code[0], "*"), pattern)


def _listed(pattern: str, data: Path) -> tuple[Sequence[str], Folder | ObjectStore, Path]:
    root = Path("/") if pattern.startswith("/") else data
    storage = ObjectStore() if pattern.startswith(OBJECT_STORE) else Folder(root)
    wanted = _as_glob(pattern) if isinstance(storage, ObjectStore) else _as_glob(pattern).lstrip("/")
    names = storage.list(wanted)
    if not names:
        raise ValueError(f"--from {pattern}: there is no such file, neither here nor under the data folder {data}")
    return names, storage, root


def ending_of(name: str) -> str:
    """The ending of a file's name that tells its format."""
    lower = name.lower()
    for compression in COMPRESSIONS:
        lower = lower.removesuffix(compression)
    return Path(lower).suffix


def _head(storage: Folder | ObjectStore, name: str) -> bytes:
    with storage.open(name) as raw:
        stream = decompressed(Digested(raw), name)
        data = b""
        while len(data) < HEAD and (more := stream.read(HEAD - len(data))):
            data += more
    return data


def _database(scheme: str, rest: str, data: Path) -> Origin:
    where, _, table = rest.partition("#")
    if not where or not table:
        example = "sqlite:shop.db#orders" if scheme == "sqlite" else "env:SALES_DB#orders"
        raise ValueError(f"--from {scheme}:{rest}: expected a table after #, as in {example}")
    place = {"path": declared_path(where, data)[0]} if scheme == "sqlite" else {"url_env": where}
    # Checked as a declaration would be: a secret in place of a variable's name is refused without being repeated.
    Database(**place, table=table, order_by=["checked later"])
    return Origin({"database": {**place, "table": table}})


def _rows_of_database(origin: Origin, data: Path, reading: Reading) -> Iterator[pl.DataFrame]:
    declared = origin.declared["database"]
    path = declared.get("path", "")
    engine = Postgres(declared["url_env"]) if "url_env" in declared else Sqlite(data / path, path)
    reader = DatabaseReader(
        name=declared["table"], engine=engine, table=declared["table"], order_by=tuple(origin.order)
    )
    everything = Part("all", datetime(1970, 1, 1), datetime(1970, 1, 2))  # noqa: DTZ001 - naive UTC; without a cursor they mean nothing
    return reader.frames([everything], (), reading)


def _spooled(connection: duckdb.DuckDBPyConnection, origin: Origin, frames: Frames) -> Table:
    """Keep all rows in DuckDB, and how many files lack each column."""
    connection.execute("DROP TABLE IF EXISTS raw")
    reading = Reading()
    columns: list[str] = []
    seen: dict[str, set[str]] = {}
    malformed: Counter[str] = Counter()
    for frame in frames(reading):
        own = [name for name in frame.columns if name not in RESERVED]
        if frame.height:
            seen.setdefault(frame["_source"][0], set()).update(own)
        wrong = frame[MALFORMED].drop_nulls()
        malformed.update(re.sub(r":.*", "", text) for text in wrong)
        connection.register("_frame", frame.drop("_partition", strict=False))
        if not columns:
            connection.execute("CREATE TABLE raw AS FROM _frame LIMIT 0")
        else:
            for name in (name for name in own if name not in columns):
                connection.execute(f"ALTER TABLE raw ADD COLUMN {quoted(name)} VARCHAR")
        columns += [name for name in own if name not in columns]
        connection.execute("INSERT INTO raw BY NAME FROM _frame")
        connection.unregister("_frame")
    if not columns:
        raise ValueError("--from: the source holds no row, so there is nothing to guess from")
    (rows,) = connection.execute("SELECT count(*) FROM raw").fetchone() or (0,)
    if not rows:
        raise ValueError("--from: the source holds no row, so there is nothing to guess from")
    connection.execute(
        f"CREATE OR REPLACE TABLE sampled AS FROM raw WHERE {MALFORMED} IS NULL "
        f"USING SAMPLE reservoir({SAMPLE} ROWS) REPEATABLE (7)"
    )
    origin.blank_lines = int(reading.facts.get("", {}).get("blank_lines_skipped", "0"))
    lacking = {name: sum(name not in held for held in seen.values()) for name in columns}
    return Table(connection, origin, columns, {name: n for name, n in lacking.items() if n}, rows, malformed)
