"""How the text of a delimited file is to be read, told from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_assets.sources.reading import RESERVED

if TYPE_CHECKING:
    from collections.abc import Sequence

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# A title stands above the header in a few lines, never in many.
MOST_LINES_BEFORE = 20
_DATA = re.compile(r"[\s$€£(]*[+-]?[\d.,]*\d[\d.,:/ -]*[%)]?\s*")


@dataclass
class Dialect:
    """A guessed dialect.

    Attributes:
        settings: what is to be declared under `source.dialect`, defaults left out.
        reasons: setting → why.
        questions: what to ask of it.
        header: the names of the columns as they stand in the file; made up where it has none.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)

    def declare(self, name: str, value: Any, reason: str) -> None:
        """Set a setting that differs from its default."""
        self.settings[name] = value
        self.reasons[name] = reason


def guess_dialect(head: str, *, default: str = ",", columns: Sequence[str] = ()) -> Dialect:
    """Guess the dialect of a file.

    Args:
        head: its first lines, whole ones.
        default: the delimiter that its ending tells.
        columns: names that the user gives to the columns of a file without a header.

    Raises:
        ValueError: if the user names another number of columns than there are.
    """
    found = Dialect()
    delimiter, width = _delimiter(head, default)
    if delimiter != default:
        found.declare("delimiter", delimiter, f"Its fields are parted by {DELIMITERS[delimiter]}.")
    quote: str | None = '"'
    if not _reads_strictly(head, delimiter):
        quote = None
        found.declare("quote", None, "A quote stands inside a field: here it is a sign like any other.")
    numbered = _numbered_records(head, delimiter, quote)
    filled = [(line, record) for line, record in numbered if any(cell.strip() for cell in record)]
    if not filled:
        return found
    first = next((place for place, (_, one) in enumerate(filled[:MOST_LINES_BEFORE]) if len(one) == width), 0)
    skip, header = filled[first]
    body = [record for _, record in filled[first + 1 :] if len(record) == width]
    if first:
        found.declare("skip", skip, f"{first} lines stand above the header.")
    if columns or not _is_header(header, body):
        _name_columns(found, header, list(columns), sure=bool(columns))
        return found
    names = [name.strip() for name in header]
    if names != header:
        found.declare("trim_header", True, "The names of columns are padded with blanks.")
    if (
        len({name.casefold() for name in names}) < len(names)
        or not all(names)
        or {n.casefold() for n in names} & RESERVED
    ):
        _declare_names(found, names, skip)
    else:
        found.header = names if "trim_header" in found.settings else header
    return found


def _delimiter(head: str, default: str) -> tuple[str, int]:
    """The delimiter, and the number of fields of most records."""
    best: tuple[tuple[bool, float, int, bool], str, int] | None = None
    for delimiter in DELIMITERS:
        records = [one for _, one in _numbered_records(head, delimiter, '"') if any(cell.strip() for cell in one)]
        if not records:
            continue
        width, times = Counter(map(len, records)).most_common(1)[0]
        fits = len(records[0]) == width
        rank = (width > 1 and fits, round(times / len(records), 2) if width > 1 else 0, width, delimiter == default)
        if best is None or rank > best[0]:
            best = rank, delimiter, width
    if best is None or best[2] == 1:
        return default, best[2] if best else 1
    return best[1], best[2]


def _reads_strictly(head: str, delimiter: str) -> bool:
    try:
        for _ in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error:
        return False
    return True


def _numbered_records(head: str, delimiter: str, quote: str | None) -> list[tuple[int, list[str]]]:
    """Records, each with the number of lines before it."""
    text = io.StringIO(head, newline="")
    if quote:
        reader = csv.reader(text, delimiter=delimiter, quotechar=quote)
    else:
        reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    found, before = [], 0
    try:
        for record in reader:
            found.append((before, record))
            before = reader.line_num
    except csv.Error:
        pass  # what has been read so far is what can be judged
    return found


def _is_header(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether a record names columns: its fields are of another kind than those below, and do not come again there."""
    points = 0
    for place, cell in enumerate(first):
        values = Counter(record[place].strip() for record in body if record[place].strip())
        total = values.total()
        if not total:
            continue
        is_data = sum(times for value, times in values.items() if _DATA.fullmatch(value)) > 0.8 * total
        if is_data:
            points += -1 if _DATA.fullmatch(cell) else 1
        elif cell.strip() in values:
            points -= 1
    return points >= 0


def _name_columns(found: Dialect, first: Sequence[str], columns: list[str], *, sure: bool) -> None:
    if sure and len(columns) != len(first):
        raise ValueError(f"--columns names {len(columns)} columns, and the file has {len(first)}: {', '.join(first)}")
    names = columns or [f"column_{number}" for number in range(1, len(first) + 1)]
    found.declare("header", False, "The first line is a row like any other.")
    found.declare("columns", names, "Named by you." if sure else "It has no names of its own.")
    if not sure:
        found.questions.append(
            f"What are its columns called? The file seems to have no header, so they are {', '.join(names)}: "
            "name them with --columns, or in source.dialect.columns"
        )
    found.header = names


def _declare_names(found: Dialect, names: list[str], skip: int) -> None:
    """Names that the lake could not tell apart are given here, and the header is skipped."""
    given: list[str] = []
    for number, name in enumerate(names, 1):
        plain = name.strip("_ ") or f"column_{number}"
        taken = {one.casefold() for one in given}
        again = plain
        times = 1
        while again.casefold() in taken:
            times += 1
            again = f"{plain}_{times}"
        given.append(again)
    found.settings.pop("trim_header", None)
    found.declare("skip", skip + 1, "Its header repeats a name, or leaves one empty: names are given here.")
    found.declare("header", False, "The header is among the lines that are skipped.")
    found.declare("columns", given, "As in the file, made different from each other.")
    found.header = given
