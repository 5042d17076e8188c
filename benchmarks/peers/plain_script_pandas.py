"""The house-price work as one plain script in pandas, pandera, scikit-learn and scipy: what most teams would write.

The same work as `plain_script.py`, which is as lean as polars allows, with the same tables, model, counts and metrics;
one thing at a time where that reads best (a Kolmogorov-Smirnov test per month and column), vectorized elsewhere.

Usage: `python plain_script_pandas.py DATA OUT`, where DATA is the folder of the monthly CSV files, `YYYY-MM.csv`.
"""
# ruff: noqa: E402, TID253 - the clock starts before the imports, which are part of the time; a script imports at the top.

from __future__ import annotations

import time

STARTED = time.perf_counter()

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import skops.io
from house_prices import (
    BINS,
    CATEGORICAL,
    EMPTY_BIN_SHARE,
    FIT_FROM,
    FLAT_TYPES,
    INPUTS,
    READ_FROM,
    TARGET,
    TEST_FROM,
    TEST_UNTIL,
    TOWNS,
    evaluate,
    main,
    train,
)
from pandera.errors import SchemaErrors
from scipy.stats import ks_2samp

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.DataFrameSchema(
    {
        "month": pa.Column("datetime64[ns]"),
        "town": pa.Column(str, pa.Check.isin(TOWNS, error="isin(TOWNS)")),
        "flat_type": pa.Column(str, pa.Check.isin(FLAT_TYPES, error="isin(FLAT_TYPES)")),
        "flat_model": pa.Column(str),
        "block": pa.Column(str),
        "street_name": pa.Column(str),
        "storey_mid": pa.Column(float),
        "floor_area_sqm": pa.Column(float, pa.Check.in_range(20, 400)),
        "lease_commence_year": pa.Column("Int64"),
        "remaining_lease_months": pa.Column("Int64"),
        "resale_price": pa.Column(float, pa.Check.gt(0)),
    }
)


def read(data: Path) -> pd.DataFrame:
    """Return the rows of every month as trimmed text, an empty field as missing."""
    files = sorted(data.glob("*.csv"))
    raw = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files], ignore_index=True)
    trimmed: pd.DataFrame = raw.apply(lambda column: column.str.strip())
    return trimmed.replace("", np.nan)


def number(text: pd.Series[str]) -> pd.Series[float]:
    """Return the numbers that text holds; what cannot be read becomes missing."""
    return pd.to_numeric(text, errors="coerce").astype(float)


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the typed columns; what cannot be read becomes missing."""
    storeys = raw["storey_range"].str.extract(r"^(\d+) TO (\d+)$").astype(float)
    lease = raw["remaining_lease"].str.extract(r"^(\d+) years?(?: (\d+) months?)?$").astype(float)
    year = number(raw["lease_commence_date"])
    return pd.DataFrame(
        {
            "month": pd.to_datetime(raw["month"], format="%Y-%m", errors="coerce"),
            **raw[["town", "flat_type", "flat_model", "block", "street_name"]],
            "storey_mid": (storeys[0] + storeys[1]) / 2,
            "floor_area_sqm": number(raw["floor_area_sqm"]),
            "lease_commence_year": year.where(year % 1 == 0).astype("Int64"),
            "remaining_lease_months": (lease[0] * 12 + lease[1].fillna(0)).astype("Int64"),
            "resale_price": number(raw["resale_price"]),
        }
    )


def validate(raw: pd.DataFrame, cleaned: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that pass the schema, and the raw rows that do not with all their reasons."""
    try:
        SCHEMA.validate(cleaned, lazy=True)
    except SchemaErrors as errors:
        failures = errors.failure_cases
    else:
        return cleaned, raw.head(0).assign(reasons=None)
    if failures["index"].isna().any():
        raise SystemExit(f"the files do not have the columns of the schema:\n{failures[failures['index'].isna()]}")
    # A value that cannot be read is missing only because of that: the one true reason replaces `not_nullable`.
    unreadable = pd.DataFrame({column: raw[source].notna() for column, source in READ_FROM.items()})
    unreadable &= cleaned[list(READ_FROM)].isna()
    cells = zip(failures["index"], failures["column"], failures["check"], strict=True)
    failures["reason"] = [
        f"{column}: {'unreadable' if column in READ_FROM and unreadable.at[row, column] else check}"
        for row, column, check in cells
    ]
    reasons = failures.groupby("index")["reason"].agg(sorted)
    return cleaned.drop(reasons.index), raw.loc[reasons.index].assign(reasons=reasons)


def bins(reference: pd.Series[Any], values: pd.Series[Any]) -> np.ndarray:
    """Return the bin of every row: deciles of a number in the reference, or the reference's categories and one more."""
    if reference.name in CATEGORICAL:
        known = reference.unique()
        codes = pd.Categorical(values, known).codes
        return np.where(codes < 0, len(known), codes)
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, "left")


def population_stability(reference: np.ndarray, now: np.ndarray) -> float:
    """Return the population stability index of two sets of bins, `sum((p - q) ln(p / q))`."""
    size = max(reference.max(), now.max()) + 1
    q, p = (np.maximum(np.bincount(rows, minlength=size) / rows.size, EMPTY_BIN_SHARE) for rows in (reference, now))
    return float(((p - q) * np.log(p / q)).sum())


def measure_drift(predictions: pd.DataFrame, fitted: pd.Series[bool]) -> pd.DataFrame:
    """Return one row per month and column: PSI, KS (numbers only), and the share of missing values."""
    reference = predictions[fitted]
    columns = [*INPUTS, "prediction"]
    binned = {column: bins(reference[column], predictions[column]) for column in columns}
    return pd.DataFrame(
        {
            "month": month,
            "column": column,
            "psi": population_stability(binned[column][fitted], binned[column][rows.index]),
            "ks": None if column in CATEGORICAL else ks_2samp(reference[column], rows[column]).statistic,
            "missing_rate": rows[column].isna().mean(),
        }
        for month, rows in predictions.groupby("month")
        for column in columns
    )


def measure_performance(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the mean absolute percentage error of every month."""
    error = ((predictions[TARGET] - predictions["prediction"]) / predictions[TARGET]).abs()
    return error.groupby(predictions["month"]).agg(mape="mean", rows="size").reset_index()


def run(data: Path, out: Path) -> dict[str, Any]:
    """Do the work, write the tables and the model to `out`, and return counts, metrics and stage timings in seconds."""
    stages = {"imports": time.perf_counter() - STARTED}

    def finish(stage: str) -> None:
        stages[stage] = time.perf_counter() - STARTED - sum(stages.values())

    out.mkdir(parents=True, exist_ok=True)
    raw = read(data)
    finish("read")

    unique = raw.drop_duplicates(subset=[column for column in raw if column != "_id"], ignore_index=True)
    cleaned = clean(unique)
    finish("clean")

    validated, quarantine = validate(unique, cleaned)
    validated.to_parquet(out / "validated.parquet", index=False)
    quarantine.to_parquet(out / "quarantine.parquet", index=False)
    finish("validate")

    features = validated[["month", *INPUTS, TARGET]].sort_values("month", kind="stable", ignore_index=True)
    features = features.astype({"lease_commence_year": int, "remaining_lease_months": int})  # none is missing any more
    features.to_parquet(out / "features.parquet", index=False)
    finish("features")

    fit_from, test_from, test_until = (pd.Timestamp(day) for day in (FIT_FROM, TEST_FROM, TEST_UNTIL))
    fitted = features["month"].between(fit_from, test_from, inclusive="left")
    fit, test = features[fitted], features[features["month"].between(test_from, test_until, inclusive="left")]
    model = train(fit[INPUTS], fit[TARGET].to_numpy())
    metrics = evaluate(test[TARGET].to_numpy(), model.predict(test[INPUTS]))
    skops.io.dump(model, out / "model.skops")
    finish("train")

    predictions = features.assign(prediction=model.predict(features[INPUTS]))
    predictions.to_parquet(out / "predictions.parquet", index=False)
    finish("predict")

    measure_drift(predictions, fitted).to_parquet(out / "drift.parquet", index=False)
    performance = measure_performance(predictions)
    performance.to_parquet(out / "performance.parquet", index=False)
    finish("monitor")

    return {
        "rows_raw": len(raw),
        "rows_duplicate": len(raw) - len(unique),
        "rows_validated": len(validated),
        "rows_quarantined": len(quarantine),
        "months": len(performance),
        "test": metrics,
        "mean_mape": performance["mape"].mean(),
        "mean_mape_after_training": performance.loc[performance["month"] >= test_until, "mape"].mean(),
        "seconds": time.perf_counter() - STARTED,
        "stages": stages,
    }


if __name__ == "__main__":
    main(run, __doc__)
