"""The house-price work as one plain script: the peer that shows what orchestration costs.

It is what a good engineer writes in an afternoon when nobody asks for history, retries or a second run: one process,
polars from end to end, every table written once as Parquet. It does the same work as the platform and prints its
counts and metrics as one line of JSON, so that a comparison can refuse to compare unequal work.

Usage: `python plain_script.py DATA OUT`, where DATA is the folder of the monthly CSV files, `YYYY-MM.csv`.
"""
# ruff: noqa: E402, TID253 - the clock starts before the imports, which are half of the time; a script imports at the top.

from __future__ import annotations

import time

STARTED = time.perf_counter()

from typing import TYPE_CHECKING, Any

import numpy as np
import pandera.polars as pa
import polars as pl
import skops.io
from house_prices import (
    BINS,
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

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.DataFrameSchema(
    {
        "month": pa.Column(pl.Date),
        "town": pa.Column(pl.String, pa.Check.isin(TOWNS, error="isin(TOWNS)")),
        "flat_type": pa.Column(pl.String, pa.Check.isin(FLAT_TYPES, error="isin(FLAT_TYPES)")),
        "flat_model": pa.Column(pl.String),
        "block": pa.Column(pl.String),
        "street_name": pa.Column(pl.String),
        "storey_mid": pa.Column(pl.Float64),
        "floor_area_sqm": pa.Column(pl.Float64, pa.Check.in_range(20, 400)),
        "lease_commence_year": pa.Column(pl.Int64),
        "remaining_lease_months": pa.Column(pl.Int64),
        "resale_price": pa.Column(pl.Float64, pa.Check.gt(0)),
    }
)


def read(data: Path) -> pl.DataFrame:
    """Return the rows of every month as trimmed text, an empty field as null."""
    raw = pl.read_csv(data / "*.csv", infer_schema=False)
    return raw.select(pl.all().str.strip_chars().replace("", None))


def clean(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the typed columns; what cannot be read becomes null."""
    storeys = pl.col("storey_range").str.extract_groups(r"^(\d+) TO (\d+)$")
    lease = pl.col("remaining_lease").str.extract_groups(r"^(\d+) years?(?: (\d+) months?)?$")
    return raw.select(
        (pl.col("month") + "-01").str.to_date("%Y-%m-%d", strict=False).alias("month"),
        "town",
        "flat_type",
        "flat_model",
        "block",
        "street_name",
        ((storeys.struct[0].cast(pl.Int64) + storeys.struct[1].cast(pl.Int64)) / 2).alias("storey_mid"),
        pl.col("floor_area_sqm").cast(pl.Float64, strict=False),
        pl.col("lease_commence_date").cast(pl.Int64, strict=False).alias("lease_commence_year"),
        (lease.struct[0].cast(pl.Int64) * 12 + lease.struct[1].cast(pl.Int64).fill_null(0)).alias(
            "remaining_lease_months"
        ),
        pl.col("resale_price").cast(pl.Float64, strict=False),
    )


def validate(raw: pl.DataFrame, cleaned: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that pass the schema, and the raw rows that do not with all their reasons."""
    try:
        SCHEMA.validate(cleaned, lazy=True)
    except SchemaErrors as errors:
        failures = errors.failure_cases
    else:
        return cleaned, raw.clear().with_columns(pl.lit(None, pl.List(pl.String)).alias("reasons"))
    if failures["index"].null_count():
        raise SystemExit(
            f"the files do not have the columns of the schema:\n{failures.filter(pl.col('index').is_null())}"
        )
    unreadable = pl.concat(
        raw.with_row_index("index")
        .filter(pl.col(source).is_not_null() & cleaned[column].is_null())
        .select("index", pl.lit(column).alias("column"), pl.lit("unreadable").alias("check"))
        for column, source in READ_FROM.items()
    )
    # A value that cannot be read is null only because of that: the one true reason replaces `not_nullable`.
    broken = failures.select(pl.col("index").cast(pl.UInt32), "column", "check")
    broken = pl.concat([broken.join(unreadable, on=["index", "column"], how="anti"), unreadable])
    reasons = broken.group_by("index").agg(pl.format("{}: {}", "column", "check").sort().alias("reasons"))
    quarantine = raw.with_row_index("index").join(reasons, on="index", maintain_order="left").drop("index")
    valid = cleaned.with_row_index("index").join(reasons, on="index", how="anti", maintain_order="left").drop("index")
    return valid, quarantine


def stability_bins(reference: pl.Series, values: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin of every reference row and of every row: deciles of a number, the known values of a category."""
    if reference.dtype == pl.String:
        known = reference.unique()
        kinds = pl.Enum(known)
        codes = [
            s.cast(kinds, strict=False).to_physical().cast(pl.Int64).fill_null(len(known)) for s in (reference, values)
        ]
        return codes[0].to_numpy(), codes[1].to_numpy()
    edges = np.unique(np.quantile(reference.to_numpy(), np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, reference.to_numpy(), "left"), np.searchsorted(edges, values.to_numpy(), "left")


def population_stability(reference_bins: np.ndarray, bins: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return the population stability index of every month, `sum((p - q) ln(p / q))` over the bins."""
    size = int(max(reference_bins.max(), bins.max())) + 1
    counts = np.bincount(months * size + bins, minlength=(months.max() + 1) * size).reshape(-1, size)
    p = np.maximum(counts / counts.sum(axis=1, keepdims=True), EMPTY_BIN_SHARE)
    q = np.maximum(np.bincount(reference_bins, minlength=size) / reference_bins.size, EMPTY_BIN_SHARE)
    index: np.ndarray = ((p - q) * np.log(p / q)).sum(axis=1)
    return index


def kolmogorov_smirnov(reference: np.ndarray, values: np.ndarray, months: np.ndarray) -> list[float]:
    """Return the exact two-sample Kolmogorov-Smirnov statistic of every month; rows must be in order of month."""
    reference = np.sort(reference)

    def statistic(sample: np.ndarray) -> float:
        sample = np.sort(sample)
        # Between two values of the sample its distribution is flat, so both ends of each step are enough.
        gaps = [
            np.abs(
                np.searchsorted(reference, sample, side) / reference.size
                - np.searchsorted(sample, sample, side) / sample.size
            ).max()
            for side in ("left", "right")
        ]
        return float(max(gaps))

    return [statistic(sample) for sample in np.split(values, np.flatnonzero(np.diff(months)) + 1)]


def measure_drift(predictions: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Return one row per month and column: PSI, KS (numbers only), and the share of missing values."""
    months = predictions["month"].rle_id().to_numpy().astype(np.int64)
    missing = predictions.group_by("month", maintain_order=True).agg(
        pl.col(*INPUTS, "prediction").null_count() / pl.len()
    )

    def drift_of(column: str) -> pl.DataFrame:
        before, now = reference[column], predictions[column]
        numeric = before.dtype != pl.String
        return pl.DataFrame(
            {
                "month": missing["month"],
                "column": [column] * missing.height,
                "psi": population_stability(*stability_bins(before, now), months),
                "ks": kolmogorov_smirnov(before.to_numpy(), now.to_numpy(), months) if numeric else None,
                "missing_rate": missing[column],
            },
            schema_overrides={"ks": pl.Float64},
        )

    return pl.concat(drift_of(column) for column in [*INPUTS, "prediction"]).sort("month", maintain_order=True)


def measure_performance(predictions: pl.DataFrame) -> pl.DataFrame:
    """Return the mean absolute percentage error of every month."""
    error = ((pl.col(TARGET) - pl.col("prediction")) / pl.col(TARGET)).abs().mean()
    return predictions.group_by("month", maintain_order=True).agg(error.alias("mape"), pl.len().alias("rows"))


def run(data: Path, out: Path) -> dict[str, Any]:
    """Do the work, write the tables and the model to `out`, and return counts, metrics and stage timings in seconds."""
    stages = {"imports": time.perf_counter() - STARTED}

    def finish(stage: str) -> None:
        stages[stage] = time.perf_counter() - STARTED - sum(stages.values())

    out.mkdir(parents=True, exist_ok=True)
    raw = read(data)
    finish("read")

    unique = raw.unique(subset=[column for column in raw.columns if column != "_id"], keep="first", maintain_order=True)
    cleaned = clean(unique)
    finish("clean")

    validated, quarantine = validate(unique, cleaned)
    validated.write_parquet(out / "validated.parquet")
    quarantine.write_parquet(out / "quarantine.parquet")
    finish("validate")

    features = validated.select("month", *INPUTS, TARGET).sort("month", maintain_order=True)
    features.write_parquet(out / "features.parquet")
    finish("features")

    fit = features.filter(pl.col("month").is_between(FIT_FROM, TEST_FROM, closed="left"))
    test = features.filter(pl.col("month").is_between(TEST_FROM, TEST_UNTIL, closed="left"))
    model = train(fit.select(INPUTS), fit[TARGET].to_numpy())
    metrics = evaluate(test[TARGET].to_numpy(), model.predict(test.select(INPUTS)))
    skops.io.dump(model, out / "model.skops")
    finish("train")

    predictions = features.with_columns(pl.Series("prediction", model.predict(features.select(INPUTS))))
    predictions.write_parquet(out / "predictions.parquet")
    finish("predict")

    reference = predictions.filter(pl.col("month").is_between(FIT_FROM, TEST_FROM, closed="left"))
    measure_drift(predictions, reference).write_parquet(out / "drift.parquet")
    performance = measure_performance(predictions)
    performance.write_parquet(out / "performance.parquet")
    finish("monitor")

    return {
        "rows_raw": raw.height,
        "rows_duplicate": raw.height - unique.height,
        "rows_validated": validated.height,
        "rows_quarantined": quarantine.height,
        "months": performance.height,
        "test": metrics,
        "mean_mape": performance["mape"].mean(),
        "mean_mape_after_training": performance.filter(pl.col("month") >= TEST_UNTIL)["mape"].mean(),
        "seconds": time.perf_counter() - STARTED,
        "stages": stages,
    }


if __name__ == "__main__":
    main(run, __doc__)
