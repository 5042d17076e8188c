"""What a team declares about a project, typed: the words in which the component and every builder speak of it.

The classes are Dagster models, so that `dg check yaml` knows them; they only hold values and refuse wrong ones.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
from pydantic import ConfigDict, Field, PositiveInt, field_validator, model_validator

from ml_assets import settings
from ml_assets.core.partitioning import NO_START, Calendar, Grain
from ml_assets.core.tasks import METRICS, Task, watched_metrics
from ml_assets.lake.sql import Table, Window
from ml_assets.sources import http
from ml_assets.sources.databases import DatabaseReader, Postgres, Sqlite
from ml_assets.sources.functions import FunctionReader
from ml_assets.sources.http import HttpReader

if TYPE_CHECKING:
    from collections.abc import Mapping


NAME = re.compile(r"[a-z][a-z0-9_]*")
# What the platform keeps of a project, as assets or as tables of the lake.
TABLES = frozenset({
    "raw", "validated", "quarantine", "features", "profile", "bins", "exploration", "training_set", "model",
    "evaluation", "champion", "predictions", "prediction_profile", "drift", "performance", "decision",
})  # fmt: skip


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


class Partitions(dg.Model, dg.Resolvable):
    """How rows are cut into partitions: by time, in blocks of rows, or not at all."""

    grain: Grain = Field(description="Length of one partition; `block` for rows in an order, `none` for those without.")
    start: str = Field(
        default="",
        description="Key of the first partition: `2017-01`, `2017-01-31` for days and weeks (a Monday), "
        "`2017-01-31-00:00` for hours. Left out without time.",
    )
    time: str = Field(
        default="", description="Column of the schema that holds the row's time; it must lie in the partition."
    )
    timezone: str = Field(
        default="UTC", description="Zone in which days, weeks and months begin, and that local times are meant in."
    )
    rows: PositiveInt = Field(default=1000, description="Rows of a block; the last block may have fewer.")

    @model_validator(mode="after")
    def _fits_its_grain(self) -> Self:
        if self.grain in NO_START:
            if self.time or self.start or self.timezone != "UTC":
                raise ValueError(f"partitions of grain {self.grain} have no time, start or timezone: leave them out")
            return self
        if not self.time or not self.start:
            missing = "start" if self.time else "time"
            raise ValueError(f"partitions of grain {self.grain} need {missing}")
        self.calendar.start_of(self.start)
        return self

    @property
    def calendar(self) -> Calendar:
        """The partitions on their axis."""
        return Calendar(self.grain, self.start or NO_START[self.grain], self.timezone, self.rows)


class Validation(dg.Model, dg.Resolvable):
    """How much may be wrong with a partition."""

    quarantine_limit: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of a range's rows in quarantine above which nothing downstream runs.",
    )


class Training(dg.Model, dg.Resolvable):
    """How a model is trained."""

    estimator: str = Field(description="Import path of a scikit-learn regressor, or classifier, as the task demands.")
    parameters: dict[str, Any] = Field(default={}, description="Arguments of the estimator.")
    window: PositiveInt = Field(description="Partitions in a training window, the test partitions included.")
    test: PositiveInt = Field(
        default=1, description="Newest partitions of the window that are held out to judge the model."
    )
    test_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of rows that is held out instead, by chance, where the window is 1."
    )
    seed: int = Field(default=0, description="Seed of everything random.")
    text: list[str] = Field(
        default=[], description="Columns of features.sql that are read word by word; other text is a category."
    )
    text_features: Literal["tfidf", "counts"] = Field(
        default="tfidf",
        description="What becomes of words, in lower case and without punctuation: weighed by TF-IDF, or counted.",
    )
    stop_words: Literal["english"] | None = Field(default=None, description="Common words that are dropped.")

    @property
    def by_chance(self) -> bool:
        """Whether rows are held out by chance: a single partition has no order of time."""
        return self.window == 1

    @model_validator(mode="after")
    def _leaves_rows_to_learn_from(self) -> Self:
        if self.test >= self.window and not self.by_chance:
            raise ValueError(f"test: {self.test} of {self.window} partitions in the window leave none to learn from")
        return self


class Gate(dg.Model, dg.Resolvable):
    """What a model must reach on its test partitions."""

    metric: Literal[
        "mse", "rmse", "mae", "mape", "r2",
        "log_loss", "brier", "error_rate", "accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc",
        "precision_macro", "recall_macro", "f1_macro",
    ] = Field(description="The metric; it must be one of the task's.")  # fmt: skip
    at_most: float | None = Field(default=None, description="Greatest value that passes.")
    at_least: float | None = Field(default=None, description="Smallest value that passes.")

    @model_validator(mode="after")
    def _demands_something(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError(f"gate {self.metric}: give at_most, at_least or both; without them every model passes")
        return self


class Monitoring(dg.Model, dg.Resolvable):
    """When a statistic of a partition raises an alarm."""

    psi: float = Field(default=0.2, description="Population stability index above which a column alarms.")
    ks: float = Field(default=0.15, description="Kolmogorov-Smirnov statistic above which a numeric column alarms.")
    minimum_rows: int = Field(
        default=300,
        ge=0,
        description="Rows with a value below which a column is measured and does not alarm: few rows scatter. With "
        "the thresholds as they are, a large reference and no drift at all, a number alarms in 32 % of partitions of "
        "60 rows, 4 % of 100, none of 4,000 simulated ones of 200; 26 even categories in 8 % of 200, 0.05 % of 300.",
    )


class Retraining(dg.Model, dg.Resolvable):
    """When a model is trained again."""

    policy: Literal["performance"] = Field(
        default="performance", description="Retrain when the champion's error has grown."
    )
    metric: Literal["mse", "rmse", "mae", "mape", "log_loss", "brier", "error_rate"] | None = Field(
        default=None,
        description="The error that is watched: a mean over rows. By default mape, or log_loss for a classification.",
    )
    tolerance: float = Field(
        default=1.25, gt=1, description="Growth of the error over the champion's test error that is accepted."
    )
    cooldown: int = Field(default=3, ge=0, description="Partitions after a live retraining before the next.")
    minimum_rows: PositiveInt = Field(default=200, description="Labelled rows below which a partition decides nothing.")


@dataclass(frozen=True)
class Project:
    """A declared project: the declaration with its files read and its names resolved.

    Attributes:
        name: letters, digits and underscores; the asset group, the lake's schema and the address of its pages.
        description: what it is for.
        owners: `team:NAME` or e-mail addresses.
        schema: `module:Class` of the pandera model.
        target: the column that is predicted.
        clean_sql, features_sql: the statements.
        task: what the target is predicted as.
        positive: the label, as text, that counts as positive in a binary task; None where the labels tell.
        references: tables that features.sql may read beside `validated`, by name.
    """

    name: str
    description: str
    owners: tuple[str, ...]
    source: Source
    partitions: Partitions
    schema: str
    clean_sql: str
    features_sql: str
    clean_path: str
    features_path: str
    target: str
    validation: Validation
    training: Training
    gates: tuple[Gate, ...]
    monitoring: Monitoring
    retraining: Retraining
    task: Task = "regression"
    positive: str | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ValueError: naming a metric that is none of the task's; a reference whose name is taken; a cursor where
                there is no time; or the file that a source names for two partitions: each would hold the rows of both.
        """
        self._refuse_other_tasks()
        for name in self.references:
            if name in TABLES or not NAME.fullmatch(name):
                raise ValueError(
                    f"references.{name}: this is {'taken by the project itself' if name in TABLES else 'no name'}. "
                    "Remedy: another one of lower-case letters, digits and _, a letter first"
                )
        database = self.source.database
        if database is not None and database.cursor is not None and not self.calendar.has_time:
            raise ValueError(
                f"source.database: the cursor {database.cursor!r} places rows in time, but partitions of grain "
                f"{self.partitions.grain} have none. Remedy: write order_by in place of cursor"
            )
        if not self.source.by_partition:
            return
        if not self.calendar.has_time:
            raise ValueError(
                f"source.files: {self.source.files!r} has strftime codes, but partitions of grain "
                f"{self.partitions.grain} have no time. Remedy: write a glob, such as `sales/*.csv`"
            )
        start = self.start_of(self.first)
        named: dict[str, str] = {}
        year = {"hour": 24 * 365, "day": 365, "week": 52, "month": 12}.get(self.partitions.grain, 0)
        for step in (0, 1, year):
            partition = self.step(start, step)
            file = self.file_of(partition)
            if file in named:
                raise ValueError(
                    f"source.files: {self.source.files!r} names the file {file!r} for the partitions {named[file]} and "
                    f"{self.key_of(partition)}. Remedy: write the date of the partition in it, as in `sales/%Y-%m.csv`"
                )
            named[file] = self.key_of(partition)

    def file_of(self, start: datetime) -> str:
        """The name of the file, or files, of the partition that starts at a moment: strftime codes are local time."""
        return start.replace(tzinfo=UTC).astimezone(self.calendar.zone).strftime(self.source.files)

    def _refuse_other_tasks(self) -> None:
        for gate in self.gates:
            if gate.metric not in METRICS[self.task]:
                raise ValueError(
                    f"gates: {gate.metric} is no metric of a {self.task} task. Remedy: one of "
                    f"{', '.join(METRICS[self.task])}"
                )
        if self.retraining.metric not in {None, *watched_metrics(self.task)}:
            raise ValueError(
                f"retraining.metric: {self.retraining.metric} cannot be watched in a {self.task} task. Remedy: one of "
                f"{', '.join(watched_metrics(self.task))}"
            )
        if self.positive is not None and self.task != "binary":
            raise ValueError(f"positive: {self.positive!r} means nothing in a {self.task} task. Remedy: leave it out")

    @property
    def watched(self) -> str:
        """The metric whose growth is watched and by which versions are compared."""
        return self.retraining.metric or watched_metrics(self.task)[0]

    @property
    def folder(self) -> Path:
        """The source's folder: the part of its path before any strftime code, under the data root."""
        return settings.data_root() / self.source.files.split("%")[0].rpartition("/")[0]

    def table(self, name: str) -> Table:
        """A table of this project."""
        return Table(self.name, name)

    @cached_property
    def calendar(self) -> Calendar:
        """The project's partitions."""
        return self.partitions.calendar

    @property
    def first(self) -> str:
        """The key of the first partition."""
        return self.calendar.start

    def key_of(self, start: datetime) -> str:
        """The key of the partition that starts at a moment."""
        return self.calendar.key_of(start)

    def start_of(self, key: str) -> datetime:
        """The first moment of a partition, naive UTC.

        Raises:
            ValueError: if the key is no partition's.
        """
        try:
            return self.calendar.start_of(key)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def step(self, start: datetime, partitions: int) -> datetime:
        """The start of the partition so many after (or before) another."""
        return self.calendar.step(start, partitions)

    def window(self, first: str, last: str) -> Window:
        """The window of a range of keys, both ends included."""
        return Window(self.start_of(first), self.step(self.start_of(last), 1))

    def newest_ended(self, now: datetime) -> datetime | None:
        """The start of the newest partition that has ended, or None while the first has not. Only where there is time.

        Args:
            now: naive UTC.
        """
        newest = self.step(self.calendar.holding(now), -1)
        return newest if newest >= self.start_of(self.first) else None

    def starts(self, window: Window) -> list[datetime]:
        """The starts of a window's partitions, in order."""
        found, start = [], window.start
        while start < window.end:
            found.append(start)
            start = self.step(start, 1)
        return found

    @property
    def origin(self) -> str:
        """SHA-256 over all that decides which rows the source gives for a partition, short of the source itself.

        Its declaration, the partitions, the data folder, what stands in the environment variables that it names (the
        value is only hashed), and the code of its function.

        Raises:
            SourceError: the function does not import.
        """
        values = [os.environ.get(name, "") for name in self.source.variables]
        code = FunctionReader(self.source.function).code if self.source.function else ""
        declared = (self.source.model_dump_json(), self.partitions.model_dump_json())
        return digest(*declared, str(settings.data_root()), code, *values)

    @cached_property
    def declaration_hash(self) -> str:
        """SHA-256 over everything declared that is not SQL: stands in a model's record."""
        parts = [
            self.source,
            self.partitions,
            self.validation,
            self.training,
            self.monitoring,
            self.retraining,
            *self.gates,
        ]
        positive = self.positive or ""
        declared = [part.model_dump_json() for part in parts]
        declared += [f"{name} {reference.model_dump_json()}" for name, reference in sorted(self.references.items())]
        return digest(self.schema, self.target, self.task, positive, *declared)

    @cached_property
    def sql_hash(self) -> str:
        """SHA-256 over both statements."""
        return digest(self.clean_sql, self.features_sql)


def digest(*parts: str) -> str:
    """SHA-256 over some texts, told apart."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def load_object(path: str) -> Any:
    """Import `module:name`.

    Raises:
        ValueError: naming what does not import.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path!r} does not import: {error}. Expected `module:name`") from error
