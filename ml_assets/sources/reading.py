"""What every kind of source does: yield the rows of some partitions, all fields as text, in frames of bounded size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    import polars as pl

MALFORMED = "_malformed"
# Columns that the platform adds to raw rows and to those in quarantine.
RESERVED = {"_partition", "_source", "_row", MALFORMED, "_ingested_at", "_simulated", "_reasons"}
# Rows of one frame: tens of megabytes of text, whatever the size of the source.
FRAME = 100_000


class SourceError(Exception):
    """A source cannot be read. The message names the file or table, the line or column, and the remedy."""


@dataclass(frozen=True)
class Part:
    """One partition that is to be read.

    Attributes:
        key: its key.
        start: its first moment, naive UTC.
        end: the first moment after it, naive UTC.
        local: its first moment in the project's time zone, by which files are named; `start` where it is left out.
    """

    key: str
    start: datetime
    end: datetime
    local: datetime | None = None

    def named(self, pattern: str) -> str:
        """A pattern with the partition's own date in place of strftime codes."""
        return (self.local or self.start).strftime(pattern)


@dataclass
class Reading:
    """What was read so far; complete when the frames are exhausted.

    Attributes:
        facts: partition key, or "" for what belongs to none in particular → what the materialization tells of it, such
            as `source` and `sha256`.
        unexpected: source name → columns that nobody asked for.
        digests: file → SHA-256 of it.
    """

    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    unexpected: dict[str, tuple[str, ...]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def sha256_of(self, partition: str, source: str) -> str | None:
        """The SHA-256 of what a source gave for a partition, by its key; None where it is not known."""
        if source in self.digests:
            return self.digests[source]
        told = (self.facts.get(key, {}) for key in (partition, ""))
        return next((facts.get("sha256") for facts in told if facts.get("source") == source), None)


class Reader(Protocol):
    """A source that can be read partition by partition."""

    def there(self, parts: Sequence[Part]) -> list[Part]:
        """Those of some partitions that the source seems to hold already: a cheap look, nothing is read."""
        ...

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        """The rows of some partitions.

        Args:
            parts: neighbours, in the order of time. A source whose rows have no time gives all, whatever is asked for.
            required: columns that the source must have.
            reading: receives what else is to be told.

        Yields:
            Frames of at most about `FRAME` rows: the source's columns as text, null where a value is missing, in any
            order and not the same in every frame; `_source` (text), `_row` (Int64, from 1 within a source, the same at
            every reading of unchanged data) and `_malformed` (text: null, or what is wrong with the record). Where the
            source knows the partition of a row, `_partition` (naive UTC microseconds); where it does not, the column
            is absent, the frames hold all rows of the source, and the caller places them.

        Raises:
            SourceError: the source cannot be read as a whole; nothing may be written then.
        """
        ...
