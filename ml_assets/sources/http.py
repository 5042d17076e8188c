"""Reading an HTTP API that answers in JSON: page by page, a partition's rows all or none.

Paging, authentication and repetition are dlt's (`RESTClient`), without its pipelines: its settings and secrets are
neither read nor written, and its telemetry, which only a pipeline starts, stays off. What is ours stands in `_Adapter`,
below all of that: the rate, the limit of bytes, that an answer cut off in the middle counts as a dropped connection,
and numbers as they are written.

A secret comes from an environment variable. It goes to the declared host only: a redirection, or a next page on
another host, is an error.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, quote_plus, urlsplit
from zoneinfo import ZoneInfo

from ml_assets.sources.reading import Part, Reading, SourceError
from ml_assets.sources.retry_after import seconds_to_wait
from ml_assets.sources.staging import Spool
from ml_assets.sources.texts import (
    check_columns,
    columns_of_records,
    json_text,
    load_json,
    spellings,
    spelt,
    unasked,
    with_lineage,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import polars as pl
    from dlt.sources.helpers.rest_client.client import PageData, RESTClient
    from requests import Response
    from requests.adapters import HTTPAdapter
    from requests.auth import AuthBase

LONGEST_WAIT_SECONDS = 60.0
CHUNK = 1 << 16


@dataclass(frozen=True)
class Paging:
    """How an API hands out its pages. By `page` and `offset`, an empty page is the end, not a short one.

    Attributes:
        kind: `none`, one page; `page`, by its number; `offset`, by the row's number; `cursor`, by a value that the page
            before tells; `link`, by the header `Link`; `next`, by an address that the page before tells.
        parameter: the query parameter of the number, offset or cursor; by default `page`, `offset`, `cursor`.
        path: JSONPath to the cursor or the address of the next page.
        first: number of the first page.
        size: rows of a page that are asked for, for `offset`; the server may give fewer.
        size_parameter: the query parameter of the size, for `offset`.
    """

    kind: Literal["none", "page", "offset", "cursor", "link", "next"] = "none"
    parameter: str | None = None
    path: str | None = None
    first: int = 1
    size: int = 100
    size_parameter: str = "limit"


@dataclass(frozen=True)
class Auth:
    """How to identify oneself: names of environment variables, never the secrets.

    Attributes:
        kind: `bearer`, `basic` or `api_key`.
        secret_env: the variable with the token, password or key.
        user_env: the variable with the user's name, for `basic`.
        name: the header or query parameter of the key.
        place: where the key stands.
    """

    kind: Literal["bearer", "basic", "api_key"]
    secret_env: str
    user_env: str | None = None
    name: str = "X-API-Key"
    place: Literal["header", "query"] = "header"


@dataclass(frozen=True)
class HttpReader:
    """An HTTP API as a source.

    In `url` and the values of `params` stand for a partition: `{start}`, its first moment; `{end}`, the first after it;
    `{last}`, the last in it; `{key}`. Moments are ISO 8601, or as told after a colon: `{start:%Y-%m-%d}`.

    Attributes:
        url: the address, `https://…`.
        params: query parameters.
        headers: further headers; no secrets.
        rows: JSONPath to the rows of a page: `$` where the answer is the list itself.
        total: JSONPath to the number of all rows; where it is given, all of them must come.
        paging, auth: see there.
        timed: whether a partition is asked for; False where the answer is the same for all.
        zone: the time zone in which the moments are written.
        rate: requests per second at most; None for no limit.
        timeout: seconds to wait for a connection, and between two pieces of an answer.
        attempts: how often a request is made before it is given up.
        backoff: seconds before the second attempt; doubles with each.
        max_pages: pages of one partition at most.
        max_bytes: bytes of one page at most, unpacked.
    """

    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: str = "$"
    total: str | None = None
    paging: Paging = Paging()
    auth: Auth | None = None
    timed: bool = True
    zone: str = "UTC"
    rate: float | None = None
    timeout: float = 30.0
    attempts: int = 5
    backoff: float = 1.0
    max_pages: int = 10_000
    max_bytes: int = 64 * 1024 * 1024

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """All of them: an API says what it holds only when it is read."""
        return list(parts)

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        """The rows of some partitions, one partition after the other, each once all its pages have arrived.

        Values are the same texts as those of a file of JSON lines. 429, 5xx and lost or cut off answers
        are asked for again, no sooner than the server says.

        Raises:
            SourceError: the API refuses, or does not answer as declared; the message never tells a secret.
        """
        if importlib.util.find_spec("dlt") is None:
            raise SourceError(
                "the package dlt, which reads HTTP APIs, is missing. Remedy: pip install 'ml-assets[http]'"
            )
        secrets = _Secrets.of(self.auth)
        goals: Sequence[Part | None] = parts if self.timed else [None]
        adapter = _adapter(self, secrets)
        client = _client(self, adapter, secrets)
        log = logging.getLogger("urllib3.connectionpool")
        log.addFilter(secrets.filter)
        known = spellings(required)
        try:
            for part in goals:
                with Spool() as spool:
                    self._fetch(client, part, spool, required=required, reading=reading, secrets=secrets, known=known)
                    yield from spool.frames()
        finally:
            log.removeFilter(secrets.filter)
            client.session.close()

    def _fetch(
        self,
        client: RESTClient,
        part: Part | None,
        spool: Spool,
        *,
        required: Collection[str],
        reading: Reading,
        secrets: _Secrets,
        known: dict[str, str],
    ) -> None:
        source = f"{self.url} {part.key}" if part else self.url
        names: dict[str, None] = {}
        expected: int | None = None
        for number, page in enumerate(self._pages(client, part, secrets), 1):
            where = f"{source}, page {number}"
            if number > self.max_pages:
                raise SourceError(
                    f"{source}: there are more than {self.max_pages} pages. Remedy: mend `paging`, for the API may "
                    "send the same page for ever, or raise `max_pages`; nothing was written"
                )
            records = self._records(page, where)
            if self.total is not None:
                expected = _total(self.total, page, where)
            if not records:
                continue
            frame = spelt(columns_of_records(records, where, as_text=json_text), known, where)
            names.update(dict.fromkeys(frame.columns))
            start = None if part is None else part.start
            spool.add(with_lineage(frame, source=source, before=spool.rows, start=start))
        if spool.rows:
            # A page may lack what is null in all of its rows: the pages together must not.
            check_columns(source, list(names), required)
        if expected is not None and expected != spool.rows:
            raise SourceError(
                f"{source}: the API tells of {expected} rows and its pages hold {spool.rows}. "
                "Remedy: run again, for the rows may have changed meanwhile, or mend `paging`; nothing was written"
            )
        reading.facts[part.key if part else ""] = {"source": source, "sha256": spool.sha256}
        if extra := unasked(names, required):
            reading.unexpected[source] = extra

    def _pages(self, client: RESTClient, part: Part | None, secrets: _Secrets) -> Iterator[PageData[Any]]:
        """The pages, what goes wrong with them told without the secret."""
        import requests

        url = _filled(self.url, part, self.zone)
        params = {name: _filled(value, part, self.zone) for name, value in self.params.items()}
        try:
            yield from client.paginate(
                url, params=params, paginator=_paginator(self.paging, self.total), allow_redirects=False
            )
        except requests.HTTPError as error:
            response = error.response
            raise SourceError(_refusal(response, url, secrets) if response is not None else url) from None
        except requests.RequestException as error:
            # Without the cause: it names the whole address, and a key may stand in it.
            raise SourceError(
                f"{url}: no whole answer in {self.attempts} attempts: {secrets.censored(_words(error))}. Remedy: see "
                "whether the API is up and reachable from here, then run again; nothing was written"
            ) from None
        except ValueError as error:
            raise SourceError(
                f"{url}: {secrets.censored(str(error))[:300]}. Remedy: mend `paging` or `total`; nothing was written"
            ) from None

    def _records(self, page: PageData[Any], where: str) -> list[dict[str, Any]]:
        from dlt.common import jsonpath

        body = page.response.json()
        # dlt takes rows that are not there for no rows.
        if not self.rows.endswith("[*]") and not jsonpath.find_values(self.rows, body):
            has = f"the fields {', '.join(body)}" if isinstance(body, dict) else f"a {_kind(body)}"
            raise SourceError(f"{where}: `rows: {self.rows}` finds nothing; the answer is {has}. Remedy: mend `rows`")
        for number, record in enumerate(page, 1):
            if not isinstance(record, dict):
                raise SourceError(
                    f"{where}, row {number}: it is a {_kind(record)}, not an object. Remedy: mend `rows: {self.rows}`"
                )
        return list(page)


def _total(path: str, page: PageData[Any], where: str) -> int:
    from dlt.common import jsonpath

    found = jsonpath.find_values(path, page.response.json())
    if len(found) != 1 or not str(found[0]).isdecimal():
        raise SourceError(
            f"{where}: `total: {path}` finds {found!r}, not one whole number. Remedy: mend or remove `total`"
        )
    return int(found[0])


@dataclass(frozen=True, repr=False)
class _Secrets:
    """What the environment holds; and how to keep it out of messages."""

    user: str = ""
    secret: str = ""

    @classmethod
    def of(cls, auth: Auth | None) -> _Secrets:
        if auth is None:
            return cls()
        named = {"secret": auth.secret_env, **({"user": auth.user_env} if auth.user_env else {})}
        for variable in named.values():
            if not os.environ.get(variable):
                raise SourceError(
                    f"the environment variable {variable}, which `auth` names, is not set. "
                    f"Remedy: set it where Dagster runs; never write the secret itself into the declaration"
                )
        return cls(**{field: os.environ[variable] for field, variable in named.items()})

    def censored(self, message: str) -> str:
        if self.secret:
            in_json = json.dumps(self.secret)[1:-1]
            for form in {self.secret, quote(self.secret, safe=""), quote_plus(self.secret), in_json}:
                message = message.replace(form, "***")
        return message

    def filter(self, record: logging.LogRecord) -> bool:
        """Censor a log record: urllib3 writes whole addresses at its lowest level, and a key may stand in one."""
        record.msg, record.args = self.censored(record.getMessage()), ()
        return True


class _Moment:
    """A moment in a declared text: ISO 8601, or as its format says."""

    def __init__(self, at: datetime, zone: str) -> None:
        self._at = at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))

    def __format__(self, form: str) -> str:
        return self._at.strftime(form) if form else self._at.isoformat().replace("+00:00", "Z")


def _filled(declared: str, part: Part | None, zone: str) -> str:
    if part is None:
        return declared
    moments = {"start": part.start, "end": part.end, "last": part.end - timedelta(microseconds=1)}
    try:
        return declared.format(key=part.key, **{name: _Moment(at, zone) for name, at in moments.items()})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise SourceError(
            f"{declared!r}: {error} is no placeholder. Remedy: use {{start}}, {{end}}, {{last}} or {{key}}, with a "
            "format such as {start:%Y-%m-%d}; write a brace twice to mean itself"
        ) from error


def _client(declared: HttpReader, adapter: HTTPAdapter, secrets: _Secrets) -> RESTClient:
    import requests
    from dlt.common.configuration.specs import RuntimeConfiguration
    from dlt.sources.helpers.requests import Client
    from dlt.sources.helpers.rest_client.client import RESTClient

    retrying = Client(
        request_timeout=declared.timeout,
        raise_for_status=False,
        exceptions=(requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError),
        request_max_attempts=declared.attempts,
        request_backoff_factor=declared.backoff,
        request_max_retry_delay=LONGEST_WAIT_SECONDS,
    )
    session = retrying.session
    session.headers["User-Agent"] = "ml-assets"
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return RESTClient(
        base_url=declared.url,
        headers=dict(declared.headers),
        auth=_authentication(declared.auth, secrets),
        data_selector=declared.rows,
        session=session,
        # Given, so that dlt does not look for its own files.
        config=RuntimeConfiguration(dlthub_telemetry=False),
    )


def _authentication(auth: Auth | None, secrets: _Secrets) -> AuthBase | None:
    from dlt.sources.helpers.rest_client import auth as kinds

    if auth is None:
        return None
    if auth.kind == "bearer":
        return kinds.BearerTokenAuth(token=secrets.secret)
    if auth.kind == "basic":
        return kinds.HttpBasicAuth(username=secrets.user, password=secrets.secret)
    return kinds.APIKeyAuth(name=auth.name, api_key=secrets.secret, location=auth.place)


def _paginator(paging: Paging, total: str | None) -> Any:
    from dlt.sources.helpers.rest_client import paginators

    match paging.kind:
        case "page":
            return paginators.PageNumberPaginator(
                base_page=paging.first, page_param=paging.parameter or "page", total_path=None
            )
        case "offset":

            class RowsPaginator(paginators.OffsetPaginator):
                def update_state(self, response: Response, data: list[Any] | None = None) -> None:
                    # By what came, not by what was asked for: a server may hand out less than that.
                    self.value_step = len(data or ())
                    super().update_state(response, data)

            return RowsPaginator(
                limit=paging.size,
                offset_param=paging.parameter or "offset",
                limit_param=paging.size_parameter,
                total_path=total,
            )
        case "cursor":
            return paginators.JSONResponseCursorPaginator(
                cursor_path=paging.path or "next", cursor_param=paging.parameter or "cursor"
            )
        case "link":
            return paginators.HeaderLinkPaginator()
        case "next":

            class NextPaginator(paginators.JSONLinkPaginator):
                def update_state(self, response: Response, data: list[Any] | None = None) -> None:
                    super().update_state(response, data)
                    # Some APIs end with an empty address.
                    self._next_reference = self._next_reference or None

            return NextPaginator(next_url_path=paging.path or "next")
    return paginators.SinglePagePaginator()


def _adapter(declared: HttpReader, secrets: _Secrets) -> HTTPAdapter:
    """What sends a request: below dlt's repetition, so that the rate and the limits hold for every attempt."""
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        earliest = 0.0

        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            _check_host(request.url or "", declared.url)
            if declared.rate is not None:
                sleep(max(0.0, self.earliest - monotonic()))
                self.earliest = monotonic() + 1 / declared.rate
            # Read here, where a failure is still the attempt's, and bounded.
            response = super().send(request, *args, **{**kwargs, "stream": True})
            with response:
                response._content = _content(response, declared)  # noqa: SLF001 - where requests keeps it
            _check_status(response, declared.url, secrets)
            if response.ok:
                try:
                    body = load_json(response.content)
                except ValueError as error:
                    begins = secrets.censored(response.text[:80])
                    # Most likely cut off, which another attempt may mend.
                    raise requests.ConnectionError(f"it is no whole JSON ({error}) and begins {begins!r}") from error
                # dlt's paginators ask the response, and requests would turn numbers into floats.
                response.json = lambda **_: body  # type: ignore[method-assign]
            return response

    return Adapter()


def _check_host(url: str, declared: str) -> None:
    if urlsplit(url)[:2] != urlsplit(declared)[:2]:
        raise SourceError(
            f"{declared}: its next page is on another host, {urlsplit(url).netloc!r}. "
            "Remedy: declare the address that the pages have; a secret is sent to the declared host only"
        )


def _content(response: Response, declared: HttpReader) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(CHUNK):
        content += chunk
        if len(content) > declared.max_bytes:
            raise SourceError(
                f"{declared.url}: a page is longer than {declared.max_bytes:,} bytes. "
                "Remedy: ask for smaller pages, or raise `max_bytes`; nothing was written"
            )
    return bytes(content)


def _check_status(response: Response, url: str, secrets: _Secrets) -> None:
    """Refuse what no other attempt within a minute can mend; the other failures are dlt's to repeat."""
    status = response.status_code
    wait = seconds_to_wait(response.headers.get("Retry-After", "")) if not response.ok else 0.0
    if wait > LONGEST_WAIT_SECONDS:
        raise SourceError(
            f"{url}: status {status}, the API asks to wait {wait:.0f} s. Remedy: run again then; nothing was written"
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        goal = secrets.censored(response.headers.get("Location", "elsewhere"))
        raise SourceError(f"{url}: status {status}, the API sends on to {goal}. Remedy: declare that address")


REMEDIES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "see whether the secret in the environment is right and has not run out",
    HTTPStatus.FORBIDDEN: "ask for the right to read it",
    HTTPStatus.NOT_FOUND: "mend the address",
    HTTPStatus.TOO_MANY_REQUESTS: "set `rate` to what the API allows, and run again later",
}


def _refusal(response: Response, url: str, secrets: _Secrets) -> str:
    status = response.status_code
    usual = "mend the address or its parameters" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "run again later"
    said = secrets.censored(response.text[:200]).strip()
    return (
        f"{url}: status {status} {response.reason}{f', {said!r}' if said else ''}. "
        f"Remedy: {REMEDIES.get(status, usual)}; nothing was written"
    )


def _words(error: Exception) -> str:
    """What a client's error says, without the objects that it names on the way."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    return f"{type(error).__name__}: {reason if isinstance(reason, BaseException) else inner}"


def _kind(value: object) -> str:
    match value:
        case dict():
            return "JSON object"
        case list():
            return f"list of {len(value)}"
        case None:
            return "null"
        case bool() | str():
            return f"single value ({str(value)[:40]})"
    return type(value).__name__
