"""What protects every answer, whoever asks: headers that say what a browser may do with it, and our own names.

The application answers only under its own names, so that a page elsewhere cannot reach it by pointing a name of its own
at this machine (DNS rebinding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_assets import settings

if TYPE_CHECKING:
    from starlette.types import Message, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages change with every run, and differ by who asks: the browser may keep them, but must ask; nobody else may.
    "Cache-Control": "private, no-cache",
}
_ENCODED = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())


def shielded(send: Send) -> Send:
    """Send an answer with every header above that it has no other value for."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in _ENCODED if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sent


def own_names() -> frozenset[str]:
    """The hosts under which the application answers: this machine's own, and that of `ML_ASSETS_URL`."""
    host = urlsplit(settings.reports_url()).hostname or ""
    configured = f"[{host}]" if ":" in host else host
    return frozenset({*LOOPBACK, configured} - {""})


def name_in(host: str) -> str:
    """The name in a Host header, without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (port.isdecimal() or not port) and not host.endswith("]") else host).lower()
