"""From a prediction back to its source file: every table that its row went through, and the origin of each column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.lineage import column_lineage
from ml_assets.core.statement import SqlError
from ml_assets.lake.connection import columns_of
from ml_assets.registry.models import RegistryError
from ml_assets.serving.partition_queries import Place, row_in

if TYPE_CHECKING:
    import duckdb

    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version

# The tables that a row goes through, the last first.
TABLES = ("predictions", "features", "validated", "raw", "quarantine")


@dataclass(frozen=True)
class Origin:
    """Where a feature comes from.

    Attributes:
        column: of `features`.
        inputs: the columns that it is computed from, as `validated.name` or `reference.name`.
        raw: the raw columns behind those of `validated`.
    """

    column: str
    inputs: tuple[str, ...]
    raw: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """A prediction and all that it was made from, by the tables and the SQL of now.

    Attributes:
        source, row: its file, and its number in that.
        predictions, features, validated, raw: the row in each table; None where a table does not hold it. A row that
            stands in quarantine has neither of the first three.
        quarantine: the row there, with its reasons; None where it passed.
        version: the record of the version that predicted it; None where it was not scored, or its record is broken.
        broken: why the record cannot be read; "" where it can.
        origins: of the features.
        sha256: of the source when it was read; "" where it was not noted.
        changed: the SQL files that are others now than when the version was trained; none where that was not recorded.
        positive: the class whose probability a binary prediction is; "" where it is not known.
    """

    source: str
    row: int
    predictions: dict[str, Any] | None
    features: dict[str, Any] | None
    validated: dict[str, Any] | None
    raw: dict[str, Any] | None
    quarantine: dict[str, Any] | None
    version: Version | None
    broken: str
    origins: tuple[Origin, ...]
    sha256: str
    changed: tuple[str, ...]
    positive: str


def trace(cursor: duckdb.DuckDBPyConnection, registry: Registry, project: Project, place: Place) -> Trace | None:
    """All that is known of a row; None where no table of the lake holds it."""
    found = {name: row_in(cursor, project, name, place) for name in TABLES}
    if not any(found.values()):
        return None
    version, broken = None, ""
    if found["predictions"] is not None:
        try:
            version = registry.version(project.name, found["predictions"]["version"])
        except RegistryError as error:
            broken = str(error)
    origins, _ = column_origins(cursor, project)
    sha256 = sha256_of(cursor, project, place)
    return Trace(
        place.source, place.row, **found, version=version, broken=broken, origins=origins, sha256=sha256,
        changed=_changed(project, version) if version else (),
        positive=version.classes[-1] if version and version.classes else project.positive or "",
    )  # fmt: skip


def _changed(project: Project, version: Version) -> tuple[str, ...]:
    now = {"clean_sql": project.clean_sql, "features_sql": project.features_sql}
    return tuple(
        f"{name.removesuffix('_sql')}.sql" for name, text in now.items() if version.sources.get(name, text) != text
    )


def column_origins(cursor: duckdb.DuckDBPyConnection | None, project: Project) -> tuple[tuple[Origin, ...], str]:
    """Where each column of `features` comes from, read off the SQL; and why that cannot be told, "" where it can."""
    nothing = f"Nothing has been validated yet. To fill a first history: ml-assets backfill {project.name}"
    if cursor is None:
        return (), nothing
    raw, validated = (columns_of(cursor, project.table(name)) for name in ("raw", "validated"))
    if not validated:
        return (), nothing
    inputs = {"validated": list(validated)}
    for name in project.references:
        inputs[name] = list(columns_of(cursor, project.table(name)))
    try:
        cleaned = column_lineage(project.clean_sql, {"raw": list(raw)}, where=project.clean_path)
        made = column_lineage(project.features_sql, inputs, where=project.features_path)
    except SqlError as error:
        return (), str(error)
    found = []
    for column, refs in made.items():
        if column.startswith("_"):
            continue
        behind = {one.column for ref in refs if ref.table == "validated" for one in cleaned.get(ref.column, ())}
        found.append(Origin(column, tuple(sorted(f"{ref.table}.{ref.column}" for ref in refs)), tuple(sorted(behind))))
    return tuple(found), ""


def sha256_of(cursor: duckdb.DuckDBPyConnection, project: Project, place: Place) -> str:
    """The SHA-256 of a row's source when it was read; "" where it was not noted."""
    table = project.table("raw_sources")
    if not columns_of(cursor, table):
        return ""
    sql = f"SELECT sha256 FROM {table.path} WHERE _partition = ? AND _source = ?"
    found = cursor.execute(sql, [place.start, place.source]).fetchone()
    return str(found[0]) if found else ""
