"""The newest replay of each project: its numbers as JSON and its pictures beside them; and where its fits are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_replay(project: str, numbers: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Path:
    """Put a project's replay in the place of its former one.

    Args:
        project: the project's name.
        numbers: what JSON can hold; NaN is not.
        pictures: name → PNG.

    Returns:
        The folder.
    """
    folder = settings.home() / "reports" / project / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        replace_file(folder / f"{name}.png", content)
    replace_file(folder / "replay.json", json.dumps(numbers, allow_nan=False))
    return folder


def read_replay(project: str) -> dict[str, Any] | None:
    """The numbers of a project's newest replay; None where there is none."""
    try:
        text = (settings.home() / "reports" / project / "replay" / "replay.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return dict(json.loads(text))


def read_picture(project: str, name: str) -> bytes | None:
    """A picture of a project's newest replay, by a name that the caller knows to be one; None where there is none."""
    try:
        return (settings.home() / "reports" / project / "replay" / f"{name}.png").read_bytes()
    except FileNotFoundError:
        return None


def folder_of_fits(project: str) -> Path:
    """Where the losses of fits are kept, so that none is made twice."""
    return settings.home() / "registry" / project / "replays"
