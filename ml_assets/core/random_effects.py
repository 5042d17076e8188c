"""How much partitions differ by themselves: a variance between them beside that of sampling, and seasons.

DerSimonian and Laird, Controlled Clinical Trials 7 (1986), who asked the same of trials in many hospitals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.core.components import Column, grouped_chi_squared, mean_scores, score_variances

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A season is believed where chance would show it in fewer than so many columns.
SEASON_LEVEL = 0.001


def has_season(column: Column, rows: Floats, phases: NDArray[np.int64]) -> bool:
    """Whether partitions of one phase are more alike than others, by an analysis of variance of what is watched."""
    import numpy as np  # noqa: PLC0415
    from scipy.special import fdtrc  # noqa: PLC0415

    sizes = rows.sum(axis=1)
    present = sizes > 0
    rows, sizes, phases = rows[present], sizes[present], phases[present]
    values = (rows @ column.scores.T if column.kind == "number" else rows) / sizes[:, None]
    # A phase that was seen once shows nothing of how alike its partitions are.
    often = np.isin(phases, [phase for phase in np.unique(phases) if (phases == phase).sum() >= 2])  # noqa: PLR2004
    rows, sizes, phases, values = rows[often], sizes[often], phases[often], values[often]
    known = np.unique(phases)
    within_df, between_df = len(rows) - known.size, known.size - 1
    if within_df < 1 or between_df < 1:
        return False
    mean = np.average(values, axis=0, weights=sizes)
    within, between = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for phase in known:
        chosen = phases == phase
        own = np.average(values[chosen], axis=0, weights=sizes[chosen])
        within += sizes[chosen] @ (values[chosen] - own) ** 2
        between += sizes[chosen].sum() * (own - mean) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(within > 0, (between / between_df) / (within / within_df), np.where(between > 0, np.inf, 0.0))
    return bool(fdtrc(between_df, within_df, ratio).min() * values.shape[1] < SEASON_LEVEL)


def between_partitions(
    column: Column, rows: Floats, missing: Floats, phases: NDArray[np.int64]
) -> dict[str, tuple[float, float]]:
    """Component → variance between partitions of one phase, and its degrees of freedom."""
    import numpy as np  # noqa: PLC0415

    sizes, everything = rows.sum(axis=1), rows.sum(axis=1) + missing
    found = {}
    if column.kind == "number":
        means = mean_scores(column, rows)
        means[:, 1] -= (means[:, 0] - np.nanmean(means[:, 0])) ** 2
        for name, values, variance in zip(("location", "spread"), means.T, score_variances(column), strict=True):
            found[name] = _random_effect(values, sizes, variance, phases)
    if column.kind == "flag":
        found["location"] = rate_effect(sizes - rows[:, column.usual], sizes, phases)
    found["missing"] = rate_effect(missing, everything, phases)
    found["shape"] = _overdispersion(column.kind, rows, phases)
    return found


def rate_effect(events: Floats, sizes: Floats, phases: NDArray[np.int64]) -> tuple[float, float]:
    """The variance of a rate between partitions, and its degrees of freedom."""
    import numpy as np  # noqa: PLC0415

    rate = events.sum() / max(sizes.sum(), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _random_effect(events / sizes, sizes, rate * (1 - rate), phases)


def _random_effect(values: Floats, sizes: Floats, variance: float, phases: NDArray[np.int64]) -> tuple[float, float]:
    """The variance between partitions by DerSimonian and Laird's moments, and its degrees of freedom."""
    import numpy as np  # noqa: PLC0415

    present = sizes > 0
    values, sizes, phases = values[present], sizes[present], phases[present]
    known = np.unique(phases)
    freedom = float(len(values) - known.size)
    if variance <= 0 or freedom < 1:
        return 0.0, max(freedom, 1.0)
    spread, weight = 0.0, float(sizes.sum())
    for phase in known:
        chosen = phases == phase
        own = np.average(values[chosen], weights=sizes[chosen])
        spread += float(sizes[chosen] @ (values[chosen] - own) ** 2)
        weight -= float((sizes[chosen] ** 2).sum() / sizes[chosen].sum())
    return max(0.0, (spread - freedom * variance) / weight) if weight > 0 else 0.0, freedom


def _overdispersion(kind: str, rows: Floats, phases: NDArray[np.int64]) -> tuple[float, float]:
    """How much more chi-squared per degree of freedom and row there is between partitions than chance makes."""
    import numpy as np  # noqa: PLC0415

    excess, weights, freedom = [], [], 0.0
    for phase in np.unique(phases):
        chosen = rows[phases == phase]
        pool = chosen.sum(axis=0)
        if len(chosen) < 2:  # noqa: PLR2004  (alone there is nothing to compare with)
            continue
        freedom += len(chosen) - 1
        for row in chosen:
            statistic, df, size = grouped_chi_squared(kind, pool - row, row)
            if df:
                # The others differ too, as one partition of their number.
                rest = 1 + 1 / (len(chosen) - 1)
                excess.append((statistic / df - 1) / size / rest)
                weights.append(size)
    if not weights:
        return 0.0, max(freedom, 1.0)
    return max(0.0, float(np.average(excess, weights=weights))), max(freedom, 1.0)
