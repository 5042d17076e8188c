"""Estimators and preprocessing as a team might write them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Middle(RegressorMixin, BaseEstimator):
    """Predicts a multiple of the median."""

    def __init__(self, times: float = 1.0) -> None:
        self.times = times

    def fit(self, inputs: Any, wanted: Any) -> Middle:
        self.middle_ = float(np.median(wanted))
        self.n_features_in_ = inputs.shape[1]
        return self

    def predict(self, inputs: Any) -> Any:
        return np.full(len(inputs), self.times * self.middle_)


class Spy(LinearRegression):
    """Writes down which rows it is shown, by the number in their last column, and where."""

    def __init__(self, file: str = "", times: float = 1.0) -> None:
        super().__init__()
        self.file, self.times = file, times

    def fit(self, inputs: Any, wanted: Any) -> Spy:
        self._write("fit", inputs)
        super().fit(inputs, wanted)
        return self

    def predict(self, inputs: Any) -> Any:
        self._write("predict", inputs)
        return self.times * super().predict(inputs)

    def _write(self, what: str, inputs: Any) -> None:
        with Path(self.file).open("a", encoding="utf-8") as out:
            numbers = [int(number) for number in inputs[:, -1]]
            out.write(json.dumps({"process": os.getpid(), "what": what, "rows": numbers}) + "\n")


class Stubborn(ClassifierMixin, BaseEstimator):
    """Says a label and not how sure it is."""

    def fit(self, _inputs: Any, wanted: Any) -> Stubborn:
        self.classes_ = np.unique(wanted)
        return self

    def predict(self, inputs: Any) -> Any:
        return np.full(len(inputs), self.classes_[0])


def only_numbers(kinds: Mapping[str, str], _estimator: Any) -> Any:
    """The numbers as they are; the other columns are dropped."""
    return make_column_transformer(("passthrough", [name for name, kind in kinds.items() if kind == "number"]))


def nothing(_kinds: Mapping[str, str], _estimator: Any) -> None:
    """No transformer."""


def harmful(_kinds: Mapping[str, str], _estimator: Any) -> Any:
    """A transformer that holds a function, which no registry stores."""
    return FunctionTransformer(same)


def same(inputs: Any) -> Any:
    """A function: code that no registry stores."""
    return inputs
