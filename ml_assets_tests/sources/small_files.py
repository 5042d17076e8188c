"""Small files, and what the reader makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from ml_assets.sources.files import FileReader
from ml_assets.sources.reading import Part, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ml_assets.sources.delimited import Dialect

HEADER = ("nr", "town", "price")


def month(number: int) -> datetime:
    return datetime(2024, number, 1)  # noqa: DTZ001 - naive UTC throughout the lake


START = month(1)
PARTS = [Part(f"2024-{number:02}", month(number), month(number + 1)) for number in range(1, 7)]


@dataclass(frozen=True)
class Loaded:
    """All rows of a reading, and what it told."""

    rows: pl.DataFrame
    facts: dict[str, dict[str, str]]
    unexpected: dict[str, tuple[str, ...]]
    frames: int


def place(folder: Path, content: bytes | str, name: str = "", number: int = 1) -> Path:
    """Write a file, that of a month where it is given no name."""
    path = folder / (name or f"sales/2024-{number:02}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    folder: Path,
    pattern: str = "sales/%Y-%m.csv",
    dialect: Dialect | None = None,
    *,
    months: int = 1,
    required: Sequence[str] = HEADER,
    **more: Any,
) -> Loaded:
    """Read some months."""
    reading = Reading()
    reader = FileReader(pattern, folder, duckdb.connect, dialect=dialect, **more)
    frames = list(reader.frames(PARTS[:months], required, reading))
    return Loaded(pl.concat(frames, how="diagonal"), reading.facts, reading.unexpected, len(frames))


def load(folder: Path, content: bytes | str, dialect: Dialect | None = None) -> Loaded:
    """Read a file of one month with this content."""
    place(folder, content)
    return read(folder, dialect=dialect)
