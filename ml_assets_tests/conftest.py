"""How the suite is shared out between cores (`--dist loadfile`): a file stays together, the longest come first.

And where its files lie: in memory where there is room, because a test commits to small databases all the time, and each
commit waits for the disk. What is killed here is a process, never the machine.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    import pytest
    from alembic.config import Config

# An example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

# Whoever is left alone at the end has something short.
FIRST = (
    "test_the_demo.py", "test_kill.py", "test_readme.py", "test_own_package.py", "test_kill_search.py",
    "test_lake_processes.py", "test_acts_killed.py", "test_wheel.py",
)  # fmt: skip
# Linux's folder in memory, and the bytes that must be free there: a run leaves a tenth of them.
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30  # noqa: S108 - pytest makes a folder of its own in it


READ: dict[str | None, ScriptDirectory] = {}
read_migrations = ScriptDirectory.from_config


def migrations_read_once(config: Config) -> ScriptDirectory:
    """Dagster's migrations, which Alembic reads from 80 files anew for each new database: a thousand in this suite.

    All that Dagster says of them beside their place is the same each time.
    """
    place = config.get_main_option("script_location")
    if place not in READ:
        READ[place] = read_migrations(config)
    return READ[place]


def pytest_configure() -> None:
    ScriptDirectory.from_config = migrations_read_once  # type: ignore[method-assign]
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
