"""From a frame of features to a fitted scikit-learn pipeline."""

from __future__ import annotations

import hashlib
import importlib
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.tasks import as_actual

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from ml_assets.core.tasks import Task, Values

# Only classes of these packages are built from a declaration, and of those it allows: an import path is code that runs.
ALLOWED = ("sklearn", "lightgbm", "xgboost")
EXTRAS = {"lightgbm": "boosting", "xgboost": "boosting"}
# These take all cores and print what they do; sums over several threads differ in their last digits.
SETTLED: Mapping[str, Mapping[str, Any]] = {
    "lightgbm": {"n_jobs": 1, "verbose": -1},
    "xgboost": {"n_jobs": 1, "verbosity": 0},
}
LINEAGE = ("_partition", "_source", "_row")
# Up to here a second OpenMP thread gains next to nothing on gradient boosting (44,000 rows of 9 features: 0.69 s, not
# 0.76 s), and beside other work threads that wait for each other lose by far more (3.3 to 7 s, not 2.0 s).
ROWS_FOR_ONE_THREAD = 100_000
# Of so many training rows, drawn by the seed where there are more, is kept what a new model says: predictions for all
# of 190,000 take a third of the time that fitting takes, and their shares are known to 0.4 % by so many.
SAID_ROWS = 20_000
# A word is a run of letters and digits of any script: punctuation parts words and is dropped.
WORD = r"[^\W_]+"
# An estimator that takes no sparse matrix gets the most frequent words only: 10,000 rows of them are 80 MB.
DENSE_WORDS = 1_000
DAY = 86_400e6


class TrainingError(ValueError):
    """A model cannot be trained as declared; the message names the column or the setting."""


@dataclass(frozen=True)
class Words:
    """How text becomes numbers.

    Attributes:
        counts: whether words are counted; else they are weighed by TF-IDF.
        stop_words: `english` drops its most common words; None drops none.
    """

    counts: bool = False
    stop_words: str | None = None


@dataclass(frozen=True)
class Recipe:
    """All that an unfitted pipeline is made from (see `build_pipeline`), and the classes that it is to know."""

    estimator: str
    parameters: Mapping[str, Any]
    kinds: Mapping[str, str]
    seed: int
    task: Task = "regression"
    words: Words = Words()
    allowed: tuple[str, ...] = ()
    preprocessing: str | None = None
    classes: tuple[str, ...] = ()

    def pipeline(self, **parameters: Any) -> Pipeline:
        """The pipeline, with parameters that go before the recipe's own."""
        return build_pipeline(
            self.estimator, {**self.parameters, **parameters}, self.kinds, self.seed, task=self.task, words=self.words,
            allowed=self.allowed, preprocessing=self.preprocessing,
        )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline and what it says of the rows that it learnt from.

    Attributes:
        pipeline: fitted.
        threads: in how many it was fitted and has predicted.
        said: places of the training rows that it has predicted, in their order, shape (m,); m is at most `SAID_ROWS`.
        predicted: for those, as `predict` returns it.
    """

    pipeline: Pipeline
    threads: int
    said: NDArray[np.int64]
    predicted: Values

    @property
    def digest(self) -> str:
        """SHA-256 over the predictions' bytes."""
        return hashlib.sha256(self.predicted.tobytes()).hexdigest()


def train(recipe: Recipe, rows: pl.DataFrame, target: str, threads: int | None = None) -> Trained:
    """Train by a recipe: whoever trains again from a record calls this too.

    Args:
        recipe: what the pipeline is made from.
        rows: those to learn from, in the order of their lineage.
        target: the target's name.
        threads: in how many; as many as the rows are worth where it is left out.
    """
    import numpy as np  # noqa: PLC0415

    threads = threads or threads_worth(rows.height)
    pipeline = recipe.pipeline()
    # Made ready once: to be learnt from, and for what is then said of the same rows.
    inputs, wanted = learnable(rows, recipe.kinds, target, task=recipe.task, classes=recipe.classes)
    with pinned(threads):
        pipeline.fit(inputs, wanted)
    said = np.sort(np.random.default_rng(recipe.seed).permutation(rows.height)[:SAID_ROWS])
    return Trained(pipeline, threads, said, predict_inputs(pipeline, inputs.iloc[said], recipe.task, threads=threads))


def feature_kinds(
    columns: Mapping[str, Any],
    *,
    target: str,
    time: str | None,
    task: Task = "regression",
    text: Sequence[str] = (),
    group: str | None = None,
) -> dict[str, str]:
    """Which columns of a feature table are features, and of which kind.

    Args:
        columns: name → polars type.
        target: the target's name.
        time: the time column: it orders rows and is no feature.
        task: what the target is predicted as.
        text: columns that hold text to be read word by word; other text is a category.
        group: the column by which rows are parted: no row that is judged has a value that was learnt.

    Returns:
        Name → `number` (booleans too), `category`, `date` (a number: days since 1970) or `text`, in the table's order.

    Raises:
        TrainingError: if the target is not there or does not fit the task, or a feature has a type that no model takes.
    """
    returned = f"features.sql returns no column {{!r}}. It returns: {', '.join(columns)}"
    if target not in columns:
        raise TrainingError(f"target: {returned.format(target)}")
    _refuse_target(target, columns[target], task)
    others = {target, time, group, *LINEAGE}
    kinds = {name: _kind(name, dtype, text) for name, dtype in columns.items() if name not in others}
    for name in text:
        if name not in columns:
            raise TrainingError(f"training.text: {returned.format(name)}")
        if kinds.get(name) != "text":
            what = columns[name] if name in kinds else "no feature"
            raise TrainingError(f"training.text: {name!r} is {what}. Remedy: name a text column of features.sql")
    if not kinds:
        raise TrainingError("features.sql returns no feature beside the target and the time")
    return kinds


def unfit(needed: Mapping[str, str], returned: Mapping[str, str]) -> str:
    """Why a model cannot score what features.sql returns; "" where it can.

    Args:
        needed: the features that it has learnt from, name → kind.
        returned: those that the statement returns now, name → kind.

    Returns:
        The first feature that is gone, or of another kind; categories and text to be read are both text.
    """
    as_text = {"category": "text"}
    for name, kind in needed.items():
        if name not in returned:
            return f"needs the feature {name!r}, which features.sql no longer returns"
        now = returned[name]
        if as_text.get(kind, kind) != as_text.get(now, now):
            return f"needs the feature {name!r} as a {kind}, and features.sql returns a {now} now"
    return ""


def build_pipeline(
    estimator: str,
    parameters: Mapping[str, Any],
    kinds: Mapping[str, str],
    seed: int,
    *,
    task: Task = "regression",
    words: Words = Words(),
    allowed: Sequence[str] = (),
    preprocessing: str | None = None,
) -> Pipeline:
    """An unfitted pipeline: the columns as the estimator needs them, then the estimator.

    Boosting by histograms (scikit-learn's, LightGBM, XGBoost) takes numbers as they are, missing ones too, and
    categories as integers. All others get the median for a missing number and a column for each category; numbers are
    scaled for those that compare or add up features: to the unit of their spread, or to 0 … 1 where an estimator
    refuses what is negative (naive Bayes on counts). Text becomes a column for each word. A category or a word that
    training never saw is no error: new ones do appear.

    A classifier that only ranks (a support vector machine) is calibrated by Platt's sigmoid over five folds of the
    training rows: metrics and predictions need probabilities.

    Args:
        estimator: import path of a class.
        parameters: its arguments.
        kinds: feature → kind, as `feature_kinds` tells them.
        seed: its `random_state`, where it has one and the parameters say no other.
        task: what the target is predicted as.
        words: how text becomes numbers.
        allowed: packages that the class may come from, beside `ALLOWED`.
        preprocessing: `module:function` that is called with `kinds` and the estimator, and returns the transformer
            that takes the place of the derived one; its input is what `as_inputs` returns.

    Raises:
        TrainingError: if the estimator is outside the allow-list, does not import, does not fit the task or refuses its
            parameters; or the preprocessing does not import or returns no transformer.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline

    model = _estimator_class(estimator, task, allowed)
    known = model().get_params()
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise TrainingError(
            f"training.parameters: {estimator} has no parameter {unknown[0]!r}. It has: {', '.join(sorted(known))}"
        )
    settled = {"random_state": seed} if "random_state" in known else {}
    settled |= SETTLED.get(estimator.partition(".")[0], {})
    made = model(**settled | dict(parameters))
    columns = _columns(made, kinds, words) if preprocessing is None else _own_columns(preprocessing, made, kinds)
    if task != "regression" and not hasattr(made, "predict_proba"):
        if not hasattr(made, "decision_function"):
            raise TrainingError(
                f"training.estimator: {estimator} gives no probabilities with these parameters, and metrics and "
                "predictions need them. Remedy: an estimator that does, such as sklearn.linear_model.LogisticRegression"
            )
        made = CalibratedClassifierCV(made, ensemble=False)
    return Pipeline([("columns", columns), ("estimator", made)])


def _columns(estimator: Any, kinds: Mapping[str, str], words: Words) -> Any:
    """What turns the columns of `as_inputs` into what an estimator takes."""
    import numpy as np  # noqa: PLC0415
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

    categories = [name for name, kind in kinds.items() if kind == "category"]
    numbers = [name for name, kind in kinds.items() if kind in {"number", "date"}]
    takes = estimator.__sklearn_tags__().input_tags
    encoder: Any
    scaling: Any
    if type(estimator).__name__.startswith(("HistGradientBoosting", "LGBM", "XGB")):
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
        scaling = "passthrough"
    else:
        encoder, scaling = OneHotEncoder(handle_unknown="ignore"), SimpleImputer(strategy="median")
        if takes.positive_only:
            # Clipped: a later value may lie below the least of the training rows.
            scaling = make_pipeline(scaling, MinMaxScaler(clip=True))
        elif not type(estimator).__module__.startswith(("sklearn.tree.", "sklearn.ensemble.")):
            scaling = make_pipeline(scaling, StandardScaler())
    parts: list[Any] = [("categories", encoder, categories), ("numbers", scaling, numbers)]
    vectorizer = CountVectorizer if words.counts else TfidfVectorizer
    for name in (name for name, kind in kinds.items() if kind == "text"):
        most = None if takes.sparse else DENSE_WORDS
        reader = vectorizer(token_pattern=WORD, stop_words=words.stop_words, max_features=most)
        parts.append((f"words of {name}", reader, name))
    return ColumnTransformer(parts, sparse_threshold=0.3 if takes.sparse else 0)


def _own_columns(path: str, estimator: Any, kinds: Mapping[str, str]) -> Any:
    """What a project's own function makes of the columns."""
    module, _, name = path.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(dict(kinds), estimator)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainingError(f"training.preprocessing: {path!r}: {error}. Expected `module:function`") from error
    if not (hasattr(made, "fit") and hasattr(made, "transform")):
        raise TrainingError(
            f"training.preprocessing: {path!r} returned a {type(made).__name__}. Remedy: return an unfitted transformer"
        )
    return made


def fit(
    pipeline: Pipeline,
    rows: pl.DataFrame,
    kinds: Mapping[str, str],
    target: str,
    *,
    task: Task = "regression",
    classes: Sequence[str] = (),
    threads: int | None = None,
) -> Pipeline:
    """Fit a pipeline on rows, in their order; a classification learns the positions of labels in `classes`.

    Args:
        pipeline: unfitted.
        rows: with the features and the target.
        kinds: feature → kind.
        target: the target's name.
        task: what it is predicted as.
        classes: of a classification.
        threads: how many may work at it; by default as many as so many rows are worth. Sums depend on it in their last
            digits: the same model again needs the same number.

    Raises:
        TrainingError: if a row has no target, or a feature has no value in any row.
    """
    inputs, wanted = learnable(rows, kinds, target, task=task, classes=classes)
    with pinned(threads or threads_worth(rows.height)):
        return pipeline.fit(inputs, wanted)


def learnable(
    rows: pl.DataFrame,
    kinds: Mapping[str, str],
    target: str,
    *,
    task: Task = "regression",
    classes: Sequence[str] = (),
) -> tuple[pd.DataFrame, Any]:
    """What a pipeline is fitted on: the features as it takes them, and values or positions of labels, shape (n,).

    Raises:
        TrainingError: if a row has no target, or a feature has no value in any row.
    """
    import polars as pl

    labels = rows[target]
    present = labels.cast(pl.Float64).is_finite().sum() if task == "regression" else labels.count()
    missing = rows.height - present
    if missing:
        raise TrainingError(
            f"{missing} of {rows.height} training rows have no {target!r}. Remedy: filter them in features.sql"
        )
    empty = [name for name, kind in kinds.items() if not _has_values(rows[name], kind)]
    if empty:
        raise TrainingError(
            f"feature {empty[0]!r} is missing in all {rows.height} training rows. Remedy: leave it out of "
            "features.sql, or train on partitions that have it"
        )
    wanted = labels.to_numpy() if task == "regression" else as_actual(labels, task, classes).astype(int)
    return as_inputs(rows, kinds), wanted


def predict(
    pipeline: Pipeline,
    rows: pl.DataFrame,
    kinds: Mapping[str, str],
    task: Task = "regression",
    *,
    threads: int | None = None,
) -> Values:
    """What a fitted pipeline says of rows.

    Returns:
        regression: values in the target's unit, shape (n,). binary: probabilities of the positive label, shape (n,).
        multiclass: probabilities, shape (n, classes), in the order of the classes it was fitted on.
    """
    return predict_inputs(pipeline, as_inputs(rows, kinds), task, threads=threads)


def predict_inputs(
    pipeline: Pipeline, inputs: pd.DataFrame, task: Task = "regression", *, threads: int | None = None
) -> Values:
    """The same as `predict`, of what `as_inputs` or `learnable` made of rows."""
    with pinned(threads or threads_worth(len(inputs))):
        if task == "regression":
            values: Values = pipeline.predict(inputs).astype(float)
            return values
        probabilities: Values = pipeline.predict_proba(inputs).astype(float)
    return probabilities[:, 1] if task == "binary" else probabilities


def threads_worth(rows: int) -> int:
    """How many threads so many rows are worth: one, or as many as this process may use cores."""
    from joblib import cpu_count  # noqa: PLC0415 - heed what a container may use

    return int(os.environ.get("OMP_NUM_THREADS") or cpu_count()) if are_worth_all_cores(rows) else 1


def are_worth_all_cores(rows: int) -> bool:
    """Whether so many rows are worth more than one thread, where there are more."""
    return rows > ROWS_FOR_ONE_THREAD


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Within the block OpenMP and the libraries of linear algebra use so many threads."""
    from threadpoolctl import get_cached_controller  # noqa: PLC0415

    # To look for the libraries takes longer than to predict a row: again only where something was imported since.
    with get_cached_controller().limit(limits=threads):
        yield


def as_inputs(rows: pl.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The feature columns as the pipeline takes them.

    Numbers are float64; dates are days since 1970-01-01, with a fraction where they have a time of day; categories are
    text; all are NaN where missing, and so is what is infinite. Text is itself, empty where missing.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd
    import polars as pl

    def values(name: str, kind: str) -> Any:
        if kind == "number":
            numbers = rows[name].cast(pl.Float64).to_numpy()
            return np.where(np.isinf(numbers), np.nan, numbers)
        if kind == "date":
            return (rows[name].dt.epoch("us") / DAY).to_numpy()
        column = rows[name].cast(pl.String)
        if kind == "text":
            return np.array(column.fill_null("").to_list(), dtype=object)
        # NaN, not None: to the encoder None is a category like any other. By code, so that each text is made once.
        known = column.drop_nulls().unique()
        texts = np.array([*known, math.nan], dtype=object)
        return texts[column.cast(pl.Enum(known)).to_physical().fill_null(len(known)).to_numpy()]

    # Column by column: polars' own to_pandas would turn text into Arrow strings, which skops need not know.
    return pd.DataFrame(
        {
            name: pd.Series(values(name, kind), dtype=float if kind in {"number", "date"} else object)
            for name, kind in kinds.items()
        }
    )


def _has_values(column: pl.Series, kind: str) -> bool:
    """Whether `as_inputs` finds anything in a column that is not missing."""
    import polars as pl

    if kind == "number":
        return bool(column.cast(pl.Float64).is_finite().any())
    if kind == "text":
        # As Python's `strip` has it, to which four control characters are blanks too.
        return bool(column.str.contains(r"[^\s\x1c-\x1f]").any())
    return column.count() > 0


def packages(estimator: str = "sklearn.") -> dict[str, str]:
    """Versions of the libraries that a fitted pipeline depends on, that of its estimator included."""
    from importlib.metadata import version  # noqa: PLC0415

    library = estimator.partition(".")[0]
    names = ["scikit-learn", "numpy", "scipy", "pandas", "polars", "duckdb", "skops"]
    found = {name: version(name) for name in names}
    # The same library comes in several distributions: what it says of itself.
    return found | ({library: importlib.import_module(library).__version__} if library in EXTRAS else {})


def _kind(name: str, dtype: Any, text: Sequence[str]) -> str:
    import polars as pl

    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype == pl.String:
        return "text" if name in text else "category"
    if dtype.is_temporal() and dtype not in (pl.Time, pl.Duration):
        return "date"
    raise TrainingError(
        f"features.sql: {name!r} is {dtype}; a feature is a number, a boolean, a date or text. Remedy: convert it"
    )


def _refuse_target(target: str, dtype: Any, task: Task) -> None:
    import polars as pl

    if task == "regression" and not dtype.is_numeric():
        raise TrainingError(
            f"target: {target!r} is {dtype}, a regression needs a number. Remedy: convert it, or declare "
            "`task: binary` or `task: multiclass`"
        )
    if task != "regression" and not (dtype.is_integer() or dtype in (pl.Boolean, pl.String)):
        raise TrainingError(
            f"target: {target!r} is {dtype}, a classification needs text, a boolean or an integer. "
            "Remedy: convert it in features.sql, or declare `task: regression`"
        )


def is_allowed(path: str, allowed: Sequence[str] = ()) -> bool:
    """Whether a class may be imported: it stands in one of the packages, by its whole name."""
    return any(path.startswith(f"{package.rstrip('.')}.") for package in (*ALLOWED, *allowed))


def _estimator_class(path: str, task: Task, allowed: Sequence[str]) -> Any:
    from sklearn.base import is_classifier, is_regressor

    if not is_allowed(path, allowed):
        packages = ", ".join(f"`{package.rstrip('.')}.…`" for package in (*ALLOWED, *allowed))
        raise TrainingError(
            f"training.estimator: {path!r} is not allowed; classes of {packages} are. Remedy: one of those, or name "
            "its package in training.allowed"
        )
    module, _, name = path.rpartition(".")
    try:
        model = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        extra = EXTRAS.get(str(getattr(error, "name", "")))
        remedy = f". Remedy: install the extra, as in `pip install 'ml-assets[{extra}]'`" if extra else ""
        raise TrainingError(f"training.estimator: {path!r} does not import: {error}{remedy}") from error
    kind, fits = ("regressor", is_regressor) if task == "regression" else ("classifier", is_classifier)
    try:
        usable = isinstance(model, type) and hasattr(model, "get_params") and fits(model())
    except TypeError as error:
        raise TrainingError(f"training.estimator: {path!r} cannot be made without arguments: {error}") from error
    if not usable:
        raise TrainingError(f"training.estimator: {path!r} is no {kind} class of scikit-learn, and the task is {task}")
    return model
