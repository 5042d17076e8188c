"""A client for the open-data API of data.gov.sg: one dataset, page by page, into one CSV file per month.

The publisher allows four calls in ten seconds without a key (status 429 above that) and a table of 240,000 rows takes
25 pages, so that a download is a matter of minutes and will be interrupted: every page is kept on disk the moment it is
whole, and the next attempt asks only for the rest. No CSV file is written before all rows are there and checked.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ml_assets.core.files import replace_file
from ml_assets.sources.month_files import COLUMNS, write_months, write_origin
from ml_assets.sources.retry_after import seconds_to_wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

BASE_URL = "https://data.gov.sg"
SEARCH_PATH = "/api/action/datastore_search"
PAGE_ROWS = 10_000
PAGE_BYTES = 32 * 1024 * 1024  # ten times a page of 10,000 rows

ATTEMPTS = 6
RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
BACKOFF_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0  # the publisher's rate limit is reset every 10 s
RESTARTS = 2

# Before the publisher has answered once, a demo without a network is waiting: short patience.
CONNECT_SECONDS = 2.5
FIRST_ANSWER_SECONDS = 8.0
FIRST_ATTEMPTS = 3
FIRST_RETRIES_WITHIN_SECONDS = 5.0
PAGE_SECONDS = 60.0

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


class PublisherError(RuntimeError):
    """The publisher did not give the table whole and as expected; the message says what was wrong."""


class PublisherUnreachableError(PublisherError):
    """The publisher never answered at all: no network, or a name, proxy or firewall in between."""


def download(
    folder: Path,
    *,
    dataset: str,
    pages: Path,
    base_url: str = BASE_URL,
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> None:
    """Download a dataset and write it as one CSV file per month, with `ORIGIN.json`.

    Args:
        folder: An existing folder for the files.
        dataset: The publisher's id of the dataset, `d_…`.
        pages: Where pages are kept until the whole table is there. It outlives an interruption, and a later call goes
            on from it; it is removed at the end.
        base_url: The publisher's address, without the path.
        progress: Called after every page with the rows so far and the total.
        say: Called with a sentence when something happens that a person should know.

    Raises:
        PublisherUnreachableError: Nothing answered, within about ten seconds.
        PublisherError: Answers failed, or are not the table that was expected.
    """
    import httpx

    url = base_url.rstrip("/") + SEARCH_PATH
    store = _PageStore(pages, source=f"{url}?resource_id={dataset}")
    with httpx.Client(headers={"user-agent": "ml-assets"}) as client:
        total = _fetch_pages(_Datastore(client, url, dataset), store, progress=progress, say=say)
    months = _split_by_month(store, total)
    files = write_months(folder, months)
    facts = {
        "dataset": dataset,
        "url": store.source,
        "rows": total,
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_origin(folder, "publisher", facts=facts, files=files)
    store.clear()


def _fetch_pages(
    datastore: _Datastore, store: _PageStore, *, progress: Callable[[int, int], None], say: Callable[[str], None]
) -> int:
    """Bring the page store to hold the whole table, and return the table's number of rows."""
    total, _ = datastore.search(limit=1, offset=0)
    kept = store.total()
    if kept not in (None, total):
        say(f"The publisher's table changed from {kept:,} to {total:,} rows: the download starts over.")
        store.clear()
    restarts = offset = 0
    while offset < total:
        rows = store.read(offset, total)
        if rows is None:
            found, records = datastore.search(limit=PAGE_ROWS, offset=offset)
            if found != total:
                if restarts == RESTARTS:
                    raise PublisherError(f"{datastore.url}: the table kept changing while it was read; try again later")
                say(f"The publisher's table changed from {total:,} to {found:,} rows: the download starts over.")
                store.clear()
                restarts, offset, total = restarts + 1, 0, found
                continue
            rows = _checked_page(records, offset=offset, total=total)
            store.write(offset, total, rows)
        offset += len(rows)
        progress(offset, total)
    return total


def _checked_page(records: list[dict[str, Any]], *, offset: int, total: int) -> list[list[str]]:
    expected = min(PAGE_ROWS, total - offset)
    if len(records) != expected:
        raise PublisherError(
            f"the page at offset {offset} has {len(records)} rows where {expected} of {total} were due"
        )
    return [_row(record) for record in records]


def _row(record: dict[str, Any]) -> list[str]:
    """The texts of a record in the order of `COLUMNS`, as the publisher wrote them; null is the empty text."""
    row = []
    for column in COLUMNS:
        if column not in record:
            raise PublisherError(f"row _id={record.get('_id')!r} has no column {column!r}; it has {sorted(record)}")
        value = record[column]
        if value is not None and not isinstance(value, str | int | float):
            raise PublisherError(f"row _id={record.get('_id')!r}, column {column!r}: {value!r} is not a single value")
        row.append("" if value is None else str(value))
    if not (row[0].isascii() and row[0].isdigit()):
        raise PublisherError(f"column '_id': {row[0]!r} is not a whole number")
    if not _MONTH.fullmatch(row[1]):
        raise PublisherError(f"row _id={row[0]}, column 'month': {row[1]!r} is not of the form YYYY-MM")
    return row


def _split_by_month(store: _PageStore, total: int) -> dict[str, list[list[str]]]:
    """Read the pages back in order, check that they make the table, and give each month its rows, by `_id`."""
    months: dict[str, list[list[str]]] = {}
    ids: set[str] = set()
    offset = 0
    while offset < total:
        rows = store.read(offset, total)
        if rows is None:
            raise PublisherError(f"the page at offset {offset} is missing in {store.folder}; run again to fetch it")
        for row in rows:
            ids.add(row[0])
            # A table of 240,000 rows repeats few texts: interned, it takes a fifth of the memory.
            months.setdefault(row[1], []).append([sys.intern(text) for text in row])
        offset += len(rows)
    if len(ids) != total:
        store.clear()
        raise PublisherError(f"{len(ids)} different _id in {total} rows: the table moved while it was read; run again")
    for rows in months.values():
        rows.sort(key=lambda row: int(row[0]))
    return months


@dataclass(frozen=True)
class _PageStore:
    """The pages fetched so far, one JSON file each, named by offset."""

    folder: Path
    source: str

    def read(self, offset: int, total: int) -> list[list[str]] | None:
        """The rows of a page, or None if it is not there whole, for this source and this total."""
        try:
            page = json.loads(self._path(offset).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        rows: list[list[str]] = page["rows"]
        is_whole = len(rows) == min(PAGE_ROWS, total - offset)
        same = (page["source"], page["offset"], page["total"]) == (self.source, offset, total)
        return rows if same and is_whole else None

    def write(self, offset: int, total: int, rows: list[list[str]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        page = {"source": self.source, "offset": offset, "total": total, "rows": rows}
        replace_file(self._path(offset), json.dumps(page).encode())

    def total(self) -> int | None:
        """The table's number of rows when the first page was fetched; None if there is none yet."""
        try:
            page = json.loads(self._path(0).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return int(page["total"]) if page["source"] == self.source else None

    def clear(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _path(self, offset: int) -> Path:
        return self.folder / f"{offset:09d}.json"


@dataclass
class _Datastore:
    """The publisher's `datastore_search`, with patience that depends on whether it has ever answered."""

    client: httpx.Client
    url: str
    dataset: str
    answered: bool = False

    def search(self, *, limit: int, offset: int) -> tuple[int, list[dict[str, Any]]]:
        """One page: the table's number of rows, and the records. Sorted, so that offsets mean the same every time."""
        body = self._get({"resource_id": self.dataset, "limit": limit, "offset": offset, "sort": "_id"})
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise PublisherError(f"{self.url}: the answer is not JSON, it begins {body[:80]!r}") from error
        match answer:
            case {"success": True, "result": {"total": int(total), "records": list(records)}} if total > 0 and all(
                isinstance(record, dict) for record in records
            ):
                return total, records
        raise PublisherError(
            f"{self.url}: dataset {self.dataset!r}: expected success, a total and records, got {body[:300]!r}"
        )

    def _get(self, query: dict[str, str | int]) -> bytes:
        import httpx

        started = monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            wait = min(BACKOFF_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
            try:
                status, headers, body = self._ask(query)
            except httpx.RequestError as error:
                failure = f"{type(error).__name__}: {error}"
                late = attempt == FIRST_ATTEMPTS or monotonic() - started > FIRST_RETRIES_WITHIN_SECONDS
                if late and not self.answered:
                    raise PublisherUnreachableError(f"{self.url} cannot be reached ({failure})") from error
            else:
                self.answered = True
                if status == httpx.codes.OK:
                    return body
                failure = f"status {status}, {body[:200]!r}"
                if status not in RETRIED_STATUS:
                    raise PublisherError(f"{self.url}: {failure}")
                wait = max(wait, seconds_to_wait(headers.get("retry-after", "")))
            if wait > LONGEST_WAIT_SECONDS:
                raise PublisherError(f"{self.url} asks to wait {wait:.0f} s; run again then, pages fetched are kept")
            if attempt < ATTEMPTS:
                sleep(wait)
        raise PublisherError(f"{self.url} failed {ATTEMPTS} times, last with {failure}; run again to go on from here")

    def _ask(self, query: dict[str, str | int]) -> tuple[int, dict[str, str], bytes]:
        import httpx

        timeout = httpx.Timeout(PAGE_SECONDS if self.answered else FIRST_ANSWER_SECONDS, connect=CONNECT_SECONDS)
        body = bytearray()
        with self.client.stream("GET", self.url, params=query, timeout=timeout) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > PAGE_BYTES:
                    raise PublisherError(
                        f"{self.url}: the page at offset {query['offset']} exceeds {PAGE_BYTES:,} bytes"
                    )
            return answer.status_code, dict(answer.headers), bytes(body)
