"""How closely two columns go together: measures between numbers, between categories, and between both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


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
