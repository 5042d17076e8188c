"""A declared project: its sections (`ml_assets.declared`) with the files read and the names resolved.

Every builder speaks of a project in these words.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from dataclasses import dataclass, field, fields
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.core.tasks import METRICS, Task, watched_metrics
from ml_assets.declared.alerts import Alerts
from ml_assets.declared.evaluation import Evaluation
from ml_assets.declared.promotion import Promotion
from ml_assets.declared.serving import Serving
from ml_assets.declared.tracking import Tracking
from ml_assets.lake.sql import Table, Window
from ml_assets.sources.functions import FunctionReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from ml_assets.core.partitioning import Calendar
    from ml_assets.declared.leakage import Leakage
    from ml_assets.declared.modelling import Gate, Training
    from ml_assets.declared.monitoring import Monitoring
    from ml_assets.declared.retraining import Retraining
    from ml_assets.declared.rows import Partitions, Validation
    from ml_assets.declared.sources import Reference, Source


NAME = re.compile(r"[a-z][a-z0-9_]*")
# What the platform keeps of a project, as assets or as tables of the lake.
TABLES = frozenset({
    "raw", "raw_sources", "validated", "validated_code", "quarantine", "features", "features_code", "profile", "bins",
    "exploration",
    "training_set", "model", "evaluation", "champion", "predictions", "prediction_profile", "drift", "causes",
    "performance", "label_looks", "decision", "partitioning", "replay", "requests", "skew",
})  # fmt: skip


def _nothing_declared() -> Leakage:
    from ml_assets.declared.leakage import Leakage  # noqa: PLC0415 - Dagster models, which a page does not need

    return Leakage()


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
        tracking: where versions are told of.
        alerts: of what people are told at once.
        serving: how predictions are served, and what of the requests is kept.
        leakage: what is not known at prediction, and which findings of the leakage gate are let pass.
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
    tracking: Tracking = field(default_factory=Tracking)
    leakage: Leakage = field(default_factory=_nothing_declared)
    evaluation: Evaluation = field(default_factory=Evaluation)
    promotion: Promotion = field(default_factory=Promotion)
    alerts: Alerts = field(default_factory=Alerts)
    serving: Serving = field(default_factory=Serving)

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
        search, split = self.training.search, self.training.split
        if search is not None and search.metric not in {None, *METRICS[self.task]}:
            raise ValueError(
                f"training.search.metric: {search.metric} is no metric of a {self.task} task. Remedy: one of "
                f"{', '.join(METRICS[self.task])}"
            )
        if split.kind == "stratified" and self.task == "regression" and split.by in {None, self.target}:
            raise ValueError(
                f"training.split: the values of {self.target!r} are no strata in a regression. Remedy: name a column "
                "of features.sql in by, or kind: random"
            )
        costs = self.evaluation.costs
        costly = "regression" if costs is not None and costs.of_values else "binary"
        if costs is not None and self.task != costly:
            fields = "over and under" if costly == "regression" else "false_positive and false_negative"
            raise ValueError(f"evaluation.costs: {fields} mean nothing in a {self.task} task. Remedy: leave them out")
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
            self.evaluation,
            self.monitoring,
            self.retraining,
            self.leakage,
            self.promotion,
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


# Read from files, or told by the name of a folder.
_NOT_DECLARED = frozenset({"name", "clean_sql", "features_sql", "clean_path", "features_path"})


def declared(project: Project) -> dict[str, Any]:
    """A project's declaration as JSON values, as the component reads it; of sources only what counts after `raw`."""
    parts = {one.name: _plain(getattr(project, one.name)) for one in fields(project) if one.name not in _NOT_DECLARED}
    source = project.source.model_dump(mode="json", include={"ignore_in_duplicates"})
    return parts | {"source": source, "references": list(project.references)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


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
