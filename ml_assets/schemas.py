"""A project's pandera schema, imported late.

The asset graph needs the names of a schema's checks when it is loaded, and importing pandera costs as much as
importing Dagster. So the outline of a schema is kept under the home folder, by the content of its source; when rows are
judged the schema itself is imported, and an outline that no longer fits it is an error, never a silent difference.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets import settings
from ml_assets.core import validation
from ml_assets.core.files import replace_file
from ml_assets.core.validation import CheckOutline, ColumnOutline, SchemaOutline, outline
from ml_assets.project import digest, load_object

if TYPE_CHECKING:
    from pandera.polars import DataFrameModel


class SchemaError(ValueError):
    """A schema cannot be found or used; the message names it."""


def load_schema(path: str) -> type[DataFrameModel]:
    """Import a schema.

    Args:
        path: `module:Class`.

    Raises:
        SchemaError: if it does not import or is no `pandera.polars.DataFrameModel`.
    """
    import pandera.polars as pa

    try:
        model = load_object(path)
    except ValueError as error:
        raise SchemaError(f"schema: {error}") from error
    if not (isinstance(model, type) and issubclass(model, pa.DataFrameModel)):
        raise SchemaError(f"schema: {path!r} is not a pandera.polars.DataFrameModel (import pandera.polars as pa)")
    return model


def source_of(path: str) -> str:
    """The source text of the module that a schema stands in, found without importing it.

    Raises:
        SchemaError: if there is no such module.
    """
    module = path.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError) as error:
        raise SchemaError(f"schema: {path!r}: {error}. Expected `module:Class`") from error
    if spec is None or spec.origin is None or not spec.has_location:
        raise SchemaError(f"schema: {path!r}: there is no module {module!r}. Expected `module:Class`")
    return Path(spec.origin).read_text(encoding="utf-8")


def schema_outline(path: str) -> SchemaOutline:
    """A schema's columns and checks, from the cache where its source is unchanged."""
    cached = _cache_file(path)
    if cached.is_file():
        stored = json.loads(cached.read_text(encoding="utf-8"))
        return SchemaOutline(
            tuple(ColumnOutline(**column) for column in stored["columns"]),
            tuple(CheckOutline(**check) for check in stored["checks"]),
        )
    made = outline(load_schema(path))
    # Two processes may load the graph at once: neither may read half a file.
    replace_file(cached, json.dumps(asdict(made), indent=1))
    return made


def forget_outline(path: str) -> None:
    """Drop the cached outline of a schema: what it imports may have changed while its own source did not."""
    _cache_file(path).unlink(missing_ok=True)


def _cache_file(path: str) -> Path:
    # How an outline is made, not only what of, decides what it says.
    maker = Path(validation.__file__).read_text(encoding="utf-8")
    key = digest(path, source_of(path), maker, importlib.metadata.version("pandera"))
    return settings.home() / "cache" / "schemas" / f"{key}.json"
