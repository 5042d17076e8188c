"""Where the lake cannot be read, pages say that something is wrong, as pages: whole, with their headers, in the log."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from small_site import Browser

from ml_assets.serving.access.shield import HEADERS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def broken(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """The application on a home whose catalogue is none."""
    shutil.copytree(filled / "home", tmp_path / "home")
    (catalogue,) = (tmp_path / "home" / "lake").glob("catalog*.sqlite")
    catalogue.write_bytes(b"garbage" * 1000)
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ML_ASSETS_URL", raising=False)
    return Browser()


@pytest.mark.parametrize(
    ("path", "status", "title"),
    [
        ("/nowhere", 404, "Not found"),
        ("/projects/nobody", 404, "Not found"),
        ("/projects/houses/ledger?before=-1", 422, "Not understood"),
        ("/projects/houses", 500, "Something went wrong"),
        ("/", 500, "Something went wrong"),
    ],
)
def test_an_error_page_needs_no_lake(broken: Browser, path: str, status: int, title: str) -> None:
    answer = broken.get(path)
    assert answer.status_code == status
    assert f"<h1>{title}</h1>" in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert answer.headers["content-type"].startswith("text/html")


def test_programs_are_told_in_json(broken: Browser) -> None:
    answer = broken.request("POST", "/predict/houses?version=1", json={})
    assert answer.status_code >= 400
    assert answer.json()["error"]
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
