"""Estimators of every family: each is trained, stored without pickle, loaded, and predicts the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from test_versions import FIELDS

from ml_assets.core.training import Recipe, TrainingError, build_pipeline, fit, packages, predict
from ml_assets.registry import models
from ml_assets.registry.models import RegistryError

if TYPE_CHECKING:
    from ml_assets.registry.models import Registry, Version

KINDS = {"town": "category", "area": "number", "sold": "date", "words": "text"}
REGRESSORS = {
    "linear": "sklearn.linear_model.LinearRegression",
    "ridge": "sklearn.linear_model.Ridge",
    "lasso": "sklearn.linear_model.Lasso",
    "elastic net": "sklearn.linear_model.ElasticNet",
    "decision tree": "sklearn.tree.DecisionTreeRegressor",
    "random forest": "sklearn.ensemble.RandomForestRegressor",
    "extra trees": "sklearn.ensemble.ExtraTreesRegressor",
    "gradient boosting": "sklearn.ensemble.GradientBoostingRegressor",
    "gradient boosting by histograms": "sklearn.ensemble.HistGradientBoostingRegressor",
    "support vectors": "sklearn.svm.SVR",
    "nearest neighbours": "sklearn.neighbors.KNeighborsRegressor",
    "dummy": "sklearn.dummy.DummyRegressor",
    "lightgbm": "lightgbm.LGBMRegressor",
    "xgboost": "xgboost.XGBRegressor",
}
CLASSIFIERS = {
    "logistic": "sklearn.linear_model.LogisticRegression",
    "decision tree": "sklearn.tree.DecisionTreeClassifier",
    "random forest": "sklearn.ensemble.RandomForestClassifier",
    "gradient boosting": "sklearn.ensemble.GradientBoostingClassifier",
    "gradient boosting by histograms": "sklearn.ensemble.HistGradientBoostingClassifier",
    "support vectors, calibrated": "sklearn.svm.SVC",
    "linear support vectors, calibrated": "sklearn.svm.LinearSVC",
    "naive Bayes": "sklearn.naive_bayes.GaussianNB",
    "naive Bayes on counts": "sklearn.naive_bayes.MultinomialNB",
    "nearest neighbours": "sklearn.neighbors.KNeighborsClassifier",
    "dummy": "sklearn.dummy.DummyClassifier",
    "lightgbm": "lightgbm.LGBMClassifier",
    "xgboost": "xgboost.XGBClassifier",
}
# Quick, and without warnings on so few rows.
PARAMETERS: dict[str, dict[str, Any]] = {
    "sklearn.linear_model.Lasso": {"alpha": 100.0},
    REGRESSORS["random forest"]: {"n_estimators": 5},
    REGRESSORS["extra trees"]: {"n_estimators": 5},
    CLASSIFIERS["random forest"]: {"n_estimators": 5},
    CLASSIFIERS["gradient boosting"]: {"n_estimators": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Rows with gaps in every feature; the label follows the words, the price follows area and town."""
    random = np.random.default_rng(0)
    number, size = np.arange(120), random.uniform(30, 150, 120)
    labels = random.integers(0, 3, 120)
    return pl.DataFrame(
        {
            "town": [None if one % 9 == 0 else ["EAST", "WEST"][one % 2] for one in number],
            "area": [None if one % 11 == 0 else size[one] for one in number],
            "sold": pl.Series([None if one % 13 == 0 else 19_000 + int(one) for one in number], dtype=pl.Int32).cast(
                pl.Date
            ),
            "words": [None if one % 17 == 0 else ["let now", "for sale", "swap"][labels[one]] for one in number],
            "label": [["let", "sale", "swap"][label] for label in labels],
            "price": size * np.where(number % 2, 900.0, 1100.0),
        }
    )


def stored(registry: Registry, made: Any, **fields: Any) -> Version:
    return registry.register(made, FIELDS | {"features": KINDS} | fields)


@pytest.mark.parametrize("estimator", REGRESSORS.values(), ids=REGRESSORS)
def test_every_regressor_is_trained_stored_and_loaded_and_predicts_the_same(
    registry: Registry, rows: pl.DataFrame, estimator: str
) -> None:
    parameters = PARAMETERS.get(estimator, {})
    first, again = (fit(build_pipeline(estimator, parameters, KINDS, 7), rows, KINDS, "price") for _ in range(2))
    version = stored(registry, first, packages=packages(estimator))
    expected = predict(first, rows, KINDS)

    np.testing.assert_array_equal(registry.predict(version, rows), expected)
    np.testing.assert_array_equal(predict(again, rows, KINDS), expected)
    assert registry.load(version) is not first
    if "Dummy" not in estimator and "SVR" not in estimator:
        assert np.corrcoef(expected, rows["price"])[0, 1] > 0.8


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("estimator", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_every_classifier_is_trained_stored_and_loaded_and_predicts_the_same(
    registry: Registry, rows: pl.DataFrame, estimator: str, task: Any
) -> None:
    classes = ("let", "sale", "swap") if task == "multiclass" else ("let", "sale")
    kept = rows.filter(pl.col("label").is_in(classes))
    parameters = PARAMETERS.get(estimator, {})
    made = build_pipeline(estimator, parameters, KINDS, 7, task=task)
    fit(made, kept, KINDS, "label", task=task, classes=classes)
    version = stored(registry, made, task=task, classes=classes)
    expected = predict(made, kept, KINDS, task)

    np.testing.assert_array_equal(registry.predict(version, kept), expected)
    assert expected.shape == ((kept.height, 3) if task == "multiclass" else (kept.height,))
    assert ((expected >= 0) & (expected <= 1)).all()
    if "Dummy" not in estimator:
        said = expected.argmax(axis=1) if task == "multiclass" else (expected > 0.5).astype(int)
        assert np.mean([classes[one] for one in said] == kept["label"].to_numpy()) > 0.6


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("lightgbm", "xgboost"):
        with monkeypatch.context() as without:
            without.setitem(__import__("sys").modules, library, None)
            with pytest.raises(TrainingError, match=rf"{library}.*Remedy: install the extra.*ml-assets\[boosting\]"):
                build_pipeline(f"{library}.Anything", {}, KINDS, 0)


def test_the_boosters_work_in_one_thread_unless_told_otherwise_and_their_version_is_recorded() -> None:
    for estimator in ("lightgbm.LGBMRegressor", "xgboost.XGBRegressor"):
        assert build_pipeline(estimator, {}, KINDS, 7)["estimator"].n_jobs == 1
        assert build_pipeline(estimator, {"n_jobs": 2}, KINDS, 7)["estimator"].n_jobs == 2
        assert build_pipeline(estimator, {}, KINDS, 7)["estimator"].random_state == 7
        assert estimator.partition(".")[0] in packages(estimator)


# An estimator and preprocessing of the project's own


def own(estimator: str = "own_estimators.Middle", **more: Any) -> Recipe:
    return Recipe(estimator, {}, KINDS, 0, allowed=("own_estimators",), **more)


def test_an_own_class_needs_its_package_allowed_by_its_whole_name() -> None:
    for allowed in ((), ("own",), ("own_estimators.Mid",)):
        with pytest.raises(TrainingError, match=r"'own_estimators\.Middle' is not allowed.*training\.allowed"):
            build_pipeline("own_estimators.Middle", {}, KINDS, 0, allowed=allowed)
    assert own().pipeline(times=2.0)["estimator"].times == 2.0


def test_an_own_class_is_stored_and_loaded_where_its_package_is_allowed(registry: Registry, rows: pl.DataFrame) -> None:
    made = fit(own().pipeline(), rows, KINDS, "price")
    with pytest.raises(
        RegistryError, match=r"holds own_estimators\.Middle, which is not on the list.*training\.allowed"
    ):
        stored(registry, made)
    version = stored(registry, made, allowed=("own_estimators",))

    assert registry.version("houses", 1).allowed == ("own_estimators",)
    assert set(registry.predict(version, rows)) == {rows["price"].median()}


def test_nothing_but_an_estimator_is_built_whatever_a_record_allows(registry: Registry, rows: pl.DataFrame) -> None:
    made = fit(own(preprocessing="own_estimators:harmful").pipeline(), rows, KINDS, "price")
    with pytest.raises(RegistryError, match=r"holds own_estimators\.same"):
        stored(registry, made, allowed=("own_estimators", "builtins", "os", "posix"))


def test_a_record_whose_list_was_widened_by_hand_opens_no_other_type(
    registry: Registry, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fit(own(preprocessing="own_estimators:harmful").pipeline(), rows, KINDS, "price")
    with monkeypatch.context() as careless:
        careless.setattr(models, "_trusted_types", lambda *_: [])
        version = stored(registry, made, allowed=("own_estimators",))
    path = registry.folder / "houses" / "1" / "version.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"allowed": ["own_estimators", "builtins"]}))

    with pytest.raises(RegistryError, match=r"holds own_estimators\.same"):
        registry.load(registry.version("houses", version.number))


def test_own_preprocessing_takes_the_place_of_the_derived(registry: Registry, rows: pl.DataFrame) -> None:
    recipe = own("sklearn.ensemble.HistGradientBoostingRegressor", preprocessing="own_estimators:only_numbers")
    made = fit(recipe.pipeline(), rows, KINDS, "price")
    other = rows.with_columns(pl.lit("NOWHERE").alias("town"), pl.lit("nothing").alias("words"))

    assert made["estimator"].n_features_in_ == 1
    np.testing.assert_array_equal(predict(made, other, KINDS), predict(made, rows, KINDS))
    np.testing.assert_array_equal(registry.predict(stored(registry, made), rows), predict(made, rows, KINDS))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_estimators:onlynumbers", r"'own_estimators:onlynumbers'.*Expected `module:function`"),
        ("own_estimator:only_numbers", r"No module named 'own_estimator'.*Expected `module:function`"),
        ("only_numbers", r"Expected `module:function`"),
        ("own_estimators:nothing", r"returned a NoneType\. Remedy: return an unfitted transformer"),
    ],
)
def test_preprocessing_that_cannot_be_used_is_refused(path: str, message: str) -> None:
    with pytest.raises(TrainingError, match=rf"training\.preprocessing: .*{message}"):
        own(preprocessing=path).pipeline()
