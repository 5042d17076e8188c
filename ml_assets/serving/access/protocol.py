"""uvicorn's HTTP, without endless patience: whoever sends half a request does not hold a connection for ever.

uvicorn has a timeout for connections that are silent between two requests, and none for one that has begun a request
and not finished its head; nor a limit on how long a head is. Bodies are watched in the door (`limits.patient`), where
the application can still answer. `server.py` tells uvicorn of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol  # noqa: TID253 - loaded by who serves

if TYPE_CHECKING:
    import asyncio

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection. The head of a request comes within ten seconds and 64 KiB, or the connection is closed."""

    head_seconds = HEAD_SECONDS
    head_bytes = HEAD_BYTES

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None
        self._got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Hand the bytes on, and stop waiting once a head is whole."""
        if self._awaits_head:
            self._begin()
            self._got += len(data)
        super().data_received(data)
        if not self._awaits_head:
            self._end()
        elif self._got > self.head_bytes:
            self._close(LONG)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._end()
        super().connection_lost(exc)

    @property
    def _awaits_head(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _begin(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._close, LATE)

    def _end(self) -> None:
        self._got = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
