"""How often a shift is found, at an equal rate of false alarms: the platform's alarms beside Evidently's column tests.

    python -m benchmarks.power [--quick]

Streams of 25 columns (20 numbers, 5 categories), 24 partitions of reference. The platform is given its budget, one
false alarm in 24 partitions, and what it then raises on partitions without any shift is its rate. Each of Evidently's
tests is given just that rate: the threshold that so many of the same partitions exceed, which in practice nobody knows;
and each column is measured by its own 99 % on those. Then 3 of the numbers are shifted.
Evidently's defaults here (more than 1,000 rows of reference) are the normed Wasserstein distance and Jensen-Shannon.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests.chisquare_stattest import _chi_stat_test
from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
from evidently.legacy.calculations.stattests.ks_stattest import _ks_stat_test
from evidently.legacy.calculations.stattests.mann_whitney_urank_stattest import _mannwhitneyu_rank
from evidently.legacy.calculations.stattests.t_test import _t_test2samp
from evidently.legacy.calculations.stattests.wasserstein_distance_norm import _wasserstein_distance_norm
from evidently.legacy.core import ColumnType
from scipy.special import ndtri

from ml_assets.core.alarms import Place, calibrate, judge
from ml_assets.core.profiles import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NUMBERS, CATEGORIES, SHIFTED = 20, (2, 4, 8, 15, 30), (0, 5, 9)
EDGES = ndtri(np.linspace(0, 1, 101)[1:-1])
BUDGET, REFERENCE = 1 / 24, 24
# A test by p-values is the less surprised the greater its value, a distance the smaller.
TESTS: Mapping[str, tuple[Callable[..., tuple[float, bool]], Callable[..., tuple[float, bool]], bool]] = {
    "wasserstein (default)": (_wasserstein_distance_norm, _jensenshannon, False),
    "ks": (_ks_stat_test, _chi_stat_test, True),
    "mannw": (_mannwhitneyu_rank, _chi_stat_test, True),
    "t_test": (_t_test2samp, _chi_stat_test, True),
}
# Rows a partition, shifts in standard deviations, streams, partitions of each without a shift, and with each shift.
PLAN = ((500, (0.1, 0.25, 0.5), 6, 100, 40), (5_000, (0.05, 0.1, 0.25), 4, 60, 20))
QUICK = ((500, (0.25,), 1, 24, 6),)


@dataclass(frozen=True)
class Stream:
    """Rows of one stream: numbers are standard normal, categories have fixed shares."""

    random: np.random.Generator
    rows: int
    shares: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, seed: int, rows: int) -> Stream:
        """A stream of so many rows a partition."""
        random = np.random.default_rng(seed)
        return cls(random, rows, tuple(random.dirichlet(np.ones(size)) for size in CATEGORIES))

    def draw(self, partitions: int = 1, shift: float = 0.0) -> pd.DataFrame:
        """The rows of some partitions."""
        size = partitions * self.rows
        columns = {f"n{index}": self.random.normal(shift * (index in SHIFTED), 1, size) for index in range(NUMBERS)}
        for index, shares in enumerate(self.shares):
            columns[f"c{index}"] = self.random.choice(shares.size, size, p=shares).astype(float)
        return pd.DataFrame(columns)


def profile(rows: pd.DataFrame) -> dict[str, Counts]:
    """The counts that the platform keeps of rows."""
    found = {}
    for name, values in rows.items():
        is_number = str(name).startswith("n")
        places = np.searchsorted(EDGES, values, side="right") if is_number else values.to_numpy().astype(int)
        counts = {str(place): int(count) for place, count in enumerate(np.bincount(places)) if count}
        found[str(name)] = Counts(str(name), "number" if is_number else "category", 0, 0.0, counts)
    return found


def distances(test: str, reference: pd.DataFrame, current: pd.DataFrame) -> np.ndarray:
    """How surprised Evidently's test is by each column: a distance, or minus the logarithm of the p-value."""
    number, category, is_p_value = TESTS[test]
    found = []
    for name in reference:
        is_number = str(name).startswith("n")
        kind, call = (ColumnType.Numerical, number) if is_number else (ColumnType.Categorical, category)
        kind_of = kind if is_p_value else ("num" if is_number else "cat")
        value = call(reference[name], current[name], kind_of, 0.05)[0]
        found.append(-np.log(max(value, 1e-300)) if is_p_value else value)
    return np.array(found)


def measured(rows: int, shifts: tuple[float, ...], streams: int, stable: int, shifted: int) -> list[dict[str, object]]:
    """Rates of one size of partitions: a line for each way of testing."""
    alarms: dict[float, list[bool]] = {shift: [] for shift in (0.0, *shifts)}
    surprises: dict[str, dict[float, list[np.ndarray]]] = {name: {shift: [] for shift in alarms} for name in TESTS}
    for seed in range(streams):
        stream = Stream.of(seed, rows)
        history = [stream.draw() for _ in range(REFERENCE)]
        reference = pd.concat(history, ignore_index=True)
        places = [Place(index, profile(part)) for index, part in enumerate(history)]
        watch = calibrate(places, places, budget=BUDGET)
        for shift, raised in alarms.items():
            for _ in range(shifted if shift else stable):
                current = stream.draw(shift=shift)
                raised.append(any(one.alarm for one in judge(watch, Place(REFERENCE, profile(current)))))
                for name, found in surprises.items():
                    found[shift].append(distances(name, reference, current))
        sys.stderr.write(f"{rows:,} rows: stream {seed + 1} of {streams}\n")
    rate = float(np.mean(alarms[0.0]))
    table = [{"rows": rows, "test": "ml-assets", "false": rate} | {f"{s:g}": np.mean(alarms[s]) for s in shifts}]
    for name, found in surprises.items():
        null = np.array(found[0.0])
        scale = np.quantile(null, 0.99, axis=0)
        limit = np.quantile((null / scale).max(axis=1), 1 - rate)
        power = {f"{s:g}": np.mean((np.array(found[s]) / scale).max(axis=1) > limit) for s in shifts}
        table.append({"rows": rows, "test": name, "false": rate} | power)
    return table


def main() -> None:
    """Print the table as Markdown, and a line of JSON."""
    warnings.simplefilter("ignore")  # Evidently's own, of empty bins
    plan = QUICK if "--quick" in sys.argv[1:] else PLAN
    tables = [measured(*one) for one in plan]
    for table in tables:
        names = list(table[0])
        sys.stdout.write("\n" + "".join(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}\n"))
        for line in table:
            shown = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in line.values()]
            sys.stdout.write(f"| {' | '.join(shown)} |\n")
    sys.stdout.write(json.dumps(tables, default=float) + "\n")


if __name__ == "__main__":
    main()
