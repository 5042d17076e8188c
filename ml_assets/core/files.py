"""Writing a file whole or not at all, whoever else writes or reads it and whatever is killed."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file: a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        content: all of it; text is written as UTF-8.
    """
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in the block, which takes the place of another when the block ends without an error.

    Its name is no other's, so that two who write at once do not write into each other's; it is on the disk before it
    takes the place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.new")
    try:
        yield draft
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
