from __future__ import annotations

import base64
import json
import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

import duckdb
import polars as pl
import pytest

from ml_assets.sources.files import FileReader
from ml_assets.sources.http import Auth, HttpReader, Paging
from ml_assets.sources.reading import Part, Reading, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC
SECRET = "s3cret+/ü"  # noqa: S105 - of a server that lives for a test


def days(count: int) -> list[Part]:
    starts = [FIRST + timedelta(days=number) for number in range(count)]
    return [Part(f"{start:%Y-%m-%d}", start, start + timedelta(days=1)) for start in starts]


@dataclass
class Answer:
    """What the server says; without a status it hangs up, and cut short where `promised` is more than the body."""

    body: Any = b""
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int = 0

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float


@dataclass
class Api:
    """A server on a real socket: `faults` first, one per request; then what `answer` makes of the request."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[Answer] = field(default_factory=list)
    answer: Callable[[Asked], Answer] = lambda _: Answer([])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    found = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            found.asked.append(Asked(address.path, query, dict(self.headers), time.monotonic()))
            answer = found.faults.pop(0) if found.faults else found.answer(found.asked[-1])
            self.close_connection = True
            if answer.status is None:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(answer.promised or len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def reader(api: Api, path: str = "/rows", **more: Any) -> HttpReader:
    return HttpReader(url=api.url + path, **{"backoff": 0.01, "timeout": 5.0, **more})


def read(
    reader: HttpReader, count: int = 1, required: tuple[str, ...] = (), reading: Reading | None = None
) -> pl.DataFrame:
    frames = list(reader.frames(days(count), required, reading or Reading()))
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def test_each_item_is_a_row_of_texts_with_numbers_as_they_are_written(api: Api) -> None:
    item = (
        '{"id": 12345678901234567890123, "price": 1.10, "tiny": 1e-7, "ok": true, "none": null, "name": "Zo\\u00eb", '
        '"empty": "", "more": {"a": [1.50, null, "x\\"y"], "b": false}, "list": []}'
    )
    api.answer = lambda _: Answer(f"[{item}]".encode())
    reading = Reading()
    row = read(reader(api), required=("id",), reading=reading).row(0, named=True)
    source = f"{api.url}/rows 2024-01-01"
    assert row == {
        "id": "12345678901234567890123",
        "price": "1.10",
        "tiny": "1e-7",
        "ok": "true",
        "none": None,
        "name": "Zoë",
        "empty": None,
        "more": '{"a":[1.50,null,"x\\"y"],"b":false}',
        "list": "[]",
        "_source": source,
        "_row": 1,
        "_partition": FIRST,
        "_malformed": None,
    }
    assert reading.unexpected == {source: ("price", "tiny", "ok", "none", "name", "empty", "more", "list")}
    assert reading.facts["2024-01-01"]["source"] == source


def test_a_partition_is_asked_for_in_the_declared_form(api: Api) -> None:
    params = {
        "from": "{start:%Y-%m-%d}",
        "to": "{end}",
        "last": "{last:%d}",
        "only": "{key}",
        "fixed": "{{x}}",
    }
    read(reader(api, "/rows/{start:%Y}", params=params), 2)
    assert [asked.path for asked in api.asked] == ["/rows/2024", "/rows/2024"]
    assert api.asked[0].query == {
        "from": "2024-01-01",
        "to": "2024-01-02T00:00:00Z",
        "last": "01",
        "only": "2024-01-01",
        "fixed": "{x}",
    }
    read(reader(api, params={"from": "{start}"}, zone="Asia/Singapore"))
    assert api.asked[-1].query == {"from": "2024-01-01T08:00:00+08:00"}
    with pytest.raises(SourceError, match=r"'\{begin\}'.*is no placeholder"):
        read(reader(api, params={"from": "{begin}"}))


def test_rows_without_time_are_asked_for_once(api: Api) -> None:
    api.answer = lambda _: Answer([{"id": 1}])
    rows = read(reader(api, params={"q": "{not a placeholder}"}, timed=False), 3)
    assert rows["id"].to_list() == ["1"]
    assert "_partition" not in rows.columns
    assert len(api.asked) == 1


ITEMS = [{"id": number} for number in range(7)]


def by_page(asked: Asked) -> Answer:
    page = int(asked.query["page"])
    return Answer({"rows": ITEMS[3 * (page - 1) : 3 * page]})


def by_offset(asked: Asked) -> Answer:
    offset, size = int(asked.query["skip"]), int(asked.query["top"])
    return Answer({"rows": ITEMS[offset : offset + size], "count": 7})


def by_cursor(asked: Asked) -> Answer:
    at = int(asked.query.get("after", "c0")[1:])
    return Answer({"rows": ITEMS[at : at + 3], "meta": {"next": f"c{at + 3}" if at + 3 < 7 else None}})


def by_link(asked: Asked) -> Answer:
    at = int(asked.query.get("at", 0))
    link = f'<{asked.path}?at={at + 3}>; rel="next", </>; rel="first"'
    return Answer({"rows": ITEMS[at : at + 3]}, headers={"Link": link} if at + 3 < 7 else {})


def by_next(asked: Asked) -> Answer:
    at = int(asked.query.get("at", 0))
    return Answer({"rows": ITEMS[at : at + 3], "next": f"{asked.path}?at={at + 3}" if at + 3 < 7 else ""})


@pytest.mark.parametrize(
    ("answer", "paging", "requests"),
    [
        (by_page, Paging("page"), 4),  # an empty page is the end
        (by_offset, Paging("offset", parameter="skip", size=3, size_parameter="top"), 3),
        (by_cursor, Paging("cursor", parameter="after", path="$.meta.next"), 3),
        (by_link, Paging("link"), 3),
        (by_next, Paging("next", path="$.next"), 3),
    ],
)
def test_all_pages_are_read_in_order(
    api: Api, answer: Callable[[Asked], Answer], paging: Paging, requests: int
) -> None:
    api.answer = answer
    total = "$.count" if paging.kind == "offset" else None
    rows = read(reader(api, rows="$.rows", paging=paging, total=total))
    assert rows.select("id", "_row").rows() == [(str(number), number + 1) for number in range(7)]
    assert len(api.asked) == requests


@pytest.mark.parametrize("total", [None, "$.count"])
@pytest.mark.parametrize("kind", ["page", "offset"])
def test_a_short_page_in_the_middle_loses_no_row(api: Api, kind: Literal["page", "offset"], total: str | None) -> None:
    def answer(asked: Asked) -> Answer:
        if kind == "offset":  # asked for five at a time, the server gives two, and of the third row nothing beside it
            first = int(asked.query["offset"])
            return Answer({"rows": ITEMS[first : first + (1 if first == 2 else 2)], "count": 7})
        return Answer({"rows": [ITEMS[:3], ITEMS[3:4], ITEMS[4:], []][int(asked.query["page"]) - 1], "count": 7})

    api.answer = answer
    rows = read(reader(api, rows="$.rows", paging=Paging(kind, size=5), total=total))
    assert rows["id"].to_list() == [str(number) for number in range(7)]


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=500),
        Answer(status=503),
        Answer(status=None),
        Answer(b'{"rows": [{"id": 0}, {"i', promised=5000),
        Answer(b'{"rows": [{"id": 0}, {"i'),
        Answer(b"<html>busy</html>"),
        Answer(b""),
    ],
    ids=["500", "503", "hangs up", "truncated", "half a page", "no JSON", "nothing"],
)
def test_a_passing_fault_in_the_middle_is_repeated_and_no_row_is_lost_or_doubled(api: Api, fault: Answer) -> None:
    api.answer = by_cursor
    rows: list[str] = []
    paged = reader(api, rows="$.rows", paging=Paging("cursor", parameter="after", path="$.meta.next"))
    api.faults = [by_cursor(Asked("", {}, {}, 0)), fault, fault]
    rows = read(paged)["id"].to_list()
    assert rows == [str(number) for number in range(7)]
    assert len(api.asked) == 5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Answer(b"overloaded", status=500), "/rows: status 500 .*overloaded"),
        (Answer(status=None), "/rows: no whole answer in 3 attempts: .*(closed|reset|aborted)"),
        (Answer(b'{"rows": [{"i'), "in 3 attempts: .*no whole JSON"),
        (Answer(b'{"rows": [', promised=99), "in 3 attempts: "),
        (Answer(status=429), "/rows: status 429 .*set `rate`"),
    ],
)
def test_a_lasting_fault_is_an_error_and_no_row_of_the_partition_is_given(api: Api, fault: Answer, words: str) -> None:
    paged = reader(api, rows="$.rows", attempts=3, paging=Paging("page"))
    good = Answer({"rows": ITEMS[:3]})
    # The first partition is whole; the second fails on its second page.
    api.faults = [good, Answer({"rows": []}), good, fault, fault, fault]
    frames: list[pl.DataFrame] = []
    with pytest.raises(SourceError, match=words):
        frames.extend(paged.frames(days(2), (), Reading()))
    assert {start for frame in frames for start in frame["_partition"]} <= {FIRST}
    assert len(api.asked) == 6


def test_retry_after_is_honoured(api: Api) -> None:
    api.faults = [Answer(status=429, headers={"Retry-After": "1"})]
    read(reader(api))
    assert api.asked[1].at - api.asked[0].at >= 1


def test_a_wait_that_is_too_long_is_told_at_once(api: Api) -> None:
    api.faults = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(SourceError, match="status 429, the API asks to wait 3600 s"):
        read(reader(api))
    assert len(api.asked) == 1


def test_the_rate_is_kept_over_pages_partitions_and_repetitions(api: Api) -> None:
    api.faults = [Answer(status=500)]
    read(reader(api, rate=20), 3)
    gaps = [after.at - before.at for before, after in zip(api.asked, api.asked[1:], strict=False)]
    assert len(gaps) == 3
    assert sum(gaps) >= 3 / 20 - 0.02


def authorized(asked: Asked) -> Answer:
    basic = "Basic " + base64.b64encode(f"anna:{SECRET}".encode()).decode()
    given = (asked.headers.get("Authorization"), asked.headers.get("X-Key"), asked.query.get("key"))
    well = given[0] in {"Bearer token-1", basic} or "token-1" in given[1:]
    # Some APIs repeat what they refuse.
    return Answer([{"id": 1}]) if well else Answer({"refused": [str(each) for each in given]}, status=401)


@pytest.mark.parametrize(
    ("auth", "secret"),
    [
        (Auth("bearer", "API_SECRET"), "token-1"),
        (Auth("basic", "API_SECRET", user_env="API_USER"), SECRET),
        (Auth("api_key", "API_SECRET", name="X-Key"), "token-1"),
        (Auth("api_key", "API_SECRET", name="key", place="query"), "token-1"),
    ],
    ids=["bearer", "basic", "header", "query"],
)
def test_a_secret_is_sent_and_never_told(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, auth: Auth, secret: str
) -> None:
    api.answer = authorized
    monkeypatch.setenv("API_USER", "anna")
    monkeypatch.setenv("API_SECRET", secret)
    knowing = reader(api, auth=auth, attempts=2)
    assert read(knowing)["id"].to_list() == ["1"]
    assert secret not in repr(knowing)

    monkeypatch.setenv("API_SECRET", "wr0ng-t0ken")
    told = ""
    faults = [
        [],
        [Answer(status=None)] * 2,
        [Answer(b'["wr0ng-t0ken')] * 2,
        [Answer(status=302, headers={"Location": "/?key=wr0ng-t0ken"})],
    ]
    with caplog.at_level(logging.DEBUG):
        for number, some in enumerate(faults):
            api.faults = some
            with pytest.raises(SourceError, match="status 401" if number == 0 else "Remedy") as caught:
                read(knowing)
            assert caught.value.__suppress_context__ or caught.value.__context__ is None
            told += f"{caught.value} {caught.value.__cause__}"
    assert "wr0ng-t0ken" not in told + caplog.text

    monkeypatch.delenv("API_SECRET")
    with pytest.raises(SourceError, match="API_SECRET, which `auth` names, is not set"):
        read(knowing)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_refusal_is_told_at_once(api: Api, status: int) -> None:
    api.faults = [Answer({"reason": "no such day"}, status=status)]
    with pytest.raises(SourceError, match=rf"/rows: status {status} .*no such day.*Remedy"):
        read(reader(api))
    assert len(api.asked) == 1


def test_a_secret_is_not_sent_to_another_host(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_SECRET", SECRET)
    elsewhere = api.url.replace("127.0.0.1", "localhost") + "/rows"
    paged = reader(api, rows="$.rows", paging=Paging("next", path="$.next"), auth=Auth("bearer", "API_SECRET"))
    api.faults = [Answer({"rows": [], "next": elsewhere})]
    with pytest.raises(SourceError, match="next page is on another host, 'localhost:"):
        read(paged)
    api.faults = [Answer(status=302, headers={"Location": elsewhere})]
    with pytest.raises(SourceError, match="status 302, the API sends on to http://localhost"):
        read(paged)
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("body", "more", "words"),
    [
        ({"data": []}, {"rows": "$.rows"}, r"page 1: `rows: \$.rows` finds nothing; the answer is the fields data"),
        ({"rows": [{"id": 1}, 7]}, {"rows": "$.rows"}, r"page 1, row 2: it is a single value \(7\), not an object"),
        ({"rows": [{"id": 1}], "n": 3}, {"rows": "$.rows", "total": "$.n"}, "tells of 3 rows and its pages hold 1"),
        ({"rows": [], "n": "x"}, {"rows": "$.rows", "total": "$.n"}, r"`total: \$.n` finds \['x'\]"),
        ([{"Id": 1, "id": 2}], {}, "column name 'Id' is repeated"),
        ([{"_row": 1}], {}, "column name '_row' is repeated, empty or reserved"),
        ([{"idd": 1}], {}, r"'id' is missing; did you mean 'idd'\?"),
        ([{"id": "x" * 2000}], {"max_bytes": 1000}, "a page is longer than 1,000 bytes"),
        ([{"id": 1}], {"paging": Paging("page"), "max_pages": 3}, "more than 3 pages"),
    ],
)
def test_an_answer_that_is_not_as_declared_is_an_error(
    api: Api, body: object, more: dict[str, Any], words: str
) -> None:
    api.answer = lambda _: Answer(body)
    with pytest.raises(SourceError, match=words):
        read(reader(api, **more), required=("id",))


def test_a_column_that_one_page_lacks_is_null_there(api: Api) -> None:
    api.faults = [Answer([{"id": 1}, {"id": 2, "note": "x"}]), Answer([{"id": 3}]), Answer([])]
    rows = read(reader(api, paging=Paging("page")), required=("id", "note"))
    assert rows.select("id", "note", "_row").rows() == [("1", None, 1), ("2", "x", 2), ("3", None, 3)]


def test_a_value_is_the_same_text_from_an_api_as_from_a_file_of_json_lines(api: Api, tmp_path: Path) -> None:
    values = [
        '""',
        '"a"',
        "null",
        "1.50",
        "-0",
        "1e400",
        "true",
        "[]",
        '[1.0, "", null, "é"]',
        '{"a" : {"b":"\\u00e9"}}',
    ]
    values += ['"\\ud800"', '["\\ud800"]', '" "', '"a\\u0000b"', "NaN"]
    rows = [f'{{"id": {number}, "value": {value}}}' for number, value in enumerate(values)]
    api.answer = lambda _: Answer(f"[{','.join(rows)}]".encode())
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (of_file,) = FileReader("rows.jsonl", tmp_path, duckdb.connect).frames([], ("id",), Reading())
    assert read(reader(api)).select("id", "value").equals(of_file.select("id", "value"))


def test_names_that_differ_in_case_are_one_column_spelt_as_required_or_first_met(api: Api) -> None:
    api.faults = [
        Answer([{"ID": 1, "Town": "a"}, {"id": 2, "town": "b"}]),
        Answer([{"Id": 3, "TOWN": "c"}]),
        Answer([]),
    ]
    rows = read(reader(api, paging=Paging("page")), required=("id",))
    assert rows.select("id", "Town").rows() == [("1", "a"), ("2", "b"), ("3", "c")]
    assert [name for name in rows.columns if not name.startswith("_")] == ["id", "Town"]


def test_nothing_is_left_behind_and_dlt_reads_no_settings_of_its_own(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("home", "work", "temporary")}
    for place in places.values():
        place.mkdir()
    (places["work"] / ".dlt").mkdir()
    (places["work"] / ".dlt" / "config.toml").write_text("[runtime]\nrequest_max_attempts = 'this would raise'\n")
    monkeypatch.setenv("HOME", str(places["home"]))
    monkeypatch.setenv("DLT_DATA_DIR", str(places["home"] / "dlt"))
    monkeypatch.setattr("tempfile.tempdir", str(places["temporary"]))
    monkeypatch.chdir(places["work"])
    before = {thread.name for thread in threading.enumerate()}
    api.answer = by_page
    frames = reader(api, rows="$.rows", paging=Paging("page")).frames(days(2), (), Reading())
    next(frames)
    frames.close()  # as a run that is stopped does
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        "work/.dlt/config.toml"
    ]
    started = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in started if "process_request" not in name]
    assert not list(places["home"].iterdir())
    assert not list(places["temporary"].iterdir())
