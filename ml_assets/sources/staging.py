"""Rows on their way from a remote source: kept aside until a partition is whole, and from one attempt to the next.

A table, an API or a function may fail in the middle of a partition, and what it then holds may have changed: so no row
of a partition leaves its reader before the last has arrived (`Spool`). Partitions that did arrive are worth keeping
when a run fails later (`Staged`): its retry fetches only the missing ones.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Self

from ml_assets.sources.reading import Part, Reader, Reading, SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from types import TracebackType

    import polars as pl

# Stands for a key where the source does not place its rows in partitions.
WHOLE = "whole"
NOTE = "note.json"


class Spool:
    """Frames on disk, each a Parquet file of its own, since not all of a source's frames have the same columns.

    Args:
        folder: where to keep them, made if missing; a temporary folder that vanishes with `close` where left out.

    Attributes:
        rows: how many it holds.
        files: name → bytes.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="ml-assets-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else folder or Path()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.rows = 0
        self.files: dict[str, int] = {}
        self._digest = hashlib.sha256()

    def add(self, frame: pl.DataFrame) -> None:
        """Append a frame."""
        # The digest is over the source's own columns, so that it says whether the source has changed.
        own = sorted(name for name in frame.columns if not name.startswith("_"))
        self._digest.update(frame.select(own).write_csv(null_value="\0").encode())
        path = self.folder / f"{len(self.files):06d}.parquet"
        frame.write_parquet(path, compression="lz4", statistics=False)
        self.files[path.name] = path.stat().st_size
        self.rows += frame.height

    def frames(self) -> Iterator[pl.DataFrame]:
        """The frames, in order."""
        return _read(self.folder, self.files)

    @property
    def sha256(self) -> str:
        """SHA-256 over the source's rows in their order."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(folder: Path, names: Collection[str]) -> Iterator[pl.DataFrame]:
    import polars as pl

    for name in names:
        yield pl.read_parquet(folder / name)


@dataclass(frozen=True)
class Staged:
    """A reader that keeps what another one has fetched, partition by partition, until `clear`.

    A partition counts once its folder bears its final name: it is filled under another and renamed. The other reader
    must yield partition after partition, as all of `databases`, `http` and `functions` do.

    Attributes:
        reader: what fetches.
        folder: `staging/<project>` under the home folder; made when needed.
        declaration: the source's declaration as text: rows fetched by another one are not used.
        max_age: how old a kept partition may be, for the source goes on changing.
    """

    reader: Reader
    folder: Path
    declaration: str
    max_age: timedelta = timedelta(hours=1)

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """What the source seems to hold, asked afresh."""
        return self.reader.there(parts)

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        """The rows of some partitions: those kept, and those missing as the source gives them.

        Raises:
            SourceError: the source cannot be read.
        """
        home = self._home(required)
        self._sweep()
        if (note := _note(home / WHOLE)) is not None:
            yield from _kept(home / WHOLE, note, reading)
            return
        missing: list[Part] = []
        for part in parts:
            if (note := _note(home / _safe(part.key))) is None:
                missing.append(part)
                continue
            if missing:
                yield from self._fetched(home, missing, required, reading)
            missing = []
            yield from _kept(home / _safe(part.key), note, reading)
        # Asked for none in particular, a source without time gives all that it has.
        if missing or not parts:
            yield from self._fetched(home, missing, required, reading)

    def clear(self, parts: Sequence[Part]) -> None:
        """Forget what is kept of some partitions: their rows are in the lake now. Another run's are left alone."""
        for name in (WHOLE, *(_safe(part.key) for part in parts)):
            for path in self.folder.glob(f"*/{name}"):
                shutil.rmtree(path, ignore_errors=True)

    def _home(self, required: Collection[str]) -> Path:
        # What is required is part of what was fetched: a kept partition has been checked for it.
        named = "\0".join([self.declaration, *sorted(required)])
        return self.folder / hashlib.sha256(named.encode()).hexdigest()[:32]

    def _sweep(self) -> None:
        """Remove what is too old, kept or half written, of this declaration and of earlier ones."""
        for path in self.folder.glob("*/*"):
            try:
                old = time() - path.stat().st_mtime > self.max_age.total_seconds()
            except FileNotFoundError:  # another run was faster
                continue
            if old:
                shutil.rmtree(path, ignore_errors=True)

    def _fetched(
        self, home: Path, parts: Sequence[Part], required: Collection[str], reading: Reading
    ) -> Iterator[pl.DataFrame]:
        waiting = list(parts)
        filling: _Filling | None = None
        try:
            for frame in self.reader.frames(parts, required, reading):
                if "_partition" not in frame.columns:
                    filling = filling or _Filling(home, WHOLE)
                    waiting = []
                    filling.add(frame)
                    yield frame
                    continue
                for piece in frame.partition_by("_partition", maintain_order=True):
                    start = piece["_partition"][0]
                    # The rows of a later partition say that the earlier ones are whole, also those without rows.
                    while waiting and waiting[0].start < start:
                        done = waiting.pop(0)
                        (filling or _Filling(home, done.key)).keep(reading)
                        filling = None
                    if not waiting or waiting[0].start != start:
                        raise SourceError(f"the source gave rows of {start} out of turn. Remedy: report this as a bug")
                    filling = filling or _Filling(home, waiting[0].key)
                    filling.add(piece)
                    yield piece
            if filling is not None:
                filling.keep(reading)
                filling, waiting = None, waiting[1:]
            for part in waiting:
                _Filling(home, part.key).keep(reading)
        finally:
            if filling is not None:
                filling.drop()


class _Filling:
    """A kept partition in the making."""

    def __init__(self, home: Path, key: str) -> None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key, self._goal = key, home / _safe(key)
        self._spool = Spool(Path(tempfile.mkdtemp(prefix=".", dir=home)))
        self._sources: set[str] = set()

    def add(self, frame: pl.DataFrame) -> None:
        self._sources.update(frame["_source"].unique())
        self._spool.add(frame)

    def keep(self, reading: Reading) -> None:
        """Give it its final name; what another run kept meanwhile is as good."""
        keys = reading.facts if self._key == WHOLE else {self._key}
        note = {
            "files": self._spool.files,
            "facts": {key: reading.facts[key] for key in keys if key in reading.facts},
            "unexpected": {name: reading.unexpected[name] for name in self._sources if name in reading.unexpected},
        }
        (self._spool.folder / NOTE).write_text(json.dumps(note), encoding="utf-8")
        try:
            self._spool.folder.rename(self._goal)
        except OSError:
            if _note(self._goal) is None:
                raise
            self.drop()

    def drop(self) -> None:
        shutil.rmtree(self._spool.folder, ignore_errors=True)


def _safe(key: str) -> str:
    """A partition's key as the name of a folder."""
    return re.sub(r"[^0-9A-Za-z_-]", lambda found: f"%{ord(found[0]):02x}", key)


def _note(folder: Path) -> dict[str, Any] | None:
    """What was noted of a kept partition; None where there is none, or where a file is not as long as it was."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in note["files"].items())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        whole = False
    if not whole:
        # A power cut may leave a name without the bytes.
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return note


def _kept(folder: Path, note: dict[str, Any], reading: Reading) -> Iterator[pl.DataFrame]:
    reading.facts.update(note["facts"])
    reading.unexpected.update({name: tuple(columns) for name, columns in note["unexpected"].items()})
    return _read(folder, note["files"])
