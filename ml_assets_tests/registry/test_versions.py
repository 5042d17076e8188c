from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml_assets.core.training import Words, as_inputs, build_pipeline, fit, predict
from ml_assets.registry.models import Registry, RegistryError, TrainingSet, Version

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SET = TrainingSet(
    snapshot=7,
    train=("2024-01", "2024-02"),
    test=("2024-03",),
    rows=100,
    content_hash="c" * 64,
    run_id="run-1",
    decision=3,
    through="2024-03",
)
FIELDS: dict[str, Any] = {
    "project": "houses",
    "created_at": "2024-04-01T00:00:00.000+00:00",
    "run_id": "run-1",
    "parent": 0,
    "estimator": "sklearn.linear_model.Ridge",
    "parameters": {"alpha": 1.0, "odd": [None, True, "é"]},
    "seed": 5,
    "features": {"town": "category", "area": "number"},
    "target": "price",
    "training_set": SET,
    "hashes": {"sql": "s" * 64},
    "packages": {"scikit-learn": "1"},
    "reference": {"edges": [0.0, 1.5], "bins": {"0": 3}},
}


@pytest.mark.parametrize(
    "estimator",
    [
        "sklearn.ensemble.HistGradientBoostingRegressor",
        "sklearn.ensemble.RandomForestRegressor",
        "sklearn.linear_model.Ridge",
    ],
)
def test_a_pipeline_comes_back_with_identical_predictions(
    registry: Registry, models: dict[str, Pipeline], sales: pl.DataFrame, estimator: str
) -> None:
    version = registry.register(models[estimator], FIELDS)
    inputs = as_inputs(sales.drop_nulls(), FIELDS["features"])
    loaded = registry.load(version)
    assert loaded is not models[estimator]
    np.testing.assert_array_equal(loaded.predict(inputs), models[estimator].predict(inputs))


def test_a_record_comes_back_as_it_was_written(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    assert registry.version("houses", 1) == version
    assert version == Version(**FIELDS, number=1, artefact=version.artefact)


def test_versions_are_numbered_per_project_and_never_given_again(registry: Registry, model: Pipeline) -> None:
    assert registry.numbers("houses") == []
    assert [registry.register(model, FIELDS).number for _ in range(11)] == list(range(1, 12))
    assert registry.register(model, FIELDS | {"project": "rents"}).number == 1
    shutil.rmtree(registry.folder / "houses" / "3")
    assert registry.register(model, FIELDS).number == 12
    assert registry.numbers("houses") == [1, 2, *range(4, 13)]


def test_the_newest_version_of_a_run_is_found_else_the_newest(registry: Registry, model: Pipeline) -> None:
    with pytest.raises(RegistryError, match=r"houses has no version yet.*materialize houses/model"):
        registry.newest("houses", "run-1")
    for run_id in ("run-1", "run-1", "run-2"):
        registry.register(model, FIELDS | {"run_id": run_id})
    assert registry.newest("houses", "run-1").number == 2
    assert registry.newest("houses", "another").number == 3


def test_a_version_that_is_not_there_is_an_error_that_names_those_that_are(registry: Registry, model: Pipeline) -> None:
    with pytest.raises(RegistryError, match=r"houses has no version 7\. It has: none"):
        registry.version("houses", 7)
    registry.register(model, FIELDS)
    registry.register(model, FIELDS)
    with pytest.raises(RegistryError, match=r"houses has no version 7\. It has: 1, 2"):
        registry.version("houses", 7)


# ---- whole or not at all


def leftovers(registry: Registry) -> list[str]:
    return [path.name for path in (registry.folder / "houses").iterdir() if path.name.startswith(".draft-")]


@pytest.mark.parametrize("moment", ["the model is being written", "the record is being written", "it gets its name"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_training_killed_while_it_registers_leaves_no_version(
    registry: Registry, model: Pipeline, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def half_a_model(path: Path, _: bytes) -> None:
        with path.open("wb") as file:
            file.write(b"half")
        die()

    with monkeypatch.context() as patch:
        if moment == "the model is being written":
            patch.setattr(Path, "write_bytes", half_a_model)
        elif moment == "the record is being written":
            patch.setattr(Path, "write_text", die)
        else:
            patch.setattr(Path, "rename", die)
        child = os.fork()
        if child == 0:
            registry.register(model, FIELDS)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(leftovers(registry)) == 1
    assert registry.numbers("houses") == []
    assert registry.snapshots() == set()
    with pytest.raises(RegistryError):
        registry.newest("houses", "run-1")
    assert registry.register(model, FIELDS).number == 1
    assert registry.numbers("houses") == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_registration_leaves_nothing_at_all(
    registry: Registry, model: Pipeline, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(error, match="disk full"):
            registry.register(model, FIELDS)
    assert list((registry.folder / "houses").iterdir()) == []


def test_two_trainings_at_once_get_two_numbers(tmp_path: Path, model: Pipeline) -> None:
    together = Barrier(2)

    class Slow(Registry):
        """Both find out the next number before either takes it."""

        waited = False

        def numbers(self, project: str) -> list[int]:
            found = super().numbers(project)
            if not self.waited:
                self.waited = True
                together.wait(30)
            return found

    def register(run_id: str) -> Version:
        return Slow(tmp_path).register(model, FIELDS | {"run_id": run_id})

    with ThreadPoolExecutor(2) as pool:
        versions = list(pool.map(register, ["run-1", "run-2"]))
    registry = Registry(tmp_path)
    assert registry.numbers("houses") == [1, 2] == sorted(version.number for version in versions)
    for version in versions:
        assert registry.version("houses", version.number) == version
        registry.load(version)
    assert sorted(path.name for path in (tmp_path / "houses").iterdir()) == ["1", "2"]


def test_drafts_that_a_killed_training_left_are_no_versions(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    shutil.copytree(registry.folder / "houses" / "1", registry.folder / "houses" / ".draft-abc")
    assert registry.numbers("houses") == [1]
    assert registry.snapshots() == {7}
    assert registry.newest("houses", "x") == version


# ---- what is trusted


def test_a_changed_model_file_is_refused(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    path = registry.folder / "houses" / "1" / "model.skops"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RegistryError, match=r"model\.skops: its SHA-256 is .* it was changed"):
        registry.load(version)


def test_a_model_file_that_changes_after_it_was_loaded_is_noticed(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    path = registry.folder / "houses" / "1" / "model.skops"
    registry.load(version)
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(RegistryError, match="it was changed"):
        registry.load(version)
    path.write_bytes(content)
    assert registry.load(version) is registry.load(version)


def test_what_is_loaded_are_the_bytes_that_were_hashed_whoever_writes_meanwhile(
    registry: Registry, model: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.register(model, FIELDS)
    read = Path.read_bytes

    def exchanged_once_read(path: Path) -> bytes:
        content = read(path)
        path.write_bytes(b"harm")
        return content

    monkeypatch.setattr(Path, "read_bytes", exchanged_once_read)
    assert type(registry.load(version)) is type(model)
    monkeypatch.undo()
    with pytest.raises(RegistryError, match="it was changed"):
        registry.load(version)


def test_a_missing_model_file_is_an_error_that_says_what_to_do(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    (registry.folder / "houses" / "1" / "model.skops").unlink()
    with pytest.raises(RegistryError, match=r"model file is missing\. Remedy: restore it from a backup"):
        registry.load(version)


def test_a_model_with_a_type_that_is_not_on_the_list_is_refused_unread(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    mark = tmp_path / "it ran"
    foreign = Pipeline([("harm", FunctionTransformer(func=os.system, kw_args={"command": f"touch '{mark}'"}))])
    refused = r"holds (posix|nt|os)\.system, which is not on the list of trusted types"
    with pytest.raises(RegistryError, match=refused):
        registry.register(foreign, FIELDS)
    assert registry.numbers("houses") == []
    # As if an older platform, or somebody with access to the folder, had written it.
    with monkeypatch.context() as careless:
        careless.setattr("ml_assets.registry.models._trusted_types", lambda *_: [])
        version = registry.register(foreign, FIELDS)
    with pytest.raises(RegistryError, match=refused):
        registry.load(version)
    assert not mark.exists()


def test_a_model_is_read_from_disk_once(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    assert registry.load(version) is registry.load(registry.version("houses", 1))


# ---- what stands beside a version


def test_an_evaluation_is_kept_beside_its_version(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    assert registry.evaluation("houses", 1) is None
    assert registry.evaluation("houses", 2) is None
    for value in (0.5, 0.25):
        registry.write_evaluation(version, {"metrics": {"mape": value}, "gates": []})
        assert registry.evaluation("houses", 1) == {"metrics": {"mape": value}, "gates": []}
    assert registry.version("houses", 1) == version
    assert {path.name for path in (registry.folder / "houses" / "1").iterdir()} == {
        "model.skops",
        "version.json",
        "evaluation.json",
    }


def test_the_training_set_of_a_run_is_found_else_the_newest(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"houses has no training set yet.*materialize houses/training_set"):
        registry.training_set("houses", "run-1")
    second = replace(SET, run_id="run-2", snapshot=8)
    registry.keep_training_set("houses", SET)
    registry.keep_training_set("houses", second)
    assert registry.training_set("houses", "run-1") == SET
    assert registry.training_set("houses", "run-2") == second
    assert registry.training_set("houses", "another") == second
    with pytest.raises(RegistryError):
        registry.training_set("rents", "run-1")
    assert sorted(path.name for path in (registry.folder / "houses" / "training_sets").iterdir()) == [
        "latest.json",
        "run-1.json",
        "run-2.json",
    ]


def test_runs_that_keep_training_sets_at_once_do_not_disturb_each_other(registry: Registry) -> None:
    together = Barrier(4)

    def keep(number: int) -> None:
        together.wait(30)
        for round_ in range(50):
            registry.keep_training_set("houses", replace(SET, run_id=f"run-{number}", snapshot=round_))
            registry.training_set("houses", "another")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(4)))
    for number in range(4):
        assert registry.training_set("houses", f"run-{number}").snapshot == 49


def test_the_snapshots_that_versions_were_trained_on_are_listed_for_upkeep_to_spare(
    registry: Registry, model: Pipeline
) -> None:
    assert registry.snapshots() == set()
    for project, snapshot in (("houses", 3), ("houses", 5), ("rents", 5), ("rents", 8)):
        registry.register(model, FIELDS | {"project": project, "training_set": replace(SET, snapshot=snapshot)})
    (registry.folder / "a note.txt").write_text("not a project", encoding="utf-8")
    assert registry.snapshots() == {3, 5, 8}
    for number in (11, 12):
        registry.keep_training_set("houses", replace(SET, snapshot=number, run_id=f"run-{number}"))
    assert registry.snapshots() == {3, 5, 8, 11, 12}, "a run may be training on a set that is not the newest"
    (registry.folder / "houses" / "1" / "version.json").write_text("{")
    with pytest.raises(RegistryError, match=r"houses version 1: its version\.json cannot be read"):
        registry.snapshots()


def test_a_record_is_json_that_any_tool_reads(registry: Registry, model: Pipeline) -> None:
    version = registry.register(model, FIELDS)
    stored = json.loads((registry.folder / "houses" / "1" / "version.json").read_text(encoding="utf-8"))
    assert stored["number"] == 1
    assert stored["artefact"] == version.artefact
    assert stored["training_set"]["train"] == ["2024-01", "2024-02"]


# ---- classification


@pytest.mark.parametrize(
    "estimator",
    [
        "sklearn.linear_model.LogisticRegression",
        "sklearn.naive_bayes.MultinomialNB",
        "sklearn.tree.DecisionTreeClassifier",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.neighbors.KNeighborsClassifier",
    ],
)
@pytest.mark.parametrize("counts", [True, False])
def test_a_classifier_of_text_comes_back_with_identical_probabilities(
    registry: Registry, sales: pl.DataFrame, estimator: str, *, counts: bool
) -> None:
    kinds = {"words": "text", "town": "category", "area": "number"}
    rows = sales.with_columns((pl.col("town") + pl.lit(" is a town")).alias("words"), pl.col("price") > 30_000)
    classes = ("false", "true")
    pipeline = build_pipeline(estimator, {}, kinds, 0, task="binary", words=Words(counts=counts))
    fit(pipeline, rows, kinds, "price", task="binary", classes=classes)
    version = registry.register(pipeline, FIELDS | {"features": kinds, "task": "binary", "classes": classes})

    assert registry.version("houses", 1) == version
    assert registry.load(version) is not pipeline
    expected = predict(pipeline, rows, kinds, "binary")
    np.testing.assert_array_equal(registry.predict(version, rows), expected)
    assert np.unique(expected).size > 1


def test_a_record_from_before_there_were_tasks_is_one_of_a_regression(registry: Registry, model: Pipeline) -> None:
    registry.register(model, FIELDS)
    path = registry.folder / "houses" / "1" / "version.json"
    stored = json.loads(path.read_text())
    del stored["task"], stored["classes"], stored["training_set"]["test_share"], stored["training_set"]["seed"]
    path.write_text(json.dumps(stored))

    version = registry.version("houses", 1)
    assert (version.task, version.classes, version.training_set.test_share) == ("regression", (), 0)
