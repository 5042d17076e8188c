"""How the suite is shared out between cores: a file stays together, and so do the files that use one played demo."""

from __future__ import annotations

import pytest

PLAYED = {"test_the_loop.py", "test_browser.py"}
# The longest first: whoever is left alone at the end has something short.
FIRST = ("test_the_loop.py", "test_browser.py", "test_kill.py", "test_readme.py", "test_wheel.py")


# Before xdist reads the groups off the items.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        group = "played" if item.path.name in PLAYED else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
