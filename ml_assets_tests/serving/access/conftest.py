"""The application on a home of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from keyed_site import Server

from ml_assets.serving.access.store import home_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The application on an empty home: nothing has run there, and no key has been made."""
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path / "data"))
    for name in ("ML_ASSETS_URL", "ML_ASSETS_ACCESS"):
        monkeypatch.delenv(name, raising=False)
    return Server(home_store())
