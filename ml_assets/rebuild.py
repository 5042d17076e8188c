"""Making a version again from its record, asset by asset, and saying whether every bit is the same.

Each asset is made again from what the lake's recorded snapshot holds of the one before it, with the SQL and the
declaration that the record keeps. So the first that differs is the one to look at: what comes after it is judged by
itself. Nothing is written to the lake or the ledger.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import duckdb

from ml_assets import settings
from ml_assets.assets.blocks import in_older_blocks
from ml_assets.assets.common import PIECE, SqlFailure, run_sql
from ml_assets.assets.model import recipe_of
from ml_assets.assets.provenance import code_hash, contents, environment, git_commit
from ml_assets.assets.references import read_references
from ml_assets.assets.rows import TrainingDataError, of_partitions, rows_to_learn, training_rows
from ml_assets.assets.validated import AccountingError, judge_rows
from ml_assets.component import recorded_project
from ml_assets.core.comparing import difference, rounding
from ml_assets.core.files import replace_file
from ml_assets.core.statement import SqlError
from ml_assets.core.training import Trained, packages, predict, train
from ml_assets.core.validation import FileFailure
from ml_assets.lake.connection import LakeError
from ml_assets.lake.tables import PARTITION, read
from ml_assets.project import digest
from ml_assets.registry.artefact import as_bytes, settled
from ml_assets.registry.models import MODEL, RegistryError
from ml_assets.schemas import SchemaError, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, TrainingSet, Version

# What a statement, a schema or a reading may say when the record no longer fits the rows, the lake or the libraries.
REFUSALS = (
    AccountingError,
    FileFailure,
    LakeError,
    SchemaError,
    SqlError,
    SqlFailure,
    duckdb.Error,
)


class RebuildError(ValueError):
    """A version cannot be made again; the message says what is missing."""


@dataclass(frozen=True)
class Finding:
    """What became of one asset.

    Attributes:
        asset: its name.
        status: `same`, `differs`, or `unknown` where the record does not tell.
        words: with what, in a sentence.
        rounding: by how much, relatively, numbers of rows that count as the same differ at most; 0 where no bit does.
    """

    asset: str
    status: Literal["same", "differs", "unknown"]
    words: str
    rounding: float = 0.0


@dataclass(frozen=True)
class Rebuilt:
    """A version, made again.

    Attributes:
        version: its record.
        findings: one for each asset, in their order.
        notes: what is another today than when the version was made: code, libraries, machine.
        artefact: the model file that was made.
        model_file: what is wrong with the registered model file; "" where it is the one that was registered.
    """

    version: Version
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    artefact: bytes
    model_file: str

    @property
    def first_difference(self) -> Finding | None:
        """The first asset that differs."""
        return next((one for one in self.findings if one.status == "differs"), None)

    @property
    def same(self) -> bool:
        """Whether nothing differs, and the model file is the one that was registered."""
        return self.first_difference is None and not self.model_file

    def report(self) -> list[str]:
        """What was found, line by line, for people."""
        lines = [f"{_name(self.version)}, trained {self.version.created_at[:16]} UTC"]
        lines += [f"  {one.asset:13}{one.status:8} {one.words}" for one in self.findings]
        lines += [f"  note: {note}" for note in self.notes]
        if self.model_file:
            lines.append(f"  {self.model_file}")
        first = self.first_difference
        if first is not None:
            return [*lines, f"  the first asset that differs is {first.asset}"]
        known = all(one.status == "same" for one in self.findings)
        rounded = ", ".join(one.asset for one in self.findings if one.rounding)
        bits = f", bit for bit but for the last digits of {rounded}" if rounded else ", bit for bit"
        last = "every bit is the same" if known and not rounded else f"what could be compared is the same{bits}"
        return [*lines, f"  {last}"]


def rebuild(lake: Lake, registry: Registry, version: Version, today: Project | None) -> Rebuilt:
    """Make a version again.

    Args:
        lake: holds its snapshot.
        registry: holds its model file.
        version: its record.
        today: the project as it is declared today; None where it is declared no more. Only a version whose record is
            from before it kept its sources needs it.

    Raises:
        RebuildError: if the lake no longer holds the snapshot, or the record says too little to train.
    """
    project = _project(version, today)
    chosen = version.training_set
    with lake.reader() as cursor:
        _refuse_lost_snapshot(cursor, project, version)
        before = [
            _guarded("raw", lambda: _raw(cursor, project, version)),
            _guarded("validated", lambda: _validated(cursor, project, version)),
            _guarded("features", lambda: _features(cursor, project, version)),
        ]
    stored, wrong = _stored(registry, version)
    notes = tuple(_notes(version))
    try:
        rows = training_rows(lake, project, chosen)
    except TrainingDataError as error:
        last = (
            Finding("training_set", "differs", str(error)),
            Finding("model", "unknown", "not trained on other rows"),
        )
        return Rebuilt(version, (*before, *last), notes, b"", wrong)
    training_set = Finding("training_set", "same", f"{rows.height:,} rows, content {chosen.content_hash[:12]}…")
    learnt = rows_to_learn(project, rows, chosen)
    with _threads_allowed(version.threads):
        # By the record, also where it does not keep the rest of the declaration.
        recipe = replace(
            recipe_of(project, version.features, version.classes), estimator=version.estimator,
            parameters=version.parameters, seed=version.seed, task=version.task, allowed=version.allowed,
        )  # fmt: skip
        trained = train(recipe, learnt, version.target, threads=version.threads or None)
        artefact = as_bytes(trained.pipeline)
        said = learnt[trained.said]
        model = _model(registry, version, said, trained, stored=stored, artefact=artefact)
    return Rebuilt(version, (*before, training_set, model), notes, artefact, wrong)


def restore(registry: Registry, rebuilt: Rebuilt) -> None:
    """Put the model file that was made in place of one that was changed or lost: it is the registered one, bit for bit.

    Raises:
        RebuildError: if it is not.
    """
    version = rebuilt.version
    if hashlib.sha256(rebuilt.artefact).hexdigest() != version.artefact:
        raise RebuildError(f"{_name(version)}: what was made again is not the registered file: nothing was restored")
    replace_file(registry.path(version, MODEL), rebuilt.artefact)


def _name(version: Version) -> str:
    return f"{version.project}@{version.number}"


def _project(version: Version, today: Project | None) -> Project:
    if version.sources:
        project = recorded_project(version.project, version.sources)
        if project.sql_hash != version.hashes["sql"]:
            raise RebuildError(f"{_name(version)}: its record was changed: its SQL is not what its hash says")
        return project
    if today is None:
        raise RebuildError(
            f"{_name(version)}: its record is from before records kept their declaration, and {version.project} is "
            f"declared no more.{_remedy(version)}"
        )
    return today


def _remedy(version: Version) -> str:
    commit = version.hashes.get("git", "").partition("+")[0]
    return f" Remedy: rebuild it on the commit that made it, {commit}" if commit else ""


def _refuse_lost_snapshot(cursor: duckdb.DuckDBPyConnection, project: Project, version: Version) -> None:
    snapshot = version.training_set.snapshot
    try:
        cursor.execute(f"FROM {project.table('features').at(snapshot)} LIMIT 0")
    except duckdb.Error as error:
        raise RebuildError(
            f"{_name(version)}: the lake does not hold its snapshot {snapshot}: {str(error).splitlines()[0]}. Remedy: "
            "restore the lake from a backup; `ml-assets lake compact` spares the snapshots of registered versions"
        ) from error


def _guarded(asset: str, look: Callable[[], Finding]) -> Finding:
    """What was found; an asset that cannot be made again differs, with what was said."""
    try:
        return look()
    except REFUSALS as error:
        return Finding(asset, "differs", f"it cannot be made again: {error}")


def _raw(cursor: duckdb.DuckDBPyConnection, project: Project, version: Version) -> Finding:
    chosen = version.training_set
    recorded = chosen.contents
    if not recorded:
        return Finding("raw", "unknown", "the record is from before it told what raw held")
    if version.packages.get("duckdb") != packages()["duckdb"]:
        return Finding("raw", "unknown", "another DuckDB hashes rows otherwise")
    found = contents(cursor, project, chosen.keys, chosen.snapshot)
    if found["raw"] != recorded["raw"]:
        return Finding("raw", "differs", f"it held {recorded['raw']} and holds {found['raw']} (rows, sum of hashes)")
    return Finding("raw", "same", f"{int(found['raw'].split()[0]):,} rows, as snapshot {chosen.snapshot} holds them")


def _validated(cursor: duckdb.DuckDBPyConnection, project: Project, version: Version) -> Finding:
    if unknown := _sql_lost(version, project) or _schema_changed(version, project):
        return Finding("validated", "unknown", unknown)
    snapshot = version.training_set.snapshot

    def again(keys: Sequence[str]) -> pl.DataFrame:
        window = project.window(keys[0], keys[-1])
        raw = of_partitions(project, read(cursor, project.table("raw"), window, snapshot), keys)
        cleaned = run_sql(cursor, project.clean_path, project.clean_sql, "raw", raw)
        repeated = in_older_blocks(project, cursor, raw, window, snapshot=snapshot)
        return judge_rows(project, raw, cleaned, repeated).validated

    return _compared(cursor, project, version, "validated", of="raw", again=again)


def _features(cursor: duckdb.DuckDBPyConnection, project: Project, version: Version) -> Finding:
    if unknown := _sql_lost(version, project):
        return Finding("features", "unknown", unknown)
    snapshot = version.training_set.snapshot
    references = read_references(cursor, project, snapshot=snapshot)

    def again(keys: Sequence[str]) -> pl.DataFrame:
        window = project.window(keys[0], keys[-1])
        rows = of_partitions(project, read(cursor, project.table("validated"), window, snapshot), keys)
        return run_sql(cursor, project.features_path, project.features_sql, "validated", rows, references=references)

    return _compared(cursor, project, version, "features", of="validated", again=again)


def _sql_lost(version: Version, project: Project) -> str:
    """Why an asset cannot be made again as it was: its SQL is another, and the record does not hold it."""
    if version.sources or project.sql_hash == version.hashes.get("sql"):
        return ""
    return f"the SQL has changed since, and the record is from before it kept the text.{_remedy(version)}"


def _schema_changed(version: Version, project: Project) -> str:
    """The same of its schema: that is Python, and no Python is run from a record."""
    try:
        found = digest(source_of(project.schema))
    except SchemaError as error:
        return f"{error}.{_remedy(version)}"
    if found == version.hashes.get("schema"):
        return ""
    return f"{project.schema} has changed since, and code is not run from a record.{_remedy(version)}"


def _compared(
    cursor: duckdb.DuckDBPyConnection,
    project: Project,
    version: Version,
    asset: str,
    *,
    of: str,
    again: Callable[[Sequence[str]], pl.DataFrame],
) -> Finding:
    """An asset's rows in the snapshot against those that are made again, some partitions at a time."""
    snapshot, count, greatest = version.training_set.snapshot, 0, 0.0
    for keys in _pieces(cursor, project, of, version.training_set):
        window = project.window(keys[0], keys[-1])
        held = of_partitions(project, read(cursor, project.table(asset), window, snapshot), keys)
        made = again(keys)
        count += held.height
        if found := difference(held, made):
            return Finding(asset, "differs", found)
        greatest = max(greatest, rounding(held, made))
    words = f"{count:,} rows, made again from {of}"
    if greatest:
        words += f"; to the last digits, by {greatest:.0e} at most: a sum in several threads has no order"
    return Finding(asset, "same", words, greatest)


def _pieces(
    cursor: duckdb.DuckDBPyConnection, project: Project, table: str, chosen: TrainingSet
) -> Iterator[list[str]]:
    """The partitions of a training set, as many at a time as hold about `PIECE` rows of a table."""
    at = project.table(table).at(chosen.snapshot)
    counts = dict(cursor.execute(f"SELECT {PARTITION}, count(*) FROM {at} GROUP BY ALL").fetchall())
    piece: list[str] = []
    held = 0
    for key in sorted(chosen.keys, key=project.start_of):
        rows = counts.get(project.start_of(key), 0)
        if piece and held + rows > PIECE:
            yield piece
            piece, held = [], 0
        piece.append(key)
        held += rows
    yield piece


@contextmanager
def _threads_allowed(threads: int) -> Iterator[None]:
    """Let OpenMP start as many threads as the version was trained in, also where there are fewer cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _stored(registry: Registry, version: Version) -> tuple[bytes | None, str]:
    """The registered model file, or None and what is wrong with it."""
    path = registry.path(version, MODEL)
    try:
        registry.check(version)
    except RegistryError as error:
        return None, str(error)
    return path.read_bytes(), ""


def _model(
    registry: Registry,
    version: Version,
    rows: pl.DataFrame,
    trained: Trained,
    *,
    artefact: bytes,
    stored: bytes | None,
) -> Finding:
    found = hashlib.sha256(artefact).hexdigest()
    told = "not recorded" if not version.predictions else "identical"
    if found == version.artefact:
        if version.predictions in {"", trained.digest}:
            words = f"artefact {found[:12]}…, bit for bit; predictions for {rows.height:,} rows {told}"
            return Finding("model", "same", words)
        return Finding(
            "model", "differs", f"the artefact is the same, its predictions for {rows.height:,} rows are others"
        )
    # A version from before model files were the same bytes for the same model.
    if stored is not None and settled(stored) == artefact:
        return Finding("model", "same", "bit for bit, but for addresses and times that older model files hold")
    words = f"artefact {found[:12]}…, {version.artefact[:12]}… was registered"
    if stored is None:
        same = version.predictions == trained.digest
        return Finding("model", "differs", f"{words}; predictions {'identical' if same else 'differ or are unknown'}")
    return Finding("model", "differs", f"{words}; {_apart(registry, version, rows, trained)}")


def _apart(registry: Registry, version: Version, rows: pl.DataFrame, trained: Trained) -> str:
    """How far the predictions of the registered model are from those of the one that was made again."""
    import numpy as np  # noqa: PLC0415

    old = predict(registry.load(version), rows, version.features, version.task, threads=version.threads or None)
    apart = np.abs(old - trained.predicted)
    if not apart.any():
        return f"predictions for {rows.height:,} rows identical"
    return f"predictions for {rows.height:,} rows differ by {apart.max():.3g} at most"


def _notes(version: Version) -> Iterator[str]:
    """What is another today than when the version was made."""
    made, now = version.packages, packages(version.estimator)
    for name in sorted({*made, *now}):
        if made.get(name) != now.get(name):
            yield f"{name} is {now.get(name, 'not installed')}, was {made.get(name, 'not noted')}"
    around = environment()
    for name, value in version.environment.items():
        if value != around.get(name):
            yield f"{name} is {around.get(name)}, was {value}"
    if "code" in version.hashes and version.hashes["code"] != code_hash():
        commit = git_commit(settings.project_root())
        was = version.hashes.get("git", "")
        apart = bool(commit and was) and commit[:12] != was[:12]
        yield "the code of ml-assets has changed" + (f": commit {commit[:12]}, was {was[:12]}" if apart else "")
    if not version.sources:
        yield (
            "the record is from before it kept SQL, schema, threads and predictions: what it does not tell, such as "
            "training.preprocessing, is today's declaration"
        )
