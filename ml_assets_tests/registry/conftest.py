from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml_assets.core.training import build_pipeline, fit
from ml_assets.lake.connection import Lake
from ml_assets.registry.models import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sklearn.pipeline import Pipeline

KINDS = {"town": "category", "area": "number"}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    opened = Lake(tmp_path / "lake")
    yield opened
    opened.close()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture(scope="session")
def sales() -> pl.DataFrame:
    """Rows to learn from; two towns, one of them rare, and an area that is missing at times."""
    numbers = range(60)
    return pl.DataFrame(
        {
            "town": ["bishan" if number % 7 else "yishun" for number in numbers],
            "area": [None if number % 11 == 0 else 40.0 + number for number in numbers],
            "price": [1000.0 * number + 300.0 * (number % 7) for number in numbers],
        }
    )


@pytest.fixture(scope="session")
def models(sales: pl.DataFrame) -> dict[str, Pipeline]:
    """Fitted pipelines by the import path of their estimator."""

    def fitted(estimator: str, **parameters: Any) -> Pipeline:
        pipeline = build_pipeline(estimator, parameters, KINDS, 0)
        fit(pipeline, sales.drop_nulls(), KINDS, "price")
        return pipeline

    return {
        "sklearn.ensemble.HistGradientBoostingRegressor": fitted(
            "sklearn.ensemble.HistGradientBoostingRegressor", max_iter=5
        ),
        "sklearn.ensemble.RandomForestRegressor": fitted("sklearn.ensemble.RandomForestRegressor", n_estimators=3),
        "sklearn.linear_model.Ridge": fitted("sklearn.linear_model.Ridge"),
    }


@pytest.fixture(scope="session")
def model(models: dict[str, Pipeline]) -> Pipeline:
    return models["sklearn.linear_model.Ridge"]
