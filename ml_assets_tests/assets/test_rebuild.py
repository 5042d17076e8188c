"""A version is made again from its record, bit for bit; or the first asset that differs is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from small_market import FEATURES, NAME, PREPARING, Market, open_market, sales

from ml_assets.core import training
from ml_assets.lake.connection import Commit
from ml_assets.lake.upkeep import compact
from ml_assets.rebuild import RebuildError, Rebuilt, rebuild, restore
from ml_assets.registry.models import RegistryError

if TYPE_CHECKING:
    from conftest import Story

ASSETS = ["raw", "validated", "features", "training_set", "model"]
MONTHS = ("2024-01", "2024-02", "2024-03")


def again(market: Market, number: int = 1, *, declared: bool = True) -> Rebuilt:
    with market.settings():
        version = market.registry.version(NAME, number)
        return rebuild(market.lake, market.registry, version, market.project if declared else None)


def status(rebuilt: Rebuilt) -> dict[str, str]:
    return {one.asset: one.status for one in rebuilt.findings}


def trained(folder: Path, months: tuple[str, ...] = MONTHS, **changes: Any) -> Market:
    market = open_market(folder, **changes)
    market.found(months)
    return market


def edit_record(market: Market, change: Any) -> None:
    path = market.registry.folder / NAME / "1" / "version.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market with one version, whose lake tests do not change."""
    return trained(tmp_path_factory.mktemp("settled"))


def test_every_version_of_a_story_is_made_again_bit_for_bit_without_its_declaration(story: Story) -> None:
    for number in (1, 2, 3):
        rebuilt = again(story.market, number, declared=False)

        assert status(rebuilt) == dict.fromkeys(ASSETS, "same"), rebuilt.report()
        assert rebuilt.same
        assert rebuilt.artefact == story.market.registry.path(rebuilt.version, "model.skops").read_bytes()
        assert rebuilt.report()[-1] == "  every bit is the same"


def test_a_rebuild_writes_nothing(settled: Market) -> None:
    def state() -> Any:
        with settled.lake.reader() as cursor:
            snapshot = cursor.execute("SELECT id FROM lake.current_snapshot()").fetchall()
        return snapshot, sorted(path.name for path in settled.registry.folder.rglob("*"))

    before = state()
    again(settled)
    assert state() == before


def test_rows_that_changed_later_and_upkeep_change_nothing(tmp_path: Path) -> None:
    market = trained(tmp_path)
    for month in MONTHS:
        market.write(month, sales(month, level=3))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    compact(market.lake, keep=timedelta(0), protected=market.registry.snapshots())

    assert again(market).same
    assert market.table("raw", "2024-02")["price"].to_list() != sorted(row["price"] for row in sales("2024-02"))


def test_files_that_changed_since_are_not_read_the_record_is(tmp_path: Path) -> None:
    market = trained(tmp_path)
    changed = open_market(
        tmp_path, features=FEATURES.replace("area, price", "2 * area AS area, price"), training={"seed": 8, "window": 3}
    )
    assert changed.project.sql_hash != market.project.sql_hash

    assert again(changed).same


def test_a_record_from_before_says_why_it_cannot_be_made_again(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "old")
    old = open_market(tmp_path / "old")

    def forget(record: dict[str, Any]) -> None:
        for name in ("sources", "threads", "environment", "predictions"):
            del record[name]
        del record["training_set"]["contents"], record["hashes"]["code"]
        record["hashes"]["git"] = "c0ffee"

    edit_record(old, forget)
    assert status(again(old)) == {**dict.fromkeys(ASSETS, "same"), "raw": "unknown"}
    assert "what could be compared is the same" in again(old).report()[-1]

    other = {"estimator": "sklearn.linear_model.Ridge", "parameters": {"alpha": 50.0}, "seed": 8}
    changed = open_market(tmp_path / "old", training=other)
    assert status(again(changed))["model"] == "same", "estimator, parameters and seed are those of the record"
    changed = open_market(tmp_path / "old", features=FEATURES + " WHERE true")
    rebuilt = again(changed)
    assert status(rebuilt) == dict.fromkeys(ASSETS, "unknown") | {"training_set": "same", "model": "same"}
    assert "from before it kept the text. Remedy: rebuild it on the commit that made it, c0ffee" in str(
        rebuilt.findings
    )
    with pytest.raises(RebuildError, match=r"flats@1: its record is from before .* declared no more.*c0ffee"):
        again(old, declared=False)


def test_a_model_file_from_before_files_were_settled_is_compared_all_the_same(tmp_path: Path) -> None:
    import hashlib

    import skops.io

    market = trained(tmp_path)
    version = market.registry.version(NAME, 1)
    path = market.registry.path(version, "model.skops")
    with market.settings():
        skops.io.dump(rebuild_pipeline(market), path)
    edit_record(market, lambda record: record.update(artefact=hashlib.sha256(path.read_bytes()).hexdigest()))

    rebuilt = again(market)
    assert rebuilt.same
    assert "but for addresses and times" in rebuilt.findings[-1].words


def rebuild_pipeline(market: Market) -> Any:
    from ml_assets.assets.model import recipe_of
    from ml_assets.assets.rows import rows_to_learn, training_rows
    from ml_assets.core.training import train

    version = market.registry.version(NAME, 1)
    rows = rows_to_learn(
        market.project, training_rows(market.lake, market.project, version.training_set), version.training_set
    )
    return train(recipe_of(market.project, version.features, version.classes), rows, version.target).pipeline


# ------------------------------------------------------------------------------------------------ what differs


def tampered(settled: Market, folder: Path, table: str, change: str) -> Market:
    """A copy of a market whose record names a snapshot in which somebody has changed a table."""
    shutil.copytree(settled.folder, folder)
    market = open_market(folder)
    with market.lake.transaction(Commit(NAME, "somebody")) as transaction:
        transaction.cursor.execute(f"UPDATE {market.project.table(table).path} SET {change} WHERE _row = 7")
    edit_record(market, lambda record: record["training_set"].update(snapshot=transaction.snapshot))
    return market


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("raw", "area = '77'", "rows, sum of hashes"),
        ("validated", "area = 77", "column 'area': "),
        ("features", "area = 77", "column 'area': "),
    ],
)
def test_the_first_asset_that_differs_is_named(
    settled: Market, tmp_path: Path, table: str, change: str, words: str
) -> None:
    rebuilt = again(tampered(settled, tmp_path / "copy", table, change))

    assert rebuilt.first_difference is not None
    assert rebuilt.first_difference.asset == table
    assert words in rebuilt.first_difference.words
    assert rebuilt.report()[-1] == f"  the first asset that differs is {table}"
    if table != "raw":
        assert "2 of 120 rows differ, first row 7 of sales/2024-02.csv: 77" in rebuilt.first_difference.words


def test_what_is_not_judged_anew_is_no_difference_of_what_comes_after(settled: Market, tmp_path: Path) -> None:
    found = status(again(tampered(settled, tmp_path / "copy", "validated", "town = 'EAST', price = 1")))

    assert (found["raw"], found["validated"]) == ("same", "differs")
    assert (found["training_set"], found["model"]) == ("same", "same"), "trained on the rows of features, as recorded"


def test_other_rows_of_a_training_set_are_not_trained_on(settled: Market, tmp_path: Path) -> None:
    rebuilt = again(tampered(settled, tmp_path / "copy", "features", "area = 77"))

    assert status(rebuilt)["training_set"] == "differs"
    assert status(rebuilt)["model"] == "unknown"
    assert not rebuilt.artefact


def test_a_tampered_model_file_is_named_and_can_be_restored(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    version = market.registry.version(NAME, 1)
    path = market.registry.path(version, "model.skops")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"!")

    rebuilt = again(market)
    assert status(rebuilt)["model"] == "same", "what was registered can be made again"
    assert "model.skops: its SHA-256 is" in rebuilt.model_file
    assert not rebuilt.same
    restore(market.registry, rebuilt)
    assert path.read_bytes() == good
    assert again(market).same


def test_what_is_not_the_registered_file_is_never_restored(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    edit_record(market, lambda record: record.update(artefact="0" * 64))
    rebuilt = again(market)

    assert rebuilt.first_difference is not None
    assert rebuilt.first_difference.asset == "model"
    with pytest.raises(RebuildError, match="nothing was restored"):
        restore(market.registry, rebuilt)
    with pytest.raises(RegistryError, match="it was changed"):
        market.registry.load(market.registry.version(NAME, 1))


def test_other_parameters_make_another_model(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    edit_record(market, lambda record: record.update(parameters={"fit_intercept": False}))
    rebuilt = again(market)

    assert status(rebuilt)["model"] == "differs"
    assert "predictions for 60 rows differ by" in rebuilt.findings[-1].words


def test_sql_that_was_changed_in_the_record_is_noticed(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    edit_record(market, lambda record: record["sources"].update(features_sql="FROM validated"))

    with pytest.raises(RebuildError, match="its record was changed: its SQL is not what its hash says"):
        again(market)


def test_a_schema_that_changed_since_is_said_and_never_run_from_the_record(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")

    def older(record: dict[str, Any]) -> None:
        record["sources"]["schema_source"] = "raise SystemExit('it ran')"
        record["hashes"]["schema"] = "another"

    edit_record(market, older)
    rebuilt = again(market)
    assert status(rebuilt) == dict.fromkeys(ASSETS, "same") | {"validated": "unknown"}
    assert "flat_schema:Flat has changed since, and code is not run from a record" in rebuilt.findings[1].words


def test_a_snapshot_that_is_gone_is_explained(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    compact(market.lake, keep=timedelta(0), protected=set())
    market.materialize(["raw"], "2024-01")
    compact(market.lake, keep=timedelta(0), protected=set())

    with pytest.raises(RebuildError, match=r"the lake does not hold its snapshot \d+: .*restore the lake"):
        again(market)


def test_other_libraries_code_and_machines_are_told(settled: Market, tmp_path: Path) -> None:
    assert again(settled).notes == ()
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")

    def elsewhere(record: dict[str, Any]) -> None:
        record["packages"]["numpy"] = "1.0"
        record["environment"]["machine"] = "Amiga 68000"
        record["hashes"]["code"] = "another"

    edit_record(market, elsewhere)
    notes = "\n".join(again(market).notes)
    assert "numpy is " in notes
    assert "was 1.0" in notes
    assert "was Amiga 68000" in notes
    assert "the code of ml-assets has changed" in notes


# ----------------------------------------------------------------------------------------------- what is pinned


def test_threads_are_those_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "ROWS_FOR_ONE_THREAD", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    estimator = "sklearn.ensemble.HistGradientBoostingRegressor"
    market = trained(tmp_path, training={"estimator": estimator, "parameters": {"max_iter": 20}})
    assert market.registry.version(NAME, 1).threads == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    used = []
    pinned = training.pinned

    def spied(threads: int) -> Any:
        used.append(threads)
        return pinned(threads)

    monkeypatch.setattr(training, "pinned", spied)
    assert again(market).same
    assert used == [2, 2], "fitted and predicted"
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_with_another_hash_seed_makes_the_same_bytes(settled: Market, seed: str) -> None:
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from ml_assets.lake.connection import Lake
from ml_assets.registry.models import Registry
from ml_assets.rebuild import rebuild
home = Path({str(settled.folder / "home")!r})
registry = Registry(home / "registry")
rebuilt = rebuild(Lake(home / "lake"), registry, registry.version("{NAME}", 1), None)
assert rebuilt.same, rebuilt.report()
"""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "ML_ASSETS_HOME": str(settled.folder / "home")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# -------------------------------------------------------------------------------------------------- the command


def command(market: Market, *arguments: str) -> Any:
    from typer.testing import CliRunner

    from ml_assets.cli import app
    from ml_assets.lake.resource import shared_lake

    shared_lake.cache_clear()
    with market.settings():
        try:
            return CliRunner().invoke(app, arguments)
        finally:
            shared_lake.cache_clear()


def test_the_command_tells_of_each_asset_and_of_all_versions(story: Story) -> None:
    one, every = command(story.market, "rebuild", f"{NAME}@2"), command(story.market, "rebuild", NAME)

    assert (one.exit_code, every.exit_code) == (0, 0), every.output
    assert [line.split()[:2] for line in one.output.splitlines()[1:6]] == [[asset, "same"] for asset in ASSETS]
    assert every.output.count("every bit is the same") == 3


def test_the_command_fails_on_a_tampered_model_file_and_restores_it(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    path = market.registry.folder / NAME / "1" / "model.skops"
    path.write_bytes(b"harm")

    found = command(market, "rebuild", f"{NAME}@1")
    assert found.exit_code == 1
    assert "model.skops: its SHA-256 is" in found.output
    path.unlink()
    restored = command(market, "rebuild", f"{NAME}@1", "--restore")
    assert restored.exit_code == 0
    assert "the model file is restored, bit for bit" in restored.output
    assert command(market, "rebuild", f"{NAME}@1").exit_code == 0


def test_the_command_goes_on_after_a_version_that_cannot_be_made_again(settled: Market, tmp_path: Path) -> None:
    shutil.copytree(settled.folder, tmp_path / "copy")
    market = open_market(tmp_path / "copy")
    versions = market.registry.folder / NAME
    for number in ("2", "3"):
        shutil.copytree(versions / "1", versions / number)
    edit_record(market, lambda record: record["training_set"].update(snapshot=10**6))
    (versions / "2" / "version.json").write_text("{")

    found = command(market, "rebuild", NAME)
    assert found.exit_code == 1
    assert "flats@1 cannot be made again: flats@1: the lake does not hold its snapshot 1000000" in found.output
    assert "flats@2 cannot be made again: flats version 2: its version.json cannot be read" in found.output
    assert "  every bit is the same" in found.output
    assert "snapshot 1000000" in str(command(market, "rebuild", f"{NAME}@1").exception)


def test_what_differs_in_the_last_digits_is_not_called_the_same_in_every_bit(settled: Market) -> None:
    rebuilt = again(settled)
    findings = [replace(one, rounding=1e-13 * (one.asset == "features")) for one in rebuilt.findings]
    rounded = replace(rebuilt, findings=tuple(findings))

    assert rounded.same
    assert rounded.report()[-1] == (
        "  what could be compared is the same, bit for bit but for the last digits of features"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flats@9", "flats has no version 9. It has: 1"),
        ("other", "other has no version yet"),
        ("../flats@1", "names no version. Expected PROJECT@N"),
    ],
)
def test_the_command_says_which_versions_there_are(settled: Market, name: str, words: str) -> None:
    assert words in str(command(settled, "rebuild", name).exception)
