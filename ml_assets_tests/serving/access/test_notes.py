"""What is written down at the door: not without bounds, and nobody waits for a file that cannot be written."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from ml_assets.serving.access import noting, record, store
from ml_assets.serving.access.keys import list_keys
from ml_assets.serving.access.noting import Notes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyed_site import Server

ACT = "/projects/houses/rollback"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a file as somebody does who writes and hangs."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_strangers_refused_act_keeps_nobody_else_waiting_while_the_file_is_locked(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.key("look")

    async def measured() -> tuple[int, int, bool]:
        transport = httpx.ASGITransport(server.app, client=("203.0.113.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url=server.base, timeout=60) as client:
            act = asyncio.create_task(client.post(ACT))
            await asyncio.sleep(0.05)
            healthy = await client.get("/healthz")
            is_first = not act.done()
            return healthy.status_code, (await act).status_code, is_first

    with locked(server.store.file), caplog.at_level(logging.WARNING):
        assert asyncio.run(measured()) == (200, 401, True)
    assert "access.sqlite could not be written: database is locked" in caplog.text


def test_a_key_opens_what_it_opens_though_its_use_cannot_be_noted_and_the_next_request_notes_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    key = server.key("look")
    with locked(server.store.file):
        assert server.ask("/", key).status_code == 200
        time.sleep(0.3)
    assert not list_keys(server.store)[0].used
    assert server.ask("/", key).status_code == 200
    for _ in range(100):
        if list_keys(server.store)[0].used:
            break
        time.sleep(0.02)
    assert list_keys(server.store)[0].used == noting._today()


def test_who_signs_in_or_out_while_the_file_is_locked_is_asked_to_try_again_and_then_can(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    key = server.key("look")
    with locked(server.store.file):
        refused = server.sign_in(key)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "Somebody else is writing to access.sqlite. Nothing was done: go back and try again in 2 s." in refused.text
    assert "ml_assets_session" not in refused.cookies
    assert key not in refused.text

    assert server.sign_in(key).status_code == 303
    page = server.page("/sign-out").text
    with locked(server.store.file):
        token = page.partition('name="form_token" value="')[2][:64]
        headers = {"origin": server.base, "sec-fetch-site": "same-origin"}
        refused = server.page("/sign-out", method="POST", data={"form_token": token}, headers=headers)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "Nothing was done: go back and try again in 2 s." in refused.text
    assert server.page("/").status_code == 200
    assert server.act("/sign-out").status_code == 303


def test_of_strangers_so_many_are_written_down_in_a_day_and_the_others_counted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes(server.store, most=3)

    async def refuse(times: int) -> None:
        for _ in range(times):
            await notes.refused("act refused", "POST /x from 203.0.113.7")

    asyncio.run(refuse(5))
    asyncio.run(notes.refused("act refused", "POST /x", who="Eve", key="0123abcd"))
    assert [one.who for one in record.read(server.store)] == ["", "", "", "Eve"]
    day = noting._today()
    monkeypatch.setattr(noting, "_today", lambda: "2999-01-01")
    asyncio.run(refuse(4))
    notes.close()
    assert [one.detail for one in record.read(server.store) if one.what == "refusals"] == [
        f"2 more of people unknown on {day}, not written down one by one",
        "1 more of people unknown on 2999-01-01, not written down one by one",
    ]
    assert not record.verify(record.each(server.store))
    assert [one.id for one in record.read(server.store, 2)] == [8, 9]


def test_strangers_from_many_addresses_share_one_allowance_of_acts_and_take_nobody_elses(server: Server) -> None:
    key = server.key("look")
    answers = []
    for last in range(40):
        server.address = f"203.0.113.{last}"
        answers.append(server.ask(ACT, method="POST").status_code)
    assert answers.count(401) <= 25
    assert answers[-1] == 429
    assert server.ask(ACT, key, "POST").status_code == 403
    assert server.ask("/sign-in").status_code == 200
