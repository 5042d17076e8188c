"""Why an alarm: which columns have moved, what that does to the model, and which rows carry it.

A column's effect is what its drift alone does. The values of a number are brought back to the reference's
distribution by the least movement that does so, the monotone map from one distribution to the other (optimal
transport in one dimension: Villani, Topics in Optimal Transportation, 2003); all else stays, and the rows are
predicted again. A town that became another would be another house, so categories are weighed instead: each row counts
as its category did in the reference (Shimodaira, Journal of Statistical Planning and Inference 90, 2000). Where most
rows are of categories that the reference has not, they go to those that it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A group carries a drift if it makes up so much of it, and so many times its share of the rows.
CARRIED, TIMES = 0.3, 1.5
GROUPS = 3
# Groups of fewer rows say nothing.
LEAST_ROWS = 5
# So much of an error's message is told, in characters.
LONGEST = 200


@dataclass(frozen=True)
class Carrier:
    """Some rows that carry a drift: a value of a column, and its shares of the rows and of the drift, 0 to 1."""

    column: str
    value: str
    rows: float
    drift: float


@dataclass(frozen=True)
class Cause:
    """What the drift of one column does.

    Attributes:
        column: the column.
        moved: mean change of the prediction, in its unit, were the column as it was: of numbers of each row's, of
            categories of the mean prediction; for a target 0; None where it is unknown.
        effect: the same as a share of the champion's typical error; None where either is unknown.
        cost: error of the partition less what it would be were the column as it was; None without labels.
        carriers: rows that carry more of it than their share, the greatest first; none where it is everywhere.
        metric: the error that `cost` is of; empty without one.
        note: why the effect is unknown; empty where it is known.
        version: whose predictions were moved; 0 where nobody said.
    """

    column: str
    moved: float | None
    effect: float | None
    cost: float | None = None
    carriers: tuple[Carrier, ...] = ()
    metric: str = ""
    note: str = ""
    version: int = 0


def explain(
    rows: pl.DataFrame,
    reference: pl.DataFrame,
    columns: Sequence[str],
    *,
    predict: Callable[[pl.DataFrame], Floats],
    typical: float | None,
    losses: Callable[[Floats], Floats] | None = None,
    metric: str = "",
    groups: Sequence[str] = (),
) -> list[Cause]:
    """What the drift of each of some columns does: what is unknown first, then the most harmful.

    Args:
        rows: of the partition, features and whatever groups them.
        reference: rows that the champion learnt from.
        columns: features that have moved; those that are not there are passed over.
        predict: rows → predictions, shape (rows,) or (rows, classes).
        typical: the champion's typical error, in the unit of a prediction; None where it is unknown.
        losses: predictions → the loss of each row, NaN where it has no label; None without labels.
        metric: the error that the losses are of; their mean, and for `rmse` its root.
        groups: columns whose values name rows that may carry a drift.

    Returns:
        One for each. A column that cannot be brought back, or not be predicted then, has no effect and a note.
    """
    import polars as pl

    present = [name for name in columns if name in rows.columns and name in reference.columns]
    if not rows.height or not reference.height or not present:
        return []
    said = predict(rows)
    found = []
    for name in present:
        try:
            moved, cost = _brought_about(rows, reference, name, said, predict=predict, losses=losses, metric=metric)
            carriers = carriers_of(name, rows, reference, [group for group in groups if group != name])
        except (pl.exceptions.PolarsError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            # One column must not hide what the others do: it is told, and counts as harmful.
            found.append(Cause(name, None, None, note=_told(error)))
            continue
        effect, note = _effect(moved, typical)
        found.append(Cause(name, moved, effect, cost, tuple(carriers), "" if cost is None else metric, note))
    return sorted(found, key=lambda cause: -math.inf if cause.effect is None else -cause.effect)


def _told(error: Exception) -> str:
    """An error in one line that fits a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"


def _effect(moved: float, typical: float | None) -> tuple[float | None, str]:
    """A movement as a share of a typical error, and why it is unknown; what moves nothing is harmless anyway."""
    if not moved:
        return 0.0, ""
    if not math.isfinite(moved):
        return None, "predictions are not finite"
    if typical:
        return moved / typical, ""
    return None, "the champion's typical error is " + ("unknown" if typical is None else "0")


def _brought_about(
    rows: pl.DataFrame,
    reference: pl.DataFrame,
    name: str,
    said: Floats,
    *,
    predict: Callable[[pl.DataFrame], Floats],
    losses: Callable[[Floats], Floats] | None,
    metric: str,
) -> tuple[float, float | None]:
    """How far a column's drift moves predictions, and what it costs; None without labels."""
    import numpy as np  # noqa: PLC0415

    weights = _weights(rows[name], reference[name])
    if weights is not None:
        restored = said
        moved = float(np.abs(said.mean(axis=0) - np.average(said, axis=0, weights=weights)).mean())
    else:
        restored = predict(rows.with_columns(brought_back(rows[name], reference[name]).alias(name)))
        moved = float(np.mean(np.abs(said - restored)))
    if losses is None:
        return moved, None
    return moved, _error(losses(said), metric) - _error(losses(restored), metric, weights)


def _error(losses: Floats, metric: str, weights: Floats | None = None) -> float:
    """The metric of some losses: their mean, and for `rmse` its root."""
    import numpy as np  # noqa: PLC0415

    held = ~np.isnan(losses)
    if weights is not None and not weights[held].sum():
        weights = None
    mean = float(np.average(losses[held], weights=None if weights is None else weights[held]))
    return math.sqrt(mean) if metric == "rmse" else mean


def _weights(current: pl.Series, reference: pl.Series) -> Floats | None:
    """How much each row counts for its category to have the reference's share; None for numbers, or without overlap."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    if current.dtype.is_numeric() or current.dtype.is_temporal():
        return None
    names, usual = (one.cast(pl.String).fill_null("(missing)") for one in (current, reference))
    here, there = dict(_sizes(names)), dict(_sizes(usual))
    ratio = {name: there.get(name, 0) / reference.len() / (size / current.len()) for name, size in here.items()}
    weights = np.array([ratio[name] for name in names.to_list()])
    return weights if 2 * np.count_nonzero(weights) >= weights.size else None


def brought_back(current: pl.Series, reference: pl.Series) -> pl.Series:
    """A column as it would be in the reference's distribution, every row moved as little as that allows.

    Args:
        current: the values of a partition.
        reference: the values that the champion learnt from.

    Returns:
        As many values as `current` has, of the type that holds both. What is missing more often than in the reference
        is filled in from there; where less is missing, as many rows by chance go missing again.

    Raises:
        polars.exceptions.SchemaError: if no type holds both.
    """
    import numpy as np  # noqa: PLC0415
    import polars as pl

    if not reference.len():
        return current
    draw = np.random.default_rng(0)
    both = [one.alias("").to_frame() for one in (current, reference)]
    if current.dtype != reference.dtype and pl.Enum in {current.dtype.base_type(), reference.dtype.base_type()}:
        both = [one.cast(pl.String) for one in both]
    joined = pl.concat(both, how="vertical_relaxed").to_series()
    if joined.dtype.is_float():
        joined = joined.fill_nan(None)
    result, known = joined.head(current.len()), joined.tail(reference.len()).drop_nulls()
    here = np.flatnonzero(result.is_not_null().to_numpy())
    absent = np.flatnonzero(result.is_null().to_numpy())
    too_many = absent.size - round((1 - known.len() / reference.len()) * current.len())
    if too_many < 0:
        leaving = draw.choice(here, -too_many, replace=False)
        result = _put(result, leaving, pl.Series([None] * leaving.size, dtype=result.dtype))
        here = np.setdiff1d(here, leaving)
    if here.size:
        values = result.gather(here)
        is_number = result.dtype.is_numeric() or result.dtype.is_temporal()
        result = _put(result, here, _mapped(values, known) if is_number else _reassigned(values, known, draw))
    if too_many > 0:
        filled = draw.choice(absent, too_many, replace=False)
        result = _put(result, filled, known.gather(draw.integers(0, known.len(), too_many)))
    return result.alias(current.name)


def _put(series: pl.Series, places: NDArray[np.intp], values: pl.Series) -> pl.Series:
    import polars as pl

    return series.clone().scatter(pl.Series(places, dtype=pl.UInt32), values.cast(series.dtype))


def _mapped(current: pl.Series, known: pl.Series) -> pl.Series:
    """Numbers in the reference's distribution: of each row the reference's value of its rank."""
    import numpy as np  # noqa: PLC0415

    ranks = np.empty(current.len(), dtype=float)
    ranks[np.argsort(current.to_numpy(), kind="stable")] = (np.arange(current.len()) + 0.5) / current.len()
    places = np.minimum((ranks * known.len()).astype(int), known.len() - 1)
    return known.sort().gather(places)


def _reassigned(current: pl.Series, known: pl.Series, draw: np.random.Generator) -> pl.Series:
    """Categories in the reference's shares: rows of those that have grown go to those that have shrunk."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    dtype = current.dtype
    values, usual = current.cast(pl.String).to_list(), known.cast(pl.String).to_list()
    names, inverse = np.unique(np.array(values + usual, dtype=object), return_inverse=True)
    mine = inverse[: len(values)]
    have = np.bincount(mine, minlength=names.size)
    share = np.bincount(inverse[len(values) :], minlength=names.size) / len(usual)
    wanted = np.floor(share * len(values)).astype(int)
    # What rounding has left over goes to the largest remainders.
    wanted[np.argsort(wanted - share * len(values), kind="stable")[: len(values) - wanted.sum()]] += 1
    result = mine.copy()
    leaving = [
        draw.choice(np.flatnonzero(mine == index), have[index] - wanted[index], replace=False)
        for index in np.flatnonzero(have > wanted)
    ]
    if leaving:
        arriving = np.repeat(np.arange(names.size), np.maximum(wanted - have, 0))
        result[draw.permutation(np.concatenate(leaving))] = arriving
    texts = pl.Series([str(names[index]) for index in result], dtype=pl.String)
    return (texts == "true") if dtype == pl.Boolean else texts


def carriers_of(column: str, rows: pl.DataFrame, reference: pl.DataFrame, groups: Sequence[str]) -> list[Carrier]:
    """The values of other columns whose rows carry more of a column's drift than their share."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    now, then = _scores(rows[column], reference[column])
    if float(np.abs(now.mean() - then.mean())) == 0:
        return []
    direction = np.sign(now.mean() - then.mean())
    found = []
    for group in groups:
        values = rows[group].cast(pl.String).fill_null("(missing)")
        usual = reference[group].cast(pl.String).fill_null("(missing)") if group in reference.columns else None
        pushes = {}
        for name, size in _sizes(values):
            if size < LEAST_ROWS:
                continue
            mine = now[(values == name).to_numpy()]
            before = then[(usual == name).to_numpy()] if usual is not None else then[:0]
            push = direction * (mine.mean() - (before.mean() if before.size >= LEAST_ROWS else then.mean()))
            pushes[name] = (size / values.len(), push * size / values.len())
        total = sum(max(push, 0.0) for _, push in pushes.values())
        for name, (share, push) in pushes.items():
            part = push / total if total > 0 else 0.0
            if part >= CARRIED and part >= TIMES * share:
                found.append(Carrier(group, name, share, part))
    return sorted(found, key=lambda one: one.rows - one.drift)[:GROUPS]


def _sizes(values: pl.Series) -> list[tuple[str, int]]:
    return list(values.value_counts(sort=True, name="_size").iter_rows())


def _scores(current: pl.Series, reference: pl.Series) -> tuple[Floats, Floats]:
    """How far each row is from the reference: ranks of numbers in it, of categories whether they have grown."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    if current.dtype.is_numeric() or current.dtype.is_temporal():
        known = np.sort(reference.cast(pl.Float64, strict=False).drop_nulls().drop_nans().to_numpy())

        def rank(values: pl.Series) -> Any:
            numbers = values.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
            places = (np.searchsorted(known, numbers, "left") + np.searchsorted(known, numbers, "right")) / 2
            # What is missing lies beyond all: more of it is a drift too.
            return np.where(np.isnan(numbers), 1.5, places / max(known.size, 1))

        return rank(current), rank(reference)
    shares = [dict(_sizes(one.cast(pl.String).fill_null("(missing)"))) for one in (current, reference)]
    sizes = (max(current.len(), 1), max(reference.len(), 1))

    def grown(name: str) -> float:
        return float(shares[0].get(name, 0) / sizes[0] > shares[1].get(name, 0) / sizes[1])

    marks: Mapping[str, float] = {name: grown(name) for name in {*shares[0], *shares[1]}}
    both = (one.cast(pl.String).fill_null("(missing)") for one in (current, reference))
    first, second = (np.array([marks[name] for name in one.to_list()]) for one in both)
    return first, second
