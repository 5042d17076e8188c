"""Telling two tables apart: which row and column is the first that differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_assets.core.training import LINEAGE

if TYPE_CHECKING:
    import polars as pl

# Sums of some hundred thousand floats in another order agree to this; values that differ by more are other values.
TOLERANCE = 1e-12


def difference(held: pl.DataFrame, made: pl.DataFrame) -> str:
    """How rows that are held differ from those that were made again; "" where they do not.

    Rows are compared by their lineage, in any order; columns by name. A column that only `held` has may be empty: a
    table keeps the columns that its statement no longer returns. Floats may differ by rounding, see `rounding`.

    Args:
        held: rows with the columns of lineage, which tell each row apart.
        made: the same.
    """
    lineage = list(LINEAGE)
    held, made = held.sort(lineage), made.sort(lineage)
    for one, other, words in ((held, made, "is not made again"), (made, held, "is made, but is not held")):
        extra = one.join(other, on=lineage, how="anti", nulls_equal=True)
        if extra.height:
            counts = f"{held.height:,} rows are held, {made.height:,} are made again"
            return f"{counts}; {_place(extra, 0)} {words}"
    missing = [name for name in made.columns if name not in held.columns]
    gone = [name for name in held.columns if name not in made.columns and held[name].null_count() < held.height]
    if missing or gone:
        return f"column {(missing or gone)[0]!r} is {'made, but is not held' if missing else 'not made again'}"
    for name in made.columns:
        old, new = _alike(held[name], made[name])
        apart = ~old.eq_missing(new)
        if new.dtype.is_float():
            apart &= ~_within_rounding(old, new)
        if apart.any():
            at = int(apart.arg_max() or 0)
            return (
                f"column {name!r}: {apart.sum():,} of {held.height:,} rows differ, first {_place(held, at)}: "
                f"{old[at]!r} is held, {new[at]!r} is made again"
            )
    return ""


def rounding(held: pl.DataFrame, made: pl.DataFrame) -> float:
    """The greatest relative difference of floats where `difference` finds none; 0 where every bit is the same."""
    lineage = list(LINEAGE)
    held, made = held.sort(lineage), made.sort(lineage)
    greatest = 0.0
    for name in (name for name, kind in made.schema.items() if kind.is_float()):
        old, new = _alike(held[name], made[name])
        apart = ~old.eq_missing(new)
        if apart.any():
            old, new = old.filter(apart), new.filter(apart)
            greatest = max(greatest, *((old - new).abs() / old.abs()).to_list())
    return greatest


def _alike(held: pl.Series, made: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Both as one type: a table's column may have been widened since."""
    if held.dtype == made.dtype:
        return held, made
    return held, made.cast(held.dtype, strict=False)


def _within_rounding(old: pl.Series, new: pl.Series) -> pl.Series:
    close = (old - new).abs() <= TOLERANCE * old.abs()
    return close.fill_null(value=False)


def _place(rows: pl.DataFrame, at: int) -> str:
    found: dict[str, Any] = rows.row(at, named=True)
    return f"row {found['_row']} of {found['_source']}"
