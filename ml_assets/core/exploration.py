"""What a table holds, before anybody learns from it: columns, target, associations, and what looks suspicious.

Everything per column is counted over all rows, in SQL that is written here and run by the caller. What needs ranks or
pairs of columns is computed on a sample, whose size is told. The result is plain numbers and texts: it is kept as JSON.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Query = Callable[[str], pl.DataFrame]

SAMPLE = 50_000
# Above this many rows distinct values and quantiles are approximate: exact ones hold every value in memory.
EXACT = 1_000_000
BINS = 30
TOP = 10
CLASSES = 6
GROUPS = 12
RELATED = 6
CORRELATED = 25
SUSPICIONS = 30
TEXT_VALUES = 100  # distinct values above which a column may be free text
TEXT_SHARE = 0.2  # and distinct values per row above which it is
ENOUGH = 30  # rows below which nothing is called suspicious: anything looks regular in a few
ALMOST_ALL = 0.98
ALONE = 0.95
SAME = 0.95
MOSTLY_MISSING = 0.5

Kind = Literal["number", "boolean", "category", "text", "time", "other"]
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
_WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER")


@dataclass(frozen=True)
class Share:
    """Rows of one value, or of one bin.

    Attributes:
        label: the value, or the bin's range.
        rows: how many.
    """

    label: str
    rows: int


@dataclass(frozen=True)
class Column:
    """One column over all rows.

    Attributes:
        name, dtype: name and DuckDB type.
        kind: how it is looked at. `text` is free text: its lengths are told, not its values.
        missing: rows without a value; NaN and infinity are none.
        distinct: different values.
        least, median, greatest: of numbers and times; of the length in characters where the kind is `text`.
        shares: most frequent values first, or bins of a number from low to high; empty for text and others.
    """

    name: str
    dtype: str
    kind: Kind
    missing: int
    distinct: int
    least: str | None = None
    median: str | None = None
    greatest: str | None = None
    shares: tuple[Share, ...] = ()


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
        approximate=rows > EXACT,
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


def summarize(query: Query, source: str, name: str, dtype: str, rows: int) -> Column:
    """One column over all rows; of more than a million, distinct values and quantiles approximately.

    Source:
        Approximate ones: HyperLogLog (Flajolet et al., 2007) and t-digest (Dunning & Ertl, 2019), as DuckDB has them.
    """
    kind, value = _kind(dtype), _value(name, dtype)
    distinct = f"count(DISTINCT {value})" if rows <= EXACT else f"approx_count_distinct({value})"
    # One query for each column: never more than one column's distinct values are in memory.
    ((present, different),) = query(f"SELECT count({value}), {distinct} FROM {source}").rows()
    different = min(different, present)
    if kind == "category" and different > max(TEXT_VALUES, TEXT_SHARE * present):
        kind = "text"
    missing = rows - present
    if kind in {"number", "time", "text"}:
        measured = f"length({value})" if kind == "text" else value
        limits = _limits(query, source, measured, rows)
        bins = _bins(query, source, value, distinct=different, rows=rows) if kind == "number" and present else ()
        return Column(name, dtype, kind, missing, different, *limits, bins)
    if kind == "other":
        return Column(name, dtype, kind, missing, different)
    sql = (
        f"SELECT CAST({value} AS VARCHAR), count(*) FROM {source} WHERE {value} IS NOT NULL "
        f"GROUP BY ALL ORDER BY 2 DESC, 1 LIMIT {TOP}"
    )
    shares = tuple(Share(text, count) for text, count in query(sql).rows())
    return Column(name, dtype, kind, missing, different, shares=shares)


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
    names = ", ".join(_quoted(name) for name in lineage)
    if not names or rows <= SAMPLE:
        return f"SELECT {listed} FROM {source} LIMIT {SAMPLE}"
    # By hash: spread over all partitions, and no row is more likely than another. Hashes are spread evenly, so the
    # least are among those below a share of all: to sort every row would take many times as long.
    below = min(2**64 - 1, 2**64 * 2 * SAMPLE // rows)
    return (
        f"SELECT {listed} FROM {source} WHERE hash({names}) <= {below}::UBIGINT "
        f"ORDER BY hash({names}), {names} LIMIT {SAMPLE}"
    )


def pearson(columns: Mapping[str, Values]) -> Values:
    """Pearson's correlations of all pairs, each over the rows that have both values.

    Args:
        columns: name → shape (n,), NaN where missing.

    Returns:
        Shape (k, k), NaN where fewer than two rows have both or a column does not vary in them.

    Source:
        Pearson (1895), Notes on regression and inheritance. Pairwise deletion of what is missing.
    """
    import numpy as np  # noqa: PLC0415

    if not columns:
        return np.empty((0, 0))
    values = np.column_stack([_standard(each) for each in columns.values()])
    there = np.isfinite(values)
    known = there.astype(float)
    filled = np.where(there, values, 0.0)
    count, product = known.T @ known, filled.T @ filled
    total, square = filled.T @ known, (filled**2).T @ known
    spread = count * square - total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(spread * spread.T)
        found = (count * product - total * total.T) / scale
    # What is left of a constant after rounding is no spread.
    flat = spread <= 1e-9 * count * square
    found[flat | flat.T | (count < 2)] = math.nan  # noqa: PLR2004 - a correlation needs two rows
    correlations: Values = np.clip(found, -1, 1)
    return correlations


def spearman(one: Values, other: Values) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where either does not vary.

    Args:
        one: shape (n,), finite.
        other: the same of the other.

    Source:
        Spearman (1904), The proof and measurement of association between two things.
    """
    from scipy.stats import rankdata  # noqa: PLC0415

    found = pearson({"one": rankdata(one), "other": rankdata(other)})[0, 1]
    return 0.0 if math.isnan(found) else float(found)


def correlation_ratio(codes: NDArray[np.int64], values: Values) -> float:
    """How much of a number's spread its category tells: 0 nothing, 1 all of it.

    Args:
        codes: shape (n,), the category of each row, 0 … k-1.
        values: shape (n,), finite.

    Returns:
        The root of epsilon squared: unlike eta it does not grow with the number of categories alone.

    Source:
        Kelley (1935), An unbiased correlation ratio measure, PNAS 21(9).
    """
    import numpy as np  # noqa: PLC0415

    values = _standard(values)
    rows = np.bincount(codes)
    groups = np.count_nonzero(rows)
    within = float((values**2).sum() - (np.bincount(codes, values)[rows > 0] ** 2 / rows[rows > 0]).sum())
    whole = float(((values - values.mean()) ** 2).sum()) if values.size else 0.0
    if groups < 2 or whole <= 1e-9 * values.size or values.size <= groups:  # noqa: PLR2004 - two groups to compare
        return 0.0
    explained = 1 - (within / whole) * (values.size - 1) / (values.size - groups)
    return math.sqrt(min(max(explained, 0.0), 1.0))


def cramers_v(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """How closely two categories go together: 0 not at all, 1 each tells the other. Corrected for bias.

    Args:
        one: shape (n,), codes 0 … k-1.
        other: the same of the other.

    Source:
        Cramér (1946), Mathematical Methods of Statistics; Bergsma (2013), A bias-correction for Cramér's V and
        Tschuprow's T, Journal of the Korean Statistical Society 42(3).
    """
    import numpy as np  # noqa: PLC0415

    size = one.size
    if size < 2:  # noqa: PLR2004 - nothing goes together in one row
        return 0.0
    # Cells that hold rows only: a table of all pairs of many categories would not fit.
    pairs, cells = np.unique(np.stack([one, other]), axis=1, return_counts=True)
    rows, columns = np.bincount(one), np.bincount(other)
    expected = rows[pairs[0]] * columns[pairs[1]] / size
    phi = float((cells**2 / expected).sum() - size) / size
    height, width = np.count_nonzero(rows), np.count_nonzero(columns)
    phi = max(0.0, phi - (height - 1) * (width - 1) / (size - 1))
    high, wide = height - (height - 1) ** 2 / (size - 1), width - (width - 1) ** 2 / (size - 1)
    least = min(high, wide) - 1
    return min(math.sqrt(phi / least), 1.0) if least > 0 else 0.0


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
        labels = [_range(low, high, column.kind) for low, high in pairwise(edges)]
        parts = [(labels[bin_], rows.filter(index == bin_)) for bin_ in range(len(labels))]
    else:
        counts = rows["value"].value_counts(name="rows").sort("rows", "value", descending=[True, False]).head(GROUPS)
        chosen = counts["value"].sort() if column.kind in {"number", "time"} else counts["value"]
        parts = [(_named(value, column.kind), rows.filter(rows["value"] == value)) for value in chosen]
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
        named = column.kind in {"category", "text"} or _WHOLE.fullmatch(column.dtype)
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
    by, value = _quoted(partition or ""), _value(target.name, target.dtype)
    start = f"SELECT {by}, count(*)"
    end = f"FROM {source} WHERE {by} IS NOT NULL GROUP BY {by} ORDER BY {by}"
    if classes:
        text = f"{value}" if target.kind == "number" else f"CAST({value} AS VARCHAR)"
        counts = ", ".join(f"count(*) FILTER ({text} = {_literal(name)})" for name in classes)
        found = query(f"{start}, count({value}), {counts} {end}").rows()
        return tuple(
            Group(label(at), each, shares=tuple(count / max(present, 1) for count in parts))
            for at, each, present, *parts in found
        )
    if target.kind != "number":
        return tuple(Group(label(at), each) for at, each in query(f"{start} {end}").rows())
    quartiles = query(f"{start}, {', '.join(_quantile(value, share, rows) for share in (0.25, 0.5, 0.75))} {end}")
    return tuple(Group(label(at), *rest) for at, *rest in quartiles.rows())


def _classes(target: Column) -> tuple[str, ...]:
    """The classes of a target that is no number, or has no more than two values."""
    if target.kind in {"category", "boolean"}:
        return tuple(share.label for share in target.shares[:CLASSES])
    if target.kind == "number" and target.distinct <= 2 and _WHOLE.fullmatch(target.dtype):  # noqa: PLR2004 - yes and no
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


def _bins(query: Query, source: str, value: str, *, distinct: int, rows: int) -> tuple[Share, ...]:
    """Bins of equal width from the first to the last percentile; the outer two hold what lies beyond.

    A column of few values has one for each value.
    """
    if distinct <= 2 * TOP:  # which may be approximate
        counts = query(f"SELECT {value} AS v, count(*) FROM {source} WHERE {value} IS NOT NULL GROUP BY v ORDER BY v")
        if counts.height <= TOP:
            return tuple(Share(_figure(number), count) for number, count in counts.rows())
    edges = ", ".join(_quantile(value, share, rows) for share in (0.01, 0.99))
    ((low, high),) = query(f"SELECT {edges} FROM {source}").rows()
    width = (high - low) / BINS
    if not (math.isfinite(width) and width > 0):
        return ()
    # As doubles from text: DuckDB reads 0.1 in a statement as a decimal.
    place = f"floor(({value} - '{low!r}'::DOUBLE) / '{width!r}'::DOUBLE)"
    sql = (
        f"SELECT CAST(least(greatest({place}, 0), {BINS - 1}) AS INTEGER) AS bin, count(*) "
        f"FROM {source} WHERE {value} IS NOT NULL GROUP BY bin"
    )
    found = dict(query(sql).rows())
    return tuple(
        Share(_range(low + index * width, low + (index + 1) * width), found.get(index, 0)) for index in range(BINS)
    )


def _limits(query: Query, source: str, value: str, rows: int) -> tuple[str | None, str | None, str | None]:
    middle = f"approx_quantile({value}, 0.5)" if rows > EXACT else f"quantile_disc({value}, 0.5)"
    row = query(f"SELECT min({value}), {middle}, max({value}) FROM {source}").row(0)
    least, median, greatest = (_figure(each) if isinstance(each, float | int) else _moment(each) for each in row)
    return least, median, greatest


def _quantile(value: str, share: float, rows: int) -> str:
    return f"approx_quantile({value}, {share})" if rows > EXACT else f"quantile_cont({value}, {share})"


def _kind(dtype: str) -> Kind:
    if _NUMBER.fullmatch(dtype):
        return "number"
    if dtype == "BOOLEAN":
        return "boolean"
    if dtype == "DATE" or dtype.startswith("TIMESTAMP"):
        return "time"
    if dtype == "VARCHAR" or dtype.startswith("ENUM("):
        return "category"
    return "other"


def _value(name: str, dtype: str) -> str:
    """A column's value, NULL where it is none."""
    column, kind = _quoted(name), _kind(dtype)
    if kind == "number":
        return f"(CASE WHEN isfinite({column}::DOUBLE) THEN {column}::DOUBLE END)"
    if kind == "time":
        # Infinity is a date in DuckDB, and so are years that Python does not know; times are UTC throughout the lake.
        return f"(CASE WHEN isfinite({column}) AND year({column}) BETWEEN 1 AND 9999 THEN {column}::TIMESTAMP END)"
    return f"CAST({column} AS VARCHAR)" if kind == "category" else column


def _comparable(column: Column) -> str:
    value = _value(column.name, column.dtype)
    if column.kind == "time":
        return f"epoch({value}) / 86400"
    if column.kind == "boolean":
        return f"CAST({value} AS DOUBLE)"
    return value if column.kind in {"number", "category"} else "NULL"


def _as_classes(values: pl.Series, kind: Kind) -> pl.Series:
    """Sampled values of the target as the labels that its classes have."""
    import polars as pl

    names = {value: _named(value, kind) for value in values.drop_nulls().unique()}
    return values.replace_strict(names, default=None, return_dtype=pl.String)


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _shortened(said: Sequence[str]) -> tuple[str, ...]:
    more = len(said) - SUSPICIONS
    return (*said[:SUSPICIONS], f"And {more} more of this kind.") if more > 0 else tuple(said)


def _codes(values: pl.Series) -> NDArray[np.int64]:
    import numpy as np  # noqa: PLC0415

    return np.asarray(values.rank("dense").to_numpy(), dtype=np.int64) - 1


def _standard(values: Values) -> Values:
    """Centred, and scaled to a spread of one: squares of large numbers lose what tells them apart."""
    import numpy as np  # noqa: PLC0415

    there = values[np.isfinite(values)]
    if not there.size:
        return values
    scale = float(np.abs(there).max()) or 1.0
    scaled, present = values / scale, there / scale
    spread = float(present.std())
    centred: Values = scaled - present.mean()
    # What rounding leaves of a constant is no spread.
    return centred / spread if spread > 1e-13 else np.where(np.isfinite(values), 0.0, math.nan)  # noqa: PLR2004


def _range(low: float, high: float, kind: Kind = "number") -> str:
    return f"{_named(low, kind)} – {_named(high, kind)}"  # noqa: RUF001 - an en dash between numbers that may be negative


def _named(value: Any, kind: Kind) -> str:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    if kind == "time":
        return _moment(datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(days=value)) or ""
    if kind == "boolean":
        return "true" if value else "false"
    return _figure(value) if isinstance(value, float | int) else str(value)


def _figure(value: float) -> str:
    """A number in at most six digits, whole numbers whole."""
    if float(value).is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - a double knows whole numbers up to here
        return str(int(value))
    return f"{value:.6g}"


def _moment(value: Any) -> str | None:
    return None if value is None else str(value).removesuffix(" 00:00:00")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
