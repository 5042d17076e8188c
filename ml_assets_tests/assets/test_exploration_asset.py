"""The asset `exploration`: what it reports, keeps, and refuses."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from small_market import FEATURES, JUDGED, RunFailed, open_market, sales

from ml_assets.registry.explorations import read_exploration, read_picture, write_exploration

if TYPE_CHECKING:
    from pathlib import Path

    from small_market import Market

HOSTILE = "![x](http://elsewhere/x.png) | <b>`"


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Market:
    features = FEATURES.replace("town,", f"town, '{HOSTILE}' || (area::INT % 3) AS remark,")
    market = open_market(tmp_path_factory.mktemp("explored"), features=features)
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    market.materialize((*JUDGED, "features"), "2024-01", "2024-02")
    market.rerun("exploration")
    return market


def test_it_reports_numbers_words_and_pictures_to_dagster(explored: Market) -> None:
    found = explored.metadata("exploration")

    assert found["rows"] == 120
    assert found["associations_rest_on"] == "all rows"
    assert "| area | DOUBLE (number) | 0 |" in found["columns"]
    assert "| contract |" in found["columns_left_out"]
    assert "| 2024-02 | 60 |" in found["over_time"]
    pictures = {name: text for name, text in found.items() if name.startswith("picture_")}
    assert set(pictures) == {
        f"picture_{name}" for name in ("target", "columns", "correlation", "associations", "relations", "time")
    }
    for text in pictures.values():
        head, _, content = text.rstrip(")").partition(";base64,")
        assert head.startswith("![")
        assert base64.b64decode(content).startswith(b"\x89PNG")
    assert sum(map(len, pictures.values())) < 400_000


def test_what_stands_in_the_rows_is_no_markdown(explored: Market) -> None:
    assert "remark" in explored.metadata("exploration")["columns"]
    assert "![" not in explored.metadata("exploration")["columns"]
    assert "<b>" not in explored.metadata("exploration")["columns"]


def test_its_version_is_that_of_the_lake_it_read(explored: Market) -> None:
    event = explored.event("exploration")

    assert event is not None
    with explored.settings():
        kept = read_exploration("flats")
    assert kept is not None
    assert event.tags["dagster/data_version"] == str(kept["snapshot"])


def test_an_exploration_without_features_says_what_to_materialize(tmp_path: Path) -> None:
    market = open_market(tmp_path)

    with pytest.raises(RunFailed, match="Remedy: materialize the asset flats/features"):
        market.rerun("exploration")


def test_a_newer_exploration_takes_the_place_of_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    write_exploration("flats", {"rows": 1}, {"target": b"one", "time": b"two"})
    before = read_exploration("flats")
    write_exploration("flats", {"rows": 2}, {"target": b"three"})
    after = read_exploration("flats")

    assert before is not None
    assert after is not None
    assert (before["rows"], after["rows"], list(after["pictures"])) == (1, 2, ["target"])
    assert read_picture("flats", after["pictures"]["target"]) == b"three"
    assert read_picture("flats", before["pictures"]["target"]) is None
    assert len(list((tmp_path / "reports" / "flats" / "exploration").iterdir())) == 2


@pytest.mark.parametrize("file", ["exploration.json", "../exploration.json", "/etc/hostname", ""])
def test_no_other_file_is_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    write_exploration("flats", {"rows": 1}, {"target": b"one"})

    assert read_picture("flats", file) is None


def test_nothing_explored_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))

    assert read_exploration("flats") is None
    assert read_picture("flats", "target.png") is None


def test_a_number_that_is_none_is_refused_rather_than_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))

    with pytest.raises(ValueError, match="not JSON compliant"):
        write_exploration("flats", {"rows": float("nan")}, {})
    assert json.dumps(read_exploration("flats")) == "null"
