from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ml_assets.assets.validated import AccountingError, Tally, check_results, judge_rows
from ml_assets.core.validation import FileFailure, outline
from ml_assets.schemas import SchemaError, forget_outline, load_schema, schema_outline, source_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMA = """\
import datetime

import pandera.polars as pa

{imports}

class Sale(pa.DataFrameModel):
    day: datetime.date = pa.Field(description="Day of the sale.")
    area: float = pa.Field({demand})

class Plain:
    pass

Number = 7
"""
PROBE = """\
import json, sys
from ml_assets.schemas import schema_outline
names = [check.name for check in schema_outline(sys.argv[1]).checks]
print(json.dumps({"names": names, "loaded": sorted({"pandera", "polars", "pandas", "sklearn"} & set(sys.modules))}))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:  # noqa: ARG001 - sets it
    """Write the module of a schema, as if in a fresh process; the answer is the schema's path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(demand: str = "gt=0", imports: str = "", *, module: str = "sale_schema") -> str:
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(SCHEMA.format(demand=demand, imports=imports), encoding="utf-8")
        # Python tells versions of a module apart by second and size.
        for compiled in tmp_path.glob(f"__pycache__/{module}.*"):
            compiled.unlink()
        return f"{module}:Sale"

    return write


def checks(path: str) -> list[str]:
    return [check.name for check in schema_outline(path).checks if check.column == "area"]


def cached(home: Path) -> list[Path]:
    return sorted((home / "cache" / "schemas").iterdir())


# The cache


def test_an_outline_is_that_of_the_schema_cold_and_warm(write: Callable[..., str], home: Path) -> None:
    path = write(demand="gt=0, nullable=True, description='Größe'")
    cold = schema_outline(path)

    assert cold == schema_outline(path) == outline(load_schema(path))
    assert [file.suffix for file in cached(home)] == [".json"]


def test_an_unchanged_source_is_not_imported_again(write: Callable[..., str]) -> None:
    path = write()
    made = schema_outline(path)
    del sys.modules["sale_schema"]

    assert schema_outline(path) == made
    assert "sale_schema" not in sys.modules


def test_a_changed_source_has_an_outline_of_its_own(write: Callable[..., str], home: Path) -> None:
    assert checks(write("gt=0"))[-1] == "area__greater_than"
    assert checks(write("lt=9"))[-1] == "area__less_than"
    assert checks(write("gt=0"))[-1] == "area__greater_than"
    assert len(cached(home)) == 2


def test_schemas_of_one_module_do_not_share_an_outline(write: Callable[..., str], tmp_path: Path) -> None:
    path = write()
    with (tmp_path / "sale_schema.py").open("a", encoding="utf-8") as module:
        module.write("\nclass Rent(pa.DataFrameModel):\n    fee: int\n")

    assert schema_outline(path) != schema_outline("sale_schema:Rent")


def test_outlines_do_not_outlive_the_version_of_what_made_them(
    write: Callable[..., str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    schema_outline(path)
    monkeypatch.setattr("ml_assets.schemas.importlib.metadata.version", lambda name: f"{name} of tomorrow")
    schema_outline(path)

    assert len(cached(home)) == 2


def test_an_outline_that_another_code_made_is_made_anew(
    write: Callable[..., str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    made = schema_outline(path)
    (tmp_path / "validation.py").write_text("# other rules for names\n", encoding="utf-8")
    monkeypatch.setattr("ml_assets.schemas.validation.__file__", str(tmp_path / "validation.py"))

    assert schema_outline(path) == made
    assert len(cached(home)) == 2


def test_nothing_half_written_is_left_in_the_cache(
    write: Callable[..., str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("ml_assets.schemas.Path.replace", fail)
        with pytest.raises(OSError, match="the disk is full"):
            schema_outline(path)

    assert not [file for file in cached(home) if file.suffix == ".json"]
    assert checks(path)[-1] == "area__greater_than"


@pytest.mark.parametrize("warm", [False, True])
def test_pandera_is_imported_only_where_no_outline_is_known(
    write: Callable[..., str], tmp_path: Path, *, warm: bool
) -> None:
    path = write()
    if warm:
        schema_outline(path)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, path],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)

    assert "area__greater_than" in told["names"]
    assert ("pandera" in told["loaded"]) != warm
    assert not (warm and told["loaded"])


# What no longer fits


def test_an_outline_that_no_longer_fits_is_an_error_and_is_not_kept(write: Callable[..., str], tmp_path: Path) -> None:
    """The schema's own source is unchanged; what it imports is not."""
    limits = tmp_path / "limits.py"
    limits.write_text("LIMITS = {'gt': 0}\n", encoding="utf-8")
    path = write("**LIMITS", "from limits import LIMITS")
    expected = [check.name for check in schema_outline(path).checks]
    limits.write_text("LIMITS = {'lt': 10_000}\n", encoding="utf-8")
    fresh_process(tmp_path)
    assert [check.name for check in schema_outline(path).checks] == expected

    with pytest.raises(
        AccountingError, match=r"sale_schema:Sale has changed.*area__greater_than, area__less_than.*reload"
    ):
        list(judged_results(path, expected))

    reloaded = [check.name for check in schema_outline(path).checks]
    assert "area__less_than" in reloaded
    assert [result.check_name for result in judged_results(path, reloaded)][: len(reloaded)] == reloaded


def fresh_process(folder: Path) -> None:
    for name in ("sale_schema", "limits"):
        sys.modules.pop(name, None)
    for compiled in folder.glob("__pycache__/*"):
        compiled.unlink()


def judged_results(path: str, expected: list[str]) -> list[object]:
    """What the asset reports on one good row, told the checks that the graph was loaded with."""
    from datetime import date, datetime

    import dagster as dg
    import polars as pl

    from ml_assets.declared.modelling import Training
    from ml_assets.declared.monitoring import Monitoring
    from ml_assets.declared.retraining import Retraining
    from ml_assets.declared.rows import Partitions, Validation
    from ml_assets.declared.sources import Source
    from ml_assets.project import Project

    project = Project(
        name="sales", description="", owners=(), source=Source(files="%Y-%m.csv"),
        partitions=Partitions(grain="month", start="2024-01", time="day"), schema=path, clean_sql="", features_sql="",
        clean_path="", features_path="", target="area", validation=Validation(),
        training=Training(estimator="e", window=2, test=1), gates=(), monitoring=Monitoring(), retraining=Retraining(),
    )  # fmt: skip
    lineage = pl.DataFrame({"_partition": [datetime(2024, 1, 1)], "_source": ["f.csv"], "_row": [1]})  # noqa: DTZ001
    raw = lineage.with_columns(pl.lit(None, dtype=pl.String).alias("_malformed"), pl.lit("50").alias("area"))
    cleaned = lineage.with_columns(pl.lit(date(2024, 1, 5)).alias("day"), pl.lit(50.0).alias("area"))
    tally = Tally()
    counts = {"raw_rows": 1, "validated_rows": 1, "quarantine_rows": 0, "duplicates_rows": 0}
    tally.add(judge_rows(project, raw, cleaned), {"2024-01": counts})
    return list(check_results(project, dg.AssetKey("validated"), tally, expected))


def test_what_is_not_cached_can_be_forgotten(write: Callable[..., str], home: Path) -> None:
    path = write()
    forget_outline(path)
    schema_outline(path)
    forget_outline(path)

    assert cached(home) == []


# Paths that lead nowhere


@pytest.mark.parametrize(
    "path", ["", ":Sale", "nowhere:Sale", "nowhere.at.all:Sale", "json.nothing:Sale", "sys:Sale", "json.decoder.x:Sale"]
)
def test_a_module_that_is_not_there_is_an_error(path: str, home: Path) -> None:  # noqa: ARG001 - sets it
    for ask in (source_of, schema_outline):
        with pytest.raises(SchemaError, match=r"Expected `module:Class`") as caught:
            ask(path)
        assert repr(path) in str(caught.value)


@pytest.mark.parametrize("name", ["Nothing", ""])
def test_a_schema_that_its_module_lacks_is_an_error(write: Callable[..., str], name: str) -> None:
    write()
    for ask in (load_schema, schema_outline):
        with pytest.raises(SchemaError, match=f"'sale_schema:{name}' does not import"):
            ask(f"sale_schema:{name}")


@pytest.mark.parametrize("name", ["Number", "datetime", "Plain"])
def test_what_is_no_schema_is_an_error(write: Callable[..., str], name: str) -> None:
    write()
    with pytest.raises(SchemaError, match=f"'sale_schema:{name}' is not a pandera.polars.DataFrameModel"):
        load_schema(f"sale_schema:{name}")


def test_a_schema_is_found_without_being_imported(write: Callable[..., str]) -> None:
    path = write()

    assert "class Sale" in source_of(path)
    assert "sale_schema" not in sys.modules
    assert issubclass(FileFailure, Exception)
