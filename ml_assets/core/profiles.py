"""Profiles: per partition and column, counts in fixed bins. They add up, so drift reads bins and never rescans rows.

Bins are chosen once per column, from the first rows that were profiled: quantiles for numbers, values for categories.
The SQL that counts is written here and run by the lake, in one pass over the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.core.quoting import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

BINS = 100
CATEGORIES = 200
OTHER = "(other)"

Kind = Literal["number", "category"]
SECONDS_OF_A_DAY = 86_400
# What is counted of a column that is no number: days since 1970 of a date, as a model sees them; of text its length.
COUNTED_AS = {"date": f"epoch({{}}) / {SECONDS_OF_A_DAY}", "text": "length({})::DOUBLE"}


@dataclass(frozen=True)
class ColumnBins:
    """How one column is counted.

    Attributes:
        name: the column.
        kind: `number`, `category`, `date` (counted as days since 1970) or `text` (its length in characters is counted).
        edges: for all but categories, ascending: bin i holds `edges[i-1] < x <= edges[i]`; the first and the last bin
            are open.
        categories: for categories with too many values, those that are counted by name; empty where all are.
    """

    name: str
    kind: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """The profile of one column over any rows.

    Attributes:
        column: the column.
        kind: `number`, also for what is counted as one, or `category`.
        missing: rows without a value; neither NaN nor infinity is one.
        total: sum of the values; 0 for categories.
        bins: bin (its index as text, or the category) → rows.
    """

    column: str
    kind: Kind
    missing: int
    total: float
    bins: Mapping[str, int]

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
        return Counts(self.column, self.kind, self.missing + other.missing, self.total + other.total, bins)


def choose_bins(rows: pl.DataFrame, kinds: Mapping[str, str]) -> list[ColumnBins]:
    """Choose how columns are counted from now on.

    Args:
        rows: the first rows that are profiled.
        kinds: column → `number`, `category`, `date` or `text`.

    Returns:
        One for each column: up to 100 bins at the quantiles of a number, or at its values where those are fewer.
    """
    import polars as pl

    def numbers_of(values: pl.Series, kind: str) -> pl.Series:
        if kind == "date":
            return values.dt.epoch("us") / (SECONDS_OF_A_DAY * 1e6)
        return (values.str.len_chars() if kind == "text" else values).cast(pl.Float64)

    chosen = []
    for name, kind in kinds.items():
        values = rows[name].drop_nulls()
        if kind != "category":
            numbers = numbers_of(values, kind)
            chosen.append(ColumnBins(name, kind, edges=_edges(numbers.filter(numbers.is_finite()).to_numpy())))
        else:
            counts = (
                values.cast(pl.String)
                .alias("value")
                .value_counts(name="rows")
                .sort("rows", "value", descending=[True, False])
            )
            known = tuple(counts["value"].head(CATEGORIES).to_list()) if counts.height > CATEGORIES else ()
            chosen.append(ColumnBins(name, "category", categories=known))
    return chosen


def has_left(column: ColumnBins, counts: Counts) -> bool:
    """Whether most rows of a column lie beyond the rows that its bins were chosen from, where all count as one.

    By their choice the first and the last bin of a number hold hardly a hundredth each: more than half has come there
    since, be it that its unit was mended or that it has grown. Of a category the values that are counted by name have
    all vanished.
    """
    if column.kind == "category":
        return bool(column.categories) and counts.bins.keys() == {OTHER}
    outer = counts.bins.get("0", 0) + counts.bins.get(str(len(column.edges)), 0)
    # Without edges, all rows were null when they were to be chosen.
    return 2 * outer > counts.present


def profile_sql(bins: Sequence[ColumnBins], source: str) -> str:
    """A statement that profiles rows in one pass.

    Args:
        bins: how each column is counted.
        source: SQL that yields the rows, with `_partition`.

    Returns:
        A SELECT with one row per partition: `_partition`, then per column its missing rows, total and histogram, to be
        read by `read_profile`.
    """
    parts = ["_partition"]
    for column in bins:
        name = quoted(column.name)
        if column.kind != "category":
            number = COUNTED_AS.get(column.kind, "{}::DOUBLE").format(name)
            # From text: DuckDB reads 0.1 in a statement as a decimal, and its double may then be a neighbour of ours.
            edges = f"'{list(column.edges)}'::DOUBLE[]"
            value = f"CASE WHEN isfinite({number}) THEN {number} END"
            parts += [f"count(*) - count({value})", f"coalesce(sum({value}), 0)", f"histogram({value}, {edges})"]
        else:
            value = f"{name}::VARCHAR"
            if column.categories:
                listed = ", ".join(literal(text) for text in column.categories)
                value = f"CASE WHEN {name} IS NULL THEN NULL WHEN {value} IN ({listed}) THEN {value} ELSE '{OTHER}' END"
            parts += [f"count(*) - count({name})", "0::DOUBLE", f"histogram({value})"]
    return f"SELECT {', '.join(parts)} FROM ({source}) GROUP BY _partition ORDER BY _partition"


def read_profile(bins: Sequence[ColumnBins], result: Iterable[tuple[Any, ...]]) -> dict[datetime, list[Counts]]:
    """The profiles per partition, from the rows that `profile_sql` yields."""
    profiles = {}
    for partition, *cells in result:
        counts = []
        for position, column in enumerate(bins):
            missing, total, histogram = cells[3 * position : 3 * position + 3]
            if column.kind != "category":
                names = {edge: str(index) for index, edge in enumerate(column.edges)}
                # DuckDB puts what lies above the last edge under infinity.
                found = {
                    names.get(edge, str(len(column.edges))): count for edge, count in (histogram or {}).items() if count
                }
            else:
                found = dict(histogram or {})
            counts.append(Counts(column.name, _counted(column), missing, total, found))
        profiles[partition] = counts
    return profiles


def count_values(column: ColumnBins, values: NDArray[np.float64]) -> Counts:
    """The profile of numbers in memory, equal to what the statement would count."""
    import numpy as np  # noqa: PLC0415

    present = values[np.isfinite(values)]
    index = np.searchsorted(np.asarray(column.edges), present, side="left")
    found = {str(position): int(count) for position, count in enumerate(np.bincount(index, minlength=0)) if count}
    return Counts(column.name, _counted(column), int(values.size - present.size), float(present.sum()), found)


def _counted(column: ColumnBins) -> Kind:
    return "category" if column.kind == "category" else "number"


def add_up(profiles: Iterable[Counts]) -> dict[str, Counts]:
    """The profile of all rows that some profiles count, by column."""
    summed: dict[str, Counts] = {}
    for counts in profiles:
        summed[counts.column] = summed[counts.column] + counts if counts.column in summed else counts
    return summed


def as_frame(profiles: Mapping[datetime, Sequence[Counts]]) -> pl.DataFrame:
    """Profiles as a table: one row per partition, column and bin, and one more for what is missing."""
    import polars as pl

    rows: list[tuple[datetime, str, str, str | None, int, float]] = []
    for partition, columns in profiles.items():
        for counts in columns:
            rows.append((partition, counts.column, counts.kind, None, counts.missing, counts.total))
            rows += [(partition, counts.column, counts.kind, name, count, 0.0) for name, count in counts.bins.items()]
    return pl.DataFrame(
        rows,
        schema={
            "_partition": pl.Datetime("us"), "column_name": pl.String, "kind": pl.String, "bin": pl.String,
            "rows": pl.Int64, "total": pl.Float64,
        },
        orient="row",
    )  # fmt: skip


def from_frame(rows: pl.DataFrame) -> dict[datetime, list[Counts]]:
    """The inverse of `as_frame`."""
    profiles: dict[datetime, dict[str, Counts]] = {}
    for partition, name, kind, bin_name, count, total in rows.select(
        "_partition", "column_name", "kind", "bin", "rows", "total"
    ).iter_rows():
        piece = (
            Counts(name, kind, count, total, {}) if bin_name is None else Counts(name, kind, 0, 0.0, {bin_name: count})
        )
        columns = profiles.setdefault(partition, {})
        columns[name] = columns[name] + piece if name in columns else piece
    return {partition: list(columns.values()) for partition, columns in profiles.items()}


def _edges(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """The quantiles of some numbers; where many are the least one, what lies below it gets a bin of its own."""
    import numpy as np  # noqa: PLC0415

    if not numbers.size:
        return ()
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    if edges[0] == numbers.min():
        edges = np.concatenate([np.nextafter(edges[:1], -np.inf), edges])
    return tuple(float(edge) for edge in edges)
