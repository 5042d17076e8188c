"""How a model is judged: on which slices, at what costs, against which baselines."""

from __future__ import annotations

from typing import Literal, Self

import dagster as dg
from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator


class Slice(dg.Model, dg.Resolvable):
    """Rows that are judged by themselves."""

    column: str = Field(
        description="Column of features.sql. By itself: a slice for each of its values, or each quarter of a number."
    )
    values: list[str | int | bool] = Field(
        default=[], description="Instead, one slice: the rows that have one of them."
    )
    at_least: float | None = Field(default=None, description="Instead, one slice: the rows with this number or more.")
    below: float | None = Field(default=None, description="The numbers of that slice are below this.")

    @model_validator(mode="after")
    def _is_one_condition(self) -> Self:
        if self.values and (self.at_least is not None or self.below is not None):
            raise ValueError(f"slice by {self.column}: values and bounds exclude each other. Remedy: two slices")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"slice by {self.column}: at_least {self.at_least:g} is not below {self.below:g}")
        return self


class Costs(dg.Model, dg.Resolvable):
    """What a mistake costs, in any unit."""

    false_positive: NonNegativeFloat | None = Field(
        default=None, description="To say the positive label wrongly, in a binary task."
    )
    false_negative: NonNegativeFloat | None = Field(default=None, description="To miss it.")
    over: NonNegativeFloat | None = Field(default=None, description="A unit predicted too much, in a regression.")
    under: NonNegativeFloat | None = Field(default=None, description="A unit predicted too little.")

    @model_validator(mode="after")
    def _comes_in_pairs(self) -> Self:
        given = sum(value is not None for value in self.model_dump().values())
        pair = self.of_labels or self.of_values
        if given != 2 or pair is None or not any(pair):  # noqa: PLR2004 - a pair
            raise ValueError("costs: give false_positive and false_negative, or over and under; one of them above 0")
        return self

    @property
    def of_labels(self) -> tuple[float, float] | None:
        """What a false positive and a false negative cost."""
        if self.false_positive is None or self.false_negative is None:
            return None
        return self.false_positive, self.false_negative

    @property
    def of_values(self) -> tuple[float, float] | None:
        """What a unit too much and a unit too little cost."""
        return None if self.over is None or self.under is None else (self.over, self.under)


class Evaluation(dg.Model, dg.Resolvable):
    """How a model is judged on the rows held out."""

    slices: list[Slice] = Field(
        default=[], description="Rows that are judged by themselves; the worst are looked for among all features too."
    )
    minimum_rows: PositiveInt = Field(default=50, description="Rows below which a slice is left out.")
    costs: Costs | None = Field(
        default=None,
        description="What mistakes cost: the evaluation then tells the cost of a row, and for labels the threshold "
        "that costs least.",
    )
    draws: int = Field(default=1000, ge=200, description="Resamples of the bootstrap behind every interval.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence of the intervals.")
    clusters: str | None = Field(
        default=None,
        description="Column of features.sql whose rows belong together and are resampled as one, such as a customer; "
        "by default the partition. Fewer than 10 clusters are not resampled: rows are, and the evaluation says so.",
    )
    entity: str | None = Field(
        default=None,
        description="Column of features.sql: the last and the seasonal value are those of the same entity. Without it "
        "they are the mean of all rows of that moment.",
    )
    season: PositiveInt | None = Field(
        default=None, description="Partitions after which things repeat: a baseline predicts the value of that time."
    )
    labels_known: Literal["with_the_partition", "at_once"] = Field(
        default="with_the_partition",
        description="When the target of a row is known, as the last value sees it: once its partition has ended, or "
        "before the next row.",
    )
    learning_curve: list[float] = Field(
        default=[0.1, 0.3],
        description="Shares of the training rows that the model is fitted on once more, to tell what it learns by "
        "heart; scaled down where the largest would be more than 20,000 rows. None: `[]`.",
    )
    baselines_waiver: str | None = Field(
        default=None,
        description="Why a version may serve that is no better than a baseline; it stays in the record.",
    )

    @field_validator("baselines_waiver")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and len(value.split()) < 3:  # noqa: PLR2004 - as for a finding of the leakage gate
            raise ValueError("baselines_waiver: write a sentence that says why: it stays in the record")
        return value

    @model_validator(mode="after")
    def _grows(self) -> Self:
        steps = self.learning_curve
        if any(not 0 < share < 1 for share in steps) or sorted(set(steps)) != steps:
            raise ValueError(f"learning_curve: {steps} are no growing shares between 0 and 1")
        return self

    @property
    def columns(self) -> dict[tuple[str | int, ...], str]:
        """The columns that are named: field → column."""
        named: dict[tuple[str | int, ...], str | None] = {("clusters",): self.clusters, ("entity",): self.entity}
        named |= {("slices", place, "column"): each.column for place, each in enumerate(self.slices)}
        return {field: column for field, column in named.items() if column is not None}
