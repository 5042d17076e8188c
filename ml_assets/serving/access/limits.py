"""How much and how fast: token buckets for requests, and a body that may be neither too large nor too slow."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive

# A body begins within so many seconds and pauses no longer than that, and comes at this pace at least.
PAUSE_SECONDS = 10.0
BYTES_PER_SECOND = 64 * 1024


class Buckets:
    """A token bucket for each of many.

    Args:
        rate: tokens that come back per second.
        burst: tokens of a full bucket.
        clock: in seconds.
        most: how many are remembered; of more, whoever has not come for longest is forgotten.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic, most: int = 10_000
    ) -> None:
        self._rate, self._burst, self._clock, self._most = rate, burst, clock, most
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> float:
        """Take a token; 0 where there was one, else the seconds until there is."""
        now = self._clock()
        left, then = self._left.pop(who, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._left[who] = (left if wait else left - 1, now)
        if len(self._left) > self._most:
            del self._left[next(iter(self._left))]
        return wait


@dataclass(frozen=True)
class Limits:
    """What one server bears. See docs/access.md.

    Attributes:
        key_rate: requests a second of a key, in the long run; twice as many at once.
        address_rate: the same of an address that shows no key; ten times as many at once.
        act_rate: acts a second of either, done or refused; twenty times as many at once.
        rows_bytes: of a body with rows to predict.
        form_bytes: of every other.
    """

    key_rate: float = 1000.0
    address_rate: float = 20.0
    act_rate: float = 1.0
    rows_bytes: int = 512 * 2**20
    form_bytes: int = 64 * 2**10

    def bytes_of(self, body: str) -> int:
        """The bytes that a body of a kind may have."""
        return self.rows_bytes if body == "rows" else self.form_bytes


def neighbourhood(address: str) -> str:
    """An address as it is counted: of IPv6 the network of a household, which has 2^64 addresses to come from.

    Where IPv6 listens for both, an address of IPv4 comes as `::ffff:192.0.2.1`: it is counted as what it is.
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), 64), strict=False).network_address)


def patient(receive: Receive, most: int, clock: Callable[[], float] = time.monotonic) -> Receive:
    """Receive a body, and lose patience with one that is too large or too slow.

    Args:
        receive: of the server.
        most: bytes. They are counted, since a head need not say how many come.
        clock: in seconds. What counts is the time that is spent waiting here, not that for which the route works.

    Returns:
        The same; it raises an HTTPException: 413 or 408.
    """
    import asyncio  # noqa: PLC0415 - whoever asks for a limit need not have it

    from starlette.exceptions import HTTPException  # noqa: PLC0415

    waited, got, whole = 0.0, 0, False
    close = {"Connection": "close"}

    def slow() -> HTTPException:
        return HTTPException(408, f"the body of this request comes too slowly: {got:,} bytes so far", headers=close)

    async def received() -> Message:
        nonlocal waited, got, whole
        if whole:  # now it waits for the client to go away
            return await receive()
        began, left = clock(), PAUSE_SECONDS + got / BYTES_PER_SECOND - waited
        if left <= 0:
            raise slow()
        try:
            async with asyncio.timeout(min(PAUSE_SECONDS, left)):
                message = await receive()
        except TimeoutError:
            raise slow() from None
        waited += clock() - began
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413, too_large(most), headers=close)
        whole = not message.get("more_body", False)
        return message

    return received


def too_large(most: int) -> str:
    """What is wrong with a body."""
    return f"the body of this request is larger than the {most:,} bytes that are taken here"
