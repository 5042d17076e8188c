"""The names of a source's columns: refused where the lake could not hold them, found whatever their letter case."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING

from ml_assets.sources.reading import RESERVED, SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# More distinct keys than this are values that became keys.
MOST_COLUMNS = 5_000


def folded(name: str) -> str:
    """What tells names apart: the lake takes `Town` and `town` for one, as SQL does."""
    return name.strip().casefold()


class Names:
    """The columns of all files of one reading, under one spelling each.

    Args:
        required: columns that every file must have; this is how they are spelt.

    Attributes:
        renamed: file → what its columns were called, where that is another spelling, as `PRICE as price`.
    """

    def __init__(self, required: Collection[str]) -> None:
        self._required = tuple(required)
        self._spelt = {folded(name): name for name in required}
        self.renamed: dict[str, list[str]] = {}

    def header(self, file: str, line: int, header: Sequence[str]) -> list[str]:
        """The columns of a file, as they are spelt here.

        Raises:
            SourceError: a name is repeated, empty or reserved, or a required one is missing.
        """
        times = Counter(map(folded, header))
        for name in header:
            if times[folded(name)] > 1:
                raise _unusable(file, line, name)
        columns = [self.spelling(file, line, name) for name in header]
        self.complete(file, header)
        return columns

    def spelling(self, file: str, line: int, name: str) -> str:
        """A column, as it is spelt here: as required, or as it was met first.

        Raises:
            SourceError: the name is empty or reserved, or one of too many.
        """
        key = folded(name)
        if not key or key in RESERVED:
            raise _unusable(file, line, name)
        spelt = self._spelt.setdefault(key, name)
        if spelt != name:
            renamed = self.renamed.setdefault(file, [])
            if (told := f"{name} as {spelt}") not in renamed:
                renamed.append(told)
        if len(self._spelt) > MOST_COLUMNS:
            raise SourceError(
                f"{file}, line {line}: the files have more than {MOST_COLUMNS:,} columns, the last is {name!r}. "
                "Remedy: check the delimiter, or whether values became keys"
            )
        return spelt

    def complete(self, file: str, names: Collection[str]) -> None:
        """See to it that a file has what is required.

        Raises:
            SourceError: naming the first column that it lacks, and the nearest that it has.
        """
        there = {folded(name): name.strip() for name in names}
        for name in self._required:
            if folded(name) not in there:
                near = difflib.get_close_matches(folded(name), there, n=1)
                hint = f"; did it become {there[near[0]]!r}?" if near else "."
                raise SourceError(
                    f"{file}: the column {name!r} is missing{hint} The file has: {_shown(list(there.values()))}. "
                    "Remedy: mend the file, or change clean.sql and schema.py; nothing was written"
                )

    def unexpected(self, names: Collection[str]) -> tuple[str, ...]:
        """Those columns that nobody asked for."""
        return tuple(name for name in names if name not in self._required)


def _unusable(file: str, line: int, name: str) -> SourceError:
    return SourceError(
        f"{file}, line {line}: the column name {name.strip()[:80]!r} is repeated, empty or reserved. Remedy: rename it"
    )


def _shown(names: list[str], most: int = 50) -> str:
    text = ", ".join(name[:80] for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
