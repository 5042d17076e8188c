"""Where a new project is written: into this repository, or into a package of the user's own, which may be made."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path

from ml_assets import settings
from ml_assets.scaffold.names import identifier

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "0.1.0"
dependencies = ["ml-assets"]

[tool.setuptools.packages.find]
include = ["{package}*"]

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "{package}"
defs_module = "{package}.defs"
code_location_target_module = "ml_assets.definitions"
code_location_name = "ml_assets"

[tool.ml-assets]
# The modules that hold projects; add "ml_assets.defs" for those that are shipped.
defs = ["{package}.defs"]
# Where sources find their files, seen from here; ML_ASSETS_DATA goes before it.
data = "{data}"
"""


@dataclass(frozen=True)
class Place:
    """Where projects are.

    Attributes:
        root: holds `sql/`.
        module: holds the projects' folders.
        folder: of that module.
        data: the data folder.
        missing: files that are to be made first → their text.
    """

    root: Path
    module: str
    folder: Path
    data: Path
    missing: dict[Path, str] = field(default_factory=dict)


def find_place(origin: str = "") -> Place:
    """Where a new project belongs, as seen from the present folder.

    In a package of one's own, there; in the platform's repository, beside the shipped projects; elsewhere a package is
    to be made in the present folder.

    Args:
        origin: the source, a path perhaps: a package that is made takes its folder for the data folder, where it lies
            in the package.

    Raises:
        ValueError: if the present folder has a pyproject.toml that names no projects.
    """
    root = settings.own_root()
    if root is not None:
        module = next((one for one in settings.defs_modules() if one != settings.SHIPPED), settings.SHIPPED)
        base = root / "src" if (root / "src").is_dir() else root
        return Place(root, module, base / Path(*module.split(".")), settings.data_root())
    shipped = settings.shipped_root()
    here = Path.cwd()
    if (shipped / "pyproject.toml").is_file() and here.is_relative_to(shipped):
        return Place(shipped, settings.SHIPPED, Path(__file__).parent.parent / "defs", settings.data_root())
    return _new_package(here, origin)


def _new_package(root: Path, origin: str) -> Place:
    file = root / "pyproject.toml"
    package = identifier(root.name) or "projects"
    # One that is importable already would be taken for it.
    if not (root / package).is_dir() and importlib.util.find_spec(package) is not None:
        package = f"{package}_projects"
    if file.is_file():
        raise ValueError(
            f"{file} names no projects, and is not written over. Remedy: add to it\n\n[tool.ml-assets]\n"
            f'defs = ["{package}.defs"]\n\nand make the packages {package} and {package}.defs, or run this in an empty '
            "folder"
        )
    data = "data"
    origin = origin.removeprefix("sqlite:").partition("#")[0]
    lies = Path(origin).expanduser().absolute()
    if (
        origin
        and not (root / data / origin).exists()
        and lies.is_relative_to(root)
        and not lies.is_relative_to(root / data)
    ):
        data = lies.parent.relative_to(root).as_posix()
        data = "." if set("*?[%") & set(data) else data
    text = _PYPROJECT.format(package=package, distribution=package.replace("_", "-"), data=data)
    missing = {
        file: text,
        root / package / "__init__.py": f'"""Machine-learning projects of {package}, on ml-assets."""\n',
        root / package / "defs" / "__init__.py": '"""The projects, one folder each."""\n',
        root / ".gitignore": ".ml_assets/\n__pycache__/\n",
    }
    missing = {path: content for path, content in missing.items() if not path.exists()}
    given = os.environ.get("ML_ASSETS_DATA")
    return Place(
        root, f"{package}.defs", root / package / "defs", Path(given).absolute() if given else root / data, missing
    )
