"""Two versions side by side."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_site import HOSTILE, PROJECT, Browser

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.export import Exported, keep
from ml_assets.registry.ledger import Draft, Ledger
from ml_assets.registry.models import Registry, TrainingSet
from ml_assets.serving.comparing import compare, lines

if TYPE_CHECKING:
    from pathlib import Path

DIFF = "/projects/houses/versions/1/diff/2"


def text_of(html: str) -> str:
    """A page's text on one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture
def two(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A home with a second version: other rows, another estimator, better by more than noise."""
    shutil.copytree(filled / "home", tmp_path / "home")
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    registry = Registry(tmp_path / "home" / "registry")
    first = registry.version("houses", 1)
    fields: dict[str, Any] = {
        name: getattr(first, name) for name in vars(first) if name not in {"number", "artefact"}
    } | {
        "training_set": replace(first.training_set, train=("2024-02", "2024-03"), rows=77),
        "estimator": "sklearn.linear_model.Ridge",
        "sources": {"features_sql": f"SELECT *\nFROM validated\nWHERE town <> '{HOSTILE}'"},
    }
    second = registry.register(registry.load(first), fields)
    evaluation = {
        "metrics": {"train": {}, "test": {"mape": 0.03, "rmse": 12_345.6, "r2": 0.91}},
        "gates": [], "watched": "mape", "intervals": {"mape": [0.02, 0.035]},
        "slices": [{"title": f"town = {HOSTILE}", "rows": 9, "metrics": {"mape": 0.2}, "intervals": {}}],
    }  # fmt: skip
    registry.write_evaluation(second, evaluation)
    registry.write_evaluation(
        first, {"metrics": {"train": {}, "test": {"mape": 0.05, "rmse": 12_345.6}}, "gates": [], "watched": "mape",
                "intervals": {"mape": [0.04, 0.06]}},
    )  # fmt: skip
    lake = Lake(tmp_path / "home" / "lake")
    drafts = [Draft("houses", "registered", "trained", {"decision": 4, "by": "sensor"}, version=2)]
    Ledger(lake).append(Commit("houses", "test"), lambda _: drafts)
    lake.close()
    return registry


@pytest.mark.usefixtures("two")
def test_it_tells_data_settings_metrics_and_slices_of_both() -> None:
    page = Browser().get(DIFF).text
    text = text_of(page)
    assert "Learnt from 2024-01 … 2024-02, 2 partitions 2024-02 … 2024-03, 2 partitions" in text
    assert "Rows 90 77" in text
    assert "Version 2 was trained after 2024-04 , because more than 1.25 times." in text
    assert "MAPE 5.00% 4.0% … 6.0% 3.00% 2.0% … 3.5% version 2" in text
    assert "RMSE 12,346 \N{EN DASH} 12,346 \N{EN DASH} no difference beyond noise" in text
    assert "estimator sklearn.linear_model.LinearRegression sklearn.linear_model.Ridge" in text
    assert "+FROM validated" in text
    assert HOSTILE not in page


@pytest.mark.usefixtures("two")
def test_any_two_are_chosen_by_a_form() -> None:
    browser = Browser()
    form = "<option selected>1</option><option>2</option>"
    assert all(form in browser.get(path).text for path in ("/projects/houses/versions", DIFF))
    answer = browser.get("/projects/houses/versions/diff?one=1&other=2")
    assert (answer.status_code, answer.headers["location"]) == (303, DIFF)
    assert browser.get("/projects/houses/versions/1/diff/9").status_code == 404


def test_a_version_says_what_serves_it_why_it_was_trained_and_what_it_costs(two: Registry) -> None:
    text = text_of(Browser().get("/projects/houses/versions/1").text)
    assert "Served by scikit-learn : it has no ONNX file that agrees with it" in text
    assert "Why it was trained Without a decision" in text
    assert "What became of it version 1 serves from 2024-04: the first version that passes" in text
    keep(two, two.version("houses", 1), Exported(b"onnx", "ab" * 32, 1234, 0.0012, 0.1))
    text = text_of(Browser().get("/projects/houses/versions/1").text)
    assert "Served by ONNX : its export agrees with scikit-learn on 1,234 rows, by 0.0012 at most" in text


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 0.2), st.sampled_from(["mape", "r2"]))
def test_which_is_better_turns_round_with_the_two(one: float, other: float, half: float, metric: str) -> None:
    def side(value: float) -> tuple[Any, dict[str, Any]]:
        chosen = TrainingSet(1, ("2024-01",), ("2024-02",), 1, "", "run", 0, "2024-02")
        record = type("Record", (), {"training_set": chosen})()
        return record, {
            "watched": metric,
            "metrics": {"test": {metric: value}},
            "intervals": {metric: [value - half, value + half]},
        }

    (there,) = compare(side(one), side(other), {}).metrics
    (back,) = compare(side(other), side(one), {}).metrics
    assert back.better == (None if there.better is None else 1 - there.better)
    if abs(one - other) > 2.001 * half and one != other:
        assert there.better == int((other > one) == (metric == "r2"))
    if abs(one - other) < 1.999 * half:
        assert there.better is None
    bare = (side(other)[0], side(other)[1] | {"intervals": {}})
    assert compare(side(one), bare, {}).metrics[0].better is None


@given(st.lists(st.text("a-+", max_size=3), max_size=6), st.lists(st.text("a-+", max_size=3), max_size=6))
@example(["-- a comment", "SELECT 1"], ["SELECT 1"])
def test_lines_that_went_and_came_are_all_told(before: list[str], after: list[str]) -> None:
    told = lines("\n".join(before), "\n".join(after))
    gone, came = ("\n".join(before).splitlines(), "\n".join(after).splitlines())
    assert (told == []) == (gone == came)
    assert sum(line.startswith("+") for line in told) - sum(line.startswith("-") for line in told) == len(came) - len(
        gone
    )


def test_the_page_of_versions_lists_them_with_their_cards(client: Browser) -> None:
    page = client.get("/projects/houses/versions").text
    assert 'href="/projects/houses/versions/1"' in page
    assert 'href="/projects/houses/versions/1/card"' in page
    assert PROJECT.name in page
