"""Where a model errs more than elsewhere: the rows of a slice against the rest, corrected for looking at many."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.evaluation import SIGNIFICANCE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from ml_assets.core.intervals import Resamples
    from ml_assets.core.tasks import Values

# A number with more distinct values than this is cut at its quartiles.
MOST_VALUES = 12
# Units of the bootstrap (rows, or whole partitions) that a slice must lie in to be called worse.
FEWEST_UNITS = 5
MOST_CANDIDATES = 500
QUARTILES = (0.25, 0.5, 0.75)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, eq=False)
class Slice:
    """Some rows of a test set.

    Attributes:
        title: what they have in common: `town = BEDOK`.
        rows: shape (n,), which they are.
        declared: whether the project asks for it; else it was found by looking.
    """

    title: str
    rows: NDArray[np.bool_]
    declared: bool = False


@dataclass(frozen=True, eq=False)
class Worse:
    """A slice whose loss is greater than that of the rest.

    Attributes:
        slice: the slice.
        loss, rest: the mean loss of its rows, and of all others.
        p_value: chance of such a difference, or a greater one, in any of the slices looked at, were there none.
    """

    slice: Slice
    loss: float
    rest: float
    p_value: float


def slices_of(
    column: pl.Series,
    *,
    values: Collection[Any] = (),
    at_least: float | None = None,
    below: float | None = None,
    minimum: int = 1,
    declared: bool = False,
) -> list[Slice]:
    """The slices by a column: one for the values or the bounds that are given; else one for each value or quarter.

    Args:
        column: shape (n,). A number of many values is cut at its quartiles; what is missing is a slice of its own.
        values: the rows that have one of them.
        at_least: smallest number, included.
        below: end of the numbers, not included.
        minimum: rows below which a slice is left out, unless it was asked for by values or bounds.
        declared: what the slices are marked as.
    """
    import polars as pl

    name = column.name
    if values or at_least is not None or below is not None:
        found = _chosen(column, values, at_least, below)
        return [Slice(_title(name, values, at_least, below), found.fill_null(value=False).to_numpy(), declared)]
    missing = column.is_null()
    if column.dtype.is_float():
        missing = missing | column.is_nan().fill_null(value=True)
    parts = [] if missing.sum() < minimum else [(f"{name} is missing", missing)]
    if _is_many(column):
        known = column.filter(~missing)
        edges = sorted({float(known.quantile(share) or 0) for share in QUARTILES} - {float(known.min() or 0)})  # type: ignore[arg-type]
        numbers = column.cast(pl.Float64)
        for low, high in zip([None, *edges], [*edges, None], strict=True):
            inside = ~missing if low is None else ~missing & (numbers >= low)
            inside = inside if high is None else inside & (numbers < high)
            parts.append((_title(name, (), low, high), inside))
    else:
        texts = column.cast(pl.String)
        counted = texts.filter(~missing).value_counts(sort=True).filter(pl.col("count") >= minimum)
        parts += [(_title(name, (label,), None, None), texts == label) for label in sorted(counted[name])]
    made = [Slice(title, rows.fill_null(value=False).to_numpy(), declared) for title, rows in parts]
    return [one for one in made if one.rows.sum() >= max(minimum, 1)]


def find_worse(slices: Sequence[Slice], losses: Values, resamples: Resamples) -> list[Worse]:
    """The slices with a greater mean loss than all other rows by more than noise, the worst first.

    Each is tested with the bootstrap's standard error of the difference, and the chances are corrected by Holm's method
    for having looked at all of them.

    Args:
        slices: some; those without rows, or without others to be compared with, are passed over.
        losses: shape (n,), as in `evaluation.row_losses`.
        resamples: of the n rows.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6(2). Slices of single features: Chung et al. (2019), Slice
        Finder, ICDE.
    """
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    looked_at = [one for one in slices if 1 < one.rows.sum() < len(losses)]
    if not looked_at or resamples.units < 2:  # noqa: PLR2004 - a variance needs two
        return []
    unit, units = resamples.unit, resamples.units
    sums = np.stack([np.bincount(unit[one.rows], losses[one.rows], units) for one in looked_at], axis=1)
    rows = np.stack([np.bincount(unit[one.rows], minlength=units) for one in looked_at], axis=1)
    all_sums, all_rows = np.bincount(unit, losses, units)[:, None], np.bincount(unit, minlength=units)[:, None]
    counts = resamples.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_in = (counts @ sums) / (counts @ rows)
        drawn_out = (counts @ (all_sums - sums)) / (counts @ (all_rows - rows))
    loss = np.array([losses[one.rows].mean() for one in looked_at])
    rest = np.array([losses[~one.rows].mean() for one in looked_at])
    error = np.nanstd(drawn_in - drawn_out, axis=0)
    # By the units that it lies in: a slice in one of them has no spread of its own, and one in few tells too little.
    freedom = (rows > 0).sum(axis=0) - 1
    known = (error > 0) & (freedom >= FEWEST_UNITS - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = holm(np.where(known, stats.t.sf((loss - rest) / error, np.maximum(freedom, 1)), 1.0))
    order = np.argsort(-loss, kind="stable")
    return [
        Worse(looked_at[each], float(loss[each]), float(rest[each]), float(p_values[each]))
        for each in order
        if p_values[each] < SIGNIFICANCE
    ]


def holm(p_values: Values) -> Values:
    """Chances corrected for having looked at all of them, shape (n,)."""
    import numpy as np  # noqa: PLC0415

    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _is_many(column: pl.Series) -> bool:
    return column.dtype.is_numeric() and column.n_unique() > MOST_VALUES


def _chosen(column: pl.Series, values: Collection[Any], at_least: float | None, below: float | None) -> pl.Series:
    import polars as pl

    if values and (column.dtype.is_float() or column.dtype.is_decimal()):
        # As text 3 would be 3.0.
        wanted = [float(value) for value in map(_label, values) if _NUMBER.fullmatch(value)]
        return column.cast(pl.Float64).is_in(wanted)
    if values:
        return column.cast(pl.String).is_in([_label(value) for value in values])
    numbers = column.cast(pl.Float64)
    inside = numbers.is_finite()
    inside = inside if at_least is None else inside & (numbers >= at_least)
    return inside if below is None else inside & (numbers < below)


def _title(name: str, values: Collection[Any], low: float | None, high: float | None) -> str:
    if values:
        return f"{name} = {' or '.join(map(_label, values))}"
    if low is None:
        return f"{name} < {high:g}" if high is not None else name
    return f"{low:g} \N{LESS-THAN OR EQUAL TO} {name}" + ("" if high is None else f" < {high:g}")


def _label(value: Any) -> str:
    """A value as polars writes it as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)
