"""uvicorn's HTTP, without endless patience: whoever sends half a request, or does not take an answer, is cut off.

uvicorn has a timeout for connections that are silent between two requests, and none for one that has begun a request
and not finished its head, or that does not read what it asked for; nor a limit on how long a head is, and on how many
connections come from one place. Bodies are watched in the door (`limits.patient`), where the application can still
answer. `server.py` tells uvicorn of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol  # noqa: TID253 - loaded by who serves

from ml_assets.serving.access.limits import neighbourhood
from ml_assets.serving.access.settings import is_loopback

if TYPE_CHECKING:
    import asyncio

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
# Of an answer that waits to be taken, so many bytes are taken in so many seconds, or all of it.
TAKEN_SECONDS = 30.0
TAKEN_BYTES = 64 * 1024
# Connections of one address. This machine's own are not counted: a proxy's are among them.
MOST_OF_ADDRESS = 100
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MANY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection. A head comes within ten seconds and 64 KiB, and an answer is taken, or the connection is closed."""

    head_seconds, head_bytes = HEAD_SECONDS, HEAD_BYTES
    taken_seconds, taken_bytes = TAKEN_SECONDS, TAKEN_BYTES
    most_of_address = MOST_OF_ADDRESS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None
        self._got = 0
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        # From the first byte on that waits to be taken: small answers that nobody reads hold a connection too.
        transport.set_write_buffer_limits(high=0)
        host = self.client[0] if self.client else ""
        self.address = "" if is_loopback(host) else neighbourhood(host)
        same = sum(getattr(one, "address", "") == self.address for one in self.connections)
        if self.address and same > self.most_of_address:
            self._close(MANY)
        else:
            self._begin()

    def data_received(self, data: bytes) -> None:
        """Hand the bytes on, and stop waiting once a head is whole."""
        if self._awaits_head:
            self._begin()
            self._got += len(data)
        super().data_received(data)
        if not self._awaits_head:
            self._end()
            self._pause()
        elif self._got > self.head_bytes:
            self._close(LONG)

    def on_response_complete(self) -> None:
        """Go on with the requests that came behind this one, before more are read."""
        super().on_response_complete()
        self._pause()

    def pause_writing(self) -> None:
        """Begin to wait for an answer to be taken."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._taken()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._end()
        self._taken()
        super().connection_lost(exc)

    @property
    def _awaits_head(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _pause(self) -> None:
        """Read nothing while a request is worked on that is here as a whole: what comes behind it would be kept."""
        is_busy = bool(getattr(self, "pipeline", ())) or not (self._awaits_head or self.cycle.more_body)
        if is_busy and not self.transport.is_closing():
            self.flow.pause_reading()

    def _begin(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._close, LATE)

    def _end(self) -> None:
        self._got = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._untaken = self.loop.call_later(self.taken_seconds, self._look, left)

    def _look(self, left: int) -> None:
        if self.transport.get_write_buffer_size() > left - self.taken_bytes:
            self.transport.abort()
        else:
            self._watch()

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _close(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
