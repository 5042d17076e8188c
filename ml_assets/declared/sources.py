"""Where rows come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
from pydantic import ConfigDict, Field, PositiveInt, field_validator, model_validator

from ml_assets import settings
from ml_assets.sources import http
from ml_assets.sources.databases import DatabaseReader
from ml_assets.sources.http import HttpReader
from ml_assets.sources.postgres import Postgres
from ml_assets.sources.sqlite import Sqlite

if TYPE_CHECKING:
    from datetime import datetime


class Publisher(dg.Model, dg.Resolvable):
    """An open-data publisher that the source can be downloaded from (data.gov.sg)."""

    dataset: str = Field(description="The publisher's id of the data set.")


class Dialect(dg.Model, dg.Resolvable):
    """How the text of a delimited file is to be read."""

    delimiter: str | None = Field(default=None, description="One character between fields; `,`, or a tab for TSV.")
    quote: str | None = Field(default='"', description="Character around fields; null where quotes mean nothing.")
    escape: str | None = Field(default=None, description="Character before a quote that is part of a quoted field.")
    header: bool = Field(default=True, description="Whether the first record names the columns.")
    columns: list[str] = Field(default=[], description="Names of the columns, where there is no header.")
    skip: int = Field(default=0, ge=0, description="Lines before the header, or before the first record.")
    encoding: str = Field(default="utf-8", description="Encoding of the text: `utf-8`, `latin-1`, `utf-16` and others.")
    trim_header: bool = Field(default=True, description="Whether blanks around the names in the header are cut off.")
    blank_lines: Literal["quarantine", "skip"] = Field(
        default="quarantine", description="What becomes of lines without any value; skipped ones are counted."
    )


class Database(dg.Model, dg.Resolvable):
    """A table or query of PostgreSQL or SQLite."""

    # Who writes a secret where a variable's name belongs shall not find it in a log.
    model_config = ConfigDict(hide_input_in_errors=True)

    url_env: str | None = Field(
        default=None,
        description="Environment variable that holds PostgreSQL's address, `postgresql://user:password@host/name`.",
    )
    path: str | None = Field(default=None, description="Path of a SQLite database under the data folder.")
    table: str | None = Field(default=None, description="Table or view: `orders`, in PostgreSQL also `sales.orders`.")
    query: str | None = Field(default=None, description="A SELECT statement, in place of a table.")
    cursor: str | None = Field(
        default=None,
        description="Column that places a row in a partition: a date, a timestamp, seconds since 1970, or a text of "
        "ISO 8601. Rows where it tells no time of the project come with the first partition, to be quarantined.",
    )
    zone: str | None = Field(
        default=None,
        description="Time zone of cursor values that have none; `partitions.timezone` where it is left out.",
    )
    order_by: list[str] = Field(
        default=[], description="Columns that order the rows where there is no cursor, such as the primary key."
    )

    @field_validator("path")
    @classmethod
    def _is_relative(cls, value: str | None) -> str | None:
        return value if value is None else _under_the_data_folder("path", value)

    @field_validator("url_env")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        return value if value is None else _variable("url_env", value)

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        return value if value is None else _zone(value)

    @model_validator(mode="after")
    def _is_one_relation_of_one_database(self) -> Self:
        if (self.url_env is None) == (self.path is None):
            raise ValueError("database: give either url_env (PostgreSQL) or path (SQLite)")
        if (self.table is None) == (self.query is None):
            raise ValueError("database: give either table or query")
        if self.cursor is None and not self.order_by:
            raise ValueError("database: give cursor, or order_by where rows have no time: their order must be fixed")
        if self.cursor is not None and self.order_by:
            raise ValueError("database: rows with a cursor are ordered by it; remove order_by")
        return self

    def reader(self, first: datetime, timezone: str) -> DatabaseReader:
        """The reader of it.

        Args:
            first: the start of the project's first partition, naive UTC.
            timezone: the project's.
        """
        root, path = settings.data_root(), self.path or ""
        engine = Postgres(self.url_env) if self.url_env else Sqlite(root / path, path, root)
        where = self.url_env or self.path
        return DatabaseReader(
            name=f"{where} {self.table or 'query'}",
            engine=engine,
            table=self.table,
            query=self.query,
            cursor=self.cursor,
            first=first,
            zone=self.zone or timezone,
            order_by=tuple(self.order_by),
        )


class Paging(dg.Model, dg.Resolvable):
    """How an API hands out its pages."""

    kind: Literal["none", "page", "offset", "cursor", "link", "next"] = Field(
        default="none",
        description="One page; by its number; by the row's number; by a value that the page before tells; by the "
        "header `Link`; or by an address that the page before tells.",
    )
    parameter: str | None = Field(
        default=None, description="Query parameter of the number, offset or cursor; `page`, `offset`, `cursor`."
    )
    path: str | None = Field(
        default=None, description="JSONPath to the cursor (`cursor`) or to the next address (`next`)."
    )
    first: int = Field(default=1, ge=0, description="Number of the first page, for `page`.")
    size: PositiveInt = Field(default=100, description="Rows of a page, for `offset`.")
    size_parameter: str = Field(default="limit", description="Query parameter of the size, for `offset`.")

    @model_validator(mode="after")
    def _knows_where_the_next_page_is(self) -> Self:
        if self.kind in {"cursor", "next"} and self.path is None:
            raise ValueError(f"paging by {self.kind}: give path, the JSONPath to it, such as `$.meta.next`")
        if self.path is not None:
            _json_path("paging.path", self.path)
        return self


class Auth(dg.Model, dg.Resolvable):
    """How to identify oneself to an API; secrets stay in environment variables."""

    # Who writes a secret where a variable's name belongs shall not find it in a log.
    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["bearer", "basic", "api_key"] = Field(description="A token, a user with a password, or a key.")
    secret_env: str = Field(description="Environment variable that holds the token, password or key.")
    user_env: str | None = Field(default=None, description="Environment variable that holds the user, for `basic`.")
    name: str = Field(default="X-API-Key", description="Header or query parameter of the key, for `api_key`.")
    place: Literal["header", "query"] = Field(default="header", description="Where the key stands, for `api_key`.")

    @field_validator("secret_env", "user_env")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        return value if value is None else _variable("auth", value)

    @model_validator(mode="after")
    def _has_a_user(self) -> Self:
        if (self.kind == "basic") != (self.user_env is not None):
            raise ValueError("auth: give user_env with basic, and with basic only")
        return self


class Http(dg.Model, dg.Resolvable):
    """An HTTP API that answers in JSON."""

    # Who writes a secret where a variable's name belongs shall not find it in a log.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        description="Address, `https://…`. In it and in `params` stand for a partition `{start}`, `{end}` (the first "
        "moment after it), `{last}` (the last in it), as in `{start:%Y-%m-%d}`, and `{key}`."
    )
    params: dict[str, str] = Field(default={}, description="Query parameters.")
    headers: dict[str, str] = Field(default={}, description="Further headers; secrets belong under `auth`.")
    rows: str = Field(default="$", description="JSONPath to the rows of a page; `$` where the answer is their list.")
    total: str | None = Field(default=None, description="JSONPath to the number of all rows, which must then all come.")
    paging: Paging = Field(default=Paging(), description="How the API hands out its pages.")
    auth: Auth | None = Field(default=None, description="How to identify oneself.")
    zone: str | None = Field(
        default=None,
        description="Time zone in which `{start}`, `{end}` and `{last}` are written; `partitions.timezone` where it is "
        "left out.",
    )
    rate: float | None = Field(default=None, gt=0, description="Requests per second at most.")
    timeout: float = Field(default=30, gt=0, description="Seconds to wait for a connection, and for more of an answer.")
    attempts: PositiveInt = Field(default=5, description="How often a request is made before it is given up.")
    max_pages: PositiveInt = Field(default=10_000, description="Pages of one partition at most.")
    max_bytes: PositiveInt = Field(default=64 * 1024 * 1024, description="Bytes of one page at most, unpacked.")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise ValueError("url: it must be an address of the form https://host/path")
        if "@" in parts.netloc:
            # Not repeated here: this may end in a log.
            raise ValueError("url: it holds a user or password. Remedy: name environment variables under auth")
        return value

    @field_validator("rows", "total")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        return value if value is None else _json_path("rows, total", value)

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        return value if value is None else _zone(value)

    @field_validator("headers")
    @classmethod
    def _hold_no_secret(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name.lower() in {"authorization", "proxy-authorization", "cookie"}:
                raise ValueError(f"headers: {name} is a secret. Remedy: name an environment variable under auth")
        return value

    def reader(self, *, timed: bool, timezone: str) -> HttpReader:
        """The reader of it.

        Args:
            timed: whether rows are asked for partition by partition.
            timezone: the project's.
        """
        simple = self.model_dump(exclude={"paging", "auth", "zone"})
        return HttpReader(
            **simple,
            paging=http.Paging(**self.paging.model_dump()),
            auth=None if self.auth is None else http.Auth(**self.auth.model_dump()),
            timed=timed,
            zone=self.zone or timezone,
        )


class Source(dg.Model, dg.Resolvable):
    """Where raw rows come from: files, a database, an HTTP API or a Python function."""

    files: str = Field(
        default="",
        description="Path of the files under the data folder, absolute, or in an object store (`s3://…`); with "
        "strftime codes one partition each (`sales/%Y-%m.csv`), else all hold rows of all (`sales/*.csv.gz`).",
    )
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = Field(
        default=None, description="Format of the files; by the ending of their name where it is left out."
    )
    dialect: Dialect = Field(default=Dialect(), description="How delimited text is to be read.")
    database: Database | None = Field(default=None, description="A table or query of a database, instead of files.")
    http: Http | None = Field(default=None, description="An HTTP API, instead of files.")
    function: str = Field(
        default="",
        description="`module:function` that returns the rows between two moments, instead of files: dicts, or a frame.",
    )
    time: str = Field(
        default="",
        description="SQL over the source's columns that yields a row's time, where one file holds several partitions: "
        "a column's name, or `strptime(sold, '%d/%m/%Y')`. The column `partitions.time` where it is left out.",
    )
    lookback: int = Field(
        default=3,
        ge=0,
        description="Newest partitions that the schedule compares with the source every day, for late and corrected "
        "rows. `ml-assets catch-up` compares all.",
    )
    ignore_in_duplicates: list[str] = Field(
        default=[], description="Columns, such as a running number, that do not tell two rows apart."
    )
    publisher: Publisher | None = Field(default=None, description="Where `ml-assets data` downloads from.")
    simulation: str | None = Field(
        default=None, description="`module:function` that writes simulated files where nothing else can be had."
    )

    @property
    def kind(self) -> str:
        """What Dagster shows as the kind of the source."""
        if self.database is not None:
            return "postgres" if self.database.url_env else "sqlite"
        if self.http is not None:
            return "api"
        return "python" if self.function else self.format or "csv"

    @property
    def words(self) -> str:
        """What it is, in a word or two."""
        if self.database is not None:
            return f"{self.database.url_env or self.database.path} {self.database.table or 'query'}"
        return self.http.url if self.http is not None else self.function or self.files

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that it names."""
        auth = self.http.auth if self.http else None
        named = [self.database and self.database.url_env, auth and auth.secret_env, auth and auth.user_env]
        return tuple(name for name in named if name)

    @property
    def by_partition(self) -> bool:
        """Whether files are one partition each."""
        return "%" in self.files

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = {"files": self.files, "database": self.database, "http": self.http, "function": self.function}
        given = [name for name, value in kinds.items() if value]
        if len(given) != 1:
            raise ValueError(
                f"source: expected exactly one of {', '.join(kinds)}; given are {' and '.join(given) or 'none'}"
            )
        return self

    @field_validator("files")
    @classmethod
    def _stays_below(cls, value: str) -> str:
        if ".." in Path(value).parts:
            raise ValueError(f"files: {value!r} must be a path without `..`, under the data folder or absolute")
        return value


class Reference(dg.Model, dg.Resolvable):
    """A table of files that features.sql may read beside `validated`, by its name: whole, the same for all partitions.

    Every column is text, as it came, with `_source` and `_row`.
    """

    files: str = Field(
        description="Path of the files under the data folder, absolute, or in an object store (`s3://…`); globs too."
    )
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = Field(
        default=None, description="Format of the files; by the ending of their name where it is left out."
    )
    dialect: Dialect = Field(default=Dialect(), description="How delimited text is to be read.")

    @field_validator("files")
    @classmethod
    def _stays_below(cls, value: str) -> str:
        if ".." in Path(value).parts or "%" in value:
            raise ValueError(
                f"files: {value!r} must be a path without `..` and strftime codes: a reference has no partitions"
            )
        return value


def _under_the_data_folder(field: str, value: str) -> str:
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError(f"{field}: {value!r} must be a path under the data folder, without `..`")
    return value


def _variable(field: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        # Not repeated here: it may be the secret itself.
        raise ValueError(f"{field}: it must be the NAME of an environment variable, such as SALES_DB, not its value")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"zone: {value!r} is no time zone. Remedy: write one such as `Europe/Berlin`, or `UTC`"
        ) from error
    return value


def _json_path(field: str, value: str) -> str:
    if not value.startswith("$"):
        raise ValueError(f"{field}: {value!r} is no JSONPath. Remedy: begin with `$`, as in `$.data.rows`")
    return value
