"""Declarations that are wrong: one sentence with file and line, and no harm to the commands about other projects."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import ml_assets.defs
from ml_assets.projects import DeclarationError, load_project, load_projects

# Dagster's own way of reading YAML.
pytestmark = pytest.mark.filterwarnings("ignore:.*parse_obj_as.* is deprecated")
GOOD = (Path(ml_assets.defs.__path__[0]) / "house_prices" / "defs.yaml").read_text(encoding="utf-8")


@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second folder of projects, beside the package's own."""
    monkeypatch.setattr(ml_assets.defs, "__path__", [str(tmp_path), *ml_assets.defs.__path__])
    return tmp_path


def declare(defs: Path, name: str, content: str) -> Path:
    (defs / name).mkdir()
    file = defs / name / "defs.yaml"
    file.write_text(content, encoding="utf-8")
    return file


def line_of(content: str, text: str) -> int:
    return content[: content.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        (
            "  target: resale_price",
            "  targett: resale_price",
            "targett",
            "there is no such field; did you mean target?",
        ),
        ("  target: resale_price", "  target: [resale_price", "training:", "expected ',' or ']'"),
        ("    test: 2", "    test: 100", "estimator:", "training: test: 100 of 24 partitions"),
        ("clean.sql", "cleen.sql", "", "cleen.sql: there is no such file"),
        ("ModelProject", "ModelProjekt", "", "`ml_assets` has no attribute `ModelProjekt`"),
        ("    window: 24", "    window: many", "window: many", "training.window: 'many': input should be"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_file_line_and_reason(
    defs: Path, old: str, new: str, line: str, reason: str
) -> None:
    content = GOOD.replace(old, new)
    name = re.sub(r"\W", "", f"broken_{new.lower()}")
    file = declare(defs, name, content)
    with pytest.raises(DeclarationError) as failure:
        load_project(name)
    place = f"{file}, line {line_of(content, line)}, column " if line else str(file)
    assert place in str(failure.value)
    assert reason in str(failure.value)
    assert all(told.startswith(str(file)) for told in str(failure.value).splitlines())


def test_a_broken_project_is_an_error_only_to_those_who_ask_for_it_or_for_all(defs: Path) -> None:
    declare(defs, "coffee", GOOD)
    declare(defs, "tea", "type: [\n")
    assert load_project("coffee").name == "coffee"
    with pytest.raises(DeclarationError, match="tea"):
        load_project("tea")
    with pytest.raises(DeclarationError, match="tea"):
        load_projects()


def test_a_name_that_is_not_there_is_told_with_those_that_are(defs: Path) -> None:
    declare(defs, "coffee", GOOD)
    declare(defs, "tea", "type: [\n")
    with pytest.raises(ValueError, match=r"no project 'milk'. There are: coffee, tea"):
        load_project("milk")


def test_the_command_line_prints_the_sentence_and_no_traceback(tmp_path: Path) -> None:
    declare(tmp_path, "tea", "type: [\n")
    code = (
        f"import ml_assets.defs; ml_assets.defs.__path__ = [{str(tmp_path)!r}]; import sys; "
        "sys.argv[1:] = ['retrain', 'tea']; from ml_assets.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ML_ASSETS_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"ml-assets: {tmp_path}/tea/defs.yaml:2: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["flight_delays", "house_prices", "sms_spam"])
def test_a_declaration_comes_back_from_a_record_but_for_where_its_rows_came_from(name: str) -> None:
    from ml_assets.assets.provenance import sources
    from ml_assets.component import recorded_project

    project = load_project(name)
    recorded = sources(project)
    again = recorded_project(name, json.loads(json.dumps(recorded)))

    assert recorded["declaration"]["source"].keys() == {"ignore_in_duplicates"}
    assert again.source.ignore_in_duplicates == project.source.ignore_in_duplicates
    assert list(again.references) == list(project.references)
    assert again.sql_hash == project.sql_hash
    apart = {"source", "references", "clean_path", "features_path"}
    for one in fields(project):
        if one.name not in apart:
            assert getattr(again, one.name) == getattr(project, one.name), one.name
