"""How much and how fast: what a bucket lets through, and when a body is too slow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed_site import Server
from starlette.exceptions import HTTPException

from ml_assets.serving.access.limits import Buckets, neighbourhood, patient


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(rate=st.floats(0.1, 100), burst=st.integers(1, 20), pauses=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_more_gets_through_than_burst_and_rate_allow(rate: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(rate, burst, clock)
    let_through = 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a")
        let_through += not wait
        assert let_through <= burst + rate * clock.now + 1e-6
        if wait:  # who waits for so long is let through
            clock.now += wait * (1 + 1e-9) + 1e-9
            assert not buckets.take("a")
            let_through += 1


def test_one_who_is_fast_takes_nothing_from_another_and_many_are_forgotten() -> None:
    clock = Clock()
    buckets = Buckets(1, 2, clock, most=3)
    assert [bool(buckets.take("a")) for _ in range(3)] == [False, False, True]
    assert not buckets.take("b")
    for name in "cde":
        buckets.take(name)
    assert not buckets.take("a")


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("unix", "", False),
    ],
)
def test_addresses_of_one_household_count_as_one(one: str, two: str, *, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(two)) is same


def receive_all(parts: list[tuple[bytes, float]], most: int, work: float = 0.0) -> bytes:
    """Receive parts that come after so many seconds each, and work for some after each."""
    clock, left = Clock(), list(parts)

    async def receive() -> dict[str, Any]:
        body, pause = left.pop(0)
        clock.now += pause
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def read() -> bytes:
        got, more, patiently = b"", True, patient(receive, most, clock)
        while more:
            message = await patiently()
            clock.now += work
            got, more = got + message["body"], message["more_body"]
        return got

    return asyncio.run(read())


def test_a_body_is_counted_whatever_it_says_of_itself() -> None:
    assert receive_all([(b"x" * 50, 0)] * 2, 100) == b"x" * 100
    with pytest.raises(HTTPException, match="larger than the 100 bytes") as refused:
        receive_all([(b"x" * 50, 0), (b"x" * 51, 0)], 100)
    assert (refused.value.status_code, refused.value.headers) == (413, {"Connection": "close"})


def test_a_body_that_trickles_is_too_slow_and_one_whose_route_works_is_not() -> None:
    assert len(receive_all([(b"x", 0.5)] * 20, 100)) == 20
    with pytest.raises(HTTPException, match="comes too slowly: 11 bytes so far"):
        receive_all([(b"x", 1)] * 30, 100)
    assert len(receive_all([(b"x" * 70_000, 1)] * 30, 10**9)) == 2_100_000
    assert len(receive_all([(b"x", 0)] * 30, 100, work=60)) == 30


def test_who_asks_too_often_is_told_when_to_come_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # So few that a busy machine too asks faster.
    monkeypatch.setenv("ML_ASSETS_ADDRESS_RATE", "0.5")
    server = Server(server.store)
    server.key("look")
    answers = [server.ask("/healthz") for _ in range(40)]
    late = next(answer for answer in answers if answer.status_code == 429)
    assert int(late.headers["retry-after"]) >= 1
    assert "too many requests. Remedy: wait" in late.json()["error"]
    server.address = "127.0.0.9"
    assert server.ask("/healthz").status_code == 200


def test_who_is_on_this_machine_waits_for_nothing_while_there_is_no_key(server: Server) -> None:
    assert {server.ask("/healthz").status_code for _ in range(300)} == {200}
