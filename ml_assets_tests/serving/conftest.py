"""The application on a filled and on an empty home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_site import Browser, fill_home, make_data

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder and, beside it, a data folder of simulated rows. Tests only read it."""
    root = tmp_path_factory.mktemp("world")
    make_data(root / "data", simulated=True)
    fill_home(root / "home")
    return root


@pytest.fixture(scope="session")
def browser(filled: Path) -> Browser:
    """The application on the filled home. It is opened once, for opening a lake takes half a second."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ML_ASSETS_HOME", str(filled / "home"))
        environment.delenv("ML_ASSETS_URL", raising=False)
        return Browser()


@pytest.fixture
def client(browser: Browser, filled: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """The application on the filled home, whose rows are simulated."""
    monkeypatch.setenv("ML_ASSETS_HOME", str(filled / "home"))
    monkeypatch.setenv("ML_ASSETS_DATA", str(filled / "data"))
    monkeypatch.delenv("ML_ASSETS_URL", raising=False)
    return browser


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """The application on a home where nothing has ever run."""
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ML_ASSETS_URL", raising=False)
    return Browser()
