"""Evidently's numbers beside ours, where both count the same statistic.

They agree where both see the same rows in the same bins. Ours are of all rows, in the bins of the project's first
reference; Evidently's are of the sample, in bins that it chooses from that sample: PSI and Jensen-Shannon depend on
bins, so small differences are expected, and large ones with few rows. Chi-squared and KS are not beside each other:
Evidently's chi-squared takes the reference for exact where ours is of two samples, and its KS is a p-value.
"""

from __future__ import annotations

import html
import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

# Our name → Evidently's, and whether a number has it and a category.
BOTH = {
    "psi": ("psi", True, True),
    "js": ("jensenshannon", True, True),
    "wasserstein": ("wasserstein", True, False),
}
TITLES = {
    "psi": "PSI",
    "js": "Jensen\N{EN DASH}Shannon",
    "wasserstein": "Wasserstein, in standard deviations",
}
Numbers = dict[tuple[str, str], float]


def of_evidently(current: pd.DataFrame, reference: pd.DataFrame, kinds: Mapping[str, str]) -> Numbers:
    """Evidently's statistics of some columns that both frames hold.

    Args:
        current: the rows that are looked at.
        reference: those that they are held against.
        kinds: column → `number`, `date` or `category`.

    Returns:
        (column, our name of the statistic) → value; nothing where it is not finite.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    found = {}
    for column, kind in kinds.items():
        is_category = kind == "category"
        as_type = ColumnType.Categorical if is_category else ColumnType.Numerical
        before, now = reference[column].dropna(), current[column].dropna()
        for name, (method, of_numbers, of_categories) in BOTH.items():
            # The distance is measured in standard deviations of the reference.
            if not (of_categories if is_category else of_numbers) or (name == "wasserstein" and before.std() == 0):
                continue
            test = get_stattest(before, now, as_type, method)
            value = float(test(before, now, as_type, test.default_threshold).drift_score)
            if math.isfinite(value):
                found[column, name] = value
    return found


def as_table(ours: Mapping[tuple[str, str], float], theirs: Mapping[tuple[str, str], float]) -> str:
    """A table of what both have, as HTML; "" where that is nothing."""
    both = [key for key in sorted(theirs) if key in ours]
    if not both:
        return ""
    rows = "".join(_row(html.escape(key[0]), TITLES[key[1]], ours[key], theirs[key]) for key in both)
    return (
        "<details open><summary>The platform's numbers beside Evidently's</summary><table><thead><tr>"
        "<th>Column</th><th>Statistic</th><th>ours, of all rows</th><th>Evidently's, of the sample</th></tr></thead>"
        f"<tbody>{rows}</tbody></table><p>Both choose their own bins: PSI and Jensen\N{EN DASH}Shannon differ "
        "accordingly.</p></details>"
    )


def shared(statistics: Iterable[tuple[str, str, float]]) -> Numbers:
    """Of our statistics those that Evidently has too: (column, name) → value."""
    return {(column, name): value for column, name, value in statistics if name in BOTH}


def _row(column: str, name: str, own: float, other: float) -> str:
    return f"<tr><td>{column}</td><td>{name}</td><td>{own:.4f}</td><td>{other:.4f}</td></tr>"
