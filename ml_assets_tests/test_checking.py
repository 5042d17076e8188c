"""A mistake in a declaration, its SQL or its schema: where it is, what was expected, the nearest right name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ml_assets import cli, projects
from ml_assets.checking import check_project
from ml_assets.core.declaration import Declaration, DeclarationError, Mistake
from ml_assets.projects import without_warnings_of_dagster_itself

if TYPE_CHECKING:
    from pathlib import Path

# Dagster's own reading of a defs.yaml.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")

YAML = """\
type: ml_assets.ModelProject
attributes:
  description: What a flat will sell for.
  source: {files: sales/%Y-%m.csv}
  partitions:
    grain: month
    start: "2024-01"
    time: month
  schema: SCHEMA:Flat
  clean: "{{ context.project_root }}/sql/clean.sql"
  features: "{{ context.project_root }}/sql/features.sql"
  target: price
  training:
    estimator: sklearn.linear_model.Ridge
    parameters: {alpha: 2.0}
    window: 2
    test: 1
  gates:
    - metric: mape
      at_most: 0.2
"""
WHOLE = "input should be a valid integer, unable to parse string as an integer"
CLEAN = """\
-- Flächen: one row out for every row in
SELECT
    month || '-01' AS month, trim(town) AS town, area, price,
    _partition, _source, _row
FROM raw
"""
FEATURES = """\
SELECT
    _partition, _source, _row,
    month, town, area, year(month) AS year, price
FROM validated
"""
SCHEMA = """\
from datetime import date, datetime

import pandera.polars as pa


class Flat(pa.DataFrameModel):
    month: date
    town: str
    area: float = pa.Field(ge=20)
    price: float
"""


class Folder:
    """A package with one project, and what `ml-assets check` says of it."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        (root / name / "flats").mkdir(parents=True)
        (root / "sql").mkdir()
        (root / name / "__init__.py").touch()
        self.schema = f"{name}_schema"
        self.write()

    def write(self, *, yaml: str = YAML, clean: str = CLEAN, features: str = FEATURES, schema: str = SCHEMA) -> None:
        (self.root / self.name / "flats" / "defs.yaml").write_text(yaml.replace("SCHEMA:", f"{self.schema}:"), "utf-8")
        (self.root / "sql" / "clean.sql").write_text(clean, "utf-8")
        (self.root / "sql" / "features.sql").write_text(features, "utf-8")
        (self.root / f"{self.schema}.py").write_text(schema, "utf-8")

    def tree(self) -> dg.ComponentTree:
        return dg.ComponentTree.from_module(defs_module=importlib.import_module(self.name), project_root=self.root)

    def check(self, *arguments: str) -> list[str]:
        """The lines of `ml-assets check`, which fails if and only if there are any."""
        done = CliRunner().invoke(cli.app, ["check", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert (done.exit_code == 1) == bool(done.stderr)
        return done.stderr.splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Folder:
    # A name of its own: Python imports a module once.
    made = Folder(tmp_path, f"checked_{abs(hash(request.node.name))}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(projects, "load_trees", lambda: [made.tree()])
    monkeypatch.setattr("ml_assets.settings.project_root", lambda: tmp_path)
    return made


def place(text: str, what: str) -> tuple[int, int]:
    """Line and column at which something first stands in a text."""
    offset = text.index(what)
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def test_a_right_project_has_no_mistake(folder: Folder) -> None:
    assert folder.check() == []
    assert folder.check("flats") == []


def test_all_that_an_evaluation_can_declare_is_right(folder: Folder) -> None:
    evaluation = """\
  evaluation:
    slices: [{column: town}, {column: town, values: [EAST, 3, true]}, {column: area, at_least: 30, below: 90}]
    minimum_rows: 20
    costs: {over: 1, under: 3}
    draws: 500
    confidence: 0.9
    clusters: town
    entity: town
    season: 12
    labels_known: at_once
    learning_curve: []
    baselines_waiver: The law demands a model of this kind.
"""
    gates = """\
    - {metric: mape, at_most: 0.3, slice: {column: town}}
    - {metric: mape, at_most: 0.3, slice: worst, confident: true}
"""
    folder.write(yaml=YAML.replace("  gates:\n", f"{evaluation}  gates:\n") + gates)

    assert folder.check() == []


@pytest.mark.usefixtures("folder")
def test_a_project_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean flats"):
        projects.check_projects("flat")


# (what is replaced, by what, what stands at the mistake's place, what is said)
DECLARED = [
    ("target: price", "target: prize", "prize", "sql/features.sql returns no column 'prize'; did you mean price?"),
    ("time: month", "time: mont", "mont\n", "time: SCHEMA:Flat has no column 'mont'; did you mean month?"),
    ("time: month", "time: town", "town", "'town' is String in SCHEMA:Flat; expected a date or a time"),
    ("time: month", "time: price", "price", "'price' is Float64 in SCHEMA:Flat; expected a date or a time"),
    ("SCHEMA:Flat", "SCHEMA:Falt", "SCHEMA:Falt", "did you mean SCHEMA:Flat?"),
    ("SCHEMA:Flat", "nowhere:Flat", "nowhere:Flat", "there is no module 'nowhere'"),
    ("linear_model.Ridge", "linear_model.Rigde", "sklearn.l", "no estimator 'Rigde'; did you mean Ridge?"),
    ("linear_model.Ridge", "linear.Ridge", "sklearn.l", "'sklearn.linear'; did you mean sklearn.linear_model?"),
    ("sklearn.linear_model", "os", "os.Ridge", "training.estimator: 'os.Ridge' is not allowed"),
    (
        "    test: 1", "    test: 1\n    search: {kind: grid, space: {alhpa: [1]}}\n    split: {kind: random}", "[1]",
        "training.search.space: Ridge has no parameter 'alhpa'; did you mean alpha?",
    ),
    (
        "    test: 1", "    test: 1\n    preprocessing: os:nothing", "os:nothing",
        "training.preprocessing: 'os:nothing' does not import",
    ),
    ("alpha: 2.0", "alhpa: 2.0", "2.0", "training.parameters: Ridge has no parameter 'alhpa'; did you mean alpha?"),
    ("metric: mape", "metric: mabe", "mabe", "gates.0.metric: 'mabe': expected one of mse, rmse, mae, mape, r2"),
    (
        "  target: price", "  target: price\n  evaluation: {slices: [{column: twon}]}", "twon",
        "evaluation.slices.0.column: sql/features.sql returns no column 'twon'; did you mean town?",
    ),
    (
        "  target: price", "  target: price\n  evaluation: {entity: twon}", "twon",
        "evaluation.entity: sql/features.sql returns no column 'twon'; did you mean town?",
    ),
    (
        "      at_most: 0.2", "      at_most: 0.2\n      slice: {column: twon}", "twon",
        "gates.0.slice.column: sql/features.sql returns no column 'twon'; did you mean town?",
    ),
    (
        "    test: 1", "    split: {kind: grouped, by: twon}\n    test_share: 0.2", "twon",
        "training.split.by: sql/features.sql returns no column 'twon'; did you mean town?",
    ),
    (
        "  target: price", "  target: price\n  evaluation: {costs: {false_positive: 1, false_negative: 2}}", "{false",
        "evaluation.costs: false_positive and false_negative mean nothing in a regression task",
    ),
    ("grain: month", "grain: mnoth", "mnoth", "did you mean month?"),
    ("window: 2", "window: many", "many", "training.window: 'many': input should be a valid integer"),
    ("    test: 1", "    tesst: 1", "1\n  gates", "training.tesst: there is no such field; did you mean test?"),
    ("    test: 1", "    test: 2", "estimator: s", "test: 2 of 2 partitions in the window leave none to learn from"),
    ("  target: price\n", "", "description", "target is missing"),
    ("clean.sql", "claen.sql", '"{{ context.project_root }}/sql/claen.sql', "sql/clean.sql?"),
    ("%Y-%m.csv", "%Y.csv", "sales/%Y.csv", "names the file 'sales/2024.csv' for the partitions"),
    ("grain: month", "grain: [", "time: month", "this is no YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "said"), DECLARED, ids=[f"{case[1]}".strip() for case in DECLARED])
def test_a_mistake_in_the_declaration_is_told_with_its_place(
    folder: Folder, old: str, new: str, at: str, said: str
) -> None:
    text = YAML.replace(old, new)
    folder.write(yaml=text)
    (told,) = [line for line in folder.check() if said.replace("SCHEMA:", f"{folder.schema}:") in line]

    line, column = place(text, at)
    assert told.startswith(f"{folder.name}/flats/defs.yaml, line {line}, column {column}: ")


SQL = [
    ("clean", "trim(town)", "trimm(town)", "trimm", 'trimm does not exist! Did you mean "trim"?'),
    ("clean", "trim(town)", "CAST(town AS INTEGR)", "INTEGR", "Type with name INTEGR does not exist!"),
    ("clean", "trim(town)", "strftime(town, 2)", "strftime", "No function matches"),
    ("clean", "FROM raw", "FROM raww", "raww", "did you mean raw?"),
    ("clean", "price,", "price price2 price3,", "price3", "this does not parse here"),
    ("clean", "area, price,", "area,", None, "does not return 'price', a column of"),
    ("clean", "_source, ", "", None, "does not return _source: select _partition, _source, _row in it"),
    ("features", "town,", "twon,", "twon", "did you mean town?"),
    ("features", "year(month)", "yeer(month)", "yeer", "Function with name yeer does not exist!"),
    ("features", "year(month)", "year(town)", "year", "No function matches the given name and argument types"),
    ("features", "year(month)", "month.a", None, "Cannot extract field 'a'"),
    ("features", ", _source", "", None, "does not return _source"),
    ("features", "FROM validated", "FROM raw", "raw", "no such input"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "at", "said"), SQL, ids=[f"{case[0]} {case[2]}" for case in SQL])
def test_a_mistake_in_sql_is_told_with_its_place_in_the_file(
    folder: Folder, file: str, old: str, new: str, at: str | None, said: str
) -> None:
    text = {"clean": CLEAN, "features": FEATURES}[file].replace(old, new)
    folder.write(**{file: text})
    line, column = place(text, at) if at else (1, 1)

    told = [mistake for mistake in folder.check() if said in mistake]
    assert told[0].startswith(f"sql/{file}.sql, line {line}, column {column}: ")
    assert "Candidate functions" not in told[0]


def test_a_place_counts_characters_and_blank_lines_before_the_statement(folder: Folder) -> None:
    text = "\n\n" + CLEAN.replace("trim(town)", "'äöü', trimm(town)")
    folder.write(clean=text)
    line, column = place(text, "trimm")

    assert folder.check()[0].startswith(f"sql/clean.sql, line {line}, column {column}: `trimm`")


def test_all_mistakes_are_listed_and_not_only_the_first(folder: Folder) -> None:
    folder.write(
        yaml=YAML.replace("target: price", "target: prize")
        .replace("time: month", "time: mont")
        .replace("Ridge", "Rigde"),
        clean=CLEAN.replace("trim(", "trimm("),
    )

    assert [line.split(": ")[1] for line in folder.check()] == [
        "`trimm`", "partitions.time", "target", "training.estimator",
    ]  # fmt: skip


def test_what_a_star_brings_is_not_guessed_at(folder: Folder) -> None:
    folder.write(clean="SELECT * EXCLUDE (town), upper(town) AS town FROM raw")
    assert folder.check() == []
    folder.write(features="SELECT * REPLACE (area * 2 AS area) FROM validated")
    assert folder.check() == []


def test_a_schema_that_breaks_on_import_is_a_mistake_of_the_declaration(folder: Folder) -> None:
    folder.write(schema=SCHEMA.replace("date, datetime", "dtae"))

    (line,) = folder.check()
    assert "cannot import name 'dtae'" in line
    assert line.startswith(f"{folder.name}/flats/defs.yaml, line 9, column 11: ")


REFERENCES = """\
  references:
    towns: {files: towns.csv}
"""
JOINED = "SELECT v.*, distance FROM validated AS v LEFT JOIN towns USING (town)"


def test_a_reference_is_a_table_whose_columns_are_taken_for_text(folder: Folder) -> None:
    folder.write(yaml=YAML + REFERENCES, features=JOINED)
    assert folder.check() == []

    folder.write(yaml=YAML + REFERENCES, features=JOINED.replace("distance", "abs(distance) AS distance"))
    (mistake,) = folder.check()
    assert "sql/features.sql, line 1, column 13" in mistake
    assert "abs(VARCHAR)" in mistake


def test_a_mistake_in_a_reference_is_told_with_its_place(folder: Folder) -> None:
    folder.write(features=JOINED)
    (mistake,) = folder.check()
    assert mistake.startswith(f"sql/features.sql, line 1, column {JOINED.index('towns') + 1}: `towns`")

    text = YAML + REFERENCES.replace("files:", "file:")
    folder.write(yaml=text, features=JOINED)
    line, column = place(text, "towns.csv")
    told = f"{folder.name}/flats/defs.yaml, line {line}, column {column}: references.towns.file: there is no such field"
    assert f"{told}; did you mean files?" in folder.check()


def test_hours_do_not_fit_a_date(folder: Folder) -> None:
    with without_warnings_of_dagster_itself():
        component: Any = folder.tree().load_component(folder.root / folder.name / "flats")
    project = component.resolve_project("flats", folder.root)
    object.__setattr__(project.partitions, "grain", "hour")
    text = (folder.root / folder.name / "flats" / "defs.yaml").read_text()

    (mistake,) = check_project(project, Declaration(text, "defs.yaml"))
    assert (mistake.line, mistake.column) == (6, 12)
    assert "'month' is a Date and has no hours" in mistake.message


def test_the_code_location_is_refused_with_all_mistakes_and_checked_again_when_they_are_mended(folder: Folder) -> None:
    folder.write(yaml=YAML.replace("target: price", "target: prize").replace("time: month", "time: mont"))
    with without_warnings_of_dagster_itself():
        with pytest.raises(Exception, match="Error") as refused:
            folder.tree().build_defs()
        said = "".join(_messages(refused.value))
        assert "did you mean price?" in said
        assert "did you mean month?" in said
        folder.write()
        assert folder.tree().build_defs().resolve_job_def("flats_refresh")


def test_a_wrong_type_is_told_with_its_place_before_dagster_reads_it(folder: Folder) -> None:
    folder.write(yaml=YAML.replace("window: 2", "window: many").replace("target:", "targt:"))

    with pytest.raises(DeclarationError) as refused:
        projects.refuse_wrong_types()
    file = f"{folder.name}/flats/defs.yaml"
    assert str(refused.value).splitlines() == [
        f"{file}, line 3, column 3: target is missing",
        f"{file}, line 16, column 13: training.window: 'many': {WHOLE}",
        f"{file}, line 12, column 10: targt: there is no such field; did you mean target?",
    ]


def test_a_component_of_another_type_is_not_held_against_ours(folder: Folder) -> None:
    folder.write(yaml="type: somebody.Elses\nattributes: {anything: 1}\n")

    projects.refuse_wrong_types()


def test_what_was_found_right_is_not_parsed_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_warnings_of_dagster_itself():
        folder.tree().build_defs()
        monkeypatch.setattr("ml_assets.checking.check_project", _never)
        folder.tree().build_defs()
        folder.write(features=FEATURES.replace("area,", "area, area AS more,"))
        with pytest.raises(Exception, match="Error") as checked:
            folder.tree().build_defs()
    assert "checked again" in "".join(_messages(checked.value))


def _never(*_: object) -> None:
    raise AssertionError("checked again")


def _messages(error: BaseException | None) -> list[str]:
    return [] if error is None else [str(error), *_messages(error.__cause__ or error.__context__)]


@given(st.text(max_size=60), st.lists(st.one_of(st.text(max_size=5), st.integers(0, 3)), max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_mistake_has_a_place_in_any_text(text: str, path: list[str | int]) -> None:
    mistake = Declaration(text, "defs.yaml").mistake(path, "wrong")

    assert mistake == Mistake("defs.yaml", mistake.line, mistake.column, "wrong")
    assert 1 <= mistake.line <= len(text.splitlines()) + 1
    assert mistake.column >= 1


def test_the_place_of_a_value_is_that_of_the_nearest_one_that_is_there() -> None:
    declaration = Declaration(YAML, "defs.yaml")

    assert str(declaration.mistake(("gates", 0, "at_most"), "x")) == "defs.yaml, line 20, column 16: x"
    assert str(declaration.mistake(("gates", 0, "at_least"), "x")) == "defs.yaml, line 19, column 7: x"
    assert str(declaration.mistake(("gates", 7), "x")) == "defs.yaml, line 19, column 5: x"
    assert str(declaration.mistake((), "x")) == "defs.yaml, line 3, column 3: x"


LEAKAGE = """\
  leakage:
    unknown_at_prediction: [area]
    waivers:
      - finding: lineage:size
        reason: The size is known from the plan.
"""


def test_a_leak_is_told_with_its_place_in_the_file_and_keeps_no_graph_from_loading(folder: Folder) -> None:
    text = FEATURES.replace("year(month) AS year", "price / area AS unit_price")
    folder.write(features=text)

    (mistake,) = folder.check()
    line, column = place(text, "price / area")
    assert mistake.startswith(
        f"sql/features.sql, line {line}, column {column}: the feature unit_price (`price / area`)"
    )
    assert "waive `lineage:unit_price` with a reason" in mistake
    with without_warnings_of_dagster_itself():
        assert folder.tree().build_defs().resolve_job_def("flats_retrain")


def test_a_waived_leak_is_no_mistake_and_one_without_a_reason_is_none(folder: Folder) -> None:
    features = FEATURES.replace("town, area,", "town, area * 2 AS size,")
    folder.write(yaml=YAML + LEAKAGE, features=features)
    assert folder.check() == []

    folder.write(yaml=YAML + LEAKAGE.replace("The size is known from the plan.", "known"), features=features)
    (mistake,) = folder.check()
    assert "leakage.waivers.0.reason: 'known': reason: write a sentence that says why this is no leakage" in mistake


def test_a_name_under_leakage_that_names_nothing_is_refused_when_the_graph_is_loaded(folder: Folder) -> None:
    text = YAML + LEAKAGE.replace("[area]", "[area, prize]").replace("lineage:size", "lineage:szie")
    folder.write(yaml=text, features=FEATURES.replace("town, area,", "town, area * 2 AS size,"))

    told = folder.check()
    file = f"{folder.name}/flats/defs.yaml"
    for mistake, at, said in zip(
        told,
        ("prize]", "lineage:szie"),
        (
            "leakage.unknown_at_prediction: 'prize' is no column of the schema or of a reference; did you mean price?",
            "leakage.waivers: 'lineage:szie' waives nothing: there is no such finding; did you mean lineage:size?",
        ),
        strict=True,
    ):
        line, column = place(text, at)
        assert mistake == f"{file}, line {line}, column {column}: {said}"
    with without_warnings_of_dagster_itself(), pytest.raises(Exception, match="Error") as refused:
        folder.tree().build_defs()
    assert "did you mean lineage:size?" in "".join(_messages(refused.value))


def test_a_personal_column_that_the_schema_does_not_have_is_refused_for_it_would_be_kept_as_it_is(
    folder: Folder,
) -> None:
    text = YAML + "  serving:\n    personal: {twon: hash}\n"
    folder.write(yaml=text)

    (told,) = folder.check()
    assert told.endswith("has no column 'twon'; did you mean town?")
    assert "serving.personal: " in told
