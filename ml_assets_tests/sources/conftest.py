from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DATASET = "d_test"


@dataclass(frozen=True)
class Fault:
    """What the publisher answers instead of a page; without a status it hangs up."""

    status: int | None
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class FakePublisher:
    """A publisher on a real socket. `faults` are answered first, one per request, None standing for a good answer."""

    url: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    @staticmethod
    def fault(status: int | None, *headers: tuple[str, str], body: bytes = b"") -> Fault:
        return Fault(status, body, headers)

    def answer(self, query: dict[str, list[str]]) -> Fault:
        assert query["resource_id"] == [DATASET]
        assert query["sort"] == ["_id"]
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        self.offsets.append(offset)
        if self.faults and (fault := self.faults.pop(0)):
            return fault
        page = {"total": len(self.records), "limit": limit, "records": self.records[offset : offset + limit]}
        return Fault(200, json.dumps({"success": True, "result": page}).encode())


def record(number: int, month: str = "2017-01", **changes: object) -> dict[str, Any]:
    return {
        "_id": number,
        "month": month,
        "town": "KALLANG/WHAMPOA",
        "flat_type": "4 ROOM",
        "block": "406",
        "street_name": 'A "QUOTED", STREET',
        "storey_range": "10 TO 12",
        "floor_area_sqm": "44",
        "flat_model": "Model A",
        "lease_commence_date": "1979",
        "remaining_lease": "61 years 04 months",
        "resale_price": "232000",
        **changes,
    }


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePublisher]:
    """A publisher with 25 rows in two months, asked for pages of ten."""
    fake = FakePublisher(records=[record(number, "2017-01" if number % 2 else "2017-02") for number in range(1, 26)])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            assert address.path == "/api/action/datastore_search"
            answer = fake.answer(parse_qs(address.query))
            if answer.status is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr("ml_assets.sources.publisher.PAGE_ROWS", 10)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds the client would have waited; it does not."""
    seconds: list[float] = []
    monkeypatch.setattr("ml_assets.sources.publisher.sleep", seconds.append)
    return seconds


@pytest.fixture
def closed_port() -> str:
    """An address where nothing listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}"
