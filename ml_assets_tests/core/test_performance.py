from __future__ import annotations

from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.evaluation import binary_metrics, multiclass_metrics, regression_metrics
from ml_assets.core.performance import performance_sql, read_performance
from ml_assets.core.tasks import as_actual

JANUARY, FEBRUARY = datetime(2024, 1, 1), datetime(2024, 2, 1)  # noqa: DTZ001 - naive UTC
TARGET = 'the "price"'


def measured(result: Any, task: Any = "regression") -> dict[tuple[datetime, int], dict[str, float]]:
    """Metrics per partition and version, and the rows that they are of; only where there is a label."""
    found = read_performance(result.fetchall(), task)
    return {key: {"rows": one.rows, **one.metrics} for key, one in found.items() if one.rows}


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def performance(database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], extra: int = 0) -> Any:
    """Metrics over rows that were predicted; `extra` labelled rows have no prediction."""
    numbered = [row | {"_source": "f.csv", "_row": number} for number, row in enumerate(rows)]
    lineage = {"_partition": pl.Datetime("us"), "_source": pl.String, "_row": pl.Int64}
    predictions = pl.DataFrame(
        numbered,
        schema=lineage
        | {"prediction": pl.Float64, "version": pl.Int64, "in_sample": pl.Boolean, "hindsight": pl.Boolean},
    )
    labels = [{"_partition": JANUARY, "_source": "other.csv", "_row": n, "label": 1.0} for n in range(extra)]
    features = pl.DataFrame([*numbered, *labels], schema=lineage | {"label": pl.Float64}).rename({"label": TARGET})
    cursor = database.cursor().register("p", predictions).register("f", features)
    return measured(cursor.execute(performance_sql("FROM p", "FROM f", TARGET)))


def row(label: float | None, prediction: float, **changed: Any) -> dict[str, Any]:
    return {
        "_partition": JANUARY,
        "label": label,
        "prediction": prediction,
        "version": 1,
        "in_sample": False,
        "hindsight": False,
    } | changed


values = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
rows_of_any_sort = st.lists(
    st.builds(
        row,
        st.one_of(values, st.sampled_from([None, 0.0, 5.0, 0.1])),
        values,
        _partition=st.sampled_from([JANUARY, FEBRUARY]),
        version=st.sampled_from([1, 2]),
        in_sample=st.sampled_from([False, False, True]),
        hindsight=st.sampled_from([False, False, True]),
    ),
    max_size=30,
)


@given(rows=rows_of_any_sort)
@settings(max_examples=80, deadline=None)
def test_metrics_are_those_of_the_evaluation_over_rows_that_count(
    database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]
) -> None:
    groups: dict[tuple[datetime, int], list[tuple[float, float]]] = {}
    for one in rows:
        if one["label"] is not None and not one["in_sample"] and not one["hindsight"]:
            groups.setdefault((one["_partition"], one["version"]), []).append((one["label"], one["prediction"]))
    expected = {
        key: {"rows": len(pairs), **regression_metrics(*np.array(pairs).T)} for key, pairs in sorted(groups.items())
    }

    found = performance(database, rows, extra=3)

    assert list(found) == list(expected)
    for key, metrics in expected.items():
        assert found[key] == pytest.approx(metrics, rel=1e-6, abs=1e-6)


def test_rows_that_were_learnt_from_or_have_no_label_never_count(database: duckdb.DuckDBPyConnection) -> None:
    good = [row(10.0, 11.0), row(20.0, 19.0)]
    others = [
        row(10.0, 99.0, in_sample=True),
        row(10.0, 99.0, hindsight=True),
        row(None, 99.0),
        row(None, 99.0, in_sample=True),
    ]

    assert performance(database, [*good, *others], extra=5) == performance(database, good)
    assert performance(database, good)[JANUARY, 1]["rows"] == 2.0
    assert performance(database, others) == {}


@pytest.mark.parametrize("label", [float("nan"), float("inf"), float("-inf")])
def test_a_label_that_is_no_number_is_none(database: duckdb.DuckDBPyConnection, label: float) -> None:
    good = [row(10.0, 11.0), row(20.0, 19.0)]

    assert performance(database, [*good, row(label, 5.0)]) == performance(database, good)


def test_mape_is_left_out_where_a_label_is_zero(database: duckdb.DuckDBPyConnection) -> None:
    metrics = performance(database, [row(0.0, 1.0), row(2.0, 2.0)])[JANUARY, 1]

    assert metrics == {"rows": 2, "mse": 0.5, "rmse": pytest.approx(0.5**0.5), "mae": 0.5, "r2": 0.5}


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_r2_is_left_out_where_all_labels_are_equal(database: duckdb.DuckDBPyConnection, rows: int) -> None:
    assert "r2" not in performance(database, [row(0.1, 1.0)] * rows)[JANUARY, 1]


def test_versions_and_partitions_are_told_apart(database: duckdb.DuckDBPyConnection) -> None:
    found = performance(
        database, [row(1.0, 2.0), row(1.0, 3.0, version=2), row(1.0, 5.0, _partition=FEBRUARY, version=2)]
    )

    assert {key: metrics["mae"] for key, metrics in found.items()} == {
        (JANUARY, 1): 1.0,
        (JANUARY, 2): 2.0,
        (FEBRUARY, 2): 4.0,
    }


def test_a_prediction_meets_only_the_label_of_its_own_partition(database: duckdb.DuckDBPyConnection) -> None:
    both = "(VALUES (TIMESTAMP '2024-01-01'), (TIMESTAMP '2024-02-01')) t(_partition)"
    marks = "1 AS version, false AS in_sample, false AS hindsight"
    predictions = f"SELECT *, 'f.csv' AS _source, 1 AS _row, {marks}, 5.0 AS prediction FROM {both}"
    features = f"SELECT *, 'f.csv' AS _source, 1 AS _row, 4 + month(_partition) AS y FROM {both}"

    found = measured(database.cursor().execute(performance_sql(predictions, features, "y")))

    assert {key: (metrics["rows"], metrics["mae"]) for key, metrics in found.items()} == {
        (JANUARY, 1): (1, 0),
        (FEBRUARY, 1): (1, 1),
    }


def test_a_prediction_meets_only_the_label_of_its_own_row(database: duckdb.DuckDBPyConnection) -> None:
    cursor = database.cursor()
    cursor.execute("CREATE TEMP TABLE keys AS SELECT * FROM (VALUES ('a', 1), ('a', 2), ('b', 1)) t(_source, _row)")
    keys = "SELECT TIMESTAMP '2024-01-01' AS _partition, _source, _row"
    predictions = (
        f"{keys}, 1 AS version, false AS in_sample, false AS hindsight, _row + ascii(_source) AS prediction FROM keys"
    )
    features = f"{keys}, _row + ascii(_source) AS y FROM keys"

    found = measured(cursor.execute(performance_sql(predictions, features, "y")))

    assert found[JANUARY, 1] == {"rows": 3, "mse": 0, "rmse": 0, "mae": 0, "mape": 0, "r2": 1}


# Classification

KNOWN = {1: ("no", "it's \0 yes"), 2: ("it's \0 yes", "no")}
chances = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))


def classified(
    database: duckdb.DuckDBPyConnection, task: Any, rows: pl.DataFrame, classes: dict[int, tuple[str, ...]]
) -> Any:
    """Metrics over rows of `label`, `version`, and what was predicted."""
    numbered = rows.with_columns(
        pl.lit(JANUARY).alias("_partition"), pl.lit("f.csv").alias("_source"), pl.int_range(pl.len()).alias("_row"),
        pl.lit(value=False).alias("in_sample"), pl.lit(value=False).alias("hindsight"),
    )  # fmt: skip
    features = numbered.select("_partition", "_source", "_row", pl.col("label").alias(TARGET))
    cursor = database.cursor().register("p", numbered.drop("label")).register("f", features)
    sql = performance_sql("FROM p", "FROM f", TARGET, task=task, classes=classes)
    return measured(cursor.execute(sql), task)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from([*KNOWN[1], "new"]), st.sampled_from([1, 2]), chances), min_size=1, max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_binary_metrics_are_those_of_the_evaluation(
    database: duckdb.DuckDBPyConnection, rows: list[tuple[str, int, float]]
) -> None:
    frame = pl.DataFrame(rows, schema=["label", "version", "prediction"], orient="row")
    found = classified(database, "binary", frame, KNOWN)

    assert {version for _, version in found} == set(frame["version"])
    for version in set(frame["version"]):
        of_it = frame.filter(frame["version"] == version)
        actual = as_actual(of_it["label"], "binary", KNOWN[version])
        expected = binary_metrics(actual, of_it["prediction"].to_numpy())
        expected = {name: value for name, value in expected.items() if not name.endswith("auc")}
        assert found[JANUARY, version] == pytest.approx({"rows": of_it.height, **expected}, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("labels", "classes"), [([True, False, None], ("false", "true")), ([1, 0, None], ("0", "1"))])
def test_booleans_and_integers_are_labels_and_a_missing_one_never_counts(
    database: duckdb.DuckDBPyConnection, labels: list[Any], classes: tuple[str, ...]
) -> None:
    frame = pl.DataFrame({"label": labels, "version": [1, 1, 1], "prediction": [0.9, 0.2, 0.1]})

    metrics = classified(database, "binary", frame, {1: classes})[JANUARY, 1]
    assert (metrics["rows"], metrics["error_rate"], metrics["recall"]) == (2, 0, 1)


def test_multiclass_metrics_are_those_of_the_evaluation_also_for_a_class_that_is_new(
    database: duckdb.DuckDBPyConnection,
) -> None:
    draw = np.random.default_rng(0)
    classes = {1: ("a", "b's", "c"), 2: ("c", "a", "b's")}
    predicted = draw.dirichlet(np.ones(3), 60)
    versions = draw.integers(1, 3, 60)
    frame = pl.DataFrame(
        {
            "label": draw.choice(["a", "b's", "c", "new"], 60),
            "version": versions,
            "prediction": predicted.max(axis=1),
            "predicted_class": [classes[v][row.argmax()] for v, row in zip(versions, predicted, strict=True)],
            "probabilities": predicted.tolist(),
        }
    )
    found = classified(database, "multiclass", frame, classes)

    for version, known in classes.items():
        of_it = frame.filter(frame["version"] == version)
        actual = as_actual(of_it["label"], "multiclass", known)
        expected = multiclass_metrics(actual, np.array(of_it["probabilities"].to_list()))
        expected = {name: value for name, value in expected.items() if not name.endswith("macro")}
        assert found[JANUARY, version] == pytest.approx({"rows": of_it.height, **expected})
        assert expected["unseen_rows"] > 0


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_no_predictions_have_no_performance(database: duckdb.DuckDBPyConnection, task: str) -> None:
    none = pl.DataFrame(
        schema={
            "label": pl.String, "version": pl.Int64, "prediction": pl.Float64, "predicted_class": pl.String,
            "probabilities": pl.List(pl.Float64),
        }
    )  # fmt: skip

    assert classified(database, task, none, {}) == {}
