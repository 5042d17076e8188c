"""The newest exploration of each project: its numbers as JSON and its pictures, for Dagster's UI and the pages.

Pictures are named by their content and written before the numbers that name them: a reader never sees numbers of one
exploration beside the pictures of another.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NUMBERS = "exploration.json"


def write_exploration(project: str, numbers: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
    """Put a project's exploration in the place of its former one.

    Args:
        project: the project's name.
        numbers: what JSON can hold; NaN is not.
        pictures: name → PNG.
    """
    folder = _folder(project)
    files = {name: f"{name}-{hashlib.sha256(content).hexdigest()[:12]}.png" for name, content in pictures.items()}
    for name, content in pictures.items():
        replace_file(folder / files[name], content)
    text = json.dumps({**numbers, "pictures": files}, allow_nan=False)
    replace_file(folder / NUMBERS, text)
    for file in folder.glob("*.png"):
        if file.name not in files.values():
            file.unlink(missing_ok=True)


def read_exploration(project: str) -> dict[str, Any] | None:
    """The numbers of a project's exploration, `pictures` among them as name → file; None where there is none."""
    try:
        found: dict[str, Any] = json.loads((_folder(project) / NUMBERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def read_picture(project: str, file: str) -> bytes | None:
    """A picture that a project's exploration names; None for any other file."""
    found = read_exploration(project)
    if found is None or file not in found["pictures"].values():
        return None
    try:
        return (_folder(project) / file).read_bytes()
    except FileNotFoundError:  # another exploration has taken its place this very moment
        return None


def _folder(project: str) -> Path:
    return settings.home() / "reports" / project / "exploration"
