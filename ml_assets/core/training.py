"""From a frame of features to a fitted scikit-learn pipeline."""

from __future__ import annotations

import importlib
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    import polars as pl
    from sklearn.pipeline import Pipeline

# Only classes of this library are built from a declaration: an import path is code that runs.
ALLOWED = "sklearn."
LINEAGE = ("_partition", "_source", "_row")
# Up to here a second OpenMP thread gains next to nothing on gradient boosting (44,000 rows of 9 features: 0.69 s, not
# 0.76 s), and beside other work threads that wait for each other lose by far more (3.3 to 7 s, not 2.0 s).
ROWS_FOR_ONE_THREAD = 100_000


class TrainingError(ValueError):
    """A model cannot be trained as declared; the message names the column or the setting."""


def feature_kinds(columns: Mapping[str, Any], *, target: str, time: str) -> dict[str, str]:
    """Which columns of a feature table are features, and of which kind.

    Args:
        columns: name → polars type.
        target: the target's name.
        time: the time column: it orders rows and is no feature.

    Returns:
        Name → `number` or `category`, in the table's order.

    Raises:
        TrainingError: if the target is not there or not a number, or a feature has a type that no model takes.
    """
    import polars as pl

    if target not in columns:
        raise TrainingError(f"target: features.sql returns no column {target!r}. It returns: {', '.join(columns)}")
    if not columns[target].is_numeric():
        raise TrainingError(f"target: {target!r} is {columns[target]}, a regression needs a number")
    kinds = {}
    for name, dtype in columns.items():
        if name in {target, time, *LINEAGE}:
            continue
        if dtype.is_numeric() or dtype == pl.Boolean:
            kinds[name] = "number"
        elif dtype == pl.String:
            kinds[name] = "category"
        else:
            raise TrainingError(
                f"features.sql: {name!r} is {dtype}; a feature is a number, a boolean or text. Remedy: convert it"
            )
    if not kinds:
        raise TrainingError("features.sql returns no feature beside the target and the time")
    return kinds


def build_pipeline(estimator: str, parameters: Mapping[str, Any], kinds: Mapping[str, str], seed: int) -> Pipeline:
    """An unfitted pipeline: categories as integers, numbers as they are, then the estimator.

    A category that training never saw is missing, not an error: new ones do appear.

    Raises:
        TrainingError: if the estimator is outside the allow-list, does not import or refuses its parameters.
    """
    import numpy as np  # noqa: PLC0415
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categories = [name for name, kind in kinds.items() if kind == "category"]
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    columns = ColumnTransformer([("categories", encoder, categories), ("numbers", "passthrough", numbers)])
    model = _regressor_class(estimator)
    arguments = dict(parameters)
    known = model().get_params()
    if "random_state" in known:
        arguments.setdefault("random_state", seed)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise TrainingError(
            f"training.parameters: {estimator} has no parameter {unknown[0]!r}. It has: {', '.join(sorted(known))}"
        )
    return Pipeline([("columns", columns), ("estimator", model(**arguments))])


def fit(pipeline: Pipeline, rows: pl.DataFrame, kinds: Mapping[str, str], target: str) -> Pipeline:
    """Fit a pipeline on rows, in their order. Rows without a target, and features without any value, are errors."""
    import polars as pl

    present = rows[target].cast(pl.Float64).is_finite().sum()
    missing = rows.height - present
    if missing:
        raise TrainingError(
            f"{missing} of {rows.height} training rows have no {target!r}. Remedy: filter them in features.sql"
        )
    inputs = as_inputs(rows, kinds)
    empty = [name for name in kinds if inputs[name].isna().all()]
    if empty:
        raise TrainingError(
            f"feature {empty[0]!r} is missing in all {rows.height} training rows. Remedy: leave it out of "
            "features.sql, or train on partitions that have it"
        )
    with threads_for(rows.height):
        return pipeline.fit(inputs, rows[target].to_numpy())


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """Within the block OpenMP uses as many threads as so many rows are worth: one, or as many as there are cores."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(limits=1 if rows <= ROWS_FOR_ONE_THREAD else None, user_api="openmp"):
        yield


def as_inputs(rows: pl.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The feature columns as the pipeline takes them: numbers as float64, categories as text, NaN where missing."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd
    import polars as pl

    def values(name: str, kind: str) -> Any:
        if kind == "number":
            return rows[name].cast(pl.Float64).to_numpy()
        codes = rows[name].rank("dense")
        # NaN, not None: to the encoder None is a category like any other. By code, so that each text is made once.
        texts = np.array([*rows[name].drop_nulls().unique().sort(), math.nan], dtype=object)
        return texts[codes.fill_null(len(texts)).to_numpy() - 1]

    # Column by column: polars' own to_pandas would turn text into Arrow strings, which skops need not know.
    return pd.DataFrame(
        {
            name: pd.Series(values(name, kind), dtype=float if kind == "number" else object)
            for name, kind in kinds.items()
        }
    )


def packages() -> dict[str, str]:
    """Versions of the libraries that a fitted pipeline depends on."""
    from importlib.metadata import version  # noqa: PLC0415

    return {name: version(name) for name in ("scikit-learn", "numpy", "scipy", "pandas", "polars", "duckdb", "skops")}


def _regressor_class(path: str) -> Any:
    from sklearn.base import is_regressor

    if not path.startswith(ALLOWED):
        raise TrainingError(f"training.estimator: {path!r} is not allowed; classes of scikit-learn are (`sklearn.…`)")
    module, _, name = path.rpartition(".")
    try:
        model = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TrainingError(f"training.estimator: {path!r} does not import: {error}") from error
    try:
        usable = isinstance(model, type) and hasattr(model, "get_params") and is_regressor(model())
    except TypeError as error:
        raise TrainingError(f"training.estimator: {path!r} cannot be made without arguments: {error}") from error
    if not usable:
        raise TrainingError(f"training.estimator: {path!r} is no regressor class of scikit-learn")
    return model
