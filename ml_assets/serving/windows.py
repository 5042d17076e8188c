"""Drift of any window against any other, or against what any version learnt from: read from profiles, never from rows.

Profiles add up, so the profile of a window is the sum of its partitions'. The rows are read for Evidently's page alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_assets.core.drift import drift
from ml_assets.core.profiles import add_up, from_frame
from ml_assets.lake.connection import columns_of, table_exists
from ml_assets.lake.profiling import read_bins
from ml_assets.lake.sql import quoted
from ml_assets.lake.tables import read, window_of
from ml_assets.serving.numbers import number_in
from ml_assets.serving.reports import PREDICTION, Against, Subject, sampled
from ml_assets.serving.side_by_side import shared

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from ml_assets.core.drift import Statistic
    from ml_assets.core.profiles import Counts
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see compared.

    Attributes:
        project: the project.
        first, last: keys of the window's ends, both included.
        version: against what this version learnt from; or None.
        against: keys of the ends of the window to hold it against; None with a version.
    """

    project: Project
    first: str
    last: str
    version: Version | None
    against: tuple[str, str] | None

    @property
    def label(self) -> str:
        """The window."""
        return _label(self.first, self.last)

    @property
    def reference(self) -> str:
        """What it is held against, as an address says it."""
        if self.against is not None:
            return "..".join(self.against)
        return f"version:{self.version.number}" if self.version else ""

    @property
    def title(self) -> str:
        """What it is held against, for people."""
        if self.version is None:
            return self.reference
        train = self.version.training_set.train
        return f"what version {self.version.number} learnt from ({train[0]} … {train[-1]})"


def parse(project: Project, registry: Registry, first: str, last: str, against: str) -> Asked:
    """What an address asks for.

    Args:
        project: the project.
        registry: where its versions are.
        first: key of the window's first partition.
        last: of its last; the first where it is empty.
        against: `version:N`, or `KEY..KEY`.

    Raises:
        ValueError: saying what is wrong, and what it looks like.
    """
    last = last or first
    _require_order(project, first, last)
    kind, _, number = against.partition(":")
    if kind == "version":
        there = registry.numbers(project.name)
        found = number_in(number)
        if found is None or found not in there:
            raise ValueError(f"against={against[:40]}: there is no such version. There are: {_listed(there)}")
        return Asked(project, first, last, registry.version(project.name, found), None)
    ends = against.split("..")
    if len(ends) > 2 or not ends[0]:  # noqa: PLR2004 - a window has two ends
        raise ValueError(f"against={against}: expected version:N, or KEY..KEY as in {project.first}..{project.first}")
    _require_order(project, ends[0], ends[-1])
    return Asked(project, first, last, None, (ends[0], ends[-1]))


def compare(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> list[Statistic]:
    """The statistics of a window against its reference, from profiles; none where there are none of either.

    Of columns whose bins were chosen again since the version was trained, nothing can be said.
    """
    project, version = asked.project, asked.version
    bins = read_bins(cursor, project.table("bins"))
    current = _profile(cursor, asked, asked.first, asked.last)
    if version is None:
        first, last = asked.against or (asked.first, asked.last)
        return drift(_profile(cursor, asked, first, last), current, bins)
    chosen = version.training_set
    then = read_bins(cursor, project.table("bins"), chosen.snapshot)
    learnt = _profile(cursor, asked, chosen.train[0], chosen.train[-1], chosen.snapshot)
    reference = {name: counts for name, counts in learnt.items() if then.get(name) == bins.get(name)}
    return drift(reference, current, bins)


def read_rows(cursor: duckdb.DuckDBPyConnection, asked: Asked, warning: str | None) -> Subject | None:
    """The rows of a window and of its reference, for Evidently; None where either has none.

    Args:
        cursor: a read transaction.
        asked: what is compared.
        warning: what must be said of the data's origin.
    """
    project = asked.project
    if not table_exists(cursor, project.table("features")):
        return None
    found = [_rows(cursor, asked, *ends) for ends in ((asked.first, asked.last), asked.against) if ends]
    if not all(rows for _, rows in found):
        return None
    (current, rows), *others = found
    against = Against(asked.reference, *others[0]) if others else None
    ours = shared((one.column, one.name, one.value) for one in compare(cursor, asked))
    return Subject(project, asked.label, asked.version, current, rows, warning, against, ours)


def _rows(cursor: duckdb.DuckDBPyConnection, asked: Asked, first: str, last: str) -> tuple[pl.DataFrame, int]:
    """A fixed sample of a window's rows, with what was predicted of them where the version is the one that did; all."""
    project, version = asked.project, asked.version
    features, predictions = project.table("features"), project.table("predictions")
    window = project.window(first, last)
    names = [name for name in columns_of(cursor, features) if not name.startswith("_")]
    columns = ", ".join(f"f.{quoted(name)}" for name in names)
    source = f"({window_of(features, window)}) f"
    if version is None and table_exists(cursor, predictions):
        source += f" LEFT JOIN ({window_of(predictions, window)}) p USING (_partition, _source, _row)"
        columns += f", p.{PREDICTION}"
    (rows,) = cursor.execute(f"SELECT count(*) FROM {source}").fetchone() or (0,)
    return cursor.execute(f"SELECT {columns} FROM {source} {sampled()}").pl(), int(rows)


def _profile(
    cursor: duckdb.DuckDBPyConnection, asked: Asked, first: str, last: str, snapshot: int | None = None
) -> dict[str, Counts]:
    """The profile of a window: the sum of its partitions'. That labels are missing is no drift: they come late."""
    project = asked.project
    table = project.table("profile")
    if not table_exists(cursor, table):
        return {}
    profiles = from_frame(read(cursor, table, project.window(first, last), snapshot))
    total = add_up(counts for columns in profiles.values() for counts in columns)
    return {name: replace(one, missing=0) if name == project.target else one for name, one in total.items()}


def _require_order(project: Project, first: str, last: str) -> None:
    if project.start_of(first) > project.start_of(last):
        raise ValueError(f"{first} is after {last}: name the earlier partition first")


def _label(first: str, last: str) -> str:
    return first if first == last else f"{first}..{last}"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"
