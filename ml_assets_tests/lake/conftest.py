from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_lake import new_table

from ml_assets.lake.connection import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ml_assets.lake.sql import Table


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """One lake for all tests that only use tables of their own; its folder needs quoting."""
    opened = Lake(tmp_path_factory.mktemp("it's a; lake") / "lake")
    yield opened
    opened.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lake]:
    """A lake of the test's own, not created yet."""
    opened = Lake(tmp_path / "lake")
    yield opened
    opened.close()


@pytest.fixture
def table() -> Table:
    """A table that no other test uses."""
    return new_table()
