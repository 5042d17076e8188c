"""Programs that ask for predictions, many at once, while people change who answers."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl

from ml_assets.lake.connection import Lake
from ml_assets.registry.models import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS = 40
# An ONNX file computes with 24 bits.
APART = 1e-4


@dataclass
class Answers:
    """What the programs got: version → answers; failed requests; answers that are not what the version says itself."""

    by_version: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """A row as a program sends it, and what each version's own pipeline says of it: version → prediction."""

    row: dict[str, Any]
    said: dict[int, float]


def cases_of(home: Path, project: str, target: str) -> list[Case]:
    """Real rows, and what every version's pipeline says of their features."""
    registry = Registry(home / "registry")
    with Lake(home / "lake").reader() as cursor:
        ordered = "ORDER BY _partition DESC, _source, _row LIMIT"
        rows, features = (
            cursor.execute(f"FROM lake.{project}.{table} {ordered} {ROWS}").pl() for table in ("validated", "features")
        )
    assert rows.select("_source", "_row").equals(features.select("_source", "_row"))
    sent = rows.drop("_partition", "_source", "_row", target).with_columns(pl.col(pl.Date).cast(pl.String)).to_dicts()
    versions = [registry.version(project, number) for number in registry.numbers(project)]
    said = {one.number: registry.predict(one, features).tolist() for one in versions}
    return [Case(row, {number: values[place] for number, values in said.items()}) for place, row in enumerate(sent)]


async def ask(url: str, cases: Sequence[Case], *, clients: int, seconds: float) -> Answers:
    """Let so many programs ask for so long, one request after the other."""
    found, until = Answers(), time.monotonic() + seconds

    async def program(place: int, client: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            place = (place + 1) % len(cases)
            try:
                response = await client.post(url, json=cases[place].row)
            except httpx.HTTPError as error:
                found.failed.append(repr(error))
                continue
            if response.status_code != httpx.codes.OK:
                found.failed.append(f"{response.status_code}: {response.text[:200]}")
                continue
            answer = response.json()
            version, prediction = answer["version"], answer["predictions"][0]["prediction"]
            found.by_version[version] += 1
            if not math.isclose(prediction, cases[place].said[version], rel_tol=APART):
                found.wrong.append(f"version {version} said {prediction}, its pipeline {cases[place].said[version]}")

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        await asyncio.gather(*(program(place, client) for place in range(clients)))
    return found
