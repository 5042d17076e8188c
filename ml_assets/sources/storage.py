"""Where files are and how their bytes come: a folder or an object store, compressed or not, hashed as they pass."""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from ml_assets.sources.reading import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

OBJECT_STORE = "s3://"
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
# What an object store that does not answer may cost, in seconds.
TIMEOUT = 30.0


class Storage(Protocol):
    """What a reader of files needs to know of a place that holds some."""

    def list(self, pattern: str) -> Sequence[str]:
        """The names of the files that a pattern means, in order; a name without wildcards is one where it is there."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The bytes of a file.

        Raises:
            OSError: it cannot be opened; FileNotFoundError if it is not there.
            SourceError: it is nothing that may be read.
        """
        ...

    def place(self, name: str) -> str:
        """Where a file is, for messages."""
        ...


def check_within(root: Path, name: str, remedy: str) -> None:
    """Refuse a file that lies outside of a folder, for instance because it is a link.

    Raises:
        SourceError: saying where it leads.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise SourceError(f"{name}: leads out of the data folder {root}, to {path}. Remedy: {remedy}")


class Folder:
    """Files of this machine.

    Args:
        root: names are looked up in this folder and must not lead out of it, not through links either. An absolute
            path is its declarer's own word for a place: its root is `/`, and links are followed wherever they lead.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, pattern: str) -> Sequence[str]:
        """See `Storage`. `**` means any depth; folders are no files."""
        if not glob.has_magic(pattern):
            return [pattern] if os.path.lexists(self.root / pattern) else []
        found = glob.glob(pattern, root_dir=self.root, recursive=True)  # noqa: PTH207 - takes absolute patterns too
        return sorted(Path(name).as_posix() for name in found if not (self.root / name).is_dir())

    def open(self, name: str) -> BinaryIO:
        """See `Storage`."""
        path = self.root / name
        mode = path.stat().st_mode
        check_within(self.root, name, "put the file itself into the folder, or declare its absolute path")
        # A pipe would be waited for until somebody writes to it.
        if not stat.S_ISREG(mode):
            raise SourceError(f"{name}: cannot be read: it is no file. Remedy: check {path}")
        return path.open("rb")

    def place(self, name: str) -> str:
        """See `Storage`."""
        return str(self.root / name)


class ObjectStore:
    """Objects of an S3-compatible store, named `s3://bucket/key`.

    Credentials, region and address come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`) and go nowhere else; without a key the store is asked as
    anybody. Arrow streams an object; DuckDB could only hand over the whole of it at once.
    """

    def __init__(self) -> None:
        self._opened: Any = None

    @property
    def _store(self) -> Any:
        if self._opened is None:
            from pyarrow import fs

            env = os.environ
            address = urlsplit(env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or "")
            self._opened = fs.S3FileSystem(
                access_key=env.get("AWS_ACCESS_KEY_ID"),
                secret_key=env.get("AWS_SECRET_ACCESS_KEY"),
                session_token=env.get("AWS_SESSION_TOKEN"),
                anonymous="AWS_ACCESS_KEY_ID" not in env,
                region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
                endpoint_override=address.netloc or None,
                scheme=address.scheme or "https",
                connect_timeout=TIMEOUT,
                request_timeout=TIMEOUT,
            )
        return self._opened

    def list(self, pattern: str) -> Sequence[str]:
        """See `Storage`. `*` does not cross a `/`, `**` does.

        Raises:
            OSError: the store does not answer, or not to us.
        """
        from pyarrow import fs

        path = pattern.removeprefix(OBJECT_STORE)
        if not glob.has_magic(path):
            found = [self._store.get_file_info(path)]
        else:
            fixed = path[: min(path.find(sign) % (len(path) + 1) for sign in "*?[")].rpartition("/")[0]
            found = self._store.get_file_info(fs.FileSelector(fixed, allow_not_found=True, recursive=True))
        # `PurePath.full_match` came with Python 3.13.
        wanted = _translate(path)
        return sorted(
            OBJECT_STORE + info.path for info in found if info.type == fs.FileType.File and wanted.fullmatch(info.path)
        )

    def open(self, name: str) -> BinaryIO:
        """See `Storage`."""
        # Whatever the name says: what is hashed is what the store holds.
        return cast("BinaryIO", self._store.open_input_stream(name.removeprefix(OBJECT_STORE), compression=None))

    def place(self, name: str) -> str:
        """See `Storage`."""
        return name


class Digested(io.RawIOBase):
    """A stream whose bytes are hashed as they pass.

    Args:
        stream: where the bytes come from; whoever opened it closes it, since a decompressor closes what it reads from
            when it likes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Some bytes; none at the end."""
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as io demands."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def digest(self, block: int) -> str:
        """SHA-256 over the whole stream, what nobody asked for included.

        Args:
            block: how many bytes are read at a time.
        """
        while self.read(block):
            pass
        return self._hash.hexdigest()


def is_compressed(name: str) -> bool:
    """Whether the ending of a file's name says so."""
    return name.lower().endswith(COMPRESSIONS)


def decompressed(stream: Digested, name: str) -> BinaryIO:
    """What a stream holds, by the ending of the file's name."""
    match Path(name).suffix.lower():
        case ".gz":
            return cast("BinaryIO", gzip.GzipFile(fileobj=stream, mode="rb"))
        case ".bz2":
            return cast("BinaryIO", bz2.BZ2File(cast("BinaryIO", stream)))
        case ".xz":
            return cast("BinaryIO", lzma.LZMAFile(cast("BinaryIO", stream)))
        case ".zst":
            import pyarrow as pa

            return cast("BinaryIO", pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"))
        case _:
            return cast("BinaryIO", stream)


def _translate(pattern: str) -> re.Pattern[str]:
    """A glob pattern as a regular expression over whole paths; `glob.translate` came with Python 3.13."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", pattern)
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            signs.get(part) or (f"[{part[1:-1].replace('!', '^', 1)}]" if number % 2 else re.escape(part))
            for number, part in enumerate(parts)
        ),
        re.DOTALL,
    )
