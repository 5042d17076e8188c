"""Fill a project's data folder: use what is there, else download it, else simulate it and say so.

The files appear all at once: they are made in a sibling folder that is renamed when it is complete, so that whatever is
interrupted never looks like data. A folder that already holds files is only read, for it may well be read-only.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from ml_assets.sources.month_files import ORIGIN_FILE
from ml_assets.sources.publisher import BASE_URL, PublisherError, download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class DataFolderError(RuntimeError):
    """A data folder is not in a state that can be used; the message says what is wrong and what to do."""


class SourceMissingError(DataFolderError):
    """A data folder holds no data."""


@dataclass(frozen=True)
class Origin:
    """Where the files of a data folder came from.

    Attributes:
        kind: `present` (somebody put them there), `publisher` (downloaded) or `simulated`.
        detail: What is known beyond that: dataset and address, or seed and price shock.
        files: How many data files there are.
    """

    kind: Literal["present", "publisher", "simulated"]
    detail: str
    files: int

    @property
    def warning(self) -> str | None:
        """What every page, metadata entry and summary made from these files must repeat; None for real data."""
        if self.kind != "simulated":
            return None
        return (
            f"SIMULATED DATA: these rows were generated ({self.detail}), nobody observed them; "
            "no figure made from them says anything about a real market."
        )


def fill(
    folder: Path,
    *,
    dataset: str,
    base_url: str = BASE_URL,
    simulate: Callable[[Path], object] | None,
    say: Callable[[str], None],
    project: str = "PROJECT",
) -> Origin:
    """Make sure that a data folder holds data: what is there, else the publisher's, else simulated.

    Args:
        folder: The data folder. If it already holds CSV files, nothing is written anywhere.
        dataset: The publisher's id of the dataset.
        base_url: The publisher's address.
        simulate: Writes simulated files and their `ORIGIN.json` into the folder it is given; None if the project has
            no simulation, then a failed download is an error.
        say: Called with each sentence that a person should read.
        project: Its name, for the command that a message asks for.

    Returns:
        Where the files in the folder come from.

    Raises:
        PublisherError: The download failed and there is no simulation.
        DataFolderError: The folder cannot be filled, or its `ORIGIN.json` cannot be read.
    """
    if _data_files(folder):
        return _told(folder, say, project)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target, say):
        if not _data_files(target):
            _require_empty(target, project)
            _download_or_simulate(
                target, dataset=dataset, base_url=base_url, simulate=simulate, say=say, project=project
            )
        return _told(folder, say, project)


def read_origin(folder: Path, project: str = "PROJECT") -> Origin:
    """Read where the files of a data folder came from.

    Args:
        folder: The data folder.
        project: Its name, for the command that a message asks for.

    Returns:
        What `ORIGIN.json` says, or `present` where there are files without one.

    Raises:
        SourceMissingError: The folder does not exist or holds no CSV file.
        DataFolderError: `ORIGIN.json` cannot be understood.
    """
    files, remedy = _data_files(folder), _remedy(project)
    if not files:
        raise SourceMissingError(f"{folder} holds no CSV file: fill it with {remedy}, or set ML_ASSETS_DATA")
    path = folder / ORIGIN_FILE
    if not path.exists():
        return Origin("present", "they were there already", files)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataFolderError(f"{path} is not JSON ({error}): remove {folder} and run {remedy}") from error
    match content:
        case {"origin": "publisher" | "simulated" as kind, "files": dict(), **facts}:
            return Origin(kind, ", ".join(f"{name} {_plain(value)}" for name, value in facts.items()), files)
    raise DataFolderError(
        f"{path} must name an origin, 'publisher' or 'simulated', and the files: remove {folder} and run {remedy}"
    )


def _download_or_simulate(
    target: Path,
    *,
    dataset: str,
    base_url: str,
    simulate: Callable[[Path], object] | None,
    say: Callable[[str], None],
    project: str,
) -> None:
    pages = target.with_name(f".{target.name}.download")
    try:
        with _staged(target) as staging:
            download(
                staging,
                dataset=dataset,
                pages=pages,
                base_url=base_url,
                progress=lambda rows, total: say(f"{rows:,} of {total:,} rows downloaded."),
                say=say,
            )
    except PublisherError as error:
        if simulate is None:
            raise
        say(f"The download failed: {error}.")
        say(f"A simulation takes its place. For the real data, remove {target} and run {_remedy(project)} again.")
        with _staged(target) as staging:
            simulate(staging)
            if read_origin(staging).kind != "simulated":
                raise DataFolderError(
                    f"the simulation {simulate!r} did not write {ORIGIN_FILE} with origin 'simulated'"
                ) from None


def _data_files(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.csv"))


def _told(folder: Path, say: Callable[[str], None], project: str) -> Origin:
    origin = read_origin(folder, project)
    files = f"{origin.files} file{'s' * (origin.files != 1)} in {folder}"
    came = "downloaded, " if origin.kind == "publisher" else ""
    say(f"\n*** {origin.warning} ***\n" if origin.warning else f"{files}: {came}{origin.detail}.")
    return origin


def _remedy(project: str) -> str:
    return f"`ml-assets data {project}`"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) + ")"
    return str(value)


def _require_empty(folder: Path, project: str) -> None:
    # A rename replaces an empty folder and nothing else: better to say so before a download than after it.
    if folder.exists() and (names := sorted(path.name for path in folder.iterdir())):
        raise DataFolderError(
            f"{folder} holds {names[:5]} but no CSV file: move them away, then run {_remedy(project)} again"
        )


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A new sibling folder that becomes `folder` if the body ends, and vanishes if it fails."""
    staging = folder.with_name(f".{folder.name}.filling")
    if staging.exists():  # a killed process could not clean up
        shutil.rmtree(staging)
    staging.mkdir()
    try:
        yield staging
        staging.replace(folder)
    finally:
        if staging.exists():
            shutil.rmtree(staging)


@contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep two processes from filling the same folder: the second waits, and then finds it filled."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is filling {folder}: waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
