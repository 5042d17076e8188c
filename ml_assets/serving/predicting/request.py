"""What a row of a request must be: the project's schema, without what is not known when a prediction is asked for.

Of the pandera schema only the outline of its limits is kept, under the home folder: to import pandera costs a second.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, from_json, to_json
from typing_extensions import TypedDict

from ml_assets import settings
from ml_assets.core.files import replace_file
from ml_assets.core.statement import nearest
from ml_assets.project import digest
from ml_assets.schemas import load_schema, source_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Kind = Literal["integer", "number", "text", "boolean", "date", "datetime"]
PYTHON: Mapping[Kind, Any] = {
    "integer": int, "number": float, "text": str, "boolean": bool, "date": date, "datetime": datetime,
}  # fmt: skip
WORDS: Mapping[Kind, str] = {
    "integer": "a whole number", "number": "a number", "text": "text", "boolean": "true or false",
    "date": "a date as 2024-01-31", "datetime": "a time as 2024-01-31T14:30:00",
}  # fmt: skip
# How a limit of pandera is called here, by the name of its check and of its parameter.
BOUNDS = {
    "greater_than": "gt", "greater_than_or_equal_to": "ge", "less_than": "lt", "less_than_or_equal_to": "le",
}  # fmt: skip
# Characters of a value, and mistakes of a request, that are told.
SHOWN, TOLD = 60, 20
LISTED = 12
# Limits that nobody set: those of 64 bits.
LEAST, MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Column:
    """A column of the schema, and its limits.

    Attributes:
        name: its name.
        kind: what its values are.
        nullable: whether it may be null.
        description: what it is, from the schema.
        limits: `ge`, `gt`, `le`, `lt`, `allowed`, `forbidden`, `pattern`, `min_length`, `max_length`; in `also`, what
            is said of checks that only pandera can make.
        zoned: of a time, whether it is a moment with a zone, and not what the project's clocks show.
    """

    name: str
    kind: Kind
    nullable: bool
    description: str
    limits: dict[str, Any] = field(default_factory=dict)
    zoned: bool = False

    @property
    def words(self) -> str:
        """What a value must be, for people."""
        if allowed := self.limits.get("allowed"):
            more = f" … ({len(allowed)} in all)" if len(allowed) > LISTED else ""
            told = f"one of {', '.join(map(str, allowed[:LISTED]))}{more}"
        else:
            limits = self.limits
            signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
            said = [
                f"{sign} {limits[name]}" for name, sign in signs.items() if limits.get(name, LEAST) not in {LEAST, MOST}
            ]
            for name, sign in (("min_length", "at least"), ("max_length", "at most")):
                said += [f"of {sign} {self.limits[name]} characters"] if name in self.limits else []
            said += [f"that matches {self.limits['pattern']}"] if "pattern" in self.limits else []
            told = " ".join([WORDS[self.kind], " and ".join(said)]).strip()
        if forbidden := self.limits.get("forbidden"):
            told += f", none of {', '.join(map(str, forbidden[:LISTED]))}"
        if also := self.limits.get("also"):
            told += f" ({'; '.join(also)})"
        return f"{told}, or null" if self.nullable else told


@dataclass(frozen=True)
class Outline:
    """All columns of a schema, and whether it demands more of a value than their limits say.

    What it demands of whole rows is left out: it may be about columns that a request cannot know.
    """

    columns: tuple[Column, ...]
    demands_more: bool


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a request: which row, which field, what stood there (cut short), and what was expected."""

    row: int
    field: str
    value: str
    message: str


class RefusedError(Exception):
    """A request that cannot be answered as it is.

    Attributes:
        mistakes: the first of them.
        more: how many others there are.
    """

    def __init__(self, mistakes: Sequence[Mistake], more: int = 0) -> None:
        super().__init__(mistakes[0].message)
        self.mistakes, self.more = tuple(mistakes), more


class MalformedError(Exception):
    """A body that cannot be read at all; the message says what was expected."""


class Contract:
    """What the rows of a project's requests must be.

    Args:
        columns: those that may be given.
        needed: those of them that must be.
        unknown: whether fields beside them are refused or ignored.
        timezone: of the project: naive times are meant in it.
        example: a real row, by column.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        needed: Collection[str],
        *,
        unknown: Literal["refuse", "ignore"],
        timezone: str,
        example: Mapping[str, Any] | None = None,
    ) -> None:
        self.columns = {column.name: column for column in columns}
        self.needed = frozenset(needed)
        fields = {
            column.name: typed if column.name in self.needed else NotRequired[typed]
            for column in columns
            for typed in [_typed(column, timezone)]
        }
        typed_dict: Any = TypedDict  # its columns are known at run time only
        row = typed_dict("Row", fields)
        extra: Any = {"examples": [_plain(example)]} if example else {}
        row.__pydantic_config__ = ConfigDict(
            strict=True,
            extra="forbid" if unknown == "refuse" else "ignore",
            allow_inf_nan=False,
            title="Row",
            json_schema_extra=extra,
        )
        listed: Any = list
        self._rows: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(listed[row])
        self.row: TypeAdapter[dict[str, Any]] = TypeAdapter(row)

    def read(self, body: bytes, most: int) -> list[dict[str, Any]]:
        """The rows of a JSON body: one as an object, or `{"rows": [objects]}`.

        Raises:
            MalformedError: if it is no JSON, no object, or holds more than `most` rows.
            RefusedError: if a row is not as the schema wants it.
        """
        try:
            found = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise MalformedError(f"the body is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise MalformedError('expected one row as an object, or {"rows": [ … ]}')
        if found.keys() != {"rows"} or "rows" in self.columns:
            try:
                return [self.row.validate_json(body)]
            except ValidationError as error:
                raise self._refused(error, 0) from error
        rows = found["rows"]
        if not isinstance(rows, list) or not rows:
            raise MalformedError("rows: expected a list of at least one row")
        if len(rows) > most:
            raise MalformedError(
                f"rows: {len(rows)} are more than the {most} that one JSON request may hold. Remedy: several requests"
            )
        try:
            # JSON again: of Python values a strict model takes no text for a date.
            return self._rows.validate_json(to_json(rows))
        except ValidationError as error:
            raise self._refused(error, None) from error

    def _refused(self, error: ValidationError, row: int | None) -> RefusedError:
        found = error.errors(include_url=False, include_context=True)
        mistakes = []
        for one in found[:TOLD]:
            place = list(one["loc"])
            at = row if row is not None else int(place.pop(0))
            name = str(place[0]) if place else ""
            value = shown(one["input"]) if place and one["type"] != "missing" else ""
            mistakes.append(Mistake(at, name, value, self._message(one, name)))
        return RefusedError(mistakes, max(len(found) - TOLD, 0))

    def _message(self, error: Any, name: str) -> str:
        if not name:
            return "expected a row as an object of fields and values"
        if error["type"] == "extra_forbidden":
            return f"{name[:SHOWN]}: there is no such field; {nearest(name[:SHOWN], list(self.columns))}"
        column = self.columns[name]
        if error["type"] == "missing":
            return f"{name} is missing: expected {column.words}"
        return f"{name}: {shown(error['input'])} is not {column.words}"


def shown(value: Any) -> str:
    """A value in a message: as JSON writes it, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        return "a number of thousands of digits"
    return cut(text)


def cut(text: str) -> str:
    """A text, cut short."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def outline_of(path: str) -> Outline:
    """The columns and limits of a schema, from the cache where its source and the modules beside it are unchanged.

    Args:
        path: `module:Class`.
    """
    source = source_of(path)
    place = importlib.util.find_spec(path.partition(":")[0])
    # What a schema imports stands beside it, as a rule.
    beside = sorted(Path(str(place and place.origin)).parent.glob("*.py"))
    key = digest(
        path,
        source,
        *(file.read_text(encoding="utf-8") for file in beside),
        Path(__file__).read_text(encoding="utf-8"),
        importlib.metadata.version("pandera"),
    )
    cached = settings.home() / "cache" / "requests" / f"{key}.json"
    if cached.is_file():
        stored = json.loads(cached.read_text(encoding="utf-8"))
        columns = tuple(_revived(Column(**column)) for column in stored["columns"])
        return Outline(columns, stored["demands_more"])
    made = _outlined(path)
    replace_file(cached, json.dumps(asdict(made), indent=1, default=str))
    return made


def _outlined(path: str) -> Outline:
    schema, more = load_schema(path).to_schema(), False
    columns = []
    for name, column in schema.columns.items():
        limits: dict[str, Any] = {}
        for check in column.checks:
            found = _limits_of(check, limits)
            if found is None:
                more = True
                limits.setdefault("also", []).append(check.description or check.error or str(check.name))
            limits |= {
                name: _both(name, limits[name], one) if name in limits else one for name, one in (found or {}).items()
            }
        described = column.description or column.title or ""
        dtype = column.dtype.type
        zoned = getattr(dtype, "time_zone", None) is not None
        columns.append(Column(name, _kind(dtype, limits), bool(column.nullable), described, limits, zoned))
    return Outline(tuple(columns), more)


def _both(name: str, known: Any, other: Any) -> Any:
    """What two limits of the same name demand together."""
    if name == "allowed":
        return [one for one in known if one in other]
    if name == "forbidden":
        return [*known, *other]
    return max(known, other) if name in {"ge", "gt", "min_length"} else min(known, other)


def _limits_of(check: Any, known: Mapping[str, Any]) -> dict[str, Any] | None:  # noqa: PLR0911 - one for each check
    """A check of pandera's own as limits; None where it demands what these do not say."""
    told = {name: value for name, value in check.statistics.items() if value is not None}
    if check.name in BOUNDS:
        return {BOUNDS[check.name]: told["min_value" if "min_value" in told else "max_value"]}
    if check.name == "in_range":
        low, high = "ge" if told["include_min"] else "gt", "le" if told["include_max"] else "lt"
        return {low: told["min_value"], high: told["max_value"]}
    if check.name == "str_length":
        exact = told.get("exact_value")
        ends = {"min_length": told.get("min_value", exact), "max_length": told.get("max_value", exact)}
        return {name: value for name, value in ends.items() if value is not None}
    if check.name in {"isin", "equal_to"}:
        return {"allowed": list(told.get("allowed_values", [told.get("value")]))}
    if check.name in {"notin", "not_equal_to"}:
        return {"forbidden": list(told.get("forbidden_values", [told.get("value")]))}
    if check.name == "str_matches" and "pattern" not in known:
        pattern = getattr(told["pattern"], "pattern", told["pattern"])
        return {"pattern": pattern if pattern.startswith("^") else f"^{pattern}"}
    return None


def _kind(dtype: Any, limits: dict[str, Any]) -> Kind:
    import polars as pl

    if dtype.is_integer():
        # What the column cannot hold is a mistake of the request like any other.
        least, most = pl.select(dtype.min()).item(), pl.select(dtype.max()).item()
        if "gt" not in limits:
            limits["ge"] = max(limits.get("ge", least), least)
        if "lt" not in limits:
            limits["le"] = min(limits.get("le", most), most)
        return "integer"
    if dtype.is_float() or dtype.is_decimal():
        return "number"
    simple: dict[Any, Kind] = {pl.Boolean: "boolean", pl.Date: "date", pl.Datetime: "datetime"}
    return next((kind for known, kind in simple.items() if dtype == known), "text")


def _revived(column: Column) -> Column:
    """A column read from JSON, in which days and times are text."""
    if column.kind not in {"date", "datetime"}:
        return column
    read = PYTHON[column.kind].fromisoformat
    limits = {
        name: value if name == "also" else [read(one) for one in value] if isinstance(value, list) else read(value)
        for name, value in column.limits.items()
    }
    return replace(column, limits=limits)


def _typed(column: Column, timezone: str) -> Any:
    limits = column.limits
    bounds = {
        name: limits[name] for name in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern") if name in limits
    }
    parts: list[Any] = [Field(**bounds)] if bounds else []
    if column.kind == "datetime":
        parts.insert(0, AfterValidator(lambda moment: _held(moment, timezone, zoned=column.zoned)))
    if "allowed" in limits or "forbidden" in limits:
        parts.append(AfterValidator(_chosen(limits.get("allowed"), limits.get("forbidden", ()))))
    if column.kind == "integer":
        # To JSON 12.0 is a whole number. Outermost: within it the document would not tell the limits.
        parts.append(BeforeValidator(_whole))
    inner: Any = Annotated[PYTHON[column.kind], *parts] if parts else PYTHON[column.kind]
    described: dict[str, Any] = {"description": column.description} if column.description else {}
    if "allowed" in limits:
        described["enum"] = [_plain(one) for one in limits["allowed"]] + ([None] if column.nullable else [])
    return Annotated[inner | None if column.nullable else inner, Field(json_schema_extra=described)]


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _chosen(allowed: Sequence[Any] | None, forbidden: Sequence[Any]) -> Any:
    chosen, others = None if allowed is None else frozenset(allowed), frozenset(forbidden)

    def check(value: Any) -> Any:
        if (chosen is not None and value not in chosen) or value in others:
            raise PydanticCustomError("chosen", "not one of the values")
        return value

    return check


def _held(moment: datetime, timezone: str, *, zoned: bool) -> datetime:
    """A time as the schema's column holds it: the moment in UTC, or what the project's clocks show then."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    zone = ZoneInfo(timezone)
    try:
        instant = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        local = instant.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        raise PydanticCustomError("outside", "it lies outside the calendar") from None
    if moment.tzinfo is None and local != moment:
        raise PydanticCustomError("skipped", "the clocks skip it")
    return instant if zoned else local


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value.isoformat() if isinstance(value, date) else value
