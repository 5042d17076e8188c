"""The form to try a model: its fields from the schema, what it predicts, what moved that, and what would change it.

The values stand in the address, so that a case can be sent to somebody; nothing of them is kept.
"""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.lake.connection import LakeError
from ml_assets.lake.sql import quoted
from ml_assets.registry.models import RegistryError
from ml_assets.serving.predicting.api import VERSION as NUMBER
from ml_assets.serving.predicting.api import Desk
from ml_assets.serving.predicting.inputs import CannotServeError
from ml_assets.serving.predicting.pinned import Failure, NotNowError
from ml_assets.serving.predicting.request import Column, MalformedError, RefusedError
from ml_assets.serving.queries import reading
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastapi import APIRouter
    from starlette.requests import Request
    from starlette.responses import HTMLResponse

    from ml_assets.project import Project
    from ml_assets.serving.predicting.served import Served

# Values of a number that are tried, and categories; and so many fields move.
STEPS, LISTED, MOVED = 17, 12, 12
# What a number usually is: between these of a hundred rows.
USUAL = (0.01, 0.99)
# A choice of more values is written, with suggestions.
CHOICES = 40
WIDTH, HEIGHT, EDGE = 240, 72, 4
VERSION = "_version"


@dataclass(frozen=True)
class Field:
    """A field of the form.

    Attributes:
        column: what it must be.
        needed: whether it must be given.
        text: what stands in it.
        usual: of a number, what it usually lies between; else the values that are most frequent.
        mistake: what is wrong with it, or "".
    """

    column: Column
    needed: bool
    text: str
    usual: tuple[Any, ...]
    mistake: str = ""

    @property
    def choices(self) -> list[str]:
        """The values that it may have, where they are few."""
        if self.column.kind == "boolean":
            return ["true", "false"]
        allowed = self.column.limits.get("allowed", [])
        return [str(one) for one in allowed] if len(allowed) <= CHOICES else []


@dataclass(frozen=True)
class Movement:
    """What the prediction would be if one field had another value.

    Attributes:
        name: the field.
        points: its value, as text, and the prediction; None where there is none for it.
        line: of a number, the path of the line and where the row itself lies on it; else empty.
        span: how far the predictions are apart.
    """

    name: str
    points: tuple[tuple[str, float | None], ...]
    span: float
    line: tuple[str, ...] = ()
    here: tuple[float, float] | None = None


@dataclass(frozen=True)
class Tried:
    """What came of a try: an answer as the API gives it, its explanation, and the movements, greatest first.

    `what` is what the movements move: the target, or the probability of a label.
    """

    answer: "Mapping[str, Any]"
    explanation: "Mapping[str, Any]"
    movements: "Sequence[Movement]"
    widest: float
    what: str


class NoVersionError(Exception):
    """A version that there is not; the message names those that there are."""


def build_trying(site: Site, desk: Desk) -> "APIRouter":
    """The router of the form."""
    from fastapi import APIRouter, HTTPException
    from fastapi.responses import HTMLResponse
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415
    from starlette.requests import Request  # noqa: PLC0415

    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/try/{project}")
    async def form(project: str, request: Request) -> HTMLResponse:
        declared = site.project(project)
        try:
            await run_in_threadpool(desk.champions.look_first)
            served = await _served(site, desk, declared, request.query_params.get(VERSION, ""))
            return await run_in_threadpool(_page, site, desk, declared, served, request)
        except NoVersionError as error:
            raise HTTPException(404, f"{error}.") from error
        except NotNowError as error:
            raise HTTPException(503, f"{error}.") from error
        except (CannotServeError, LakeError, RegistryError, duckdb.Error) as error:
            raise HTTPException(409, f"{desk.champions.told(error)}.") from error

    return router


async def _served(site: Site, desk: Desk, project: "Project", text: str) -> "Served | None":
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

    if not text:
        return desk.champions.current(project.name)
    numbers = await run_in_threadpool(site.registry.numbers, project.name)
    if not NUMBER.fullmatch(text) or int(text) not in numbers:
        there = ", ".join(map(str, numbers)) or "none"
        raise NoVersionError(f"{project.name} has no version {text[:20]!r}. It has: {there}")
    found = await desk.champions.wait_for_pinned(project.name, int(text))
    if isinstance(found, Failure):
        raise CannotServeError(f"version {text} of {project.name} cannot answer: {found.reason}")
    return found


def _page(site: Site, desk: Desk, project: "Project", served: "Served | None", request: "Request") -> "HTMLResponse":
    given = dict(request.query_params)
    warnings = site.warnings_of(project)
    if served is None:
        why = desk.champions.state().get(project.name, {}).get("failed", {}).get("reason", "")
        return site.page("try.html", warnings=warnings, project=project, served=None, why=why)
    usual = usual_values(site, served)
    is_asked = bool(given.keys() - {VERSION})
    texts = (
        given
        if is_asked
        else {name: _as_text(value) for name, value in served.example.items() if name in served.contract.columns}
    )
    tried, mistakes = None, {}
    if is_asked:
        try:
            tried = try_row(served, _typed(served, given), usual)
        except RefusedError as error:
            mistakes = {one.field: one.message for one in error.mistakes}
        except MalformedError as error:
            mistakes = {"": str(error)}
    fields = [
        Field(column, name in served.contract.needed, texts.get(name, ""), usual.get(name, ()), mistakes.pop(name, ""))
        for name, column in served.contract.columns.items()
    ]
    return site.page(
        "try.html", warnings=warnings, project=project, served=served, fields=fields, tried=tried, mistakes=mistakes,
        version=served.scorer.version, pinned=given.get(VERSION, ""), why="",
    )  # fmt: skip


def try_row(served: "Served", row: "Mapping[str, Any]", usual: "Mapping[str, tuple[Any, ...]]") -> Tried:
    """Predict a row, say what moved the prediction, and predict it again with each field moved by itself.

    Args:
        served: the version.
        row: as its contract wants it.
        usual: as `usual_values` tells.

    Raises:
        RefusedError: if there is no prediction for the row.
    """
    if served.demands_more:
        served.refuse([row])
    answer = served.answer([row])[0].told
    label = _label(served, answer)

    def moved_to(told: "Mapping[str, Any]") -> float:
        return float(told["probabilities"][label] if label else told["prediction"])

    names = [name for name in row if name in served.contract.needed and usual.get(name)][:MOVED]
    wanted = [(name, value) for name in names for value in _values(served.contract.columns[name], row[name], usual)]
    found = served.answer_all([[{**row, name: value}] for name, value in wanted])
    said: dict[str, list[tuple[Any, float | None]]] = {}
    for (name, value), one in zip(wanted, found, strict=True):
        said.setdefault(name, []).append((value, None if isinstance(one, Exception) else moved_to(one[0].told)))
    movements = [_movement(name, points, row[name], moved_to(answer)) for name, points in said.items()]
    explanation = served.explain(row)
    widest = max((abs(one["contribution"]) for one in explanation["contributions"]), default=0) or 1.0
    return Tried(
        answer, explanation, sorted(movements, key=lambda one: -one.span), widest,
        f"probability of {label}" if label else served.project.target,
    )  # fmt: skip


def _label(served: "Served", answer: "Mapping[str, Any]") -> str:
    """The label whose probability is followed: the positive one of two, of many the one that the row gets; else ""."""
    if served.project.task == "regression":
        return ""
    return str(served.scorer.version.classes[1] if served.project.task == "binary" else answer["label"])


def usual_values(site: Site, served: "Served") -> dict[str, tuple[Any, ...]]:
    """Column → the ends of what a number usually is, or the most frequent values: by what the version learnt from.

    Of columns that are declared personal nothing is told.
    """
    project, chosen = served.project, served.scorer.version.training_set
    window = project.window(min(chosen.train), max(chosen.train))
    table = project.table("validated").at(chosen.snapshot)
    selected = []
    for name, column in served.contract.columns.items():
        if name in project.serving.personal:
            continue
        if column.kind in {"integer", "number"}:
            kind = "BIGINT" if column.kind == "integer" else "DOUBLE"
            ends = ", ".join(f"quantile_disc({quoted(name)}, {share})::{kind}" for share in USUAL)
            selected.append(f"[{ends}] AS {quoted(name)}")
        elif column.kind == "text":
            selected.append(f"approx_top_k({quoted(name)}, {LISTED}) AS {quoted(name)}")
    found: dict[str, tuple[Any, ...]] = {
        name: (True, False)
        for name, column in served.contract.columns.items()
        if column.kind == "boolean" and name not in project.serving.personal
    }
    if not selected:
        return found
    with reading(site.lake) as cursor:
        if cursor is None:
            return found
        query = f"SELECT {', '.join(selected)} FROM {table} WHERE {window.condition()}"
        (told,) = cursor.execute(query).pl().to_dicts()
    return found | {name: tuple(one for one in values or () if one is not None) for name, values in told.items()}


def _typed(served: "Served", given: "Mapping[str, str]") -> dict[str, Any]:
    """The row that a form's texts say, by the contract.

    Raises:
        RefusedError, MalformedError: if they are not as the schema wants them.
    """
    row = {}
    for name, text in given.items():
        column = served.contract.columns.get(name)
        if name == VERSION or (text == "" and column is not None and name not in served.contract.needed):
            continue
        row[name] = _value(column, text)
    return served.contract.read(json.dumps(row).encode(), 1)[0]


def _value(column: "Column | None", text: str) -> Any:
    """What a text of the form says; itself where it says no such thing: then the contract tells what is wrong."""
    if column is None:
        return text
    if text == "" and column.nullable:
        return None
    try:
        if column.kind == "integer":
            return int(text)
        if column.kind == "number":
            return float(text)
    except ValueError:
        return text
    return {"true": True, "false": False}.get(text, text) if column.kind == "boolean" else text


def _values(column: "Column", own: Any, usual: "Mapping[str, tuple[Any, ...]]") -> "Iterable[Any]":
    """The values that a field is moved to: its own among them, and none that the schema forbids."""
    known = usual[column.name]
    limits = column.limits
    if column.kind not in {"integer", "number"} or "allowed" in limits:
        known = tuple(limits.get("allowed", known))[:LISTED] if column.kind in {"integer", "number"} else known
        allowed, forbidden = limits.get("allowed"), limits.get("forbidden", ())
        return dict.fromkeys(
            [own, *(one for one in known if (allowed is None or one in allowed) and one not in forbidden)]
        )
    low, high = max(known[0], limits.get("ge", known[0])), min(known[-1], limits.get("le", known[-1]))
    steps = [low + (high - low) * step / (STEPS - 1) for step in range(STEPS)]
    if column.kind == "integer":
        steps = [round(step) for step in steps]
    beyond = {limits.get("gt"), limits.get("lt"), *limits.get("forbidden", ())}
    steps = [step for step in steps if step not in beyond]
    return sorted({*steps, *([] if own is None else [own])})


def _movement(name: str, points: "Sequence[tuple[Any, float | None]]", own: Any, said: float) -> Movement:
    known = [(value, predicted) for value, predicted in points if predicted is not None]
    told = tuple((_as_text(value), predicted) for value, predicted in points)
    heights = [predicted for _, predicted in known]
    span = max(heights) - min(heights) if heights else 0.0
    if len(known) < 2 or not all(isinstance(value, int | float) for value, _ in known):  # noqa: PLR2004 - a line
        return Movement(name, told, span)
    left, right, low = known[0][0], known[-1][0], min(heights)

    def place(value: float, height: float) -> tuple[float, float]:
        x = EDGE + (WIDTH - 2 * EDGE) * (value - left) / ((right - left) or 1)
        return round(x, 1), round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (height - low) / (span or 1), 1)

    path = "M" + " L".join(f"{x} {y}" for x, y in (place(*one) for one in known))
    return Movement(name, told, span, (path,), None if own is None else place(own, said))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
