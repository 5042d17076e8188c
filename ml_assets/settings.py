"""Where things are: the few settings that differ between machines, read from the environment and from pyproject.toml.

They are functions, not constants, so that a test or a second instance in one process can point elsewhere.

A team's own package that depends on this one is a folder whose pyproject.toml says so, found from `ML_ASSETS_ROOT` or
from the present folder upwards:

    [tool.ml-assets]
    defs = ["shop.defs"]   # the modules that hold its projects; with "ml_assets.defs" also those shipped
    data = "data"          # the data folder, seen from here
"""

from __future__ import annotations

import getpass
import os
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

SHIPPED = "ml_assets.defs"


def home() -> Path:
    """The folder for everything the platform writes: lake, registry, Dagster instance, reports, logs."""
    return Path(os.environ.get("ML_ASSETS_HOME", "") or (own_root() or Path()) / ".ml_assets").absolute()


def data_root() -> Path:
    """The folder under which sources find their files."""
    if given := os.environ.get("ML_ASSETS_DATA"):
        return Path(given).absolute()
    root = own_root()
    return (root / _own(root).get("data", "data") if root else Path("data")).absolute()


def login() -> str:
    """The name of whoever runs this process, as the operating system knows it; "" where it does not."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def reports_url() -> str:
    """The address of the report pages, without a trailing slash."""
    return os.environ.get("ML_ASSETS_URL", "http://127.0.0.1:3001").rstrip("/")


def dagster_url() -> str:
    """The address of Dagster's UI, without a trailing slash: the pages link to it."""
    return os.environ.get("ML_ASSETS_DAGSTER_URL", "http://127.0.0.1:3000").rstrip("/")


def project_root() -> Path:
    """The folder that holds `sql/`: that of a team's own package, the repository's root, or where the wheel puts it."""
    return own_root() or shipped_root()


def shipped_root() -> Path:
    """The folder that holds the `sql/` of the projects shipped with the platform."""
    package = Path(__file__).parent
    return package if (package / "sql").is_dir() else package.parent


def own_root() -> Path | None:
    """The folder of a team's own package; None where there is none."""
    if given := os.environ.get("ML_ASSETS_ROOT"):
        return Path(given).absolute()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if _own(folder).get("defs")), None)


def defs_modules() -> list[str]:
    """The modules that hold projects.

    Raises:
        ValueError: if ML_ASSETS_ROOT is set to a folder that names none.
    """
    root = own_root()
    if root is None:
        return [SHIPPED]
    modules = _own(root).get("defs")
    if not modules:
        raise ValueError(
            f'{root / "pyproject.toml"} names no projects. Remedy: write `defs = ["package.defs"]` under '
            "[tool.ml-assets], or unset ML_ASSETS_ROOT"
        )
    return list(modules)


def _own(folder: Path) -> dict[str, Any]:
    """What a folder's pyproject.toml says to us: its own section, or where dg looks for components."""
    file = folder / "pyproject.toml"
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=32)
def _read(file: Path, changed: int) -> dict[str, Any]:  # noqa: ARG001 - a changed file is read again
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: this is no TOML: {error}") from error
    said: dict[str, Any] = dict(tool.get("ml-assets", {}))
    dg = tool.get("dg", {}).get("project", {})
    module = dg.get("defs_module") or (f"{dg['root_module']}.defs" if "root_module" in dg else "")
    # The platform's own repository is a dg project too; it is no package beside the platform.
    if module and module != SHIPPED:
        said.setdefault("defs", [module])
    return said
