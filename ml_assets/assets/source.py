"""From a declared source to its reader."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from ml_assets import settings
from ml_assets.assets.blocks import judged_otherwise
from ml_assets.assets.partitioning import refuse_other_partitions
from ml_assets.declared.sources import Reference, Source
from ml_assets.lake.connection import Lake, open_duckdb, table_exists
from ml_assets.lake.sql import Window, quoted
from ml_assets.project import Project
from ml_assets.sources import delimited
from ml_assets.sources.files import FileReader
from ml_assets.sources.functions import FunctionReader
from ml_assets.sources.placing import placed_frames
from ml_assets.sources.reading import FRAME, Part, Reader, Reading
from ml_assets.sources.staging import Staged
from ml_assets.sources.survey import Content, survey

if TYPE_CHECKING:
    import polars as pl


def open_source(project: Project, *, staged: bool = False) -> Reader:
    """The reader of a project's source.

    Args:
        project: the project.
        staged: whether what does not come from files is kept under the home folder until it has been written, so that
            a run that was killed fetches only what it had not yet.
    """
    source = project.source
    if source.files:
        return open_files(source)
    timed, timezone = project.calendar.has_time, project.partitions.timezone
    reader: Reader
    if source.database is not None:
        reader = source.database.reader(project.start_of(project.first), timezone)
    elif source.http is not None:
        reader = source.http.reader(timed=timed, timezone=timezone)
    else:
        reader = FunctionReader(source.function, timed=timed)
    return Staged(reader, _staging(project), project.origin) if staged else reader


def open_files(declared: Source | Reference) -> FileReader:
    """The reader of declared files."""
    dialect = delimited.Dialect(**declared.dialect.model_dump())
    root, pattern = settings.data_root(), declared.files
    if Path(pattern).is_absolute():
        root, pattern = Path(Path(pattern).anchor), str(Path(pattern).relative_to(Path(pattern).anchor))
    return FileReader(pattern, root, open_duckdb, format=declared.format, dialect=dialect)


def forget_staged(project: Project, starts: Sequence[datetime]) -> None:
    """Drop what was kept of some partitions: it has been written."""
    reader = open_source(project, staged=True)
    if isinstance(reader, Staged):
        reader.clear(parts_of(project, starts))


def _staging(project: Project) -> Path:
    return settings.home() / "staging" / project.name


@dataclass(frozen=True)
class Touched:
    """A partition whose rows in the source are others than those in the lake.

    Attributes:
        key: its key.
        lake: rows in the lake's `raw`; None where it has not been materialized.
        source: rows in the source now; None where they were not counted.
        otherwise: rows of a block that are to be judged again, though the source holds what the lake holds.
    """

    key: str
    lake: int | None
    source: int | None
    otherwise: int = 0

    def __str__(self) -> str:
        """In words."""
        if self.otherwise:
            return f"{self.key}: {self.otherwise:,} rows to judge again, as older blocks are now"
        if self.source is None:
            return f"{self.key}: new"
        if self.lake is None:
            return f"{self.key}: new, {self.source:,} rows"
        if not self.source:
            return f"{self.key}: {self.lake:,} rows, gone from the source"
        late = self.source - self.lake
        return f"{self.key}: {self.lake:,} rows" + (f", now {self.source:,}" if late else ", some of them corrected")


def to_be_read(project: Project, changes: Sequence[Touched]) -> list[Touched]:
    """Those of some changes that reading the source again mends.

    Where a file is one partition and is gone, what was read from it stays: a file that was archived is no correction.
    """
    return [one for one in changes if one.source or not project.source.by_partition]


def changes(project: Project, lake: Lake) -> list[Touched]:
    """All partitions that must be read or judged again, for the lake to hold what the source holds."""
    found = {one.key: one for one in (*in_question(project, lake), *touched(project, lake))}
    return sorted(found.values(), key=lambda one: project.start_of(one.key))


def in_question(project: Project, lake: Lake) -> list[Touched]:
    """The blocks that were judged before an older one changed; nothing where partitions are no blocks."""
    with lake.reader() as cursor:
        found = judged_otherwise(project, cursor)
    return [Touched(project.key_of(start), rows, rows, otherwise) for start, (rows, otherwise) in found.items()]


def touched(project: Project, lake: Lake, starts: Sequence[datetime] | None = None) -> list[Touched]:
    """The partitions in which late, corrected or removed rows make the source differ from the lake, and new ones.

    Args:
        project: the project.
        lake: its lake.
        starts: which partitions to compare, neighbours; all where it is left out.
    """
    now = held_by_source(project, lake, starts)
    before = held_by_lake(project, lake, starts)
    nothing = Content(0, 0)
    return [
        Touched(project.key_of(start), before[start].rows if start in before else None, now.get(start, nothing).rows)
        for start in sorted(before.keys() | now.keys())
        if before.get(start) != now.get(start)
    ]


def held_by_source(project: Project, lake: Lake, starts: Sequence[datetime] | None = None) -> dict[datetime, Content]:
    """The content of each partition that the source holds, in order; of those named, or of all.

    Raises:
        SourceError: if the source cannot be read.
        PartitionsChangedError: if the lake's rows were cut into other partitions: nothing could be compared.
    """
    refuse_other_partitions(project, lake)
    parts = None if starts is None else parts_of(project, starts)
    if parts is not None and project.source.by_partition:
        parts = open_source(project).there(parts)
    # No read transaction: a slow source must not hold on to a state of the lake.
    with closing(lake.cursor()) as cursor:
        return survey(source_frames(project, parts, cursor, Reading()))


def held_by_lake(project: Project, lake: Lake, starts: Sequence[datetime] | None = None) -> dict[datetime, Content]:
    """The content of each partition of `raw`, in order; of those named, or of all. Nothing where there is no table."""
    import polars as pl

    table = project.table("raw")
    with lake.reader() as cursor:
        if not table_exists(cursor, table):
            return {}
        sql = f"FROM {table.path}"
        if starts is not None:
            sql += f" WHERE {Window(starts[0], project.step(starts[-1], 1)).condition()}"
        batches = cursor.execute(sql).to_arrow_reader(FRAME)
        return survey(frame for batch in batches if isinstance(frame := pl.from_arrow(batch), pl.DataFrame))


def source_frames(
    project: Project,
    parts: Sequence[Part] | None,
    cursor: duckdb.DuckDBPyConnection,
    reading: Reading,
    required: Collection[str] = (),
    *,
    staged: bool = False,
) -> Iterator["pl.DataFrame"]:
    """The raw rows of some partitions, or of all that there are, with their `_partition`. See `placed_frames`."""
    time = project.source.time or quoted(project.partitions.time)
    if parts is None and (project.source.by_partition or (project.calendar.has_time and not project.source.files)):
        newest = project.newest_ended(datetime.now(UTC).replace(tzinfo=None))
        starts = [] if newest is None else project.starts(project.window(project.first, project.key_of(newest)))
        parts = open_source(project).there(parts_of(project, starts))
    reader = open_source(project, staged=staged)
    return placed_frames(reader, project.calendar, time, parts, cursor, required=required, reading=reading)


def parts_of(project: Project, starts: Sequence[datetime]) -> list[Part]:
    """Some partitions, as readers take them."""
    zone = project.calendar.zone
    return [
        Part(project.key_of(start), start, project.step(start, 1), start.replace(tzinfo=UTC).astimezone(zone))
        for start in starts
    ]
