"""What a table holds, before anybody learns from it: columns, target, associations, and what looks suspicious.

Everything per column is counted over all rows, in SQL that is written here and run by the caller. What needs ranks or
pairs of columns is computed on a sample, whose size is told. The result is plain numbers and texts: it is kept as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ml_assets.core.association import correlation_ratio, cramers_v, pearson, spearman
from ml_assets.core.columns import WHOLE, Column, Kind, is_approximate, named, quantile, range_of, summarize, value_of
from ml_assets.core.quoting import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Query = Callable[[str], pl.DataFrame]

SAMPLE = 50_000
CLASSES = 6
GROUPS = 12
RELATED = 6
CORRELATED = 25
SUSPICIONS = 30
ENOUGH = 30  # rows below which nothing is called suspicious: anything looks regular in a few
ALMOST_ALL = 0.98
ALONE = 0.95
SAME = 0.95
MOSTLY_MISSING = 0.5


@dataclass(frozen=True)
class Association:
    """How strongly a column goes with the target.

    Attributes:
        column: the column.
        measure: name of the measure.
        value: -1 to 1 for Spearman's correlation, 0 to 1 for others; 0 says nothing of what the measure cannot see.
        rows: sampled rows with both values.
    """

    column: str
    measure: str
    value: float
    rows: int


@dataclass(frozen=True)
class Group:
    """The target in some rows.

    Attributes:
        label: which rows: a value, a range, a partition.
        rows: how many, with or without a target.
        low, middle, high: quartiles of a numeric target; None where there is no value.
        shares: per class of the target, its share of the rows with a target; empty where the target is a number.
    """

    label: str
    rows: int
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Relation:
    """The target against one column: a group for each value or range of the column."""

    column: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Exploration:
    """All that was found.

    Attributes:
        rows: rows of the table.
        approximate: whether distinct values and quantiles are.
        sampled: rows that correlations, associations and relations rest on.
        target: the target's name.
        classes: the target's most frequent classes; empty where it is a number.
        columns: every column, in the table's order.
        numbers: the numeric columns with more than one value: the target and those that go with it most, up to 25.
        correlation: their Pearson correlations, row by row; None where undefined.
        associations: strongest first.
        relations: the target against the most associated columns.
        over_time: the target by partition, oldest first.
        suspicions: what to look at, in words.
    """

    rows: int
    approximate: bool
    sampled: int
    target: str
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    numbers: tuple[str, ...]
    correlation: tuple[tuple[float | None, ...], ...]
    associations: tuple[Association, ...]
    relations: tuple[Relation, ...]
    over_time: tuple[Group, ...]
    suspicions: tuple[str, ...]


def explore(
    query: Query,
    source: str,
    columns: Mapping[str, str],
    *,
    target: str,
    hidden: Sequence[str],
    partition: str | None = None,
    label: Callable[[Any], str] = str,
) -> Exploration:
    """Look at every column of a table, at its target, and at how they go together.

    Args:
        query: runs DuckDB SQL and returns the rows.
        source: SQL of the table, for a FROM clause.
        columns: name → DuckDB type.
        target: the column that is predicted.
        hidden: columns of lineage: what orders the sample, and is not looked at itself.
        partition: the column that says the partition, or None.
        label: writes a value of it.

    Raises:
        ValueError: if there is no target.
    """
    if target not in columns:
        raise ValueError(f"target: there is no column {target!r}. There are: {', '.join(columns)}")
    shown = {name: dtype for name, dtype in columns.items() if name not in hidden}
    rows = int(query(f"SELECT count(*) FROM {source}").item())
    summaries = tuple(summarize(query, source, name, dtype, rows) for name, dtype in shown.items())
    by_name = {column.name: column for column in summaries}
    classes = _classes(by_name[target])
    sample = query(sample_sql(source, summaries, [name for name in hidden if name in columns], rows))
    frame = {column.name: sample[f"c{index}"] for index, column in enumerate(summaries)}
    numbers = tuple(each.name for each in summaries if each.kind == "number" and each.distinct > 1)
    matrix = pearson({name: as_numbers(frame[name]) for name in numbers})
    found = [
        measured
        for column in summaries
        if column.name != target and (measured := associate(column, frame[column.name], by_name[target], frame[target]))
    ]
    associations = tuple(sorted(found, key=lambda each: -abs(each.value)))
    answers = _as_classes(frame[target], by_name[target].kind) if classes else frame[target]
    relations = tuple(
        Relation(each.column, relate(by_name[each.column], frame[each.column], answers, classes))
        for each in associations[:RELATED]
    )
    over_time = (
        _over_time(query, source, partition, target=by_name[target], classes=classes, label=label, rows=rows)
        if partition in columns
        else ()
    )
    correlation = [[None if math.isnan(value) else round(float(value), 6) for value in row] for row in matrix]
    said = suspicions(
        summaries, rows, target=target, associations=associations, numbers=numbers, correlation=correlation
    )
    # Those that go with the target most, and the target first: more than these nobody can read in a picture.
    order = [target, *(each.column for each in associations)]
    kept = sorted(range(len(numbers)), key=lambda index: _place(order, numbers[index]))[:CORRELATED]
    return Exploration(
        rows=rows,
        approximate=is_approximate(rows),
        sampled=sample.height,
        target=target,
        classes=classes,
        columns=summaries,
        numbers=tuple(numbers[index] for index in kept),
        correlation=tuple(tuple(correlation[one][other] for other in kept) for one in kept),
        associations=associations,
        relations=relations,
        over_time=over_time,
        suspicions=_shortened(said),
    )


def sample_sql(source: str, columns: Sequence[Column], lineage: Sequence[str], rows: int) -> str:
    """A statement that yields at most 50,000 rows, the same at every call on the same rows.

    Args:
        source: SQL of the table.
        columns: what is wanted, in the result as `c0`, `c1`, …: numbers, times (in days) and booleans as DOUBLE,
            categories as text, what is neither as NULL.
        lineage: columns that tell rows apart; without them the rows' own order decides.
        rows: how many there are.
    """
    listed = ", ".join(f"{_comparable(column)} AS c{index}" for index, column in enumerate(columns)) or "NULL AS c"
    names = ", ".join(quoted(name) for name in lineage)
    if not names or rows <= SAMPLE:
        return f"SELECT {listed} FROM {source} LIMIT {SAMPLE}"
    # By hash: spread over all partitions, and no row is more likely than another. Hashes are spread evenly, so the
    # least are among those below a share of all: to sort every row would take many times as long.
    below = min(2**64 - 1, 2**64 * 2 * SAMPLE // rows)
    return (
        f"SELECT {listed} FROM {source} WHERE hash({names}) <= {below}::UBIGINT "
        f"ORDER BY hash({names}), {names} LIMIT {SAMPLE}"
    )


def associate(column: Column, values: pl.Series, target: Column, answers: pl.Series) -> Association | None:
    """How strongly a column goes with the target, by the measure that fits both; None where no measure does."""
    counted = {"number", "time", "boolean"}
    comparable = counted | {"category"}
    if column.kind not in comparable or target.kind not in comparable or column.distinct == 0 or target.distinct == 0:
        return None
    both = (values.is_not_null() & answers.is_not_null()).to_numpy()
    if not both.any():
        return None
    values, answers = values.filter(both), answers.filter(both)
    is_class = bool(_classes(target))
    measure: str
    if column.kind in counted and not is_class:
        measure, found = "Spearman's \N{GREEK SMALL LETTER RHO}", spearman(as_numbers(values), as_numbers(answers))
    elif column.kind in {"number", "time"}:
        measure, found = "correlation ratio ε", correlation_ratio(_codes(answers), as_numbers(values))
    elif is_class:
        measure, found = "Cramér's V", cramers_v(_codes(values), _codes(answers))
    else:
        measure, found = "correlation ratio ε", correlation_ratio(_codes(values), as_numbers(answers))
    return Association(column.name, measure, round(found, 6), values.len())


def relate(column: Column, values: pl.Series, answers: pl.Series, classes: Sequence[str]) -> tuple[Group, ...]:
    """The target in each value of a column, or in ranges of about as many rows.

    Args:
        column: the column.
        values: its sampled values.
        answers: the target's, row by row.
        classes: the target's, or none.
    """
    import numpy as np  # noqa: PLC0415
    import polars as pl

    rows = pl.DataFrame({"value": values, "answer": answers}).drop_nulls("value")
    if column.kind in {"number", "time"} and rows["value"].n_unique() > GROUPS:
        numbers = as_numbers(rows["value"])
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, GROUPS + 1)))
        index = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
        labels = [range_of(low, high, column.kind) for low, high in pairwise(edges)]
        parts = [(labels[bin_], rows.filter(index == bin_)) for bin_ in range(len(labels))]
    else:
        counts = rows["value"].value_counts(name="rows").sort("rows", "value", descending=[True, False]).head(GROUPS)
        chosen = counts["value"].sort() if column.kind in {"number", "time"} else counts["value"]
        parts = [(named(value, column.kind), rows.filter(rows["value"] == value)) for value in chosen]
    return tuple(_group(label, part["answer"], classes) for label, part in parts if part.height)


def suspicions(
    columns: Sequence[Column],
    rows: int,
    *,
    target: str,
    associations: Sequence[Association],
    numbers: Sequence[str],
    correlation: Sequence[Sequence[float | None]],
) -> tuple[str, ...]:
    """What to look at before a model learns from it, one sentence each."""
    said = []
    for column in columns:
        present = rows - column.missing
        if not present and rows:
            said.append(f"{column.name} has no value in any row.")
            continue
        if column.distinct == 1 and rows > 1 and not column.missing:
            said.append(f"{column.name} is the same in all rows: a model learns nothing from it.")
        if column.missing > MOSTLY_MISSING * rows:
            said.append(f"{column.name} is missing in {column.missing / rows:.0%} of the rows.")
        named = column.kind in {"category", "text"} or WHOLE.fullmatch(column.dtype)
        if named and column.name != target and present >= ENOUGH and column.distinct >= ALMOST_ALL * present:
            said.append(
                f"{column.name} is different in almost every row ({column.distinct:,} values in {present:,} rows): "
                "an identifier, or free text."
            )
    said += [
        f"{each.column} alone tells {target} almost exactly ({each.measure} {each.value:.3f}): is it known when a "
        "prediction is made, or does it follow from the target?"
        for each in associations
        if abs(each.value) >= ALONE and each.rows >= ENOUGH
    ]
    for index, one in enumerate(numbers):
        for other, value in zip(numbers[:index], correlation[index], strict=False):
            if value is not None and abs(value) >= SAME and rows >= ENOUGH and target not in {one, other}:
                said.append(f"{other} and {one} say nearly the same (Pearson's r {value:.3f}).")
    return tuple(said)


def as_numbers(values: pl.Series) -> Values:
    """Values as float64, NaN where missing."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    return np.asarray(values.cast(pl.Float64).fill_null(math.nan).to_numpy(), dtype=np.float64)


def _over_time(
    query: Query,
    source: str,
    partition: str | None,
    *,
    target: Column,
    classes: Sequence[str],
    label: Callable[[Any], str],
    rows: int,
) -> tuple[Group, ...]:
    """Rows and target of each partition, over all rows."""
    by, value = quoted(partition or ""), value_of(target.name, target.dtype)
    start = f"SELECT {by}, count(*)"
    end = f"FROM {source} WHERE {by} IS NOT NULL GROUP BY {by} ORDER BY {by}"
    if classes:
        text = f"{value}" if target.kind == "number" else f"CAST({value} AS VARCHAR)"
        counts = ", ".join(f"count(*) FILTER ({text} = {literal(name)})" for name in classes)
        found = query(f"{start}, count({value}), {counts} {end}").rows()
        return tuple(
            Group(label(at), each, shares=tuple(count / max(present, 1) for count in parts))
            for at, each, present, *parts in found
        )
    if target.kind != "number":
        return tuple(Group(label(at), each) for at, each in query(f"{start} {end}").rows())
    quartiles = query(f"{start}, {', '.join(quantile(value, share, rows) for share in (0.25, 0.5, 0.75))} {end}")
    return tuple(Group(label(at), *rest) for at, *rest in quartiles.rows())


def _classes(target: Column) -> tuple[str, ...]:
    """The classes of a target that is no number, or has no more than two values."""
    if target.kind in {"category", "boolean"}:
        return tuple(share.label for share in target.shares[:CLASSES])
    if target.kind == "number" and target.distinct <= 2 and WHOLE.fullmatch(target.dtype):  # noqa: PLR2004 - yes and no
        return tuple(share.label for share in target.shares if share.rows)
    return ()


def _group(label: str, answers: pl.Series, classes: Sequence[str]) -> Group:
    present = answers.drop_nulls()
    if classes:
        shares = tuple(int((present == name).sum()) / max(present.len(), 1) for name in classes)
        return Group(label, answers.len(), shares=shares)
    if not present.len() or not present.dtype.is_numeric():
        return Group(label, answers.len())
    low, middle, high = (present.quantile(share, "linear") for share in (0.25, 0.5, 0.75))
    return Group(label, answers.len(), low, middle, high)


def _comparable(column: Column) -> str:
    value = value_of(column.name, column.dtype)
    if column.kind == "time":
        return f"epoch({value}) / 86400"
    if column.kind == "boolean":
        return f"CAST({value} AS DOUBLE)"
    return value if column.kind in {"number", "category"} else "NULL"


def _as_classes(values: pl.Series, kind: Kind) -> pl.Series:
    """Sampled values of the target as the labels that its classes have."""
    import polars as pl

    names = {value: named(value, kind) for value in values.drop_nulls().unique()}
    return values.replace_strict(names, default=None, return_dtype=pl.String)


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _shortened(said: Sequence[str]) -> tuple[str, ...]:
    more = len(said) - SUSPICIONS
    return (*said[:SUSPICIONS], f"And {more} more of this kind.") if more > 0 else tuple(said)


def _codes(values: pl.Series) -> NDArray[np.int64]:
    import numpy as np  # noqa: PLC0415

    return np.asarray(values.rank("dense").to_numpy(), dtype=np.int64) - 1
