"""Slow, endless and half-sent requests on real sockets: each is ended, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from keyed_site import serving

from ml_assets.serving.access import limits, protocol
from ml_assets.serving.access.protocol import Impatient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyed_site import Server

HEAD = b"Host: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"


class VeryImpatient(Impatient):
    """The same, without the wait."""

    head_seconds = taken_seconds = 0.4


BULK = 32 * 2**20


async def slow_and_large(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers `/slow` after two seconds, and anything else with 32 MiB."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    is_slow = scope["path"] == "/slow"
    await asyncio.sleep(2 * is_slow)
    size = 2 if is_slow else BULK
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": b"a" * size})


@pytest.fixture
def plain_port() -> Iterator[int]:
    """The same protocol, before an application that is slow or answers much."""
    with serving(slow_and_large, http=VeryImpatient) as chosen:
        yield chosen


@pytest.fixture
def port(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The application on a port of this machine."""
    monkeypatch.setattr(limits, "PAUSE_SECONDS", 0.4)
    with serving(server.app, http=VeryImpatient, timeout_keep_alive=1) as chosen:
        yield chosen


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts with a pause after each, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(pause)
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:  # it had not read all that we sent
            pass
        return got


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GET / HT",),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",),
        (b"GET / HTTP/1.1\r\n", *[b"X-Slow: 1\r\n"] * 10),
    ],
)
def test_half_a_head_is_not_waited_for(port: int, parts: tuple[bytes, ...]) -> None:
    began = time.monotonic()
    assert talk(port, *parts, pause=0.1).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 3


def test_half_a_second_request_is_not_waited_for_either(port: int) -> None:
    got = talk(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /hea", pause=0.1)
    assert got.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in got


def test_an_endless_head_is_cut_off(port: int) -> None:
    assert b" 431 " in talk(port, b"GET / HTTP/1.1\r\nX-Long: ", *[b"A" * 16_384] * 20)


def test_a_body_that_stops_is_not_waited_for(port: int, server: Server) -> None:
    head = HEAD % server.key("decide").encode()
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n"
    got = talk(port, b"POST /projects/houses/rollback HTTP/1.1\r\n" + head + form, b"why=")
    assert got.startswith(b"HTTP/1.1 408")
    assert b"comes too slowly" in got


def test_a_body_without_a_length_is_counted_and_cut_off(port: int, server: Server) -> None:
    head = HEAD % server.key("decide").encode()
    form = b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"4000\r\n" + b"A" * 0x4000 + b"\r\n"
    got = talk(port, b"POST /projects/houses/rollback HTTP/1.1\r\n" + head + form, *[chunk] * 8)
    assert got.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("kind", [b"Content-Length: 99999999999", b"Content-Length: 99999999\r\nExpect: 100-continue"])
def test_a_body_that_says_it_is_too_large_is_refused_unread(port: int, server: Server, kind: bytes) -> None:
    head = HEAD % server.key("decide").encode()
    got = talk(port, b"POST /projects/houses/rollback HTTP/1.1\r\n" + head + kind + b"\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413")
    assert b"larger than the 65,536 bytes" in got


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_without_a_word_of_the_inside(port: int, request_: bytes) -> None:
    got = talk(port, request_)
    assert b" 400 " in got
    assert b"Traceback" not in got


def test_others_are_answered_while_many_are_slow(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for one in slow:
        one.sendall(b"GET / HTTP/1.1\r\n")
    began = time.monotonic()
    got = talk(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 1
    for one in slow:
        one.close()


def test_what_comes_behind_a_running_request_is_not_taken_in_and_counted_afterwards(plain_port: int) -> None:
    with socket.create_connection(("127.0.0.1", plain_port), timeout=0.3) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises(TimeoutError):  # only what fits between us, some MiB, is ever on its way
            connection.sendall(b"X-Long: " + b"a" * BULK)
        connection.settimeout(5)
        got = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                got += piece
    assert got.startswith(b"HTTP/1.1 200")
    assert b" 431 " in got


def test_requests_that_come_in_one_piece_are_answered_one_after_another(port: int) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    got = talk(port, asked * 50 + asked[:20], asked[20:], pause=0.1)
    assert got.count(b"HTTP/1.1 200") == 51


def test_an_answer_that_nobody_takes_is_given_up(plain_port: int) -> None:
    with socket.create_connection(("127.0.0.1", plain_port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1.5)
        got = 0
        with suppress(ConnectionResetError):
            while piece := connection.recv(2**20):
                got += len(piece)
        assert got < BULK  # what was on its way


def test_an_answer_that_is_taken_slowly_is_given_whole(plain_port: int) -> None:
    with socket.create_connection(("127.0.0.1", plain_port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = 0
        while got < BULK:
            piece = connection.recv(2**20)
            assert piece
            got += len(piece)
            time.sleep(0.02)


def test_one_address_has_so_many_connections_and_others_still_theirs(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    monkeypatch.setattr(protocol, "is_loopback", lambda host: host == "127.0.0.2")
    monkeypatch.setattr(VeryImpatient, "head_seconds", 60)
    monkeypatch.setattr(VeryImpatient, "most_of_address", 3)
    held = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(3)]
    assert talk(port).startswith(b"HTTP/1.1 503")
    with socket.create_connection(("127.0.0.1", port), timeout=5, source_address=("127.0.0.2", 0)) as other:
        other.sendall(asked)
        assert other.recv(4096).startswith(b"HTTP/1.1 200")
    held.pop().close()
    time.sleep(0.1)
    assert talk(port, asked).startswith(b"HTTP/1.1 200")
    for one in held:
        one.close()
