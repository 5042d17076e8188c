"""How a model is trained, and what it must reach."""

from __future__ import annotations

from typing import Any, Literal, Self

import dagster as dg
from pydantic import Field, PositiveInt, model_validator

from ml_assets.declared.evaluation import Slice


class Training(dg.Model, dg.Resolvable):
    """How a model is trained."""

    estimator: str = Field(description="Import path of a scikit-learn regressor, or classifier, as the task demands.")
    parameters: dict[str, Any] = Field(default={}, description="Arguments of the estimator.")
    window: PositiveInt = Field(description="Partitions in a training window, the test partitions included.")
    test: PositiveInt = Field(
        default=1, description="Newest partitions of the window that are held out to judge the model."
    )
    test_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of rows that is held out instead, by chance, where the window is 1."
    )
    seed: int = Field(default=0, description="Seed of everything random.")
    text: list[str] = Field(
        default=[], description="Columns of features.sql that are read word by word; other text is a category."
    )
    text_features: Literal["tfidf", "counts"] = Field(
        default="tfidf",
        description="What becomes of words, in lower case and without punctuation: weighed by TF-IDF, or counted.",
    )
    stop_words: Literal["english"] | None = Field(default=None, description="Common words that are dropped.")

    @property
    def by_chance(self) -> bool:
        """Whether rows are held out by chance: a single partition has no order of time."""
        return self.window == 1

    @model_validator(mode="after")
    def _leaves_rows_to_learn_from(self) -> Self:
        if self.test >= self.window and not self.by_chance:
            raise ValueError(f"test: {self.test} of {self.window} partitions in the window leave none to learn from")
        return self


class Gate(dg.Model, dg.Resolvable):
    """What a model must reach on its test partitions."""

    metric: Literal[
        "mse", "rmse", "mae", "mape", "r2",
        "log_loss", "brier", "error_rate", "accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc",
        "precision_macro", "recall_macro", "f1_macro",
    ] = Field(description="The metric; it must be one of the task's.")  # fmt: skip
    at_most: float | None = Field(default=None, description="Greatest value that passes.")
    at_least: float | None = Field(default=None, description="Smallest value that passes.")
    slice: Slice | Literal["worst"] | None = Field(
        default=None,
        description="Rows that must reach it by themselves: a slice, or each slice of a column; or `worst`: the slice "
        "with the greatest watched error of those that are worse than the rest by more than noise.",
    )
    confident: bool = Field(
        default=False, description="Whether the worse end of the confidence interval must reach it, not the value."
    )

    @model_validator(mode="after")
    def _demands_something(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError(f"gate {self.metric}: give at_most, at_least or both; without them every model passes")
        return self
