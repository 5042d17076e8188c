"""The reference page and the editors' schema say what the types say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_assets import reference

ROOT = Path(__file__).parent.parent


def test_the_page_and_the_schema_are_written_from_the_types_of_today() -> None:
    assert reference.is_current(ROOT), "the declaration's types have changed. Remedy: make reference"


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    reference.write(tmp_path)
    assert reference.is_current(tmp_path)
    page = tmp_path / reference.PAGE
    page.write_text(page.read_text().replace("training.window", "training.windows"))
    assert not reference.is_current(tmp_path)


def test_every_field_has_a_meaning() -> None:
    rows = [line for line in reference.reference_page().splitlines() if line.startswith("| `")]

    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_shipped_declaration_fits_the_schema_and_leads_an_editor_to_it() -> None:
    files = sorted((ROOT / "ml_assets" / "defs").glob("*/defs.yaml"))
    schema = reference.editors_schema()

    assert files
    for file in files:
        text = file.read_text()
        head = text.splitlines()[0]
        assert head.startswith("# yaml-language-server: $schema=")
        assert (file.parent / head.partition("$schema=")[2]).resolve() == ROOT / reference.SCHEMA
        _fits(yaml.safe_load(text), schema, schema)


def test_an_unknown_field_does_not_fit() -> None:
    schema = reference.editors_schema()
    with pytest.raises(AssertionError, match="targt"):
        _fits({"type": reference.TYPE, "attributes": {"targt": "price"}}, schema, schema)


def _fits(value: Any, node: dict[str, Any], schema: dict[str, Any]) -> None:
    """What a test needs of a validator: known names, required ones, fixed values."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if isinstance(value, dict) and "properties" in node:
        unknown = set(value) - set(node["properties"])
        assert node.get("additionalProperties", True) or not unknown, unknown
        assert set(node.get("required", ())) <= set(value)
        for key, inner in value.items():
            _fits(inner, node["properties"].get(key, {}), schema)
    elif isinstance(value, list) and "items" in node:
        for inner in value:
            _fits(inner, node["items"], schema)
    elif "const" in node or "enum" in node:
        assert value in node.get("enum", [node.get("const")])
