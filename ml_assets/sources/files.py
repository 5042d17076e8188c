"""Files as a source: which belong to which partition, and their rows as they came.

Every field stays text and every record keeps its file and number. What cannot be cut into records at all (another
encoding, a quote that never closes, half a compressed file) is an error that names file and line: whoever writes the
rows does so in one transaction, so that nothing of such a file stays.
"""

from __future__ import annotations

import glob
import hashlib
import lzma
import shutil
import tempfile
import zlib
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol

from ml_assets.sources.delimited import DelimitedFile, Dialect
from ml_assets.sources.jsonlines import JsonLinesFile
from ml_assets.sources.names import Names
from ml_assets.sources.parquet import ParquetFile
from ml_assets.sources.reading import Part, Reading, SourceError
from ml_assets.sources.storage import OBJECT_STORE, Digested, Folder, ObjectStore, Storage, decompressed, is_compressed
from ml_assets.sources.text import BLOCK, utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import duckdb
    import polars as pl

Format = Literal["csv", "tsv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
# Names of files that are told; the others are counted.
TOLD = 20


class _File(Protocol):
    """What every format does: columns and skipped blank lines are known when the frames are exhausted."""

    columns: list[str]
    skipped: int

    def frames(self) -> Iterator[pl.DataFrame]: ...


class FileReader:
    """Reads files by partition. See `ml_assets.sources.reading.Reader`.

    Args:
        pattern: path of the files, relative to the root, or `s3://bucket/key`; with wildcards (`*`, `?`,
            `[…]`, `**`) as they are. With strftime codes in it, a file belongs to the partition that it is named
            after; without, all files together hold the rows of all partitions.
        root: the data folder; `/` for what was declared as an absolute path (see `Folder`).
        cursor: returns a DuckDB cursor, which is closed after use.
        format: of the files; by the ending of their name where it is None.
        dialect: how delimited text is to be read.
    """

    def __init__(
        self,
        pattern: str,
        root: Path,
        cursor: Callable[[], duckdb.DuckDBPyConnection],
        *,
        format: Format | None = None,  # noqa: A002 - the word of the declaration
        dialect: Dialect | None = None,
    ) -> None:
        self._pattern = pattern
        self._storage: Storage = ObjectStore() if pattern.startswith(OBJECT_STORE) else Folder(root)
        self._cursor = cursor
        self._format = format
        self._dialect = dialect or Dialect()
        self._by_part = "%" in pattern

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """See `Reader`.

        Raises:
            SourceError: the place of the files does not answer.
        """
        if self._by_part:
            return [part for part in parts if self._list(part.named(self._pattern))]
        return list(parts) if self._list(self._pattern) else []

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        """See `Reader`. Facts: `source` and `sha256` (of several files: that of the list of their digests).

        Where there is something to tell, also `files` (their number), `sha256_of` (what it is the digest of),
        `blank_lines_skipped` and `columns_renamed`.
        """
        import polars as pl

        names = Names(required)
        if not self._by_part:
            yield from self._read(self._pattern, None, names, reading)
            return
        for part in parts:
            start = pl.lit(part.start).cast(pl.Datetime("us")).alias("_partition")
            for frame in self._read(part.named(self._pattern), part, names, reading):
                yield frame.with_columns(start)

    def _read(self, pattern: str, part: Part | None, names: Names, reading: Reading) -> Iterator[pl.DataFrame]:
        """The rows of all files that a pattern means."""
        import polars as pl

        files = self._list(pattern)
        if not files:
            raise self._missing(pattern, part)
        digests: dict[str, str] = {}
        skipped = 0
        for name in files:
            with self._readable(name, part), closing(self._storage.open(name)) as raw:
                stream = Digested(raw)
                with self._opened(name, stream, names) as file:
                    for frame in file.frames():
                        yield frame.with_columns(pl.lit(name).alias("_source"))
                    digests[name] = stream.digest(BLOCK)
                    reading.digests[name] = digests[name]
            if unexpected := names.unexpected(file.columns):
                reading.unexpected[name] = unexpected
            skipped += file.skipped
        facts = _facts(digests)
        if skipped:
            facts["blank_lines_skipped"] = str(skipped)
        if renamed := [told for name in files for told in names.renamed.get(name, ())]:
            facts["columns_renamed"] = ", ".join(dict.fromkeys(renamed))
        reading.facts.setdefault(part.key if part else "", {}).update(facts)

    def _list(self, pattern: str) -> Sequence[str]:
        try:
            return self._storage.list(pattern)
        except OSError as error:
            raise SourceError(
                f"{pattern}: cannot be looked for: {error}. Remedy: check the address and keys"
            ) from error

    def _missing(self, pattern: str, part: Part | None) -> SourceError:
        of = f" for the partition {part.key}" if part else ""
        return SourceError(
            f"{pattern}: there is no such file{of}. It was looked for at {self._storage.place(pattern)}. "
            "Remedy: put the file there, or set ML_ASSETS_DATA to the folder that holds it"
        )

    @contextmanager
    def _readable(self, name: str, part: Part | None) -> Iterator[None]:
        """What may go wrong with the bytes of a file, told as errors of the source."""
        try:
            yield
        except FileNotFoundError as error:
            raise self._missing(name, part) from error
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise SourceError(
                f"{name}: the compressed file is cut off or damaged: {error}. Remedy: fetch it again; "
                "nothing was written"
            ) from error
        except OSError as error:
            raise SourceError(
                f"{name}: cannot be read: {error.strerror or error}. Remedy: check {self._storage.place(name)}"
            ) from error

    @contextmanager
    def _opened(self, name: str, stream: Digested, names: Names) -> Iterator[_File]:
        """A file in its format."""
        kind = self._format or _format_of(name)
        if kind == "parquet":
            with self._on_disk(name, stream) as path:
                yield ParquetFile(name, path, self._cursor(), names)
            return
        blocks = utf8(decompressed(stream, name), self._dialect.encoding if kind != "jsonl" else "utf-8", name)
        if kind == "jsonl":
            yield JsonLinesFile(name, blocks, names)
        else:
            yield DelimitedFile(name, blocks, self._dialect, "\t" if kind == "tsv" else ",", names)

    @contextmanager
    def _on_disk(self, name: str, stream: Digested) -> Iterator[Path]:
        """A file that DuckDB can open: itself, or a copy of what is elsewhere, compressed or called like a pattern."""
        path = Path(self._storage.place(name))
        if isinstance(self._storage, Folder) and not is_compressed(name) and not glob.has_magic(str(path)):
            before = path.stat()
            yield path
            after = path.stat()
            if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
                raise SourceError(f"{name}: was changed while it was read. Remedy: run again; nothing was written")
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.parquet"
            with copy.open("wb") as out:
                shutil.copyfileobj(decompressed(stream, name), out, BLOCK)
            yield copy


def _format_of(name: str) -> Format:
    path = PurePosixPath(name.lower())
    ending = PurePosixPath(path.stem).suffix if is_compressed(name) else path.suffix
    if ending not in FORMATS:
        raise SourceError(
            f"{name}: the ending {ending!r} does not tell its format. Remedy: declare source.format: csv, tsv, jsonl "
            "or parquet"
        )
    return FORMATS[ending]


def _facts(digests: dict[str, str]) -> dict[str, str]:
    if len(digests) == 1:
        ((name, digest),) = digests.items()
        return {"source": name, "sha256": digest}
    listed = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    more = f" and {len(digests) - TOLD} more" if len(digests) > TOLD else ""
    return {
        "source": ", ".join(list(digests)[:TOLD]) + more,
        "files": str(len(digests)),
        "sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "sha256_of": "the lines `digest  name` of the files, as sha256sum prints them",
    }
