"""Both sides of the `search` row: the same trials on the same folds, by the platform and by scikit-learn.

    python -m benchmarks.platform_search DATA ours|sklearn

Ours writes a journal with every fit that is finished, as in a run. Prints one line of JSON; imports count.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROWS = 60_000
SPACE: dict[str, list[Any]] = {"max_leaf_nodes": [15, 31, 63], "learning_rate": [0.05, 0.1, 0.2]}
NUMBERS, CATEGORIES = ("floor_area_sqm", "lease_commence_date"), ("town", "flat_type", "flat_model")
TARGET, FOLDS = "resale_price", 3


def main(data: str, side: str) -> None:
    """Search by one side."""
    import polars as pl

    rows = pl.read_csv(Path(data) / "*.csv", infer_schema=False).tail(ROWS)
    rows = rows.with_columns(pl.col(*NUMBERS, TARGET).cast(pl.Float64))
    began = time.perf_counter()
    value, fits = {"ours": ours, "sklearn": theirs}[side](rows)
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"seconds": seconds, "fits": fits, "best": round(value, 6)}) + "\n")


def _recipe() -> Any:
    from ml_assets.core.training import Recipe  # noqa: PLC0415

    kinds = dict.fromkeys(NUMBERS, "number") | dict.fromkeys(CATEGORIES, "category")
    return Recipe("sklearn.ensemble.HistGradientBoostingRegressor", {}, kinds, 0)


def _folds(rows: int) -> list[Any]:
    from sklearn.model_selection import KFold

    return list(KFold(FOLDS, shuffle=True, random_state=0).split(range(rows)))


def ours(rows: Any) -> tuple[float, int]:
    """By `core.search`, with its journal."""
    from ml_assets.core.search import Plan, Progress, search  # noqa: PLC0415
    from ml_assets.registry.searches import Journal  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        progress = Progress(tell=lambda attempt, _: journal.append(asdict(attempt)))
        found = search(
            Plan("grid", SPACE, "mape"), _recipe(), rows, rows[TARGET].to_numpy(), folds=_folds(rows.height),
            file=Path(folder) / "rows.arrow", progress=progress,
        )  # fmt: skip
        return float(found.best.value or 0), len(journal.lines())


def theirs(rows: Any) -> tuple[float, int]:
    """By GridSearchCV on all cores."""
    from sklearn.model_selection import GridSearchCV

    from ml_assets.core.training import as_inputs  # noqa: PLC0415

    recipe = _recipe()
    space = {f"estimator__{name}": values for name, values in SPACE.items()}
    found = GridSearchCV(
        recipe.pipeline(), space, cv=_folds(rows.height), scoring="neg_mean_absolute_percentage_error", refit=False,
        n_jobs=-1,
    )  # fmt: skip
    found.fit(as_inputs(rows, recipe.kinds), rows[TARGET].to_numpy())
    return -float(found.best_score_), len(found.cv_results_["params"]) * FOLDS


if __name__ == "__main__":
    main(*sys.argv[1:])
