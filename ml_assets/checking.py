"""A project's declaration, SQL and schema held against each other, without any row of data.

The graph is refused when it is loaded rather than a run when it fails. Nothing that has been found right is checked
again: its hash is kept under the home folder, so that loading the graph parses no SQL.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets import settings
from ml_assets.core.declaration import DeclarationError, Mistake
from ml_assets.core.leakage_lineage import Script, Traced, trace, unknown_column, unmatched_waiver
from ml_assets.core.lineage import column_lineage, required_columns
from ml_assets.core.statement import SqlError, is_star, nearest, read_statement
from ml_assets.core.training import ALLOWED, EXTRAS, is_allowed
from ml_assets.core.validation import MALFORMED
from ml_assets.declared.evaluation import Slice
from ml_assets.lake.connection import open_duckdb
from ml_assets.lake.origin import SIMULATED
from ml_assets.lake.sql import quoted
from ml_assets.lake.tables import LINEAGE
from ml_assets.project import Project, digest, load_object
from ml_assets.schemas import SchemaError, schema_outline, source_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlglot import exp

    from ml_assets.core.declaration import Declaration
    from ml_assets.core.validation import SchemaOutline

OF_ALL_ROWS = {"_partition": "TIMESTAMP", "_source": "VARCHAR", "_row": "BIGINT"}
OF_REFERENCE = {"_source": "VARCHAR", "_row": "BIGINT"}
OF_RAW = {**OF_ALL_ROWS, "_ingested_at": "TIMESTAMP", SIMULATED: "VARCHAR", MALFORMED: "VARCHAR"}
# The DuckDB type of a polars type, by the name before its parameters.
TYPES = {
    "Boolean": "BOOLEAN", "Date": "DATE", "Time": "TIME", "Duration": "INTERVAL", "Binary": "BLOB",
    "String": "VARCHAR", "Utf8": "VARCHAR", "Categorical": "VARCHAR", "Enum": "VARCHAR",
    "Float32": "FLOAT", "Float64": "DOUBLE", "Decimal": "DECIMAL(38, 9)",
    "Int8": "TINYINT", "Int16": "SMALLINT", "Int32": "INTEGER", "Int64": "BIGINT", "Int128": "HUGEINT",
    "UInt8": "UTINYINT", "UInt16": "USMALLINT", "UInt32": "UINTEGER", "UInt64": "UBIGINT",
}  # fmt: skip
_DESCRIBE = "DESCRIBE "


def missing_files(declaration: Declaration, files: Mapping[str, str]) -> list[Mistake]:
    """Files that a declaration names and that are not there, with the nearest that are.

    Args:
        declaration: the defs.yaml.
        files: field → path.
    """
    mistakes = []
    for field, path in files.items():
        file = Path(path)
        if not file.is_file():
            others = [str(other) for other in sorted(file.parent.glob(f"*{file.suffix}"))]
            hint = nearest(str(file), others) if others else f"write it; the folder {file.parent} has no such files"
            mistakes.append(declaration.mistake((field,), f"{field}: {path}: there is no such file; {hint}"))
    return mistakes


def require_right(project: Project, declaration: Declaration) -> None:
    """Check a project, unless it has been found right before. The estimator is not imported.

    Raises:
        DeclarationError: listing all mistakes.
    """
    found_right = _marker(project)
    if found_right is not None and found_right.is_file():
        return
    mistakes = check_project(project, declaration)
    if mistakes:
        raise DeclarationError("\n".join(map(str, mistakes)))
    if found_right is not None:
        found_right.parent.mkdir(parents=True, exist_ok=True)
        found_right.touch()


def check_project(project: Project, declaration: Declaration) -> list[Mistake]:
    """All mistakes of a resolved project but those of its estimator, in the order of the files."""
    mistakes: list[Mistake] = []
    outline = _outline(project, declaration, mistakes)
    with open_duckdb() as connection:
        connection.execute("SET errors_as_json = true")
        cleaned = _check_clean(project, connection, mistakes)
        if outline is None:
            return mistakes
        columns = {column.name: column.dtype for column in outline.columns}
        _check_time(project, declaration, columns, mistakes)
        mistakes += [
            declaration.mistake(
                ("serving", "personal", name),
                f"serving.personal: {project.schema} has no column {name!r}; {nearest(name, columns)}",
            )
            for name in project.serving.personal
            if name not in columns
        ]
        if cleaned is not None:
            mistakes += [
                Mistake(
                    project.clean_path, 1, 1,
                    f"does not return {name!r}, a column of {project.schema}; {nearest(name, cleaned)}",
                )
                for name in columns
                if name.lower() not in {each.lower() for each in cleaned}
            ]  # fmt: skip
        returned = _check_features(project, connection, columns, mistakes)
    if returned is not None and project.target not in returned:
        hint = nearest(project.target, [name for name in returned if name not in LINEAGE])
        message = f"target: {project.features_path} returns no column {project.target!r}; {hint}"
        mistakes.append(declaration.mistake(("target",), message))
    if not mistakes and returned is not None:
        mistakes += _check_leakage_section(project, declaration, list(columns), returned)
    if returned is not None:
        _check_judged_columns(project, declaration, returned, mistakes)
    return mistakes


def check_leakage(project: Project) -> list[Mistake]:
    """Features that the SQL shows to be computed from what is not known at prediction, those waived left out.

    For a project without other mistakes. They keep no graph from being loaded, for rows can be read and looked at all
    the same: the leakage gate keeps a model from being trained.
    """
    traced = trace_project(project, [column.name for column in schema_outline(project.schema).columns])
    return [
        Mistake(found.file, found.line, found.column, str(found).removeprefix(f"{found.place}: "))
        for found in traced.findings
        if found.name not in project.leakage.reasons
    ]


def _check_leakage_section(
    project: Project, declaration: Declaration, columns: list[str], returned: list[str]
) -> list[Mistake]:
    """Names under `leakage` that name nothing: what they were to hide, or to let pass, would silently not be."""
    leakage, inputs = project.leakage, {"validated": [*columns, *LINEAGE]}
    where = project.features_path
    references = {
        name: sorted(required_columns(project.features_sql, name, others=inputs, where=where))
        for name in project.references
    }
    mistakes = []
    for number, name in enumerate(leakage.unknown_at_prediction):
        if wrong := unknown_column(name, columns, references):
            field = f"leakage.unknown_at_prediction: {wrong}"
            mistakes.append(declaration.mistake(("leakage", "unknown_at_prediction", number), field))
    traced = trace_project(project, columns)
    features = [name for name in returned if name not in {project.target, project.partitions.time, *LINEAGE}]
    for number, waiver in enumerate(leakage.waivers):
        if wrong := unmatched_waiver(waiver.finding, traced, features):
            field = f"leakage.waivers: {wrong}"
            mistakes.append(declaration.mistake(("leakage", "waivers", number, "finding"), field))
    return mistakes


def trace_project(project: Project, columns: Sequence[str]) -> Traced:
    """Which features the SQL shows to be computed from what is not known at prediction.

    Args:
        project: the project.
        columns: of `validated`.
    """
    return trace(
        Script(project.clean_sql, project.clean_path),
        Script(project.features_sql, project.features_path),
        target=project.target,
        time=project.partitions.time or None,
        unknown=project.leakage.unknown_at_prediction,
        columns=columns,
        references=tuple(project.references),
    )


def check_estimator(project: Project, declaration: Declaration) -> list[Mistake]:
    """Whether the estimator imports, is allowed, and has the parameters it is given or that are searched for.

    Imports its library, and the project's own preprocessing.
    """
    training = project.training
    path, field = training.estimator, ("training", "estimator")
    module_name, _, name = path.rpartition(".")
    if not is_allowed(path, training.allowed):
        message = (
            f"training.estimator: {path!r} is not allowed; classes of {', '.join((*ALLOWED, *training.allowed))} are. "
            "Remedy: one of those, or name its package in training.allowed"
        )
        return [declaration.mistake(field, message)]
    library = path.partition(".")[0]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        if library in EXTRAS and error.name == library:
            message = (
                f"training.estimator: {library} is not installed; install the extra `ml-assets[{EXTRAS[library]}]`"
            )
        elif library == "sklearn":
            import sklearn

            modules = [f"sklearn.{each.name}" for each in pkgutil.iter_modules(sklearn.__path__) if each.name[0] != "_"]
            message = f"training.estimator: there is no module {module_name!r}; {nearest(module_name, modules)}"
        else:
            message = f"training.estimator: {module_name!r} does not import: {error}"
        return [declaration.mistake(field, message)]
    classes = [key for key, each in vars(module).items() if inspect.isclass(each) and hasattr(each, "get_params")]
    if name not in classes:
        hint = nearest(name, [key for key in classes if key[0] != "_"])
        message = f"training.estimator: {module_name} has no estimator {name!r}; {hint}"
        return [declaration.mistake(field, message)]
    known = _parameters(getattr(module, name))
    space = training.search.space if training.search else {}
    places: list[tuple[tuple[str, ...], str]] = [(("training", "parameters", key), key) for key in training.parameters]
    places += [(("training", "search", "space", key), key) for key in space]
    return _check_preprocessing(project, declaration) + [
        declaration.mistake(place, f"{'.'.join(place[:-1])}: {name} has no parameter {key!r}; {nearest(key, known)}")
        for place, key in places
        if key not in known
    ]


def _parameters(estimator: Any) -> list[str]:
    """The parameters of an estimator's class, those it inherits included."""
    try:
        return sorted(estimator().get_params())
    except TypeError:  # it cannot be made without arguments: its signature tells
        return [key for key in inspect.signature(estimator).parameters if key != "self"]


def _check_preprocessing(project: Project, declaration: Declaration) -> list[Mistake]:
    path = project.training.preprocessing
    if path is None:
        return []
    try:
        found = load_object(path)
    except ValueError as error:
        return [declaration.mistake(("training", "preprocessing"), f"training.preprocessing: {error}")]
    if callable(found):
        return []
    message = f"training.preprocessing: {path!r} is no function; expected one that returns a transformer"
    return [declaration.mistake(("training", "preprocessing"), message)]


def bind(connection: duckdb.DuckDBPyConnection, sql: str, where: str) -> dict[str, str]:
    """The columns and DuckDB types of a SELECT over empty tables; nothing is run.

    Args:
        connection: has the tables, and `errors_as_json`.
        sql: one SELECT.
        where: the file's name.

    Raises:
        SqlError: what DuckDB refuses, at its place.
    """
    try:
        described = connection.execute(_DESCRIBE + sql).fetchall()
    except duckdb.Error as error:
        raise _at_its_place(error, sql, where) from error
    return {name: kind for name, kind, *_ in described}


def _at_its_place(error: duckdb.Error, sql: str, where: str) -> SqlError:
    text = str(error)
    try:
        details = json.loads(text[text.index("{") :])
    except ValueError:
        details = {"exception_message": text}
    # DuckDB counts bytes.
    offset = max(int(details.get("position", len(_DESCRIBE))) - len(_DESCRIBE), 0)
    before = sql.encode()[:offset].decode(errors="ignore")
    word = re.match(r'"[^"]*"|\w+|\S', sql[len(before) :])
    # What follows is a list of everything that DuckDB knows.
    said = details["exception_message"].partition("\n\tCandidate functions")[0].strip()
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return SqlError(where, line, column, word[0] if word else "", " ".join(said.split()))


def _outline(project: Project, declaration: Declaration, mistakes: list[Mistake]) -> SchemaOutline | None:
    try:
        return schema_outline(project.schema)
    except SchemaError as error:
        module, _, name = project.schema.partition(":")
        try:
            tree = ast.parse(source_of(project.schema))
            there = [f"{module}:{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)]
        except (SchemaError, SyntaxError):
            there = []
        hint = (
            f"; {nearest(project.schema, there)}" if there and name not in {one.split(":")[1] for one in there} else ""
        )
        mistakes.append(declaration.mistake(("schema",), f"{error}{hint}"))
    except Exception as error:  # noqa: BLE001 - the schema's own code: whatever it raises is its mistake
        message = f"schema: {project.schema!r} cannot be used: {type(error).__name__}: {error}"
        mistakes.append(declaration.mistake(("schema",), message))
    return None


def _check_clean(project: Project, connection: duckdb.DuckDBPyConnection, mistakes: list[Mistake]) -> list[str] | None:
    """The columns that clean.sql returns; None where they cannot be told."""
    where = project.clean_path
    try:
        statement = read_statement(project.clean_sql, where, ["raw"])
        mentioned = required_columns(project.clean_sql, "raw", where=where)
        texts = {name: "VARCHAR" for name in mentioned if name.lower() not in OF_RAW}
        _create(connection, "raw", texts | OF_RAW)
        returned = list(bind(connection, project.clean_sql, where))
    except SqlError as error:
        mistakes.append(_mistake_of(error, where))
        return None
    if any(map(_is_open, statement.tree.walk())):
        return None  # what a star brings is known once there are rows
    mistakes += _without_lineage(returned, where)
    return returned


def _check_features(
    project: Project, connection: duckdb.DuckDBPyConnection, columns: Mapping[str, str], mistakes: list[Mistake]
) -> list[str] | None:
    """The columns that features.sql returns; None where they cannot be told."""
    where = project.features_path
    types = {name: _duckdb_type(dtype) for name, dtype in columns.items()}
    known = {name: kind for name, kind in types.items() if kind}
    try:
        inputs = {"validated": [*columns, *LINEAGE]}
        # What a reference holds is known once it is read: as of raw, each column that is asked of it is taken for text.
        asked = {
            name: sorted(required_columns(project.features_sql, name, others=inputs, where=where))
            for name in project.references
        }
        returned = list(column_lineage(project.features_sql, inputs | asked, where=where))
        if len(known) == len(types):  # else nobody knows here how DuckDB would take a column
            _create(connection, "validated", known | OF_ALL_ROWS)
            for name, texts in asked.items():
                _create(connection, name, dict.fromkeys(texts, "VARCHAR") | OF_REFERENCE)
            bind(connection, project.features_sql, where)
    except SqlError as error:
        mistakes.append(_mistake_of(error, where))
        return None
    mistakes += _without_lineage(returned, where)
    return returned


def _check_judged_columns(
    project: Project, declaration: Declaration, returned: Collection[str], mistakes: list[Mistake]
) -> None:
    """The columns that slices, clusters, entities and the split name."""
    named = {("evaluation", *field): column for field, column in project.evaluation.columns.items()}
    if project.training.split.by is not None:
        named["training", "split", "by"] = project.training.split.by
    for place, gate in enumerate(project.gates):
        if isinstance(gate.slice, Slice):
            named["gates", place, "slice", "column"] = gate.slice.column
    for field, column in named.items():
        if column not in returned:
            hint = nearest(column, [name for name in returned if name not in LINEAGE])
            message = f"{'.'.join(map(str, field))}: {project.features_path} returns no column {column!r}; {hint}"
            mistakes.append(declaration.mistake(field, message))


def _check_time(
    project: Project, declaration: Declaration, columns: Mapping[str, str], mistakes: list[Mistake]
) -> None:
    grain, time = project.partitions.grain, project.partitions.time
    if not time:
        return
    path = ("partitions", "time")
    if time not in columns:
        message = f"partitions.time: {project.schema} has no column {time!r}; {nearest(time, columns)}"
        mistakes.append(declaration.mistake(path, message))
    elif not columns[time].startswith(("Date", "Datetime")):
        message = f"partitions.time: {time!r} is {columns[time]} in {project.schema}; expected a date or a time"
        mistakes.append(declaration.mistake(path, message))
    elif columns[time] == "Date" and str(grain) == "hour":
        message = f"partitions.grain: {time!r} is a Date and has no hours; expected grain day, or a datetime column"
        mistakes.append(declaration.mistake(("partitions", "grain"), message))


def _is_open(node: exp.Expr) -> bool:
    """Whether a node stands for columns that only the input's own columns tell."""
    return node.key == "columns" or (is_star(node) and node.parent is not None and node.parent.key != "count")


def _without_lineage(returned: Iterable[str], where: str) -> list[Mistake]:
    missing = [name for name in LINEAGE if name not in returned]
    message = f"does not return {', '.join(missing)}: select {', '.join(LINEAGE)} in it"
    return [Mistake(where, 1, 1, message)] if missing else []


def _mistake_of(error: SqlError, where: str) -> Mistake:
    place = f"{where}, line {error.line}, column {error.column}: "
    return Mistake(where, error.line, error.column, str(error).removeprefix(place))


def _create(connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> None:
    # DuckDB's names have no case: two that differ in nothing else are one column.
    spelled = {column.lower(): f"{quoted(column)} {kind}" for column, kind in columns.items()}
    connection.execute(f"CREATE TABLE {quoted(name)} ({', '.join(spelled.values())})")


def _duckdb_type(dtype: str) -> str | None:
    if dtype.startswith("Datetime"):
        return "TIMESTAMP" if "time_zone=None" in dtype or dtype == "Datetime" else "TIMESTAMP WITH TIME ZONE"
    return TYPES.get(dtype.partition("(")[0])


def _marker(project: Project) -> Path | None:
    """The file that says that this very project was found right; None where its schema has no source."""
    try:
        schema = source_of(project.schema)
    except SchemaError:
        return None
    versions = (version("duckdb"), version("sqlglot"), Path(__file__).read_text(encoding="utf-8"))
    key = digest(project.declaration_hash, project.sql_hash, project.serving.model_dump_json(), schema, *versions)
    return settings.home() / "cache" / "declarations" / f"{key}.right"
