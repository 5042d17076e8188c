"""Mistakes in a declaration, each with its place: where a value stands in a YAML file, and what its types refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ml_assets.core.statement import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
# libyaml where PyYAML was built with it: ten times as fast, and of every load of the code location.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEMPLATE = "{{"  # a value that Dagster fills in later


class DeclarationError(ValueError):
    """A declaration has mistakes; the message lists all of them, one on a line."""


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake.

    Attributes:
        file: where it stands.
        line: from 1.
        column: from 1.
        message: what is wrong, what was expected, and the nearest right name where there is one.
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, column {self.column}: {self.message}"


@dataclass(frozen=True)
class Declaration:
    """A defs.yaml: its text, and the name that messages give it."""

    text: str
    file: str

    def mistake(self, path: Sequence[str | int], message: str) -> Mistake:
        """A mistake at a value, or at the nearest value around it that is there.

        Args:
            path: keys and positions below `attributes`.
            message: what is wrong.
        """
        try:
            root = next(iter(yaml.compose_all(self.text, _LOADER)), None)
        except yaml.YAMLError:
            root = None
        mark = None if root is None else _node(root, ("attributes", *path)).start_mark
        return Mistake(self.file, 1 if mark is None else mark.line + 1, 1 if mark is None else mark.column + 1, message)


def read_attributes(declaration: Declaration) -> tuple[dict[str, Any] | None, list[Mistake]]:
    """What stands under `attributes`, or what keeps the file from being read."""
    try:
        content = next(iter(yaml.load_all(declaration.text, _LOADER)), None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [Mistake(declaration.file, line, column, f"this is no YAML: {error.problem}")]
    if not isinstance(content, dict) or not isinstance(content.get("attributes"), dict):
        expected = "expected `type: …` and below `attributes:` the fields of the project"
        return None, [Mistake(declaration.file, 1, 1, expected)]
    return content["attributes"], []


def check_types(declaration: Declaration, model: type[BaseModel]) -> list[Mistake]:
    """Everything about a declaration that its types refuse: unknown fields, missing ones, wrong values.

    Values with `{{ … }}` are left out: only Dagster knows them.
    """
    attributes, mistakes = read_attributes(declaration)
    if attributes is None:
        return mistakes
    try:
        model.model_validate(attributes)
    except ValidationError as error:
        return [
            declaration.mistake(details["loc"], _in_words(details, model))
            for details in error.errors()
            if not (isinstance(details["input"], str) and _TEMPLATE in details["input"])
        ]
    return []


def _in_words(details: ErrorDetails, model: type[BaseModel]) -> str:
    path = details["loc"]
    field = ".".join(map(str, path))
    if details["type"] == "extra_forbidden":
        return f"{field}: there is no such field; {nearest(str(path[-1]), _fields(model, path[:-1]))}"
    if details["type"] == "missing":
        return f"{field} is missing"
    if details["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", details["ctx"]["expected"])
        expected = f"expected one of {', '.join(allowed)}"
        hint = nearest(str(details["input"]), allowed)
        return f"{field}: {details['input']!r}: {expected}" + (f"; {hint}" if hint.startswith("did") else "")
    said = details["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(details["input"], dict | list) else f" {details['input']!r}:"
    return f"{field}:{shown} {said[:1].lower()}{said[1:]}" if field else said


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    """The names of the fields at a place of a declaration, as they are written."""
    for key in path:
        known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        if key in known:  # else a position in a list, or a name that the team chose
            inner = _models(known[key])
            if not inner:
                return []
            model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _node(node: Any, path: Sequence[str | int]) -> Any:
    """The node at a path, or the last one on the way to it."""
    for key in path:
        if isinstance(node, yaml.MappingNode):
            inner = next((value for name, value in node.value if name.value == key), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            inner = node.value[key]
        else:
            inner = None
        if inner is None:
            return node
        node = inner
    return node
