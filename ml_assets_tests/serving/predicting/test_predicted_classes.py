"""Predictions of classes: label and probabilities, by either engine as by the pipeline itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from small_market import PREPARING, Market
from small_service import Service
from test_classification import BINARY, MULTICLASS, messages, open_messages

from ml_assets.core.shapley import shapley
from ml_assets.registry.export import ONNX

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = ("2024-01", "2024-02")


def trained(folder: Path, declared: dict[str, Any], labels: list[str]) -> Market:
    market = open_messages(folder, **declared)
    for month in MONTHS:
        rows = messages(month, labels)
        market.write(month, rows, list(rows[0]))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    market.retrain()
    return market


@pytest.mark.parametrize(
    ("declared", "labels", "classes"),
    [
        (BINARY, ["ham", "spam"], ["ham", "spam"]),
        (MULTICLASS, ["ham", "spam", "alert"], ["alert", "ham", "spam"]),
    ],
)
def test_label_and_probabilities_are_the_pipelines_own(
    tmp_path: Path, declared: dict[str, Any], labels: list[str], classes: list[str]
) -> None:
    market = trained(tmp_path, declared, labels)
    features = market.table("features", "2024-02").head(30)
    rows = features.drop("label", "_partition", "_source", "_row").with_columns(
        pl.col(pl.Date, pl.Datetime).dt.to_string("iso:strict")
    )
    with market.settings():
        version = market.registry.version("flats", 1)
        own = market.registry.predict(version, features)
        own = own if own.ndim > 1 else np.column_stack([1 - own, own])
        service = Service(market.project)
        by_onnx = service.predict({"rows": rows.to_dicts()}).json()
        market.registry.path(version, ONNX).unlink()
        by_sklearn = Service(market.project).predict({"rows": rows.to_dicts()}).json()

    assert [one["engine"] for one in (by_onnx, by_sklearn)] == ["onnx", "scikit-learn"]
    for answer, apart in ((by_onnx, 1e-4), (by_sklearn, 1e-12)):
        said = [[one["probabilities"][name] for name in classes] for one in answer["predictions"]]
        np.testing.assert_allclose(said, own, atol=apart)
        assert [one["label"] for one in answer["predictions"]] == [classes[place] for place in own.argmax(axis=1)]
    assert len({one["label"] for one in by_onnx["predictions"]}) > 1


def test_the_values_of_a_sum_are_its_parts_against_the_mean() -> None:
    """Of an additive function Shapley values are known: each term less its mean over the background."""
    background = [{"a": float(a), "b": float(b)} for a in range(3) for b in range(4)]

    def predict(columns: dict[str, list[Any]]) -> Any:
        return 2 * np.array(columns["a"]) - 3 * np.array(columns["b"])

    base, found = shapley(predict, {"a": 10.0, "b": 0.0}, background, permutations=2_000, seed=1)

    values = {one.feature: one for one in found}
    assert [one.feature for one in found] == ["a", "b"]
    assert values["a"].value == pytest.approx(2 * (10 - 1), abs=4 * values["a"].error)
    assert values["b"].value == pytest.approx(-3 * (0 - 1.5), abs=4 * values["b"].error)
    assert base + sum(one.value for one in found) == pytest.approx(20)
    assert 0 < values["a"].error < 0.2
    # As many pairs as rows: each stands for itself once, and the means are exact.
    base, found = shapley(predict, {"a": 10.0, "b": 0.0}, background, permutations=2 * len(background))
    assert base == pytest.approx(2 * 1 - 3 * 1.5)
    assert {one.feature: one.value for one in found} == pytest.approx({"a": 18, "b": 4.5})


def test_two_features_that_only_count_together_share_what_they_do() -> None:
    def predict(columns: dict[str, list[Any]]) -> Any:
        return np.array([left and right for left, right in zip(columns["left"], columns["right"], strict=True)], float)

    row, background = {"left": True, "right": True, "idle": 1}, [{"left": False, "right": False, "idle": 0}]
    base, found = shapley(predict, row, background, permutations=64)
    assert base == 0
    assert {one.feature: one.value for one in found} == {"left": 0.5, "right": 0.5, "idle": 0.0}
