"""What the scripts about house prices share: columns, the window, the model, its metrics, the command line.

A script imports it after it has started its clock: scikit-learn, which all of them use, is imported here.
"""
# ruff: noqa: TID253 - a script imports at the top.

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

CATEGORICAL = ["town", "flat_type", "flat_model"]
NUMERIC = ["storey_mid", "floor_area_sqm", "lease_commence_year", "remaining_lease_months"]
INPUTS = CATEGORICAL + NUMERIC
TARGET = "resale_price"

# The model is fitted on [FIT_FROM, TEST_FROM) and tested on [TEST_FROM, TEST_UNTIL): 24 months, the last 2 held out.
FIT_FROM, TEST_FROM, TEST_UNTIL = date(2019, 1, 1), date(2020, 11, 1), date(2021, 1, 1)

BINS = 10
EMPTY_BIN_SHARE = 1e-4  # keeps PSI finite where one side has no rows

FLAT_TYPES = ["1 ROOM", "2 ROOM", "3 ROOM", "4 ROOM", "5 ROOM", "EXECUTIVE", "MULTI-GENERATION"]
TOWNS = [
    *("ANG MO KIO", "BEDOK", "BISHAN", "BUKIT BATOK", "BUKIT MERAH", "BUKIT PANJANG", "BUKIT TIMAH", "CENTRAL AREA"),
    *("CHOA CHU KANG", "CLEMENTI", "GEYLANG", "HOUGANG", "JURONG EAST", "JURONG WEST", "KALLANG/WHAMPOA"),
    *("MARINE PARADE", "PASIR RIS", "PUNGGOL", "QUEENSTOWN", "SEMBAWANG", "SENGKANG", "SERANGOON", "TAMPINES"),
    *("TOA PAYOH", "WOODLANDS", "YISHUN"),
]

# Each cleaned column that is not text, and the raw column that it is read from.
READ_FROM = {
    "month": "month",
    "storey_mid": "storey_range",
    "floor_area_sqm": "floor_area_sqm",
    "lease_commence_year": "lease_commence_date",
    "remaining_lease_months": "remaining_lease",
    "resale_price": "resale_price",
}


def train(inputs: Any, target: np.ndarray) -> Pipeline:
    """Return the fitted pipeline: gradient boosting on native categories, unknown ones counted as missing.

    Args:
        inputs: A frame of polars or pandas with the columns `INPUTS`.
        target: The price of each row.
    """
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("categorical", encoder, CATEGORICAL), ("numeric", "passthrough", NUMERIC)])
    regressor = HistGradientBoostingRegressor(categorical_features=list(range(len(CATEGORICAL))), random_state=0)
    return Pipeline([("columns", columns), ("regressor", regressor)]).fit(inputs, target)


def evaluate(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the metrics of predictions on the held-out rows."""
    return {
        "mse": float(mean_squared_error(truth, predicted)),
        "rmse": float(root_mean_squared_error(truth, predicted)),
        "mae": float(mean_absolute_error(truth, predicted)),
        "mape": float(mean_absolute_percentage_error(truth, predicted)),
        "r2": float(r2_score(truth, predicted)),
    }


def main(run: Callable[[Path, Path], dict[str, Any]], description: str | None) -> None:
    """Run the work on the two folders of the command line and print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the monthly CSV files")
    parser.add_argument("out", type=Path, help="folder for the Parquet files and the model")
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.data, arguments.out)))
