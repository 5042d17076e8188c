"""What a team declares about a project, typed: the words in which the component and every builder speak of it.

The classes are Dagster models, so that `dg check yaml` knows them; they only hold values and refuse wrong ones.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
from pydantic import Field, PositiveInt, field_validator, model_validator

from ml_assets import settings
from ml_assets.core.partitioning import NO_START, Calendar, Grain
from ml_assets.lake.sql import Table, Window

METRICS = ("mse", "rmse", "mae", "mape", "r2")


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
    trim_header: bool = Field(default=False, description="Whether blanks around the names in the header are cut off.")
    blank_lines: Literal["quarantine", "skip"] = Field(
        default="quarantine", description="What becomes of lines without any value; skipped ones are counted."
    )


class Source(dg.Model, dg.Resolvable):
    """Where raw rows come from."""

    files: str = Field(
        description="Path of a partition's CSV file under the data folder, with strftime codes: `sales/%Y-%m.csv`."
    )
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = Field(
        default=None, description="Format of the files; by the ending of their name where it is left out."
    )
    dialect: Dialect = Field(default=Dialect(), description="How delimited text is to be read.")
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
        return self.format or "csv"

    @property
    def words(self) -> str:
        """What it is, in a word or two."""
        return self.files

    @field_validator("files")
    @classmethod
    def _is_relative(cls, value: str) -> str:
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise ValueError(f"files: {value!r} must be a path under the data folder, without `..`")
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

    estimator: str = Field(description="Import path of a scikit-learn regressor.")
    parameters: dict[str, Any] = Field(default={}, description="Arguments of the estimator.")
    window: PositiveInt = Field(description="Partitions in a training window, the test partitions included.")
    test: PositiveInt = Field(description="Newest partitions of the window that are held out to judge the model.")
    seed: int = Field(default=0, description="Seed of everything random.")

    @model_validator(mode="after")
    def _leaves_rows_to_learn_from(self) -> Self:
        if self.test >= self.window:
            raise ValueError(f"test: {self.test} of {self.window} partitions in the window leave none to learn from")
        return self


class Gate(dg.Model, dg.Resolvable):
    """What a model must reach on its test partitions."""

    metric: Literal["mse", "rmse", "mae", "mape", "r2"] = Field(description="The metric.")
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
    metric: Literal["mse", "rmse", "mae", "mape"] = Field(default="mape", description="The error that is watched.")
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

    def __post_init__(self) -> None:
        """Refuse a source that names one file for two partitions: each would hold the rows of both.

        Raises:
            ValueError: naming the file and the partitions.
        """
        if "%" not in self.source.files:
            return
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
        return digest(self.schema, self.target, *(part.model_dump_json() for part in parts))

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
