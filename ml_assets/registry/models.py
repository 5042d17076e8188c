"""Model versions: one folder each, written whole under another name and then renamed, never changed afterwards.

A model is stored by skops and loaded only if its bytes are those that were registered and every type in it is on a
fixed list: a model file is data here, never code (ADR 0003).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_assets import settings
from ml_assets.core.files import replace_file
from ml_assets.core.training import predict
from ml_assets.registry.artefact import as_bytes, skops_io

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import polars as pl
    from sklearn.pipeline import Pipeline

    from ml_assets.core.tasks import Task, Values

TRUSTED_TYPES = [
    "collections.OrderedDict",
    # The boosters are stored as their own text or binary format, which their libraries parse.
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
]
MODEL, RECORD, EVALUATION = "model.skops", "version.json", "evaluation.json"


class RegistryError(Exception):
    """A version cannot be found, written or trusted; the message names it."""


@dataclass(frozen=True)
class TrainingSet:
    """What a model is trained on: not a copy, but all that is needed to read the same rows again.

    Attributes:
        snapshot: the lake's version.
        train, test: keys of the partitions: of all that is learnt from, and of what judges the version. The same where
            rows are parted by lot.
        rows: rows in all of them, validation and holdout included.
        content_hash: SHA-256 over the rows' values, in order.
        run_id: the run that chose it.
        decision: id of the ledger entry that asked for it, 0 where a person did.
        through: the newest partition that could be used.
        test_share: share of rows held out by chance, where train and test are the same partitions; else 0.
        seed: of that chance.
        validation: keys of the partitions among `train` that judged the trials of a search.
        holdout: keys of the partitions that no choice looked at.
        lots: what a row's lot hangs on: `random` (the row), `stratified` or `grouped`.
        by: the column of strata or groups, "" where there is none.
        validation_share, holdout_share: shares of rows that drew those sides.
        leakage: what the leakage gate found, each with `name`, `words` and the reason it was `waived` for; "" where it
            was not, and then no model learns from these rows.
        contents: what its partitions hold in the tables that `features` is made from, as counts and sums of hashes;
            empty where nobody noted it.
    """

    snapshot: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    rows: int
    content_hash: str
    run_id: str
    decision: int
    through: str
    test_share: float = 0.0
    seed: int = 0
    validation: tuple[str, ...] = ()
    holdout: tuple[str, ...] = ()
    lots: Literal["random", "stratified", "grouped"] = "random"
    by: str = ""
    validation_share: float = 0.0
    holdout_share: float = 0.0
    leakage: tuple[dict[str, str], ...] = ()
    contents: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> TrainingSet:
        """A training set as JSON holds it."""
        keys = {name: tuple(stored.get(name, ())) for name in ("train", "test", "validation", "holdout", "leakage")}
        return cls(**{**stored, **keys})

    @property
    def waived(self) -> dict[str, str]:
        """The findings of the leakage gate that were let pass, each with the written reason."""
        return {each["name"]: each["waived"] for each in self.leakage if each["waived"]}

    @property
    def keys(self) -> tuple[str, ...]:
        """The partitions that any of its rows stand in, in their order."""
        return tuple(sorted({*self.train, *self.test, *self.holdout}))


@dataclass(frozen=True)
class Version:
    """The record of a version: enough to train it again.

    Attributes:
        project, number: its name.
        created_at: ISO 8601, UTC.
        run_id: the Dagster run that trained it.
        parent: the champion when it was trained, 0 where there was none.
        estimator, parameters, seed: what was trained.
        features: feature → `number`, `category`, `date` or `text`, in order.
        target: the target's name.
        training_set: what it was trained on.
        hashes: SHA-256 of the declaration, the SQL, the schema, the lock file, and the git commit where there is one.
        packages: versions of the libraries that the artefact depends on.
        artefact: SHA-256 of the model file.
        reference: profile of its predictions for training rows (some, drawn by the seed, where they are many): `edges`,
            and `bins` with rows per bin.
        task: what it was trained for.
        classes: labels as text, in the order of its probabilities: for `binary` the negative one, then the positive
            one; empty for a regression.
        allowed: packages of the project's own, whose estimators its model may hold.
        search: how its parameters were found: `trials` with their metric in each fold, and which is the best; empty
            where nothing was searched. The best are in `parameters` too.
        holdout: `rows`, and `metrics` on the rows that no choice looked at; empty where there are none.
        sources: what it was declared with, to be read again: `clean_sql`, `features_sql`, `schema_source`, and
            `declaration`, the rest as JSON values. Empty in records from before they were kept, like the next.
        threads: in how many it was trained and predicts; 0 where nobody noted it.
        environment: Python, machine and linear algebra that it was trained on.
        predictions: SHA-256 over the same predictions.
    """

    project: str
    number: int
    created_at: str
    run_id: str
    parent: int
    estimator: str
    parameters: dict[str, Any]
    seed: int
    features: dict[str, str]
    target: str
    training_set: TrainingSet
    hashes: dict[str, str]
    packages: dict[str, str]
    artefact: str
    reference: dict[str, Any] = field(default_factory=dict)
    task: Task = "regression"
    classes: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    search: dict[str, Any] = field(default_factory=dict)
    holdout: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    threads: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    predictions: str = ""


def as_stored(version: Version) -> dict[str, Any]:
    """A version's record as plain values, as it stands in its folder."""
    return dict(json.loads(json.dumps(asdict(version))))


class Registry:
    """The versions of all projects, in a folder.

    Args:
        folder: holds `<project>/<number>/`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def numbers(self, project: str) -> list[int]:
        """The project's version numbers, ascending."""
        folder = self.folder / project
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []

    def register(self, model: Pipeline, fields: dict[str, Any]) -> Version:
        """Store a fitted pipeline as a new version.

        Args:
            model: the pipeline.
            fields: the record's fields, but for `number` and `artefact`.

        Returns:
            The version. Whoever is interrupted leaves no version behind, and two at once get two numbers.
        """
        content = as_bytes(model)
        project = self.folder / str(fields["project"])
        project.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=project))
        try:
            (draft / MODEL).write_bytes(content)
            _trusted_types(draft / MODEL, fields.get("allowed", ()), content)
            artefact = hashlib.sha256(content).hexdigest()
            while True:
                number = max(self.numbers(project.name), default=0) + 1
                version = Version(**fields, number=number, artefact=artefact)
                (draft / RECORD).write_text(json.dumps(asdict(version), indent=1), encoding="utf-8")
                try:
                    draft.rename(project / str(number))
                except OSError:
                    # Another training took the number: a folder that is not empty is never replaced by a rename.
                    if not (project / str(number)).is_dir():
                        raise
                else:
                    return version
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def version(self, project: str, number: int) -> Version:
        """The record of a version.

        Raises:
            RegistryError: if there is no such version, or its record cannot be read.
        """
        path = self._file(project, number, RECORD)
        if not path.is_file():
            raise RegistryError(
                f"{project} has no version {number}. It has: {', '.join(map(str, self.numbers(project))) or 'none'}. "
                "Remedy: name one of these; or, where its folder was lost, restore that from a backup"
            )
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            training_set = TrainingSet.of(stored.pop("training_set"))
            stored |= {name: tuple(stored.get(name, ())) for name in ("classes", "allowed")}
            return Version(**stored, training_set=training_set)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise RegistryError(
                f"{project} version {number}: its {RECORD} cannot be read: {error}. Remedy: restore the folder from a "
                "backup; `ml-assets audit verify` tells what else differs"
            ) from error

    def newest(self, project: str, run_id: str) -> Version:
        """The version that a run trained, else the newest.

        Raises:
            RegistryError: if there is none.
        """
        newest = None
        # The newest first: an old one whose folder is broken is in nobody's way.
        for number in reversed(self.numbers(project)):
            version = self.version(project, number)
            if version.run_id == run_id:
                return version
            newest = newest or version
        if newest is None:
            raise RegistryError(f"{project} has no version yet. Remedy: materialize {project}/model")
        return newest

    def load(self, version: Version) -> Pipeline:
        """The fitted pipeline of a version.

        Raises:
            RegistryError: if the file is not the one that was registered, or holds a type that is not trusted.
        """
        path, state = self._model_file(version)
        # A file that was touched since it was loaded is read and hashed again; to ask costs microseconds.
        return _load(
            path, version.artefact, version.allowed, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        )

    def path(self, version: Version, name: str) -> Path:
        """Where a file of a version stands."""
        return self._file(version.project, version.number, name)

    def check(self, version: Version) -> None:
        """Make sure that the model file is the one that was registered.

        Raises:
            RegistryError: if it is missing or was changed.
        """
        path, _ = self._model_file(version)
        _refuse_changed(path, _sha256(path), version.artefact)

    def predict(self, version: Version, rows: pl.DataFrame) -> Values:
        """Predictions of a version for rows of `features`.

        Returns:
            regression: values in the target's unit, shape (n,). binary: probabilities of the positive label, shape
            (n,). multiclass: probabilities, shape (n, classes), in the order of the version's classes.

        Raises:
            RegistryError: if the rows lack a feature that it needs, or its model cannot be trusted.
        """
        missing = [name for name in version.features if name not in rows.columns]
        if missing:
            raise RegistryError(
                f"version {version.number} of {version.project} needs the feature {missing[0]!r}, which features.sql "
                "no longer returns. Remedy: return it again, or train a new version with `ml-assets retrain "
                f"{version.project}`"
            )
        return predict(self.load(version), rows, version.features, version.task)

    def write_evaluation(
        self, version: Version, evaluation: dict[str, Any], pictures: Mapping[str, bytes] | None = None
    ) -> None:
        """Keep a version's evaluation beside it, with its pictures: name → PNG."""
        named = {"pictures": sorted(pictures)} if pictures else {}
        text = json.dumps(evaluation | named, indent=1, allow_nan=False)
        contents = {f"{name}.png": content for name, content in (pictures or {}).items()}
        # The numbers last: whoever reads a picture's name in them finds the picture.
        for name, content in {**contents, EVALUATION: text.encode()}.items():
            replace_file(self._file(version.project, version.number, name), content)

    def picture(self, project: str, number: int, name: str) -> bytes | None:
        """A picture that a version's evaluation names; None for any other file."""
        stored = self.evaluation(project, number)
        if stored is None or name not in stored.get("pictures", ()):
            return None
        return self._file(project, number, f"{name}.png").read_bytes()

    def evaluation(self, project: str, number: int) -> dict[str, Any] | None:
        """A version's evaluation, or None where it has not been evaluated.

        Raises:
            RegistryError: if it cannot be read.
        """
        path = self._file(project, number, EVALUATION)
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
        except (OSError, ValueError, TypeError) as error:
            raise RegistryError(
                f"{project} version {number}: its {EVALUATION} cannot be read: {error}. Remedy: restore it from "
                "a backup"
            ) from error

    def record_hash(self, project: str, number: int) -> str:
        """SHA-256 of a version's record as it lies in its folder.

        Raises:
            RegistryError: if there is no such version.
        """
        self.version(project, number)
        return _sha256(self._file(project, number, RECORD))

    def hashes(self, project: str, number: int) -> dict[str, str]:
        """SHA-256 of a version's `record` and `artefact` as they lie in its folder; "" where a file is gone."""
        files = {"record": self._file(project, number, RECORD), "artefact": self._file(project, number, MODEL)}
        return {name: _sha256(file) if file.is_file() else "" for name, file in files.items()}

    def size(self, version: Version) -> int:
        """Bytes of a version's model file.

        Raises:
            RegistryError: if it is gone.
        """
        return self._model_file(version)[1].st_size

    def snapshots(self) -> set[int]:
        """The lake snapshots that versions were trained on, or may yet be: upkeep spares them.

        Not only those of the newest training set: a run may be training on an older one.

        Raises:
            RegistryError: if a record cannot be read: what it names must not be forgotten unawares.
        """
        projects = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        trained = {
            self.version(name, number).training_set.snapshot for name in projects for number in self.numbers(name)
        }
        chosen = {
            self.training_set(name, file.stem).snapshot
            for name in projects
            for file in (self.folder / name / "training_sets").glob("*.json")
        }
        return trained | chosen

    def keep_training_set(self, project: str, training_set: TrainingSet) -> None:
        """Keep what the next `model` is to be trained on."""
        folder = self.folder / project / "training_sets"
        for name in (training_set.run_id, "latest"):
            replace_file(folder / f"{name}.json", json.dumps(asdict(training_set), indent=1))

    def training_set(self, project: str, run_id: str) -> TrainingSet:
        """The training set that a run chose, else the newest.

        Raises:
            RegistryError: if there is none.
        """
        folder = self.folder / project / "training_sets"
        for name in (run_id, "latest"):
            path = folder / f"{name}.json"
            if path.is_file():
                return TrainingSet.of(json.loads(path.read_text(encoding="utf-8")))
        raise RegistryError(f"{project} has no training set yet. Remedy: materialize {project}/training_set")

    def _model_file(self, version: Version) -> tuple[Path, os.stat_result]:
        path = self._file(version.project, version.number, MODEL)
        try:
            return path, path.stat()
        except FileNotFoundError as error:
            message = f"{path}: the model file is missing. Remedy: restore it from a backup, or train again"
            raise RegistryError(message) from error

    def _file(self, project: str, number: int, name: str) -> Path:
        return self.folder / project / str(int(number)) / name


def home_registry() -> Registry:
    """The model versions of this home."""
    return Registry(settings.home() / "registry")


@lru_cache(maxsize=8)
def _load(path: Path, artefact: str, allowed: tuple[str, ...], state: tuple[int, ...]) -> Pipeline:  # noqa: ARG001 - another state is another file
    # Read once: what is hashed, looked at and loaded are the same bytes, whoever writes meanwhile.
    content = path.read_bytes()
    _refuse_changed(path, hashlib.sha256(content).hexdigest(), artefact)
    return skops_io().loads(content, trusted=_trusted_types(path, allowed, content))


def _refuse_changed(path: Path, found: str, artefact: str) -> None:
    if found != artefact:
        raise RegistryError(
            f"{path}: its SHA-256 is {found[:12]}…, {artefact[:12]}… was registered: it was changed. Remedy: restore it"
        )


def _trusted_types(path: Path, allowed: Sequence[str], content: bytes) -> list[str]:
    """The types that a model file may hold: those of the list, and estimators of packages that the project allows.

    Args:
        path: the file, for messages.
        allowed: packages of the project's own.
        content: of the file.

    Raises:
        RegistryError: if it holds another.
    """
    found = skops_io().get_untrusted_types(data=content)
    unknown = [name for name in found if name not in TRUSTED_TYPES and not _is_own_estimator(name, allowed)]
    if unknown:
        raise RegistryError(
            f"{path}: holds {unknown[0]}, which is not on the list of trusted types. Remedy: another estimator or "
            "preprocessing; or, for an estimator class of your own, name its package in training.allowed"
        )
    return list(found)


def _is_own_estimator(name: str, allowed: Sequence[str]) -> bool:
    """Whether a type is an estimator of an allowed package: nothing but one is built, whatever a record allows."""
    from sklearn.base import BaseEstimator

    if not any(name.startswith(f"{package.rstrip('.')}.") for package in allowed):
        return False
    module, _, kind = name.rpartition(".")
    found = getattr(importlib.import_module(module), kind, None)
    return isinstance(found, type) and issubclass(found, BaseEstimator)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
