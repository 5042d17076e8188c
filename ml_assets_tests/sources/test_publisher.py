from __future__ import annotations

import csv
import hashlib
import json
import socket
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from ml_assets.sources import publisher as client
from ml_assets.sources.month_files import COLUMNS
from ml_assets.sources.publisher import PublisherError, PublisherUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_assets_tests.sources.conftest import FakePublisher

DATASET = "d_test"


class Attempt:
    """One download into `folder`, and what it told."""

    def __init__(self, root: Path) -> None:
        self.folder, self.pages = root / "hdb_resale", root / ".hdb_resale.download"
        self.folder.mkdir()
        self.said: list[str] = []
        self.told: list[tuple[int, int]] = []

    def run(self, url: str, progress: Callable[[int, int], None] | None = None) -> None:
        client.download(
            self.folder,
            dataset=DATASET,
            pages=self.pages,
            base_url=url,
            progress=progress or (lambda rows, total: self.told.append((rows, total))),
            say=self.said.append,
        )

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


def answer(records: list[dict[str, Any]], total: int) -> bytes:
    return json.dumps({"success": True, "result": {"total": total, "records": records}}).encode()


def test_a_table_becomes_one_file_per_month_sorted_by_id_with_the_texts_as_published(
    publisher: FakePublisher, attempt: Attempt
) -> None:
    publisher.records.reverse()
    publisher.records[0]["flat_model"] = None

    attempt.run(publisher.url)

    assert sorted(path.name for path in attempt.folder.iterdir()) == ["2017-01.csv", "2017-02.csv", "ORIGIN.json"]
    assert (attempt.folder / "2017-01.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    odd = attempt.rows("2017-01.csv")
    assert [int(row["_id"]) for row in odd] == list(range(1, 26, 2))
    assert odd[0]["street_name"] == 'A "QUOTED", STREET'
    assert (odd[0]["floor_area_sqm"], odd[0]["resale_price"]) == ("44", "232000")
    assert odd[-1]["flat_model"] == ""
    assert attempt.told == [(10, 25), (20, 25), (25, 25)]
    assert not attempt.pages.exists()


def test_the_origin_names_dataset_address_rows_and_the_hash_of_every_file(
    publisher: FakePublisher, attempt: Attempt
) -> None:
    attempt.run(publisher.url)

    origin = json.loads((attempt.folder / "ORIGIN.json").read_text())
    assert (origin["origin"], origin["dataset"], origin["rows"]) == ("publisher", DATASET, 25)
    assert origin["url"] == f"{publisher.url}/api/action/datastore_search?resource_id={DATASET}"
    assert datetime.now(UTC) - datetime.fromisoformat(origin["fetched_at"]) < timedelta(minutes=1)
    assert origin["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in attempt.folder.glob("*.csv")
    }


def test_an_interrupted_download_goes_on_with_the_pages_that_are_missing(
    publisher: FakePublisher, attempt: Attempt
) -> None:
    def interrupt(rows: int, _total: int) -> None:
        if rows == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt.run(publisher.url, progress=interrupt)
    assert list(attempt.folder.iterdir()) == []
    publisher.offsets.clear()

    attempt.run(publisher.url)

    assert publisher.offsets == [0, 20]  # the question for the total, then the page that was missing
    assert len(attempt.rows("2017-01.csv")) + len(attempt.rows("2017-02.csv")) == 25


def test_a_kept_page_that_is_damaged_is_fetched_again(publisher: FakePublisher, attempt: Attempt) -> None:
    publisher.faults = [None, None, None, publisher.fault(404)]
    with pytest.raises(PublisherError, match="404"):
        attempt.run(publisher.url)
    kept = sorted(attempt.pages.iterdir())
    assert len(kept) == 2
    kept[1].write_bytes(kept[1].read_bytes()[:50])
    publisher.offsets.clear()

    attempt.run(publisher.url)

    assert publisher.offsets == [0, 10, 20]


def test_pages_of_another_total_are_dropped_and_it_says_so(publisher: FakePublisher, attempt: Attempt) -> None:
    publisher.faults = [None, None, publisher.fault(404)]
    with pytest.raises(PublisherError):
        attempt.run(publisher.url)
    publisher.records.append({**publisher.records[0], "_id": 26})
    publisher.offsets.clear()

    attempt.run(publisher.url)

    assert attempt.said == ["The publisher's table changed from 25 to 26 rows: the download starts over."]
    assert publisher.offsets == [0, 0, 10, 20]


def test_a_table_that_grows_during_the_download_is_read_again_from_the_start(
    publisher: FakePublisher, attempt: Attempt
) -> None:
    publisher.faults = [None, None]

    def grow(rows: int, _total: int) -> None:
        if rows == 10 and len(publisher.records) == 25:
            publisher.records.append({**publisher.records[0], "_id": 26})

    attempt.run(publisher.url, progress=grow)

    assert len(attempt.said) == 1
    assert json.loads((attempt.folder / "ORIGIN.json").read_text())["rows"] == 26


def test_a_table_that_never_stands_still_is_given_up(publisher: FakePublisher, attempt: Attempt) -> None:
    def grow(_rows: int, total: int) -> None:
        publisher.records.append({**publisher.records[0], "_id": total + 1})

    with pytest.raises(PublisherError, match="kept changing"):
        attempt.run(publisher.url, progress=grow)


def test_too_many_requests_are_waited_for_as_long_as_the_publisher_asks(
    publisher: FakePublisher, attempt: Attempt, waits: list[float]
) -> None:
    publisher.faults = [
        publisher.fault(429, ("Retry-After", "12")),
        publisher.fault(429),
        publisher.fault(503),
    ]

    attempt.run(publisher.url)

    assert waits == [12.0, 2.0, 4.0]
    assert (attempt.folder / "ORIGIN.json").exists()


def test_a_wait_longer_than_the_cap_is_an_error_that_names_it(
    publisher: FakePublisher, attempt: Attempt, waits: list[float]
) -> None:
    publisher.faults = [None, publisher.fault(429, ("Retry-After", "3600"))]

    with pytest.raises(PublisherError, match="asks to wait 3600 s"):
        attempt.run(publisher.url)

    assert waits == []


def test_a_publisher_that_keeps_failing_is_given_up_and_its_pages_are_kept(
    publisher: FakePublisher, attempt: Attempt, waits: list[float]
) -> None:
    publisher.faults = [None, None, *[publisher.fault(502)] * client.ATTEMPTS]

    with pytest.raises(PublisherError, match=r"failed 6 times, last with status 502.*run again") as caught:
        attempt.run(publisher.url)

    assert not isinstance(caught.value, PublisherUnreachableError)
    assert waits == [1, 2, 4, 8, 16]
    assert [path.name for path in attempt.pages.iterdir()] == ["000000000.json"]


def test_a_connection_that_breaks_is_tried_again(
    publisher: FakePublisher, attempt: Attempt, waits: list[float]
) -> None:
    publisher.faults = [None, publisher.fault(None), publisher.fault(None), publisher.fault(None)]

    attempt.run(publisher.url)

    assert waits == [1, 2, 4]
    assert (attempt.folder / "ORIGIN.json").exists()


def test_a_refusal_is_not_tried_again(publisher: FakePublisher, attempt: Attempt, waits: list[float]) -> None:
    publisher.faults = [publisher.fault(403, body=b"go away")]

    with pytest.raises(PublisherError, match="status 403, b'go away'"):
        attempt.run(publisher.url)

    assert waits == []


def test_nothing_listening_is_unreachable_after_a_few_seconds(
    closed_port: str, attempt: Attempt, waits: list[float]
) -> None:
    with pytest.raises(PublisherUnreachableError, match="cannot be reached"):
        attempt.run(closed_port)

    assert sum(waits) < 5


def test_a_server_that_accepts_and_never_answers_is_unreachable(
    attempt: Attempt, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = monotonic()
        with pytest.raises(PublisherUnreachableError, match="ReadTimeout"):
            attempt.run(f"http://127.0.0.1:{silent.getsockname()[1]}")

    assert monotonic() - started < 5
    assert len(waits) == client.FIRST_ATTEMPTS - 1


def test_the_time_to_find_out_that_nobody_answers_is_bounded(
    closed_port: str, attempt: Attempt, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, client.FIRST_RETRIES_WITHIN_SECONDS + 1])
    monkeypatch.setattr(client, "monotonic", lambda: next(ticks))

    with pytest.raises(PublisherUnreachableError):
        attempt.run(closed_port)

    assert waits == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Sign in to the hotel network</html>", "not JSON, it begins b'<html>"),
        (b'{"success": false, "error": "no such table"}', "no such table"),
        (b'{"success": true, "result": {"total": 0, "records": []}}', "expected success, a total and records"),
        (b'{"success": true, "result": {"total": 25, "records": ["x"]}}', "expected success, a total and records"),
        (b"[]", "expected success, a total and records"),
    ],
)
def test_an_answer_that_is_no_table_is_an_error_with_its_beginning(
    publisher: FakePublisher, attempt: Attempt, body: bytes, message: str
) -> None:
    publisher.faults = [publisher.fault(200, body=body)]

    with pytest.raises(PublisherError) as caught:
        attempt.run(publisher.url)

    assert message in str(caught.value)


def test_a_short_page_is_an_error(publisher: FakePublisher, attempt: Attempt) -> None:
    publisher.faults = [None, publisher.fault(200, body=answer(publisher.records[:9], 25))]

    with pytest.raises(PublisherError, match="offset 0 has 9 rows where 10 of 25 were due"):
        attempt.run(publisher.url)

    assert not attempt.pages.exists()


def test_a_page_beyond_the_byte_limit_is_an_error(
    publisher: FakePublisher, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_BYTES", 1_000)

    with pytest.raises(PublisherError, match="offset 0 exceeds 1,000 bytes"):
        attempt.run(publisher.url)


@pytest.mark.parametrize(
    "month",
    ["../../2017-01", "2017-13", "2017-1", "2017-01\n", "/tmp/2017-01", "", "２０１７-01", None],  # noqa: RUF001, S108
)
def test_a_month_that_could_become_another_path_is_an_error(
    publisher: FakePublisher, attempt: Attempt, month: str | None
) -> None:
    publisher.records[24]["month"] = month

    with pytest.raises(PublisherError, match=r"row _id=25, column 'month'"):
        attempt.run(publisher.url)

    assert list(attempt.folder.iterdir()) == []


def test_a_missing_column_is_named(publisher: FakePublisher, attempt: Attempt) -> None:
    del publisher.records[12]["remaining_lease"]

    with pytest.raises(PublisherError, match=r"row _id=13 has no column 'remaining_lease'; it has \['_id', 'block'"):
        attempt.run(publisher.url)


@pytest.mark.parametrize(("column", "value"), [("town", ["BEDOK"]), ("_id", "one"), ("_id", None), ("_id", -1)])
def test_a_value_of_the_wrong_form_is_named(
    publisher: FakePublisher, attempt: Attempt, column: str, value: object
) -> None:
    publisher.records[3][column] = value

    with pytest.raises(PublisherError, match=f"column '{column}'"):
        attempt.run(publisher.url)


def test_rows_that_arrive_twice_are_an_error_and_their_pages_are_dropped(
    publisher: FakePublisher, attempt: Attempt
) -> None:
    publisher.records[24]["_id"] = 1

    with pytest.raises(PublisherError, match="24 different _id in 25 rows"):
        attempt.run(publisher.url)

    assert list(attempt.folder.iterdir()) == []
    assert not attempt.pages.exists()
