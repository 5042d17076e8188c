"""Text as it comes from a stream: blocks of UTF-8 that end with a line, and their lines, never the whole of it."""

from __future__ import annotations

import codecs
import hashlib
import io
from typing import TYPE_CHECKING

from ml_assets.sources.reading import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

# Bytes that are read and parsed at a time.
BLOCK = 8 * 1024 * 1024
# Bytes of one record: more is no record but a file without line breaks or with an open quote, and must not fill memory.
LONGEST = 16 * 1024 * 1024
# Characters of a malformed record that are shown.
SHOWN = 1_000


def utf8(stream: BinaryIO, encoding: str, name: str) -> Iterator[bytes]:
    """A stream's text as UTF-8, without a byte-order mark.

    Raises:
        SourceError: naming line and byte of what is not in the encoding, or the encoding that nobody knows.
    """
    try:
        "".encode(encoding)  # also refuses those that are no text, such as `hex`
        codec = codecs.lookup(encoding)
    except LookupError as error:
        raise SourceError(
            f"{name}: the encoding {encoding!r} is not known. Remedy: name one such as `utf-8` or `latin-1`"
        ) from error
    same = codec.name == "utf-8"
    decoder = codec.incrementaldecoder("strict")
    lines, first = 1, True
    while True:
        data = stream.read(BLOCK)
        # Bytes of a character that a block began and did not end stay in the decoder.
        pending, _ = decoder.getstate()
        try:
            text = "" if same and data.isascii() and not pending else decoder.decode(data, final=not data)
            block = data if same else text.encode()
        except UnicodeError as error:
            raise _undecodable(name, error, lines, "UTF-8" if same else encoding) from error
        if not data and not block:
            return
        lines += _breaks(data)
        yield block.removeprefix(codecs.BOM_UTF8) if first else block
        first = False


def _undecodable(name: str, error: UnicodeError, lines: int, encoding: str) -> SourceError:
    what = str(error)
    if isinstance(error, UnicodeDecodeError):
        lines += _breaks(error.object[: error.start])
        what = f"the byte 0x{error.object[error.start]:02x} is not {encoding}"
    return SourceError(
        f"{name}, line {lines}: {what}. Remedy: save the file as UTF-8 (it may be Latin-1 or UTF-16), or declare "
        "source.dialect.encoding; nothing was written"
    )


def _breaks(data: bytes) -> int:
    # Old files end their lines with a carriage return alone.
    return data.count(b"\n") or data.count(b"\r")


class Buffer:
    """Blocks of UTF-8, put together so that they end with a line.

    Attributes:
        data: what has been read and not taken yet.
        ended: whether there is nothing more to read.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.data = b""
        self.ended = False

    def fill(self, size: int = BLOCK) -> None:
        """Read until at least so many bytes are there, or the end is reached."""
        parts, length = [self.data], len(self.data)
        while length < size and not self.ended:
            block = next(self._blocks, None)
            self.ended = block is None
            parts.append(block or b"")
            length += len(parts[-1])
        self.data = b"".join(parts)

    def take(self, size: int) -> bytes:
        """The first bytes, which are then taken."""
        taken, self.data = self.data[:size], self.data[size:]
        return taken


class Lines:
    """The lines of a buffer as text, each with its line break: a line feed, a carriage return, or both.

    Args:
        buffer: what they are taken from.
        name: of the file, for messages.
        before: lines of the file before these.

    Attributes:
        number: the line that was returned last, from 1.
        record: characters of the present record; whoever knows records sets it to 0 at the end of each.
        loaded: bytes taken from the buffer.
        last: the line that was returned last.
    """

    def __init__(self, buffer: Buffer, name: str, before: int = 0) -> None:
        self._buffer = buffer
        self._name = name
        self._block = io.StringIO()
        self.number = before
        self.record = 0
        self.loaded = 0
        self.last = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line.

        Raises:
            SourceError: the line, or the record, is longer than `LONGEST`.
        """
        line = self._block.readline()
        if not line:
            self._block = io.StringIO(self._load().decode(), newline="")
            line = self._block.readline()
            if not line:
                raise StopIteration
        self.number += 1
        self.record += len(line)
        self.last = line
        if self.record > LONGEST:
            raise self._too_long()
        return line

    def give_back(self) -> None:
        """Put what has not been returned back into the buffer."""
        self._buffer.data = self._block.read().encode() + self._buffer.data

    def _load(self) -> bytes:
        self._buffer.fill()
        data, end = self._buffer.data, 0
        while not self._buffer.ended:
            # A carriage return at the very end may be half of a line break.
            end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
            if end:
                break
            if len(data) > LONGEST:
                self.number += 1
                raise self._too_long()
            self._buffer.fill(len(data) + BLOCK)
            data = self._buffer.data
        end = end or len(data)
        self.loaded += end
        return self._buffer.take(end)

    def _too_long(self) -> SourceError:
        return SourceError(
            f"{self._name}, line {self.number}: the record is longer than {LONGEST // 2**20} MB. Remedy: check whether "
            "the file has line breaks and whether its quotes are closed; nothing was written"
        )


def shown(text: str, most: int = SHOWN) -> str:
    """A text for a message; a long one is cut, and its digest still tells it from others."""
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[:most]}… ({len(text):,} characters, SHA-256 {digest}…)"
