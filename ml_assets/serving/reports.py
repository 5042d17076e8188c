"""Evidently's report on a window: rendered when somebody asks for it, kept on the disk by the content it depends on.

Evidently writes the values of the data into a script as they are, so a category `</script>…` would become part of the
page: they are escaped here, and the page is served in a sandbox. Its own thresholds decide nothing in this platform.
"""

from __future__ import annotations

import hashlib
import html
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

from ml_assets.core.files import replace_file
from ml_assets.core.tasks import as_number
from ml_assets.core.training import as_inputs, feature_kinds
from ml_assets.lake.connection import columns_of, table_exists
from ml_assets.lake.sql import quoted
from ml_assets.project import digest
from ml_assets.serving.queries import read_statistics
from ml_assets.serving.side_by_side import as_table, of_evidently, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import polars as pl

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version

# Evidently's time and memory grow with the rows; the statistics of this many are within a few per cent of all.
SAMPLE = 5_000
SEED = 20_170_101
PREDICTION = "prediction"
STYLE = """<style>
.ml-assets { font: 14px/1.5 system-ui, sans-serif; margin: 12px 16px; padding: 4px 12px; border-left: 4px solid #b4471f;
  background: #fff; color: #202328 }
.ml-assets td, .ml-assets th { padding: 0 12px 0 0; text-align: left; font-variant-numeric: tabular-nums }
</style>"""


@dataclass(frozen=True)
class Against:
    """A window that another is held against: its name, its rows or a sample of them, and how many it has."""

    name: str
    sample: pl.DataFrame
    rows: int


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        project: the project.
        partition: the partition's key, or the ends of a window, `2024-01..2024-03`.
        version: the reference is what this version was trained on; None where it is a window.
        current: the rows, or a sample of them: features, the target, and `prediction` where it is known.
        rows: how many rows there are.
        warning: what must be said of the data's origin, or None.
        against: the window that is the reference; None with a version.
        ours: the platform's own statistics of the same: (column, name) → value.
    """

    project: Project
    partition: str
    version: Version | None
    current: pl.DataFrame
    rows: int
    warning: str | None
    against: Against | None = None
    ours: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """A hash over everything that the report depends on."""
        return digest(
            _content(self.current),
            str(self.rows),
            *((self.version.artefact, self.version.training_set.content_hash) if self.version else ()),
            *((_content(self.against.sample), str(self.against.rows)) if self.against else ()),
            str(sorted(self.ours.items())),
            self.warning or "",
            version_of("evidently"),
        )[:16]

    @property
    def name(self) -> str:
        """What it is about, without what that consists of: a report of the same name takes its place."""
        reference = self.against.name if self.against else f"v{self.version.number}" if self.version else ""
        return f"{self.partition}~{reference}"


class Reports:
    """The reports in a folder. One is rendered at a time; whoever asks for the same one meanwhile waits for it.

    Args:
        folder: holds `<project>/<partition>~<reference>-<key>.html`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # One thread: a report takes seconds of processor time and hundreds of megabytes, and pages come first.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evidently")

    def find(self, subject: Subject) -> str | None:
        """The report's HTML, if it has been made."""
        try:
            return self._path(subject).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def make(self, subject: Subject, render: Callable[[Subject], str]) -> Future[str]:
        """Make a report, unless somebody has done so by the time that it is its turn.

        Args:
            subject: what it is about.
            render: makes its HTML; called in another thread.
        """
        return self._pool.submit(self._make, subject, render)

    def close(self) -> None:
        """Make nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _path(self, subject: Subject) -> Path:
        return self.folder / subject.project.name / f"{subject.name}-{subject.key}.html"

    def _make(self, subject: Subject, render: Callable[[Subject], str]) -> str:
        found = self.find(subject)
        if found is not None:
            return found
        content = render(subject)
        path = self._path(subject)
        replace_file(path, content)
        for outdated in path.parent.glob(f"{subject.name}-*.html"):
            if outdated != path:
                outdated.unlink(missing_ok=True)
        return content


def read_subject(
    cursor: duckdb.DuckDBPyConnection, registry: Registry, project: Project, start: datetime, warning: str | None
) -> Subject | None:
    """The rows of a partition with their predictions; None where no version has scored it.

    Args:
        cursor: a read transaction.
        registry: where the versions are.
        project: the project.
        start: the partition's start.
        warning: what must be said of the data's origin.
    """
    features, predictions = project.table("features"), project.table("predictions")
    if not table_exists(cursor, predictions):
        return None
    scored = f"{features.path} JOIN {predictions.path} USING (_partition, _source, _row) WHERE _partition = ?"
    number, rows = cursor.execute(f"SELECT max(version), count(*) FROM {scored}", [start]).fetchone() or (None, 0)
    if number is None:
        return None
    version = registry.version(project.name, number)
    present = columns_of(cursor, features)
    columns = ", ".join(quoted(name) for name in (*version.features, version.target) if name in present)
    current = cursor.execute(f"SELECT {columns}, {PREDICTION} FROM {scored} {sampled()}", [start]).pl()
    statistics = read_statistics(cursor, project, start)
    ours = shared((one.column, one.name, one.value) for one in statistics if one.value is not None)
    return Subject(project, project.key_of(start), version, current, rows, warning, ours=ours)


def render(subject: Subject, lake: Lake, registry: Registry) -> str:
    """Make a report with Evidently: some rows against those that a version was trained on, as it saw them, or others.

    The platform's own numbers stand above it, beside those of Evidently that say the same.
    """
    current, reference, said = _sides(subject, lake, registry)
    kinds = _kinds(subject, reference)
    texts = [name for name, kind in kinds.items() if kind == "text"]
    kinds = {name: kind for name, kind in kinds.items() if kind != "text"}
    # Evidently fails on a column without values: a label that has not come yet, a feature that is gone.
    compared = {name: kind for name, kind in kinds.items() if _has_values(current, name)}
    compared = {name: kind for name, kind in compared.items() if _has_values(reference, name)}
    said += " The tests and thresholds below are Evidently's own; no decision rests on them."
    lines = [subject.warning, said] if subject.warning else [said]
    left_out = [name for name in kinds if name not in compared]
    if left_out:
        lines.append(f"Left out, because there are no values to compare: {', '.join(left_out)}.")
    if texts:
        lines.append(
            f"Left out, because it is text: {', '.join(texts)}. The platform's own statistics count its length."
        )
    theirs = of_evidently(as_inputs(current, compared), as_inputs(reference, compared), compared)
    return finish(evidently_html(current, reference, compared), lines, as_table(subject.ours, theirs))


def _sides(subject: Subject, lake: Lake, registry: Registry) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """The rows, those that they are held against, both with predictions where there are any, and what is said of them.

    Raises:
        RegistryError: if the version cannot predict rows that nobody has predicted.
    """
    import polars as pl

    project, version, against = subject.project, subject.version, subject.against
    about = f"{project.name}, {subject.partition}: {_stated(subject.current.height, subject.rows)}, against"
    if against is not None:
        return (
            subject.current, against.sample,
            f"{about} {_stated(against.sample.height, against.rows)} of {against.name}.",
        )  # fmt: skip
    if version is None:
        raise ValueError(f"{about} nothing: a report needs a version or a window to hold it against")
    train = version.training_set.train
    table = project.table("features").at(version.training_set.snapshot)
    window = project.window(train[0], train[-1])
    with lake.reader() as cursor:
        counted = cursor.execute(f"SELECT count(*) FROM {table} WHERE {window.condition()}").fetchone()
        reference = cursor.execute(f"FROM {table} WHERE {window.condition()} {sampled()}").pl()

    def predicted(rows: pl.DataFrame) -> pl.DataFrame:
        if PREDICTION in rows.columns:
            return rows
        return rows.with_columns(pl.Series(PREDICTION, as_number(registry.predict(version, rows))))

    learnt = "learnt from or was judged on" if version.training_set.test_share else "learnt from"
    said = (
        f"{about} {_stated(reference.height, counted[0] if counted else 0)} that version {version.number} {learnt} "
        f"({train[0]} … {train[-1]})."
    )
    return predicted(subject.current), predicted(reference), said


def _kinds(subject: Subject, reference: pl.DataFrame) -> dict[str, str]:
    """Column → kind: the version's features, or what the rows look like; the target, and the prediction."""
    project, version = subject.project, subject.version
    target, task = (version.target, version.task) if version else (project.target, project.task)
    if version is not None:
        features = dict(version.features)
    else:
        schema = {name: kind for name, kind in reference.schema.items() if name != PREDICTION}
        features = feature_kinds(schema, target=target, time=project.partitions.time or None, task=task)
    return features | {target: "number" if task == "regression" else "category", PREDICTION: "number"}


def evidently_html(current: pl.DataFrame, reference: pl.DataFrame, kinds: Mapping[str, str]) -> str:
    """Evidently's data drift report as it makes it."""
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(
        numerical_columns=[name for name, kind in kinds.items() if kind != "category"],
        categorical_columns=[name for name, kind in kinds.items() if kind == "category"],
    )
    made = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(as_inputs(current, kinds), data_definition=definition),
        Dataset.from_pandas(as_inputs(reference, kinds), data_definition=definition),
    )
    return str(made.get_html_str(as_iframe=False))


def finish(report: str, lines: list[str], table: str = "") -> str:
    """Escape the data in Evidently's page, and put some lines and a table above the report."""
    # The data are JSON on one line each, so that only the end of their script starts a line with `</script>`; JSON has
    # `<` within texts alone, where the escaped form means the same.
    before, opening, rest = report.partition("<script>\n    var ")
    data, closing, after = rest.partition("\n</script>")
    head, body, content = after.partition("<body>")
    if not (opening and closing and body):
        raise ValueError("Evidently's page is made in another way than its version 0.7.23 does: it cannot be made safe")
    escaped = data.replace("<", "\\u003c")
    note = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return f'{before}{opening}{escaped}{closing}{head}{STYLE}{body}<div class="ml-assets">{note}{table}</div>{content}'


def sampled() -> str:
    """The end of a statement: rows as good as random and always the same, however many threads read them."""
    return f"ORDER BY hash(_source, _row, {SEED}), _source, _row LIMIT {SAMPLE}"


def _content(rows: pl.DataFrame) -> str:
    return hashlib.sha256(rows.write_csv().encode()).hexdigest()


def _has_values(rows: pl.DataFrame, name: str) -> bool:
    return name in rows.columns and rows[name].null_count() < rows.height


def _stated(sampled: int, rows: int) -> str:
    return f"all {rows:,} rows" if sampled == rows else f"a fixed random sample of {sampled:,} of the {rows:,} rows"
