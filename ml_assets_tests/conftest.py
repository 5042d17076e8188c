"""How the suite is shared out between cores (`--dist loadfile`): a file stays together, the longest come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# Whoever is left alone at the end has something short.
FIRST = (
    "test_the_demo.py", "test_kill.py", "test_readme.py", "test_own_package.py",
    "test_lake_processes.py", "test_wheel.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
