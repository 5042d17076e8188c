"""A version as an ONNX file: it says what the version says, or it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from test_versions import FIELDS

from ml_assets.core.training import Words, build_pipeline, fit
from ml_assets.registry import export as exporting
from ml_assets.registry.export import ExportRefusedError, export, is_exported_as_told, keep, parity, predict_onnx

if TYPE_CHECKING:
    from ml_assets.registry.models import Registry, Version

KINDS = {"area": "number", "big": "number", "sold": "date", "town": "category", "words": "text"}
TREES = "sklearn.ensemble.HistGradientBoosting"


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Rows with missing values in every feature, a rare town, capitals, accents and punctuation."""
    draw = np.random.default_rng(7)
    n = 600
    texts = ["One, two!", "three_four 5", "ZOË né", "", "a.b", "one one two", None]
    area = draw.normal(100, 40, n)
    town = [[None, "EAST", "WEST", "north-west ü"][place] for place in draw.integers(0, 4, n)]
    price = 5_000 * area + 9_000 * (np.array(town) == "EAST") + draw.normal(0, 100, n)
    return pl.DataFrame(
        {
            "_source": ["a.csv"] * n,
            "_row": list(range(1, n + 1)),
            "area": [None if place % 11 == 0 else value for place, value in enumerate(area)],
            "big": draw.integers(10**6, 10**7, n),
            "sold": [None if place % 13 == 0 else 19_000 + place for place in range(n)],
            "town": town,
            "words": [texts[place] for place in draw.integers(0, len(texts), n)],
            "price": price,
            "dear": np.where(price > np.median(price), "yes", "no"),
            "band": np.array(["low", "mid", "high"])[np.digitize(price, np.quantile(price, [1 / 3, 2 / 3]))],
        }
    ).with_columns(pl.col("sold").cast(pl.Date))


def registered(
    registry: Registry, rows: pl.DataFrame, estimator: str, *, task: Any = "regression", counts: bool = False,
    kinds: dict[str, str] | None = None, **parameters: Any,
) -> Version:  # fmt: skip
    kinds = kinds or KINDS
    target, classes = {
        "regression": ("price", ()), "binary": ("dear", ("no", "yes")), "multiclass": ("band", ("high", "low", "mid")),
    }[task]  # fmt: skip
    pipeline = build_pipeline(estimator, parameters, kinds, 0, task=task, words=Words(counts=counts))
    fit(pipeline, rows, kinds, target, task=task, classes=classes)
    return registry.register(pipeline, FIELDS | {"features": kinds, "task": task, "classes": classes, "target": target})


@pytest.mark.parametrize(
    ("estimator", "task", "counts"),
    [
        (f"{TREES}Regressor", "regression", False),
        (f"{TREES}Classifier", "binary", False),
        (f"{TREES}Classifier", "multiclass", True),
        ("sklearn.linear_model.Ridge", "regression", False),
        ("sklearn.ensemble.RandomForestRegressor", "regression", False),
        ("sklearn.tree.DecisionTreeClassifier", "multiclass", False),
        ("sklearn.linear_model.LogisticRegression", "binary", False),
        ("sklearn.linear_model.LogisticRegression", "multiclass", True),
        ("sklearn.naive_bayes.MultinomialNB", "binary", True),
        ("sklearn.neighbors.KNeighborsRegressor", "regression", False),
        ("sklearn.svm.SVR", "regression", False),
    ],
)
def test_it_says_what_the_version_says(
    registry: Registry, rows: pl.DataFrame, estimator: str, task: str, *, counts: bool
) -> None:
    version = registered(registry, rows, estimator, task=task, counts=counts)

    exported = export(registry, version, rows)

    # The rows, and twenty again for each missing value, unseen category and unseen words.
    assert exported.rows == 600 + 20 * (5 + 2)
    wanted, found = registry.predict(version, rows), predict_onnx(exported.content, version, rows)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-4 * (np.std(wanted) if task == "regression" else 1), rtol=1e-6)
    assert np.std(wanted) > 0


def test_an_export_is_kept_beside_its_version_with_how_well_it_agrees(registry: Registry, rows: pl.DataFrame) -> None:
    version = registered(registry, rows, "sklearn.linear_model.Ridge")
    assert parity(registry, version) is None
    exported = export(registry, version, rows)
    keep(registry, version, exported)

    assert exported.greatest < exported.limit < 1e-3 * float(rows["price"].std())  # type: ignore[arg-type]
    facts = {"sha256": exported.sha256, "rows": 740, "greatest": exported.greatest, "limit": exported.limit}
    assert parity(registry, version) == facts
    file = registry.path(version, exporting.ONNX)
    np.testing.assert_array_equal(predict_onnx(file, version, rows), predict_onnx(exported.content, version, rows))


def test_an_export_that_was_changed_or_lost_its_hash_is_noticed(registry: Registry, rows: pl.DataFrame) -> None:
    version = registered(registry, rows, "sklearn.linear_model.Ridge")
    file, told = registry.path(version, exporting.ONNX), registry.path(version, exporting.PARITY)
    assert is_exported_as_told(file.parent), "there is none"
    exported = export(registry, version, rows)
    keep(registry, version, exported)
    assert is_exported_as_told(file.parent)

    file.write_bytes(exported.content + b"x")
    assert not is_exported_as_told(file.parent)
    file.unlink()
    assert not is_exported_as_told(file.parent)
    keep(registry, version, exported)
    told.write_text("{")
    assert not is_exported_as_told(file.parent)
    told.unlink()
    assert not is_exported_as_told(file.parent)


def test_an_export_that_disagrees_is_refused_with_the_greatest_difference_and_the_row(
    registry: Registry, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(registry, rows, "sklearn.linear_model.Ridge")
    monkeypatch.setattr(exporting, "WORDS", "[a-z]")

    said = (
        r"houses@1: the ONNX model disagrees on \d+ of 740 rows, most by [0-9.e+]+ on row \d+ of a\.csv, .*: -?[0-9.]+ "
    )
    with pytest.raises(ExportRefusedError, match=said + r"instead of -?[0-9.]+\. Nothing was exported"):
        export(registry, version, rows)


def test_what_the_converter_cannot_is_said(registry: Registry, rows: pl.DataFrame) -> None:
    version = registered(registry, rows, "sklearn.isotonic.IsotonicRegression", kinds={"area": "number"})

    with pytest.raises(ExportRefusedError, match="houses@1 cannot be exported: skl2onnx: IsotonicRegression: "):
        export(registry, version, rows)


def test_without_the_extra_it_says_what_to_install(
    registry: Registry, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(registry, rows, "sklearn.linear_model.Ridge")
    monkeypatch.setattr(exporting, "is_installed", lambda: False)

    with pytest.raises(ExportRefusedError, match=r"Remedy: pip install 'ml-assets\[onnx\]'"):
        export(registry, version, rows)
