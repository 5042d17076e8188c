"""The form of the files a source leaves: one CSV per month, and `ORIGIN.json` that says where they came from.

The publisher's client and the simulation both end here, so that a simulated market has the published one's columns and
layout by construction, and `ORIGIN.json` is written last: it lists files that are there.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING

from ml_assets.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

COLUMNS = (
    "_id",
    "month",
    "town",
    "flat_type",
    "block",
    "street_name",
    "storey_range",
    "floor_area_sqm",
    "flat_model",
    "lease_commence_date",
    "remaining_lease",
    "resale_price",
)
ORIGIN_FILE = "ORIGIN.json"


def write_months(folder: Path, months: Mapping[str, Iterable[Sequence[str]]]) -> dict[str, str]:
    """Write one CSV file per month.

    Args:
        folder: An existing folder.
        months: The rows of each month (`YYYY-MM`, already checked: it becomes a file name), each row in the order of
            `COLUMNS`.

    Returns:
        The SHA-256 of each file, by file name, in order of month.
    """
    hashes = {}
    for month in sorted(months):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(months[month])
        content = text.getvalue().encode()
        replace_file(folder / f"{month}.csv", content)
        hashes[f"{month}.csv"] = hashlib.sha256(content).hexdigest()
    return hashes


def write_origin(folder: Path, origin: str, *, facts: Mapping[str, object], files: Mapping[str, str]) -> None:
    """Note where the files of a folder came from, in its `ORIGIN.json`.

    Args:
        folder: The folder the files are in.
        origin: `publisher` or `simulated`.
        facts: What else is worth knowing: address, seed, number of rows.
        files: The SHA-256 of each file, by file name.
    """
    content = {"origin": origin, **facts, "files": dict(files)}
    replace_file(folder / ORIGIN_FILE, (json.dumps(content, indent=2) + "\n").encode())
