"""From a declared source to its reader."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ml_assets import settings
from ml_assets.project import Project
from ml_assets.sources.files import SourceFile, load_csv
from ml_assets.sources.reading import Part, Reader, Reading

if TYPE_CHECKING:
    import polars as pl


def open_source(project: Project) -> Reader:
    """The reader of a project's source."""
    return MonthFiles(project)


def parts_of(project: Project, starts: Sequence[datetime]) -> list[Part]:
    """Some partitions, as readers take them."""
    return [Part(project.key_of(start), start, project.step(start, 1)) for start in starts]


class MonthFiles:
    """One CSV file for each partition."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def _file(self, part: Part) -> SourceFile:
        name = self._project.file_of(part.start)
        return SourceFile(name, settings.data_root() / name, part.start, part.key)

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """See `Reader`."""
        return [part for part in parts if self._file(part).path.is_file()]

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator["pl.DataFrame"]:
        """See `Reader`."""
        for part in parts:
            file = self._file(part)
            loaded = load_csv([file], required)
            reading.facts[part.key] = {"source": file.name, "sha256": loaded.digests[file.name]}
            reading.unexpected |= loaded.unexpected
            yield loaded.rows
