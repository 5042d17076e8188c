"""Where things are: the few settings that differ between machines, all read from the environment.

They are functions, not constants, so that a test or a second instance in one process can point elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder for everything the platform writes: lake, registry, Dagster instance, reports, logs."""
    return Path(os.environ.get("ML_ASSETS_HOME", ".ml_assets")).absolute()


def data_root() -> Path:
    """The folder under which sources find their files."""
    return Path(os.environ.get("ML_ASSETS_DATA", "data")).absolute()


def reports_url() -> str:
    """The address of the report pages, without a trailing slash."""
    return os.environ.get("ML_ASSETS_URL", "http://127.0.0.1:3001").rstrip("/")


def project_root() -> Path:
    """The folder that holds `sql/`: the repository's root, or the installed package where the wheel puts it."""
    package = Path(__file__).parent
    return package if (package / "sql").is_dir() else package.parent
