"""The newest certificate of each project: whether what was served is what training would have made of the same rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ml_assets import settings
from ml_assets.core.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """What a replay of the kept requests found.

    Attributes:
        at: when, ISO 8601, UTC; "" where that cannot be told.
        rows: requests of which something was compared; where none was, nothing is certified.
        greatest: the greatest difference of any feature or of the prediction; None for values that are no two numbers.
        at_fault: the columns that differ by more than their engine may; empty where there is no skew.
        words: the verdict in a sentence.
    """

    at: str
    rows: int
    greatest: float | None
    at_fault: tuple[str, ...]
    words: str


def write_certificate(project: str, certificate: Certificate) -> None:
    """Put a project's certificate in the place of its former one."""
    replace_file(_file(project), json.dumps(asdict(certificate), allow_nan=False))


def read_certificate(project: str) -> Certificate | None:
    """A project's newest certificate; None where its requests were never replayed.

    One that cannot be read certifies nothing, and says so.
    """
    file = _file(project)
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return Certificate(**{**told, "at_fault": tuple(told["at_fault"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        words = f"{file.name} cannot be read: {error}. Remedy: materialize {project}/skew"
        return Certificate("", rows=0, greatest=None, at_fault=(), words=words)


def _file(project: str) -> Path:
    return settings.home() / "reports" / project / "skew" / "certificate.json"
