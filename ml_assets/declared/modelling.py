"""How a model is trained, and what it must reach."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import dagster as dg
from pydantic import Field, PositiveInt, model_validator

from ml_assets.declared.evaluation import Slice


class Range(dg.Model, dg.Resolvable):
    """Values from one number to another, both included; whole numbers where both are."""

    low: int | float = Field(description="The least value.")
    high: int | float = Field(description="The greatest value.")
    log: bool = Field(default=False, description="Whether 1 to 10 counts for as much as 10 to 100.")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low: {self.low:g} is not below high: {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low is {self.low:g}, and a logarithm needs more than 0")
        return self


# Dagster resolves no union within a mapping by itself.
Space = dict[str, list[Any] | Range]


class Split(dg.Model, dg.Resolvable):
    """Which rows judge the trials of a search and the version, and which nobody looks at before the end."""

    kind: Literal["time", "random", "stratified", "grouped"] | None = Field(
        default=None,
        description="How rows are parted. `time`: by partition, the newest judge; `test` counts them. `random`: each "
        "row draws a lot; `stratified`: the same, with the same shares of each value of a column on all sides; "
        "`grouped`: all rows of a group draw one; in these `test_share` is the share. By default time, or random where "
        "the window is a single partition.",
    )
    by: str | None = Field(
        default=None,
        description="`stratified`: the column, by default the target. `grouped`: the column that names the group; it "
        "is no feature then.",
    )
    validation: float = Field(
        default=0,
        ge=0,
        description="What judges the trials of a search, and is learnt from afterwards: partitions before the test "
        "(`time`), or a share of rows. Without it, a search cuts the training rows into folds.",
    )
    holdout: float = Field(
        default=0,
        ge=0,
        description="What no choice looks at, and the version is measured on once, at its end: the newest partitions, "
        "or a share of rows below 1.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind == "grouped" and self.by is None:
            raise ValueError("by is missing: name the column of features.sql that holds the group")
        if self.by is not None and self.kind not in {"stratified", "grouped"}:
            raise ValueError(f"by: {self.by!r} means nothing here. Remedy: kind: stratified, or kind: grouped")
        if self.holdout > 1 and self.holdout % 1:
            raise ValueError(f"holdout: {self.holdout:g}: write whole partitions, or a share of rows below 1")
        return self


class Search(dg.Model, dg.Resolvable):
    """How parameters of the estimator are searched for."""

    kind: Literal["grid", "random", "halving", "bayesian"] = Field(
        description="`grid`: all combinations. `random`: draws. `halving`: draws tried on few rows; the best third of "
        "them on three times as many, and so on to all. `bayesian`: draws that learn from those before (Optuna's TPE; "
        "the extra `search`)."
    )
    space: Annotated[Space, dg.Resolver(lambda _, space: space, model_field_type=Space)] = Field(
        min_length=1, description="Parameter → the values to choose from: a list, or a range of numbers."
    )
    trials: PositiveInt | None = Field(
        default=None, description="How many trials at most: all combinations of a grid, else 20, or any in `minutes`."
    )
    minutes: float | None = Field(
        default=None, gt=0, description="After how many minutes no further trial is started; one that runs ends."
    )
    metric: str | None = Field(
        default=None, description="The metric that decides; by default the one that is watched (`retraining.metric`)."
    )
    folds: int = Field(default=5, ge=2, description="Folds of the training rows where there is no `validation`.")
    workers: PositiveInt | None = Field(
        default=None, description="Processes that try at once; by default as many as there are cores."
    )

    @model_validator(mode="after")
    def _is_finite(self) -> Self:
        empty = [name for name, values in self.space.items() if isinstance(values, list) and not values]
        if empty:
            raise ValueError(f"space.{empty[0]}: the list is empty")
        ranges = [name for name, values in self.space.items() if isinstance(values, Range)]
        if self.kind == "grid" and ranges:
            raise ValueError(
                f"space.{ranges[0]}: a grid has no ranges. Remedy: list its values, or search by kind: random"
            )
        if self.kind == "grid" and self.trials is not None:
            raise ValueError("trials: a grid tries all its combinations. Remedy: kind: random, or a budget in minutes")
        return self


class Training(dg.Model, dg.Resolvable):
    """How a model is trained."""

    estimator: str = Field(
        description="Import path of a regressor, or classifier, as the task demands, with scikit-learn's methods."
    )
    parameters: dict[str, Any] = Field(default={}, description="Arguments of the estimator.")
    allowed: list[str] = Field(
        default=[],
        description="Packages that classes of a model may come from, beside sklearn, lightgbm and xgboost, such as "
        "your own: importing them runs their code.",
    )
    preprocessing: str | None = Field(
        default=None,
        description="`module:function` that makes what comes before the estimator: called with the kind of each "
        "feature and the estimator, it returns an unfitted transformer. By default it is derived from the kinds.",
    )
    window: PositiveInt = Field(description="Partitions in a training window, the test partitions included.")
    test: PositiveInt = Field(
        default=1, description="Newest partitions of the window that are held out to judge the model."
    )
    test_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of rows that is held out instead where the split is not by time.",
    )
    split: Split = Field(default=Split(), description="How the window is cut.")
    search: Search | None = Field(default=None, description="A search for better parameters; none by default.")
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
    def split_kind(self) -> Literal["time", "random", "stratified", "grouped"]:
        """How rows are parted: by time where there is more than one partition and nothing else is declared."""
        return self.split.kind or ("random" if self.window == 1 else "time")

    @property
    def by_chance(self) -> bool:
        """Whether rows are parted by lot rather than by time."""
        return self.split_kind != "time"

    @property
    def held_back(self) -> int:
        """The newest partitions that are the holdout."""
        return int(self.split.holdout) if self.split.holdout >= 1 else 0

    @property
    def group(self) -> str | None:
        """The column that names a row's group, which is no feature."""
        return self.split.by if self.split_kind == "grouped" else None

    @model_validator(mode="after")
    def _leaves_rows_to_learn_from(self) -> Self:
        validation, holdout = self.split.validation, self.split.holdout
        if self.by_chance:
            if self.held_back >= self.window:
                raise ValueError(f"split.holdout: {holdout:g} of {self.window} partitions in the window leave none")
            shares = self.test_share + validation + (holdout if holdout < 1 else 0)
            if shares >= 1:
                raise ValueError(
                    f"split: the shares of test_share, validation and holdout are {shares:g} together and leave no "
                    "rows to learn from"
                )
            return self
        for name, count in (("validation", validation), ("holdout", holdout)):
            if count % 1:
                raise ValueError(f"split.{name}: {count:g}: a split by time counts whole partitions")
        kept = self.test + int(validation + holdout)
        if kept >= self.window:
            also = " with validation and holdout" if kept > self.test else ""
            raise ValueError(f"test: {kept} of {self.window} partitions in the window{also} leave none to learn from")
        if self.search is not None and not validation and self.window - kept < 2:  # noqa: PLR2004 - one fold needs two
            raise ValueError(
                "search: one partition to learn from has no folds in time. Remedy: a longer window, or split.validation"
            )
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
