"""Rows on their way from a remote source: kept aside until a partition is whole, and from one attempt to the next.

A table, an API or a function may fail in the middle of a partition, and what it then holds may have changed: so no row
of a partition leaves its reader before the last has arrived (`Spool`). Partitions that did arrive are worth keeping
when a run fails later (`Staged`): its retry fetches only the missing ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
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
        self._digest.update(_digestible(frame))
        path = self.folder / f"{len(self.files):06d}.parquet"
        frame.write_parquet(path, compression="lz4", statistics=False)
        self.files[path.name] = path.stat().st_size
        self.rows += frame.height

    def frames(self) -> Iterator[pl.DataFrame]:
        """The frames, in order."""
        import polars as pl

        for name in self.files:
            yield pl.read_parquet(self.folder / name)

    @property
    def sha256(self) -> str:
        """SHA-256 over the source's rows in their order, however they were cut into frames."""
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


def _digestible(frame: pl.DataFrame) -> bytes:
    """The fields of each row that have a value, names and values with their lengths, so that nothing runs together.

    Only the source's own columns, so that the digest says whether the source has changed.
    """
    import polars as pl

    own = sorted(name for name in frame.columns if not name.startswith("_"))
    fields = [
        pl.concat_str(pl.lit(f"{len(name)}:{name}"), pl.col(name).str.len_bytes(), pl.lit(":"), name).fill_null("")
        for name in own
    ]
    return "".join(frame.with_columns(_digest=pl.concat_str(*fields, pl.lit("\n")))["_digest"]).encode()


@dataclass(frozen=True)
class Staged:
    """A reader that keeps what another one has fetched, partition by partition, until `clear`.

    A partition counts once its folder bears its final name: it is filled under another and renamed. Who reads or fills
    a folder holds a lock on it, so that no other run removes it meanwhile. The other reader must yield partition after
    partition, as all of `databases`, `http` and `functions` do.

    Attributes:
        reader: what fetches.
        folder: `staging/<project>` under the home folder; made when needed.
        declaration: all that decides what the source gives, as text: rows fetched by another one are not used.
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

        The fact `kept_since` tells of kept rows when they were fetched.

        Raises:
            SourceError: the source cannot be read.
        """
        home = self._home(required)
        self._sweep()
        with _held(home / WHOLE) as kept:
            if kept is not None:
                yield from kept.frames(reading)
                return
        missing: list[Part] = []
        for part in parts:
            with _held(home / _named(part)) as kept:
                if kept is None:
                    missing.append(part)
                    continue
                if missing:
                    yield from self._fetched(home, missing, required, reading)
                missing = []
                yield from kept.frames(reading)
        # Asked for none in particular, a source without time gives all that it has.
        if missing or not parts:
            yield from self._fetched(home, missing, required, reading)

    def clear(self, parts: Sequence[Part]) -> None:
        """Forget what is kept of some partitions: their rows are in the lake now. Another run's are left alone."""
        for name in (WHOLE, *map(_named, parts)):
            for path in self.folder.glob(f"*/{name}"):
                _remove(path)

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
                _remove(path)

    def _fetched(
        self, home: Path, parts: Sequence[Part], required: Collection[str], reading: Reading
    ) -> Iterator[pl.DataFrame]:
        waiting = list(parts)
        filling: _Filling | None = None
        try:
            for frame in self.reader.frames(parts, required, reading):
                if "_partition" not in frame.columns:
                    filling = filling or _Filling(home, None)
                    waiting = []
                    filling.add(frame)
                    yield frame
                    continue
                for piece in frame.partition_by("_partition", maintain_order=True):
                    start = piece["_partition"][0]
                    # The rows of a later partition say that the earlier ones are whole, also those without rows.
                    while waiting and waiting[0].start < start:
                        done = waiting.pop(0)
                        (filling or _Filling(home, done)).keep(reading)
                        filling = None
                    if not waiting or waiting[0].start != start:
                        raise SourceError(f"the source gave rows of {start} out of turn. Remedy: report this as a bug")
                    filling = filling or _Filling(home, waiting[0])
                    filling.add(piece)
                    yield piece
            if filling is not None:
                filling.keep(reading)
                filling, waiting = None, waiting[1:]
            for part in waiting:
                _Filling(home, part).keep(reading)
        finally:
            if filling is not None:
                filling.drop()


class _Filling:
    """A kept partition in the making; None stands for all rows of a source that knows no partitions."""

    def __init__(self, home: Path, part: Part | None) -> None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._part, self._goal = part, home / (_named(part) if part else WHOLE)
        self._spool = Spool(Path(tempfile.mkdtemp(prefix=".", dir=home)))
        self._sources: set[str] = set()
        self._handle = _lock(self._spool.folder)

    def add(self, frame: pl.DataFrame) -> None:
        self._sources.update(frame["_source"].unique())
        self._spool.add(frame)

    def keep(self, reading: Reading) -> None:
        """Give it its final name; what another run kept meanwhile is as good."""
        keys = {self._part.key} if self._part else reading.facts
        note = {
            "files": self._spool.files,
            "facts": {key: reading.facts[key] for key in keys if key in reading.facts},
            "unexpected": {name: reading.unexpected[name] for name in self._sources if name in reading.unexpected},
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (self._spool.folder / NOTE).write_text(json.dumps(note), encoding="utf-8")
        try:
            self._spool.folder.rename(self._goal)
        except OSError:
            with _held(self._goal) as kept:
                if kept is None:
                    raise
            self.drop()
        else:
            os.close(self._handle)

    def drop(self) -> None:
        shutil.rmtree(self._spool.folder, ignore_errors=True)
        os.close(self._handle)


def _named(part: Part) -> str:
    """The name of a partition's folder: its key, as far as a name may hold it, and from when to when."""
    key = re.sub(r"[^0-9A-Za-z_-]", lambda found: f"%{ord(found[0]):02x}", part.key)
    return f"{key}_{part.start:%Y%m%dT%H%M%S}_{part.end:%Y%m%dT%H%M%S}"


@dataclass(frozen=True)
class _Kept:
    """A kept partition while it is held: by its folder's handle, for `clear` may take away the name."""

    folder: Path
    handle: int
    note: dict[str, Any]

    def frames(self, reading: Reading) -> Iterator[pl.DataFrame]:
        import polars as pl

        since = {"kept_since": self.note["fetched"]}
        reading.facts.update({key: facts | since for key, facts in self.note["facts"].items()})
        reading.unexpected.update({name: tuple(columns) for name, columns in self.note["unexpected"].items()})
        for name in self.note["files"]:
            try:
                content = _content(self.handle, name)
            except FileNotFoundError as error:
                raise SourceError(
                    f"{self.folder / name}: rows that were kept are gone: somebody removed them while they were read. "
                    "Remedy: run again; nothing was written"
                ) from error
            yield pl.read_parquet(content)


@contextmanager
def _held(folder: Path) -> Iterator[_Kept | None]:
    """A kept partition, which nobody removes meanwhile; None where there is none, or where it is damaged."""
    try:
        handle = _lock(folder)
    except FileNotFoundError:
        yield None
        return
    try:
        note = _note(handle)
        if note is not None:
            yield _Kept(folder, handle, note)
            return
    finally:
        os.close(handle)
    # A power cut may leave a name without the bytes.
    _remove(folder)
    yield None


def _lock(folder: Path) -> int:
    """Open a folder and share a lock on it, until the handle is closed."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _remove(folder: Path) -> None:
    """Remove a kept partition; of one that another run is reading only the name, and the rest when it is too old."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # another run was faster
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not folder.name.startswith("."):
                _hide(folder)
            return
        if hidden := _hide(folder):
            shutil.rmtree(hidden, ignore_errors=True)
    finally:
        os.close(handle)


def _hide(folder: Path) -> Path | None:
    """Give a folder a name that nobody looks for; None where another run was faster."""
    hidden = folder.with_name(f".{token_hex(16)}")
    try:
        return folder.rename(hidden)
    except FileNotFoundError:
        return None


def _content(handle: int, name: str) -> bytes:
    with open(name, "rb", opener=partial(os.open, dir_fd=handle)) as file:
        return file.read()


def _note(handle: int) -> dict[str, Any] | None:
    """What was noted of a kept partition; None where there is nothing, or where a file is not as long as it was."""
    try:
        note: dict[str, Any] = json.loads(_content(handle, NOTE))
        whole = all(os.stat(name, dir_fd=handle).st_size == size for name, size in note["files"].items())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return note if whole else None
