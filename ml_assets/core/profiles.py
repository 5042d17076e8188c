"""Profiles: per partition and column, counts in fixed bins. They add up, so drift reads bins and never rescans rows.

Bins are chosen from the first rows that were profiled: quantiles for numbers, values for categories. Categories are
counted by name, all of them while there are few, and the most frequent of then from when there are more.
The SQL that counts is in `profile_sql`; the lake runs it, and reads each column once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

BINS = 100
CATEGORIES = 200
OTHER = "(other)"
WORD = r"[\p{L}\p{N}]+"

Kind = Literal["number", "category"]
SECONDS_OF_A_DAY = 86_400
# What is counted of a text beside its length, by the ending of its name.
DERIVED = {"tokens": " (tokens)", "words": " (words)"}


@dataclass(frozen=True)
class ColumnBins:
    """How one column is counted.

    Attributes:
        name: the column.
        kind: `number`, `category`, `date` (counted as days since 1970), `text` (its length in characters is counted),
            `tokens` (how many words a text has) or `words` (in how many rows each word is).
        edges: for all but categories, ascending: bin i holds `edges[i-1] < x <= edges[i]`; the first and the last bin
            are open.
        categories: for categories with too many values, those that are counted by name, all others as `(other)`; empty
            where all are, which holds until there are more than 200: see `has_left`.
    """

    name: str
    kind: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether what is counted is a number."""
        return self.kind not in {"category", "words"}

    @property
    def column(self) -> str:
        """The column of the table that is counted."""
        return self.name.removesuffix(DERIVED.get(self.kind, ""))


@dataclass(frozen=True)
class Counts:
    """The profile of one column over any rows.

    Attributes:
        column: the column.
        kind: `number`, also for what is counted as one, or `category`.
        missing: rows without a value; neither NaN nor infinity is one.
        total: sum of the values; 0 for categories.
        bins: bin (its index as text, or the category) → rows.
        deviation: sum of the squared deviations from the mean; 0 for categories.
        least: least value, infinity where there is none, or where it was not counted.
        greatest: greatest value, minus infinity where there is none.
    """

    column: str
    kind: Kind
    missing: int
    total: float
    bins: Mapping[str, int]
    deviation: float = 0.0
    least: float = math.inf
    greatest: float = -math.inf

    @property
    def present(self) -> int:
        """Rows with a value."""
        return sum(self.bins.values())

    @property
    def rows(self) -> int:
        """All rows."""
        return self.present + self.missing

    def __add__(self, other: Counts) -> Counts:
        bins = dict(self.bins)
        for name, count in other.bins.items():
            bins[name] = bins.get(name, 0) + count
        # Chan, Golub and LeVeque (1983): sums of squares of two samples, without losing digits.
        deviation = self.deviation + other.deviation
        if self.present and other.present:
            apart = self.total / self.present - other.total / other.present
            deviation += apart * apart * self.present * other.present / (self.present + other.present)
        return Counts(
            self.column, self.kind, self.missing + other.missing, self.total + other.total, bins,
            deviation, min(self.least, other.least), max(self.greatest, other.greatest),
        )  # fmt: skip


def with_derived(kinds: Mapping[str, str]) -> dict[str, str]:
    """Column → kind, and of each text what else is counted of it."""
    found = dict(kinds)
    for name, kind in kinds.items():
        if kind == "text":
            found |= {name + ending: derived for derived, ending in DERIVED.items()}
    return found


def choose_bins(rows: pl.DataFrame, kinds: Mapping[str, str]) -> list[ColumnBins]:
    """Choose how columns are counted from now on.

    Args:
        rows: the first rows that are profiled.
        kinds: column → its kind; of a text also its `tokens`. Its `words` are chosen where they are counted, by SQL:
            see `profile_sql`.

    Returns:
        One for each. A number has up to 100 bins at its quantiles, or at its values where those are fewer.
    """
    import polars as pl

    def numbers_of(values: pl.Series, kind: str) -> pl.Series:
        if kind == "date":
            return values.dt.epoch("us") / (SECONDS_OF_A_DAY * 1e6)
        if kind == "tokens":
            values = values.str.extract_all(WORD).list.len()
        return (values.str.len_chars() if kind == "text" else values).cast(pl.Float64)

    chosen = []
    for name, kind in kinds.items():
        values = rows[name.removesuffix(DERIVED.get(kind, ""))].drop_nulls()
        if kind == "category":
            sizes = values.cast(pl.String).alias("value").value_counts(name="rows")
            chosen.append(counted_by_name(ColumnBins(name, kind), dict(sizes.iter_rows())))
        else:
            numbers = numbers_of(values, kind)
            chosen.append(ColumnBins(name, kind, edges=_edges(numbers.filter(numbers.is_finite()).to_numpy())))
    return chosen


def counted_by_name(column: ColumnBins, sizes: Mapping[str, int]) -> ColumnBins:
    """A category whose values are all counted by name, or the most frequent of them where there are more than 200.

    Args:
        column: the category, or the words of a text.
        sizes: value → rows.
    """
    if len(sizes) <= CATEGORIES and column.kind == "category":
        return replace(column, categories=())
    named = sorted(sizes.keys() - {OTHER}, key=lambda name: (-sizes[name], name))
    return replace(column, categories=tuple(named[:CATEGORIES]))


def has_left(column: ColumnBins, counts: Counts) -> bool:
    """Whether the rows of a column have left its bins, so that it needs others.

    By their choice the first and the last bin of a number hold hardly a hundredth each: more than half has come there
    since, be it that its unit was mended or that it has grown. Of a category the values that are counted by name have
    all vanished, or there are more of them now than are counted by name.

    Args:
        column: how it is counted.
        counts: the profile of all its rows.
    """
    if not column.is_number:
        return counts.bins.keys() == {OTHER} if column.categories else len(counts.bins) > CATEGORIES
    outer = counts.bins.get("0", 0) + counts.bins.get(str(len(column.edges)), 0)
    # Without edges, all rows were null when they were to be chosen.
    return 2 * outer > counts.present


class NumberCounter:
    """Counts one column of numbers, batch by batch, for many partitions at once.

    A search of each value among a hundred edges would cost ten times what reading it does. So the range of the edges is
    cut into cells of equal width first: a value's cell is found by a multiplication, and of nearly all cells one edge
    at most lies inside, with which it is compared. Monotone arithmetic makes this exact: a cell below another holds
    smaller values.
    """

    CELLS = 1 << 14

    def __init__(self, column: ColumnBins) -> None:
        import numpy as np  # noqa: PLC0415

        self.column = column
        self._edges = np.asarray(column.edges, dtype=float)
        self._centre = float(self._edges[self._edges.size // 2]) if self._edges.size else 0.0
        self._found: dict[Any, Counts] = {}
        self._width = 0.0
        if self._edges.size:
            with np.errstate(over="ignore"):
                span = float(self._edges[-1] - self._edges[0])
            self._width = self.CELLS / span if 0 < span < math.inf else 0.0
        # Cells narrower than numbers can say, or wider: each value is searched.
        self._has_cells = 0 < self._width < math.inf
        if self._has_cells:
            cells = self._cells(self._edges)
            self._below = np.searchsorted(cells, np.arange(self.CELLS)).astype(np.intp)
            self._inside = np.full(self.CELLS, np.inf)
            self._inside[cells] = self._edges
            self._crowded = np.bincount(cells, minlength=self.CELLS) > 1

    def _cells(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        import numpy as np  # noqa: PLC0415

        with np.errstate(over="ignore"):
            place = (values - self._edges[0]) * self._width
        cells: NDArray[np.intp] = np.clip(place, 0, self.CELLS - 1).astype(np.intp)
        return cells

    def _bins(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """The bin of each value: how many edges are less."""
        import numpy as np  # noqa: PLC0415

        if not self._has_cells:
            return np.searchsorted(self._edges, values, side="left").astype(np.intp)
        cells = self._cells(values)
        bins: NDArray[np.intp] = self._below[cells] + (values > self._inside[cells])
        if self._crowded.any():
            crowded = np.flatnonzero(self._crowded[cells])
            bins[crowded] = np.searchsorted(self._edges, values[crowded], side="left")
        return bins

    def add(self, values: NDArray[np.float64], partitions: Sequence[Any], starts: NDArray[np.intp]) -> None:
        """Count values, which are sorted by partition.

        Args:
            values: float64, shape (rows,); NaN and infinities are missing.
            partitions: of each run of rows, its partition.
            starts: of each run of rows, where it starts.
        """
        import numpy as np  # noqa: PLC0415

        size = self._edges.size + 1
        finite = np.isfinite(values)
        is_whole = bool(finite.all())
        least = greatest = away = values
        if not is_whole:
            least, greatest = np.where(finite, values, np.inf), np.where(finite, values, -np.inf)
            away = np.where(finite, values, self._centre)
        bins = self._bins(away)
        if not is_whole:
            # One bin more, for what is missing.
            bins = np.where(finite, bins, size)
        if len(partitions) > 1:
            bins = bins + np.repeat(np.arange(len(partitions)) * (size + 1), np.diff(starts, append=values.size))
        counted = np.bincount(bins, minlength=len(partitions) * (size + 1)).reshape(-1, size + 1)
        with np.errstate(over="ignore", invalid="ignore"):
            away = away - self._centre
            sums, squares = np.add.reduceat(away, starts), np.add.reduceat(away * away, starts)
        lows, highs = np.minimum.reduceat(least, starts), np.maximum.reduceat(greatest, starts)
        for index, partition in enumerate(partitions):
            rows = counted[index]
            held = {str(place): int(rows[place]) for place in np.flatnonzero(rows[:size])}
            present = sum(held.values())
            total, squared = float(sums[index]), float(squares[index])
            # What overflows is infinitely spread.
            deviation = (
                (max(squared - total * total / present, 0.0) if squared < math.inf else squared) if present else 0.0
            )
            counts = Counts(
                self.column.name, "number", int(rows[size]), total + present * self._centre, held,
                deviation, float(lows[index]), float(highs[index]),
            )  # fmt: skip
            self._found[partition] = self._found[partition] + counts if partition in self._found else counts

    def counts(self) -> dict[Any, Counts]:
        """The profile of each partition so far."""
        return self._found


def count_values(column: ColumnBins, values: NDArray[np.float64]) -> Counts:
    """The profile of numbers in memory, counted as those of a table are."""
    import numpy as np  # noqa: PLC0415

    counter = NumberCounter(column)
    if values.size:
        counter.add(values.astype(float), [None], np.zeros(1, dtype=np.intp))
    return counter.counts().get(None, Counts(column.name, "number", 0, 0.0, {}))


def add_up(profiles: Iterable[Counts]) -> dict[str, Counts]:
    """The profile of all rows that some profiles count, by column."""
    summed: dict[str, Counts] = {}
    for counts in profiles:
        summed[counts.column] = summed[counts.column] + counts if counts.column in summed else counts
    return summed


def as_frame(profiles: Mapping[datetime, Sequence[Counts]]) -> pl.DataFrame:
    """Profiles as a table: one row per partition, column and bin, and one more for what is missing."""
    import polars as pl

    rows: list[tuple[datetime, str, str, str | None, int, float, float | None, float | None, float | None]] = []
    for partition, columns in profiles.items():
        for one in columns:
            low, high = (value if math.isfinite(value) else None for value in (one.least, one.greatest))
            rows.append((partition, one.column, one.kind, None, one.missing, one.total, one.deviation, low, high))
            rows += [
                (partition, one.column, one.kind, name, count, 0.0, None, None, None)
                for name, count in one.bins.items()
            ]
    return pl.DataFrame(
        rows,
        schema={
            "_partition": pl.Datetime("us"), "column_name": pl.String, "kind": pl.String, "bin": pl.String,
            "rows": pl.Int64, "total": pl.Float64,
            "deviation": pl.Float64, "least": pl.Float64, "greatest": pl.Float64,
        },
        orient="row",
    )  # fmt: skip


def from_frame(rows: pl.DataFrame) -> dict[datetime, list[Counts]]:
    """The inverse of `as_frame`."""
    import polars as pl

    bins: dict[tuple[datetime, str], dict[str, int]] = {}
    found: dict[datetime, dict[str, Counts]] = {}
    columns = ["_partition", "column_name", "kind", "bin", "rows", "total", "deviation", "least", "greatest"]
    # Profiles that were counted before there was more than sums have nulls there, or no such column.
    rows = rows.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in columns[6:] if name not in rows.columns
    )
    for partition, name, kind, bin_name, count, total, deviation, least, greatest in rows.select(columns).iter_rows():
        held = bins.setdefault((partition, name), {})
        if bin_name is not None:
            held[bin_name] = count
            continue
        found.setdefault(partition, {})[name] = Counts(
            name, kind, count, total, held, deviation or 0.0,
            math.inf if least is None else least, -math.inf if greatest is None else greatest,
        )  # fmt: skip
    return {partition: list(columns.values()) for partition, columns in found.items()}


def _edges(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """The quantiles of some numbers; where many are the least one, what lies below it gets a bin of its own."""
    import numpy as np  # noqa: PLC0415

    if not numbers.size:
        return ()
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    if edges[0] == numbers.min():
        edges = np.concatenate([np.nextafter(edges[:1], -np.inf), edges])
    return tuple(float(edge) for edge in edges)
