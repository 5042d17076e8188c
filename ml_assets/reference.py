"""The declaration's reference page and its JSON schema for editors, both written from the types: `make reference`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.component import TYPE, ModelProject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = "docs/declaration.md"
SCHEMA = "docs/defs.schema.json"
HEAD = f"""\
# The declaration
<!-- Written from the types by `make reference`: change `ml_assets/declared/`, not this page. -->

A project is a folder with a `defs.yaml`. It says `type: {TYPE}`, and below `attributes` what is listed here.
`[]` stands for each entry of a list, `NAME` for a name of your own. `ml-assets check` tells every mistake with its
place.

For help while you write, begin the file with a line that leads an editor to the schema beside this page:

    # yaml-language-server: $schema=PATH/TO/defs.schema.json

"""
WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def editors_schema() -> dict[str, Any]:
    """The JSON schema of a defs.yaml, as editors read it."""
    attributes = ModelProject.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ml-assets project",
        "type": "object",
        "properties": {
            "type": {"const": TYPE},
            "attributes": {key: value for key, value in attributes.items() if key != "$defs"},
        },
        "required": ["type", "attributes"],
        "$defs": attributes["$defs"],
    }


def reference_page() -> str:
    """The reference page: every field with its path, type, default and meaning."""
    schema = ModelProject.model_json_schema(by_alias=True)
    lines = [
        f"| `{path}` | {_type(field, schema)} | {_default(field, required=required)} | {_cell(meaning)} |"
        for path, field, required, meaning in _fields(schema, schema)
    ]
    return HEAD + "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *lines]) + "\n"


def write(root: Path) -> None:
    """Write both files under the repository's root."""
    (root / PAGE).write_text(reference_page(), encoding="utf-8")
    (root / SCHEMA).write_text(_json(editors_schema()), encoding="utf-8")


def is_current(root: Path) -> bool:
    """Whether both files say what the types say."""
    page, schema = ((root / name).read_text(encoding="utf-8") for name in (PAGE, SCHEMA))
    return page == reference_page() and schema == _json(editors_schema())


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _fields(
    model: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any], bool, str]]:
    for name, field in model["properties"].items():
        path = prefix + name
        inner = [one for one in _models(field, schema) if "properties" in one]
        meaning = field.get("description") or next((one.get("description", "") for one in inner), "")
        yield path, field, name in model.get("required", ()), meaning
        for one in inner:
            within = "[]" if field.get("type") == "array" else ".NAME" if "additionalProperties" in field else ""
            yield from _fields(one, schema, f"{path}{within}.")


def _models(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The models that a field's value may be, or hold."""
    if "$ref" in field:
        yield schema["$defs"][field["$ref"].rpartition("/")[2]]
    within = (field.get("items"), field.get("additionalProperties"))
    for part in (*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ()), *within):
        if isinstance(part, dict):
            yield from _models(part, schema)


def _type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    parts = [each for key in ("anyOf", "oneOf", "allOf") for each in field.get(key, ())]
    if parts:
        return " or ".join(_type(part, schema) for part in parts if part.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    if "$ref" in field:
        referred = schema["$defs"][field["$ref"].rpartition("/")[2]]
        return "fields below" if "properties" in referred else _type(referred, schema)
    if field.get("type") == "object":
        return "names and values"
    limits = " and ".join(f"{sign} {field[key]:g}" for key, sign in LIMITS.items() if key in field)
    return f"{WORDS.get(field.get('type', ''), 'any')} {limits}".strip()


def _default(field: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    value = field.get("default")
    if value is None or value in ([], {}) or isinstance(value, dict):
        return ""
    return f"`{_cell(json.dumps(value, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    write(Path(__file__).parent.parent)
