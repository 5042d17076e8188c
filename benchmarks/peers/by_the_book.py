"""The house-price work as the Dagster tutorials teach it: the peer that shows what the platform saves.

Pandas assets, the DuckDB pandas IO manager, monthly partitions with one run per month, a pandera schema as a blocking
asset check, one Evidently report per month saved as HTML. Where the book leaves a choice it takes the quicker one, so
that the platform beats no straw man: one process for all runs, no debug log, the model trained once, before the clock.

Usage: `python by_the_book.py DATA OUT [--months N]`, where DATA is the folder of the monthly CSV files, `YYYY-MM.csv`,
and N says how many of the last months to run. Prints one line of JSON.
"""
# ruff: noqa: E402, TID253 - the clock starts before the imports; a Dagster project imports pandas at the top.
# No `from __future__ import annotations`: Dagster does not resolve the text of a context's annotation.

import time

STARTED = time.perf_counter()

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pandas as pd
import pandera.pandas as pa
import skops.io
from dagster._core.storage.db_io_manager import DbTypeHandler, TableSlice
from dagster_duckdb import DuckDBIOManager
from dagster_duckdb.io_manager import DuckDbClient
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from house_prices import CATEGORICAL, FLAT_TYPES, INPUTS, NUMERIC, TARGET, TEST_FROM, TOWNS, evaluate, train
from pandera.errors import SchemaErrors
from sklearn.metrics import mean_absolute_percentage_error

TRAINING_MONTHS = [f"{year}-{month:02}" for year in (2019, 2020) for month in range(1, 13)]
HELD_OUT_FROM = pd.Timestamp(TEST_FROM)
TRUSTED = [
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    # What gradient boosting with native categories keeps inside: its own check of the numeric columns.
    "functools.partial",
    "sklearn.utils.validation.check_array",
]

MONTHLY = dg.MonthlyPartitionsDefinition(start_date="2017-01", fmt="%Y-%m")
BY_MONTH = {"partition_expr": "month"}

SCHEMA = pa.DataFrameSchema(
    {
        "month": pa.Column("datetime64[ns]", coerce=True),
        "town": pa.Column(str, pa.Check.isin(TOWNS)),
        "flat_type": pa.Column(str, pa.Check.isin(FLAT_TYPES)),
        "flat_model": pa.Column(str),
        "block": pa.Column(str),
        "street_name": pa.Column(str),
        "storey_mid": pa.Column(float),
        "floor_area_sqm": pa.Column(float, pa.Check.in_range(20, 400)),
        "lease_commence_year": pa.Column(int),
        "remaining_lease_months": pa.Column(int),
        "resale_price": pa.Column(float, pa.Check.gt(0)),
    }
)


class PandasTypeHandler(DbTypeHandler[pd.DataFrame]):
    """Stores a DataFrame in a DuckDB table, and loads it.

    Stands in for the handler of the package dagster-duckdb-pandas, so that the bench needs no further dependency, and
    works to the same effect: the IO manager has deleted the partition, this creates the table if need be and inserts.
    """

    def handle_output(
        self,
        context: dg.OutputContext,
        table_slice: TableSlice,
        obj: pd.DataFrame,
        connection: duckdb.DuckDBPyConnection,
    ) -> Mapping[str, Any]:
        """Insert the rows, and return row count and columns for Dagster's metadata."""
        del context
        table = f"{table_slice.schema}.{table_slice.table}"
        connection.register("incoming", obj)
        connection.execute(f"create table if not exists {table} as select * from incoming limit 0")
        connection.execute(f"insert into {table} select * from incoming")
        columns = [dg.TableColumn(str(name), str(dtype)) for name, dtype in obj.dtypes.items()]
        return {"dagster/partition_row_count": len(obj), "dagster/column_schema": dg.TableSchema(columns)}

    def load_input(
        self, context: dg.InputContext, table_slice: TableSlice, connection: duckdb.DuckDBPyConnection
    ) -> pd.DataFrame:
        """Return the rows of the partition, or of the whole table."""
        del context
        return connection.execute(DuckDbClient.get_select_statement(table_slice)).fetchdf()

    @property
    def supported_types(self) -> Sequence[type[object]]:
        """The one type that this handler stores."""
        return [pd.DataFrame]


class DuckDBPandasIOManager(DuckDBIOManager):
    """The IO manager of dagster-duckdb-pandas, with the handler above."""

    @staticmethod
    def type_handlers() -> Sequence[DbTypeHandler[Any]]:
        """Return the handlers."""
        return [PandasTypeHandler()]


class Folders(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the CSV files are, and where reports and the model go."""

    data: str
    out: str

    def csv(self, month: str) -> Path:
        """Return the file of a month."""
        return Path(self.data) / f"{month}.csv"

    @property
    def model(self) -> Path:
        """The file of the model."""
        return Path(self.out) / "model.skops"

    def report(self, month: str) -> Path:
        """Return the drift report of a month."""
        return Path(self.out) / "reports" / f"{month}.html"


def read(csv: Path) -> pd.DataFrame:
    """Return the rows of a file as trimmed text."""
    raw: pd.DataFrame = pd.read_csv(csv, dtype=str).apply(lambda column: column.str.strip())
    return raw


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the typed rows without exact duplicates."""
    raw = raw.drop_duplicates(subset=[column for column in raw.columns if column != "_id"])
    storeys = raw["storey_range"].str.extract(r"^(\d+) TO (\d+)$").astype(float)
    lease = raw["remaining_lease"].str.extract(r"^(\d+) years?(?: (\d+) months?)?$").fillna({1: "0"}).astype(int)
    return pd.DataFrame(
        {
            "month": pd.to_datetime(raw["month"], format="%Y-%m"),
            **raw[["town", "flat_type", "flat_model", "block", "street_name"]],
            "storey_mid": storeys.mean(axis="columns"),
            "floor_area_sqm": raw["floor_area_sqm"].astype(float),
            "lease_commence_year": raw["lease_commence_date"].astype(int),
            "remaining_lease_months": lease[0] * 12 + lease[1],
            "resale_price": raw["resale_price"].astype(float),
        }
    )


@dg.asset(partitions_def=MONTHLY, metadata={"partition_expr": "strptime(month, '%Y-%m')"})
def raw_sales(context: dg.AssetExecutionContext, folders: Folders) -> pd.DataFrame:
    """The rows of the month as they came."""
    return read(folders.csv(context.partition_key))


@dg.asset(partitions_def=MONTHLY, metadata=BY_MONTH)
def sales(raw_sales: pd.DataFrame) -> pd.DataFrame:
    """The typed rows of the month, without exact duplicates."""
    return clean(raw_sales)


@dg.asset_check(asset=sales, blocking=True)
def sales_schema(sales: pd.DataFrame) -> dg.AssetCheckResult:
    """Every row obeys the schema; else nothing downstream runs."""
    try:
        SCHEMA.validate(sales, lazy=True)
    except SchemaErrors as errors:
        failures = errors.failure_cases
        sample = dg.MetadataValue.md(failures.head(20).to_string())
        return dg.AssetCheckResult(passed=False, metadata={"failures": len(failures), "sample": sample})
    return dg.AssetCheckResult(passed=True, metadata={"failures": 0, "rows": len(sales)})


@dg.asset(partitions_def=MONTHLY, metadata=BY_MONTH)
def features(sales: pd.DataFrame) -> pd.DataFrame:
    """What the model reads, and the target."""
    return sales[["month", *INPUTS, TARGET]]


@dg.asset
def training_features(folders: Folders) -> pd.DataFrame:
    """The rows of the training window, read from the files at once: 24 runs of the graph would give the same rows."""
    raw = pd.concat((read(folders.csv(month)) for month in TRAINING_MONTHS), ignore_index=True)
    return clean(raw)[["month", *INPUTS, TARGET]]


@dg.asset
def model(training_features: pd.DataFrame, folders: Folders) -> dg.MaterializeResult[None]:
    """Gradient boosting on all but the last two months of the window; its metrics on these."""
    held_out = training_features["month"] >= HELD_OUT_FROM
    fit, test = training_features[~held_out], training_features[held_out]
    pipeline = train(fit[INPUTS], fit[TARGET].to_numpy())
    skops.io.dump(pipeline, folders.model)
    metrics = evaluate(test[TARGET].to_numpy(), pipeline.predict(test[INPUTS]))
    return dg.MaterializeResult(metadata={**metrics, "path": dg.MetadataValue.path(folders.model)})


@dg.asset(deps=[model])
def reference(training_features: pd.DataFrame, folders: Folders) -> pd.DataFrame:
    """The rows the model was fitted on, with its prediction: what each month's drift is measured against."""
    fitted = training_features[training_features["month"] < HELD_OUT_FROM]
    pipeline = skops.io.load(folders.model, trusted=TRUSTED)
    return fitted[INPUTS].assign(prediction=pipeline.predict(fitted[INPUTS]))


@dg.asset(partitions_def=MONTHLY, metadata=BY_MONTH, deps=[model])
def predictions(features: pd.DataFrame, folders: Folders) -> pd.DataFrame:
    """The features with the model's prediction."""
    pipeline = skops.io.load(folders.model, trusted=TRUSTED)
    return features.assign(prediction=pipeline.predict(features[INPUTS]))


@dg.asset(partitions_def=MONTHLY, metadata=BY_MONTH)
def performance(predictions: pd.DataFrame) -> pd.DataFrame:
    """The mean absolute percentage error of the month, one row."""
    mape = mean_absolute_percentage_error(predictions[TARGET], predictions["prediction"])
    return pd.DataFrame({"month": predictions["month"].head(1), "mape": mape, "rows": len(predictions)})


@dg.asset(partitions_def=MONTHLY)
def drift_report(
    context: dg.AssetExecutionContext, predictions: pd.DataFrame, reference: pd.DataFrame, folders: Folders
) -> dg.MaterializeResult[None]:
    """Evidently's drift report of the inputs and the prediction against the rows the model was fitted on."""
    definition = DataDefinition(categorical_columns=CATEGORICAL, numerical_columns=[*NUMERIC, "prediction"])
    snapshot = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(predictions[[*INPUTS, "prediction"]], definition),
        Dataset.from_pandas(reference, definition),
    )
    path = folders.report(context.partition_key)
    path.parent.mkdir(exist_ok=True)
    snapshot.save_html(str(path))
    return dg.MaterializeResult(metadata={"report": dg.MetadataValue.path(path)})


TRAINING = [training_features, model, reference]
MONTH = [raw_sales, sales, features, predictions, performance, drift_report]
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def run(data: Path, out: Path, months: Sequence[str]) -> dict[str, Any]:
    """Train once, run each month by itself, and return counts, metrics and seconds."""
    imports = time.perf_counter() - STARTED
    out.mkdir(parents=True, exist_ok=True)
    database = out / "sales.duckdb"
    database.unlink(missing_ok=True)
    folders = Folders(data=str(data), out=str(out))
    resources = {"io_manager": DuckDBPandasIOManager(database=str(database), schema="main"), "folders": folders}
    with (
        TemporaryDirectory() as home,
        dg.DagsterInstance.local_temp(home, overrides={"telemetry": {"enabled": False}}) as instance,
    ):
        begun = time.perf_counter()
        trained = dg.materialize(TRAINING, instance=instance, resources=resources, run_config=QUIET)
        training = time.perf_counter() - begun
        metadata = trained.asset_materializations_for_node("model")[0].metadata
        seconds = []
        for month in months:
            begun = time.perf_counter()
            dg.materialize(
                [*TRAINING, *MONTH, sales_schema],
                selection=dg.AssetSelection.assets(*MONTH),  # with their checks
                partition_key=month,
                instance=instance,
                resources=resources,
                run_config=QUIET,
            )
            seconds.append(time.perf_counter() - begun)
    with duckdb.connect(str(database), read_only=True) as connection:
        (raw,) = connection.execute("select count(*) from main.raw_sales").fetchone() or (0,)
        validated, mape = connection.execute(
            "select sum(rows)::bigint, avg(mape) from main.performance"
        ).fetchone() or (0, np.nan)
    return {
        "rows_raw": raw,
        "rows_duplicate": raw - validated,
        "rows_validated": validated,
        "rows_quarantined": 0,  # a bad row fails the blocking check, and with it this script
        "months": len(seconds),
        "first_month": months[0],
        "last_month": months[-1],
        "reports": len(list((out / "reports").glob("*.html"))),
        "test": {name: metadata[name].value for name in ("mse", "rmse", "mae", "mape", "r2")},
        "mean_mape": mape,
        "seconds": sum(seconds),
        "median_seconds_per_month": statistics.median(seconds),
        "first_month_seconds": seconds[0],
        "training_seconds": training,
        "import_seconds": imports,
    }


def main() -> None:
    """Run the last months of the folder and print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the monthly CSV files")
    parser.add_argument("out", type=Path, help="folder for the database, the model and the reports")
    parser.add_argument("--months", type=int, help="how many of the last months to run; all of them unless told")
    arguments = parser.parse_args()
    months = sorted(path.stem for path in arguments.data.glob("*.csv"))
    months = months[-arguments.months :] if arguments.months else months
    print(json.dumps(run(arguments.data, arguments.out, months)))


if __name__ == "__main__":
    main()
