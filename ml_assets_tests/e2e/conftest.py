"""Homes and data that the end-to-end tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playing import DEMO, run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real data where ML_ASSETS_DATA points to it, else a simulated market of the same shape."""
    given = os.environ.get("ML_ASSETS_DATA")
    if given and (Path(given) / "hdb_resale").is_dir():
        return Path(given).resolve()
    from ml_assets.sources.simulation import simulate_resale_market

    folder = tmp_path_factory.mktemp("data")
    (folder / "hdb_resale").mkdir()
    simulate_resale_market(folder / "hdb_resale")
    return folder


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, str]:
    """A home in which two years and two months were played with a real daemon, and what the demo printed."""
    home = tmp_path_factory.mktemp("played") / "home"
    return home, run(DEMO, home, data)
