from __future__ import annotations

import hashlib
import math
import zipfile
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.core import training
from ml_assets.core.training import (
    DENSE_WORDS,
    Recipe,
    TrainingError,
    Words,
    as_inputs,
    build_pipeline,
    feature_kinds,
    fit,
    packages,
    predict,
    train,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sklearn.pipeline import Pipeline

    from ml_assets.core.tasks import Task

BOOSTING = "sklearn.ensemble.HistGradientBoostingRegressor"
KINDS = {"town": "category", "area": "number", "new": "number"}


def flats(rows: int = 200, seed: int = 0) -> pl.DataFrame:
    """Flats whose price follows town and area; some of either are missing."""
    random = np.random.default_rng(seed)
    towns, areas = random.integers(0, 3, rows), random.uniform(30, 150, rows)
    return pl.DataFrame(
        {
            "town": [
                None if number % 20 == 7 else ["EAST", "NORTH", "WEST"][town] for number, town in enumerate(towns)
            ],
            "area": [None if number % 20 == 9 else area for number, area in enumerate(areas)],
            "new": random.integers(0, 2, rows).astype(bool),
            "price": (1 + towns) * 1000 * areas,
        }
    )


def trained(rows: pl.DataFrame, *, estimator: str = BOOSTING, seed: int = 7, **parameters: Any) -> Pipeline:
    if estimator == BOOSTING:
        parameters = {"max_iter": 20, "learning_rate": 0.3} | parameters
    return fit(build_pipeline(estimator, parameters, KINDS, seed), rows, KINDS, "price")


def predicted(model: Pipeline, **columns: list[Any]) -> list[float]:
    types = {"town": pl.String, "area": pl.Float64, "new": pl.Boolean}
    return model.predict(as_inputs(pl.DataFrame(columns, schema=types), KINDS)).tolist()


# Which columns are features


def test_features_are_the_numbers_booleans_and_texts_beside_target_time_and_lineage() -> None:
    rows = flats(3).with_columns(
        pl.lit(date(2024, 1, 1)).alias("month"),
        pl.lit(1).alias("_partition"),
        pl.lit("f.csv").alias("_source"),
        pl.lit(1).alias("_row"),
        pl.lit(1).cast(pl.Decimal(5, 2)).alias("fee"),
        pl.lit(1).cast(pl.UInt8).alias("rooms"),
    )

    assert list(feature_kinds(rows.schema, target="price", time="month").items()) == [
        *(("town", "category"), ("area", "number"), ("new", "number"), ("fee", "number"), ("rooms", "number"))
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"area": pl.Float64}, r"target: features\.sql returns no column 'price'. It returns: area"),
        ({"price": pl.String, "area": pl.Float64}, "target: 'price' is String, a regression needs a number"),
        ({"price": pl.Boolean, "area": pl.Float64}, "target: 'price' is Boolean"),
        ({"price": pl.Int64, "sold": pl.Time}, r"features\.sql: 'sold' is Time; a feature is .*convert it"),
        ({"price": pl.Int64, "parts": pl.List(pl.Int64)}, "'parts' is List"),
        ({"price": pl.Int64, "month": pl.Date, "_row": pl.Int64}, "no feature beside the target and the time"),
    ],
)
def test_a_feature_table_that_no_model_can_learn_from_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        feature_kinds(columns, target="price", time="month")


# Which estimators may be declared


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "'os.system' is not allowed; classes of `sklearn.…`"),
        ("sklearnx.ensemble.Forest", "is not allowed"),
        (" sklearn.linear_model.Ridge", "is not allowed"),
        ("sklearn", "is not allowed"),
        ("sklearn.", "does not import"),
        ("sklearn..linear_model.Ridge", "does not import"),
        ("sklearn.linear_model.Rigde", "does not import: .*Rigde"),
        ("sklearn.linear_modle.Ridge", "does not import: .*linear_modle"),
        ("sklearn.linear_model", "is no regressor class"),
        ("sklearn.base.clone", "is no regressor class"),
        ("sklearn.preprocessing.StandardScaler", "is no regressor class"),
        ("sklearn.linear_model.LogisticRegression", "is no regressor class"),
        ("sklearn.cluster.KMeans", "is no regressor class"),
        ("sklearn.ensemble.VotingRegressor", "cannot be made without arguments: .*estimators"),
        ("sklearn.ensemble._forest.ForestRegressor", "cannot be made without arguments: .*abstract"),
    ],
)
def test_only_regressors_of_scikit_learn_are_built(path: str, message: str) -> None:
    with pytest.raises(TrainingError, match=rf"training\.estimator: .*{message}"):
        build_pipeline(path, {}, KINDS, 0)


def test_an_unknown_parameter_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(TrainingError, match=r"no parameter 'depth'\. It has: .*max_depth"):
        build_pipeline(BOOSTING, {"depth": 3, "max_iter": 5}, KINDS, 0)


def test_a_value_that_a_parameter_does_not_take_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'max_iter' parameter"):
        trained(flats(), max_iter=-1)


def test_declared_parameters_reach_the_estimator_and_the_seed_where_none_is_declared() -> None:
    by_seed = build_pipeline(BOOSTING, {"max_iter": 5}, KINDS, 7)["estimator"]
    by_hand = build_pipeline(BOOSTING, {"random_state": 3}, KINDS, 7)["estimator"]

    assert (by_seed.max_iter, by_seed.random_state, by_hand.random_state) == (5, 7, 3)
    assert (
        "random_state"
        not in build_pipeline("sklearn.linear_model.LinearRegression", {}, KINDS, 7)["estimator"].get_params()
    )


# Learning and predicting


def test_a_model_learns_from_categories_and_numbers() -> None:
    east, west, larger = predicted(
        trained(flats(400)), town=["EAST", "WEST", "EAST"], area=[80.0, 80.0, 120.0], new=[True, True, True]
    )

    assert east == pytest.approx(80_000, rel=0.15)
    assert west == pytest.approx(240_000, rel=0.15)
    assert larger == pytest.approx(120_000, rel=0.15)


def test_a_category_that_training_never_saw_predicts_as_a_missing_one() -> None:
    model = trained(flats())
    unknown, missing, empty = predicted(model, town=["SOUTH", None, ""], area=[80.0] * 3, new=[True] * 3)

    assert unknown == missing == empty
    assert math.isfinite(unknown)


def test_a_category_may_be_missing_that_never_was_in_training() -> None:
    model = trained(flats().drop_nulls())

    unknown, missing = predicted(model, town=["SOUTH", None], area=[80.0] * 2, new=[True] * 2)
    assert unknown == missing


LINEAR = "sklearn.linear_model.LinearRegression"


@pytest.mark.parametrize("gaps", [True, False], ids=["with gaps in training", "without"])
@pytest.mark.parametrize(
    ("estimator", "task"),
    [
        (LINEAR, "regression"),
        ("sklearn.linear_model.Ridge", "regression"),
        ("sklearn.linear_model.LogisticRegression", "binary"),
        ("sklearn.linear_model.LogisticRegression", "multiclass"),
    ],
)
def test_linear_models_predict_categories_and_gaps_that_training_never_saw(
    estimator: str, task: Task, *, gaps: bool
) -> None:
    rows = flats() if gaps else flats().drop_nulls()
    bounds = {"binary": [400_000], "multiclass": [200_000, 400_000]}.get(task)
    classes = [str(number) for number in range(len(bounds) + 1)] if bounds else []
    if bounds:
        above = pl.sum_horizontal((pl.col("price") > bound).cast(pl.Int64) for bound in bounds)
        rows = rows.with_columns(above.cast(pl.String).alias("price"))
    kinds = {**KINDS, "sold": "date"}
    rows = rows.with_columns(pl.date(2024, 1, 1 + pl.int_range(rows.height) % 28).alias("sold"))
    if gaps:
        rows = rows.with_columns(pl.when(pl.int_range(rows.height) % 20 > 2).then("sold").alias("sold"))
    model = fit(build_pipeline(estimator, {}, kinds, 7, task=task), rows, kinds, "price", task=task, classes=classes)

    known = {"town": "EAST", "area": 80.0, "new": True, "sold": date(2024, 1, 9)}
    gap: dict[str, Any] = dict.fromkeys(known)
    odd = [known, known | {"town": "SOUTH"}, known | {"town": ""}, *(known | {name: None} for name in known), gap]
    odd += [known | {"area": math.nan}, known | {"area": math.inf}]
    said = predict(model, pl.DataFrame(odd, schema={name: rows.schema[name] for name in known}), kinds, task)

    assert len(said) == len(odd)
    assert np.isfinite(said).all()
    if task != "regression":
        assert (said >= 0).all()
        assert (said <= 1).all()


def test_a_category_that_a_linear_model_never_saw_adds_nothing() -> None:
    rows = flats().drop_nulls()
    model = trained(rows, estimator=LINEAR)
    (unseen,) = predicted(model, town=["SOUTH"], area=[80.0], new=[True])
    towns = predicted(model, town=["EAST", "NORTH", "WEST"], area=[80.0] * 3, new=[True] * 3)
    effects = model["estimator"].coef_[:3]

    assert [town - unseen for town in towns] == pytest.approx(effects.tolist())


@pytest.mark.parametrize("name", ["town", "area", "new"])
def test_a_feature_without_any_value_is_refused(name: str) -> None:
    rows = flats(10).with_columns(pl.lit(None, dtype=flats(0).schema[name]).alias(name))

    with pytest.raises(TrainingError, match=rf"feature '{name}' is missing in all 10 training rows.*features\.sql"):
        trained(rows)


def test_a_feature_of_nothing_but_infinities_is_refused() -> None:
    rows = flats(10).with_columns(pl.lit(math.inf).alias("area"))

    with pytest.raises(TrainingError, match="feature 'area' is missing in all 10 training rows"):
        trained(rows)


def test_numbers_may_be_missing() -> None:
    (price,) = predicted(trained(flats()), town=["EAST"], area=[None], new=[None])

    assert math.isfinite(price)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_rows_without_a_target_are_refused(missing: float | None) -> None:
    rows = flats(10).with_columns(pl.when(pl.int_range(10) < 2).then(pl.lit(missing)).otherwise("price").alias("price"))

    with pytest.raises(TrainingError, match=r"2 of 10 training rows have no 'price'\. Remedy: .*features\.sql"):
        trained(rows)


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [(BOOSTING, {"max_features": 0.5}), ("sklearn.ensemble.ExtraTreesRegressor", {"n_estimators": 5})],
)
def test_the_same_rows_and_seed_make_the_same_model(tmp_path: Path, estimator: str, parameters: dict[str, Any]) -> None:
    def stored(name: str, seed: int) -> tuple[list[str], list[float]]:
        """Digests of the arrays in the model's file, whose names and times differ, and what the model predicts."""
        model = trained(flats(), estimator=estimator, seed=seed, **parameters)
        skops.io.dump(model, tmp_path / name)
        with zipfile.ZipFile(tmp_path / name) as file:
            arrays = [file.read(entry) for entry in file.namelist() if entry.endswith(".npy")]
        digests = sorted(hashlib.sha256(content).hexdigest() for content in arrays)
        return digests, model.predict(as_inputs(flats(50, seed=1), KINDS)).tolist()

    first, again, other = stored("first", 7), stored("again", 7), stored("other", 8)

    assert first[1] == again[1] != []
    assert first[0] == again[0] != []
    assert first != other


def test_a_model_says_what_it_predicts_for_some_of_its_rows_where_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SAID_ROWS", 30)
    rows, recipe = flats(200), Recipe(BOOSTING, {"max_iter": 5}, KINDS, seed=7)

    many, again, few = train(recipe, rows, "price"), train(recipe, rows, "price"), train(recipe, rows[:20], "price")

    assert len(many.said) == 30
    assert many.said.tolist() == sorted(set(many.said.tolist()))
    assert many.predicted.tolist() == predict(many.pipeline, rows[many.said], KINDS).tolist()
    assert (again.said.tolist(), again.digest) == (many.said.tolist(), many.digest)
    assert few.said.tolist() == list(range(20))


# What a pipeline takes


def test_inputs_are_floats_and_texts_in_the_order_of_the_features() -> None:
    rows = pl.DataFrame({"new": [True, None], "extra": [1, 2], "area": [7, None], "town": [None, "EAST"]})
    inputs = as_inputs(rows, KINDS)

    assert list(inputs.columns) == ["town", "area", "new"]
    assert [str(dtype) for dtype in inputs.dtypes] == ["object", "float64", "float64"]
    assert math.isnan(inputs["town"][0])
    assert inputs["town"][1] == "EAST"
    assert [inputs["area"][0], inputs["new"][0]] == [7.0, 1.0]
    assert math.isnan(inputs["area"][1])
    assert math.isnan(inputs["new"][1])


@given(texts=st.lists(st.none() | st.text(max_size=3)))
def test_a_category_is_its_text_and_nan_where_missing(texts: list[str | None]) -> None:
    inputs = as_inputs(pl.DataFrame({"town": texts}, schema={"town": pl.String}), {"town": "category"})

    assert [None if value != value else value for value in inputs["town"]] == texts  # noqa: PLR0124 - NaN


def test_no_rows_are_inputs_too() -> None:
    assert as_inputs(flats(0), KINDS).shape == (0, 3)


def test_the_versions_of_what_a_model_depends_on_are_known() -> None:
    import sklearn

    assert packages()["scikit-learn"] == sklearn.__version__
    assert set(packages()) == {"scikit-learn", "numpy", "scipy", "pandas", "polars", "duckdb", "skops"}


# Dates and text


def test_dates_are_features_and_a_column_that_is_declared_as_text_is_text() -> None:
    columns = {"message": pl.String, "town": pl.String, "sold": pl.Date, "sent": pl.Datetime("us"), "y": pl.Boolean}
    kinds = feature_kinds(columns, target="y", time=None, task="binary", text=["message"])

    assert kinds == {"message": "text", "town": "category", "sold": "date", "sent": "date"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (["mesage"], r"training\.text: features\.sql returns no column 'mesage'\. It returns: message, area, y"),
        (["area"], r"training\.text: 'area' is Float64\. Remedy: name a text column"),
        (["y"], r"training\.text: 'y' is no feature"),
    ],
)
def test_text_that_is_no_text_column_is_refused(text: list[str], message: str) -> None:
    columns = {"message": pl.String, "area": pl.Float64, "y": pl.Int64}
    with pytest.raises(TrainingError, match=message):
        feature_kinds(columns, target="y", time="month", text=text)


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Date, pl.List(pl.String)])
def test_a_classification_takes_text_booleans_and_integers_as_labels(dtype: Any) -> None:
    for good in (pl.String, pl.Boolean, pl.Int8, pl.UInt64):
        feature_kinds({"y": good, "x": pl.Int64}, target="y", time=None, task="multiclass")
    with pytest.raises(TrainingError, match=r"target: 'y' is .*, a classification needs text, a boolean or an integer"):
        feature_kinds({"y": dtype, "x": pl.Int64}, target="y", time=None, task="multiclass")


def test_inputs_of_dates_are_days_and_those_of_text_are_never_missing() -> None:
    rows = pl.DataFrame(
        {
            "sold": [date(1970, 1, 2), None],
            "sent": [datetime(1970, 1, 1, 12), datetime(1969, 12, 31)],  # noqa: DTZ001 - naive UTC
            "message": ["Hello", None],
        }
    )
    inputs = as_inputs(rows, {"sold": "date", "sent": "date", "message": "text"})

    assert inputs["sold"][0] == 1
    assert math.isnan(inputs["sold"][1])
    assert inputs["sent"].tolist() == [0.5, -1.0]
    assert inputs["message"].tolist() == ["Hello", ""]


# Columns as the estimator needs them

LOGISTIC = "sklearn.linear_model.LogisticRegression"
NAIVE_BAYES = "sklearn.naive_bayes.MultinomialNB"
TF_IDF = Words()
MIXED = {"words": "text", "town": "category", "area": "number", "sold": "date"}


def notices(rows: int = 120, seed: int = 0) -> pl.DataFrame:
    """Notices whose label follows a word; area and town are missing at times."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    return pl.DataFrame(
        {
            "words": [
                f"{('LET', 'Sale')[label]}, the flat-{random.integers(0, 5)}!" if number else None
                for number, label in enumerate(labels)
            ],
            "town": [None if number % 7 == 3 else ["EAST", "WEST"][number % 2] for number in range(rows)],
            "area": [None if number % 5 == 3 else float(random.uniform(30, 150)) for number in range(rows)],
            "sold": [date(2024, 1, 1 + number % 28) for number in range(rows)],
            "label": ["let" if label == 0 else "sale" for label in labels],
        }
    )


def classifier(estimator: str, words: Words = TF_IDF, **parameters: Any) -> Pipeline:
    rows = notices()
    made = build_pipeline(estimator, parameters, MIXED, 0, task="binary", words=words)
    return fit(made, rows, MIXED, "label", task="binary", classes=("let", "sale"))


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        (LOGISTIC, {}),
        (NAIVE_BAYES, {}),
        ("sklearn.naive_bayes.GaussianNB", {}),
        ("sklearn.svm.SVC", {"probability": True}),
        ("sklearn.neighbors.KNeighborsClassifier", {}),
        ("sklearn.tree.DecisionTreeClassifier", {}),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 10}),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 20}),
    ],
)
@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_a_classifier_learns_from_every_kind_of_column_with_gaps_and_predicts_what_is_new(
    estimator: str, parameters: dict[str, Any]
) -> None:
    model = classifier(estimator, **parameters)
    rows = notices(60, seed=1)
    # A town, a word, an area and a date that training never saw.
    odd = rows.with_columns(
        pl.lit("NORTH").alias("town"), pl.lit("unheard of").alias("words"), pl.lit(-1e6).alias("area"),
        pl.lit(date(1900, 1, 1)).alias("sold"),
    )  # fmt: skip
    said = predict(model, rows, MIXED, "binary") > 0.5

    assert np.mean(said == (rows["label"] == "sale").to_numpy()) > 0.7
    chances = predict(model, odd, MIXED, "binary")
    assert chances.shape == (60,)
    assert ((chances >= 0) & (chances <= 1)).all()


@pytest.mark.parametrize("estimator", [LOGISTIC, "sklearn.ensemble.HistGradientBoostingClassifier"])
def test_an_infinite_number_is_a_missing_one(estimator: str) -> None:
    model = classifier(estimator)
    missing, infinite = (notices(5).with_columns(pl.lit(value).alias("area")) for value in (math.nan, -math.inf))

    np.testing.assert_array_equal(predict(model, infinite, MIXED, "binary"), predict(model, missing, MIXED, "binary"))


def fitted_columns(estimator: str, words: Words = TF_IDF) -> Any:
    return classifier(estimator, words)["columns"]


def test_numbers_are_scaled_as_the_estimator_needs_them() -> None:
    inputs = as_inputs(notices(), MIXED)

    def numbers(estimator: str) -> np.ndarray:
        columns = fitted_columns(estimator)
        table = columns.transform(inputs)
        return np.asarray(table[:, columns.output_indices_["numbers"]])

    spread = numbers(LOGISTIC)
    assert spread.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert spread.std(axis=0) == pytest.approx([1, 1])
    within = numbers(NAIVE_BAYES)
    assert (within.min(), within.max()) == (0, 1)
    plain = numbers("sklearn.tree.DecisionTreeClassifier")
    filled = inputs["area"].fillna(inputs["area"].median()).to_numpy()
    np.testing.assert_array_equal(plain[:, 0], filled)
    untouched = numbers("sklearn.ensemble.HistGradientBoostingClassifier")
    np.testing.assert_array_equal(untouched[:, 0], inputs["area"].to_numpy())


def vocabulary(words: Words) -> set[str]:
    return set(fitted_columns(LOGISTIC, words).named_transformers_["words of words"].vocabulary_)


def test_words_are_in_lower_case_without_punctuation_and_stop_words_may_be_dropped() -> None:
    numbers = {str(number) for number in range(5)}

    assert vocabulary(Words()) == {"let", "sale", "the", "flat"} | numbers
    assert vocabulary(Words(stop_words="english")) == {"let", "sale", "flat"} | numbers


def test_words_of_any_script_are_words() -> None:
    rows = pl.DataFrame({"words": ["Größe, naïve_x", "Größe", "дом!"], "price": [1.0, 2.0, 3.0]})
    pipeline = build_pipeline("sklearn.linear_model.Ridge", {}, {"words": "text"}, 0)
    fit(pipeline, rows, {"words": "text"}, "price")

    assert set(pipeline["columns"].named_transformers_["words of words"].vocabulary_) == {"größe", "naïve", "x", "дом"}


def test_words_are_weighed_or_counted() -> None:
    inputs = as_inputs(notices().head(1).with_columns(pl.lit("sale sale let").alias("words")), MIXED)

    def values(words: Words) -> np.ndarray:
        columns = fitted_columns(LOGISTIC, words)
        return np.asarray(columns.transform(inputs)[:, columns.output_indices_["words of words"]])

    assert sorted(values(Words(counts=True))[0])[-3:] == [0, 1, 2]
    assert np.linalg.norm(values(Words())) == pytest.approx(1)


def test_an_estimator_that_takes_no_sparse_table_gets_the_most_frequent_words_only() -> None:
    rows = pl.DataFrame({"words": [f"often w{number}" for number in range(DENSE_WORDS + 50)]})
    rows = rows.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias("price"))
    columns = build_pipeline(BOOSTING, {"max_iter": 1}, {"words": "text"}, 0)["columns"]
    table = columns.fit_transform(as_inputs(rows, {"words": "text"}))

    assert isinstance(table, np.ndarray)
    assert table.shape[1] == DENSE_WORDS
    assert table[:, columns.named_transformers_["words of words"].vocabulary_["often"]].all()


def test_text_without_any_word_is_refused() -> None:
    rows = notices(10).with_columns(pl.lit("  ").alias("words"))
    pipeline = build_pipeline(LOGISTIC, {}, MIXED, 0, task="binary")

    with pytest.raises(TrainingError, match="feature 'words' is missing in all 10 training rows"):
        fit(pipeline, rows, MIXED, "label", task="binary", classes=("let", "sale"))


def test_a_classifier_that_neither_ranks_nor_gives_probabilities_is_refused() -> None:
    estimator, parameters = "sklearn.ensemble.VotingClassifier", {"estimators": [], "voting": "hard"}
    with pytest.raises(TrainingError, match="cannot be made without arguments"):
        build_pipeline(estimator, parameters, MIXED, 0, task="binary")
    with pytest.raises(TrainingError, match=r"own_estimators.Stubborn gives no probabilities.*Remedy"):
        build_pipeline("own_estimators.Stubborn", {}, MIXED, 0, task="binary", allowed=["own_estimators"])


@pytest.mark.parametrize(
    "estimator", ["sklearn.svm.SVC", "sklearn.svm.LinearSVC", "sklearn.linear_model.SGDClassifier"]
)
def test_a_classifier_that_only_ranks_is_calibrated(estimator: str) -> None:
    rows = notices(60, seed=1)
    chances = predict(classifier(estimator), rows, MIXED, "binary")

    truth = (rows["label"] == "sale").to_numpy()
    assert np.mean((chances > 0.5) == truth) > 0.9
    assert 0 < chances.min() < 0.2
    assert 0.8 < chances.max() < 1


@pytest.mark.parametrize("path", ["sklearn.linear_model.Ridge", "sklearn.cluster.KMeans", BOOSTING])
def test_only_classifiers_classify(path: str) -> None:
    with pytest.raises(TrainingError, match=r"is no classifier class of scikit-learn, and the task is multiclass"):
        build_pipeline(path, {}, MIXED, 0, task="multiclass")


def test_rows_without_a_label_are_refused() -> None:
    rows = notices(10).with_columns(pl.when(pl.int_range(10) < 3).then(None).otherwise("label").alias("label"))
    pipeline = build_pipeline(LOGISTIC, {}, MIXED, 0, task="binary")

    with pytest.raises(TrainingError, match="3 of 10 training rows have no 'label'"):
        fit(pipeline, rows, MIXED, "label", task="binary", classes=("let", "sale"))


@pytest.mark.parametrize("estimator", [LOGISTIC, NAIVE_BAYES, "sklearn.ensemble.HistGradientBoostingClassifier"])
def test_many_classes_have_a_probability_each_in_their_order(estimator: str) -> None:
    kinds = {"area": "number"}
    rows = pl.DataFrame({"area": [1.0, 2.0, 9.0] * 20, "label": ["b", "a", "c"] * 20})
    pipeline = build_pipeline(estimator, {}, kinds, 0, task="multiclass")
    fit(pipeline, rows, kinds, "label", task="multiclass", classes=("a", "b", "c"))
    chances = predict(pipeline, rows, kinds, "multiclass")

    assert chances.shape == (60, 3)
    assert chances.sum(axis=1) == pytest.approx(np.ones(60))
    if estimator != NAIVE_BAYES:
        assert chances[:3].argmax(axis=1).tolist() in ([1, 0, 2], [0, 0, 2], [1, 1, 2])
