"""The rows that judge a version, and models that are fitted beside it to hold it against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_assets.assets.model import recipe_of
from ml_assets.assets.rows import rows_held_out, rows_to_learn, sides
from ml_assets.core.evaluation import compared_by, row_losses
from ml_assets.core.tasks import as_actual, has_label
from ml_assets.core.training import TrainingError, fit, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from ml_assets.core.tasks import Values
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version

# A model of fewer rows says nothing of the one that is judged.
FEWEST_ROWS = 50
# Training rows on which the error on training rows is measured.
MEASURED_ROWS = 20_000


@dataclass(frozen=True)
class Judged:
    """Rows with what was and what the version says of them.

    Attributes:
        frame: the rows, with their place among those of the training set as `_place`.
        actual, predicted: as in `evaluation.measure`.
        losses: of the metric that models are compared by.
    """

    frame: pl.DataFrame
    actual: Values
    predicted: Values
    losses: Values


@dataclass(frozen=True)
class Case:
    """A version, and all that it is judged by.

    Attributes:
        project: the project.
        version: the version.
        rows: those of its training set, in the order of their lineage.
        train: those that it learnt from.
        targets: of those, shape (n,), as in `tasks.as_actual`.
        learnt: some of those, by chance, where they are many: to tell a mean error, so many are enough.
        test: those held out.
        metric: the metric that models are compared by.
    """

    project: Project
    version: Version
    rows: pl.DataFrame
    train: pl.DataFrame
    targets: Values
    learnt: Judged
    test: Judged
    metric: str

    def losses(self, frame: pl.DataFrame, predicted: Values) -> Values:
        """The losses of predictions for some rows, shape (n,)."""
        actual = as_actual(frame[self.version.target], self.version.task, self.version.classes)
        return row_losses(self.metric, actual, predicted)


def open_case(project: Project, version: Version, rows: pl.DataFrame, registry: Registry) -> Case:
    """Predict, once, the rows of a version's training set.

    Models are compared by the metric that is watched; by the mean absolute error where an actual value is zero and MAPE
    undefined.
    """
    # No baseline may read the holdout either, and rows without a label tell nothing.
    held_back = sides(project, rows, version.training_set).eq("holdout").fill_null(value=False)
    rows = rows.filter(~held_back & has_label(rows[version.target], version.task)).with_row_index("_place")
    train, held_out = (side(project, rows, version.training_set) for side in (rows_to_learn, rows_held_out))
    targets = as_actual(train[version.target], version.task, version.classes)
    frames = drawn(train, MEASURED_ROWS, version.seed)[0], held_out
    actual = [as_actual(frame[version.target], version.task, version.classes) for frame in frames]
    metric = compared_by(project.watched, targets, actual[1])
    learnt, test = (
        Judged(frame, values, predicted := registry.predict(version, frame), row_losses(metric, values, predicted))
        for frame, values in zip(frames, actual, strict=True)
    )
    return Case(project, version, rows, train, targets, learnt, test, metric)


def fitted(
    case: Case, frame: pl.DataFrame, estimator: str, parameters: Mapping[str, Any]
) -> Callable[[pl.DataFrame], Values]:
    """Fit an estimator on some rows as the version was fitted, and return what predicts by it.

    Raises:
        TrainingError: if the rows hold too little to learn from.
    """
    version = case.version
    labels = frame[version.target].n_unique()
    if frame.height < FEWEST_ROWS or (version.classes and labels < len(version.classes)):
        raise TrainingError(f"{frame.height} training rows with {labels} different targets are too few")
    recipe = recipe_of(case.project, version.features, version.classes)
    pipeline = replace(recipe, estimator=estimator, parameters=parameters, seed=version.seed).pipeline()
    try:
        fit(pipeline, frame, recipe.kinds, version.target, task=recipe.task, classes=recipe.classes)
    except ValueError as error:
        # Too few rows for this estimator, or columns that another one cannot take: it is left out, and said why.
        raise TrainingError(f"{estimator.rpartition('.')[2]} cannot be fitted on these rows: {error}") from error
    return lambda rows: predict(pipeline, rows, recipe.kinds, recipe.task)


def drawn(frame: pl.DataFrame, rows: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """So many rows by chance, in their order, and the others."""
    import numpy as np  # noqa: PLC0415

    if frame.height <= rows:
        return frame, frame[:0]
    chosen = np.zeros(frame.height, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(frame.height)[:rows]] = True
    return frame.filter(chosen), frame.filter(~chosen)
