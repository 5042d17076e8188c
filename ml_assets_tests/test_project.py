from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ml_assets.component import ModelProject
from ml_assets.declared.evaluation import Costs, Evaluation, Slice
from ml_assets.declared.modelling import Gate, Training
from ml_assets.declared.monitoring import Monitoring
from ml_assets.declared.retraining import Retraining
from ml_assets.declared.rows import Partitions, Validation
from ml_assets.declared.sources import Publisher, Source
from ml_assets.project import Project, digest, load_object

# Years that both strptime and strftime write with four digits everywhere.
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - naive UTC
TRAINING = {"estimator": "sklearn.linear_model.LinearRegression", "window": 24, "test": 2}
START = {"month": "2017-01", "day": "2017-01-31"}


def project(grain: str = "month", **changed: Any) -> Project:
    fields: dict[str, Any] = {
        "name": "flats",
        "description": "What a flat will sell for.",
        "owners": ("team:housing",),
        "source": Source(files="sales/%Y-%m.csv" if grain == "month" else "sales/%Y-%m-%d.csv"),
        "partitions": Partitions(grain=grain, start=START[grain], time="month"),
        "schema": "flats.schema:Flat",
        "clean_sql": "SELECT 1",
        "features_sql": "SELECT 2",
        "clean_path": "sql/flats/clean.sql",
        "features_path": "sql/flats/features.sql",
        "target": "price",
        "validation": Validation(),
        "training": Training(**TRAINING),
        "gates": (Gate(metric="mape", at_most=0.1),),
        "monitoring": Monitoring(),
        "retraining": Retraining(),
    }
    return Project(**(fields | changed))


def moment(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day)  # noqa: DTZ001 - naive UTC


# Partitions


@pytest.mark.parametrize(
    ("grain", "start", "key"), [("month", moment(2024, 2), "2024-02"), ("day", moment(2024, 2, 29), "2024-02-29")]
)
def test_a_partition_has_a_key_and_a_start(grain: str, start: datetime, key: str) -> None:
    assert project(grain).key_of(start) == key
    assert project(grain).start_of(key) == start


@pytest.mark.parametrize(
    ("grain", "key"),
    [
        *(("month", key) for key in ("2024-02-01", "2024-13", "2024-1", "24-01", "2024/01", "", " 2024-01", "latest")),
        *(("day", key) for key in ("2024-02", "2024-02-30", "2024-2-1", "2024-02-01T00:00", "20240201")),
    ],
)
def test_a_text_that_is_no_key_is_refused_with_an_example(grain: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"flats: .* is no key of a {grain}: keys look like '{START[grain]}'"):
        project(grain).start_of(key)


@given(one=moments, other=moments, grain=st.sampled_from(["month", "day"]))
@settings(max_examples=60, deadline=None)
def test_keys_sort_by_time_and_lead_back_to_the_start(one: datetime, other: datetime, grain: str) -> None:
    flats = project(grain)
    keys = [flats.key_of(one), flats.key_of(other)]
    starts = [flats.start_of(key) for key in keys]

    assert [flats.key_of(start) for start in starts] == keys
    assert starts[0] <= one < flats.step(starts[0], 1)
    assert (keys[0] < keys[1]) == (starts[0] < starts[1])


@pytest.mark.parametrize(
    ("start", "steps", "expected"),
    [
        (moment(2024, 1), 1, moment(2024, 2)),
        (moment(2024, 12), 1, moment(2025, 1)),
        (moment(2024, 1), -1, moment(2023, 12)),
        (moment(2024, 3), -27, moment(2021, 12)),
        (moment(2024, 3), 0, moment(2024, 3)),
    ],
)
def test_a_step_of_months_crosses_years(start: datetime, steps: int, expected: datetime) -> None:
    assert project().step(start, steps) == expected


def test_a_step_of_days_knows_leap_years() -> None:
    assert project("day").step(moment(2024, 2, 28), 2) == moment(2024, 3, 1)
    assert project("day").step(moment(2023, 3, 1), -1) == moment(2023, 2, 28)


@given(at=moments, there=st.integers(-500, 500), back=st.integers(-500, 500), grain=st.sampled_from(["month", "day"]))
@settings(max_examples=60, deadline=None)
def test_steps_add_up(at: datetime, there: int, back: int, grain: str) -> None:
    flats = project(grain)
    start = flats.start_of(flats.key_of(at))

    assert flats.step(flats.step(start, there), back) == flats.step(start, there + back)
    assert flats.step(flats.step(start, there), -there) == start


@given(at=moments, length=st.integers(1, 40), grain=st.sampled_from(["month", "day"]))
@settings(max_examples=60, deadline=None)
def test_a_window_holds_the_partitions_from_its_first_to_its_last(at: datetime, length: int, grain: str) -> None:
    flats = project(grain)
    first = flats.start_of(flats.key_of(at))
    last = flats.step(first, length - 1)
    window = flats.window(flats.key_of(first), flats.key_of(last))
    starts = flats.starts(window)

    assert (len(starts), starts[0], starts[-1]) == (length, first, last)
    assert all(flats.step(one, 1) == next_one for one, next_one in zip(starts, [*starts[1:], window.end], strict=True))


@pytest.mark.parametrize(
    ("grain", "now", "expected"),
    [
        ("month", datetime(2024, 3, 31, 23, 59), moment(2024, 2)),  # noqa: DTZ001
        ("month", moment(2024, 3), moment(2024, 2)),
        ("month", moment(2017, 2), moment(2017, 1)),
        ("month", datetime(2017, 1, 31, 23, 59), None),  # noqa: DTZ001
        ("day", datetime(2024, 3, 1, 0, 1), moment(2024, 2, 29)),  # noqa: DTZ001
        ("day", datetime(2017, 2, 1, 12), moment(2017, 1, 31)),  # noqa: DTZ001
        ("day", datetime(2017, 1, 31, 12), None),  # noqa: DTZ001
    ],
)
def test_the_newest_partition_that_has_ended_is_the_one_before_this(
    grain: str, now: datetime, expected: datetime | None
) -> None:
    assert project(grain).newest_ended(now) == expected


def test_a_table_lies_in_the_schema_of_its_project() -> None:
    assert str(project().table("raw")) == "flats.raw"
    assert project().table("raw").path == 'lake."flats"."raw"'


# Hashes


CHANGES: dict[str, Any] = {
    "schema": "flats.schema:House",
    "target": "rent",
    "source": Source(files="sales/%Y-%m.csv", publisher=Publisher(dataset="d_1")),
    "partitions": Partitions(grain="month", start="2018-01", time="month"),
    "validation": Validation(quarantine_limit=0.2),
    "training": Training(**TRAINING, seed=1),
    "gates": (Gate(metric="mape", at_most=0.2),),
    "monitoring": Monitoring(one_false_alarm_in=12),
    "retraining": Retraining(cooldown=9),
}


@pytest.mark.parametrize("field", CHANGES)
def test_the_hash_of_a_declaration_tells_every_change(field: str) -> None:
    changed = replace(project(), **{field: CHANGES[field]})

    assert changed.declaration_hash != project().declaration_hash
    assert changed.sql_hash == project().sql_hash


@pytest.mark.parametrize("field", ["clean_sql", "features_sql"])
def test_the_hash_of_the_sql_tells_every_change(field: str) -> None:
    changed = replace(project(), **{field: "SELECT 3"})

    assert changed.sql_hash != project().sql_hash
    assert changed.declaration_hash == project().declaration_hash


def test_hashes_are_the_same_for_the_same_declaration() -> None:
    assert project().declaration_hash == project().declaration_hash
    described = replace(project(), description="Other words.", owners=())
    assert (described.declaration_hash, described.sql_hash) == (project().declaration_hash, project().sql_hash)


def test_statements_that_change_places_are_another_project() -> None:
    swapped = replace(project(), clean_sql="SELECT 2", features_sql="SELECT 1")

    assert swapped.sql_hash != project().sql_hash


@given(
    parts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3), min_size=1, max_size=4
    ),
    cut=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_digest_tells_texts_apart_wherever_they_are_cut(parts: list[str], cut: int) -> None:
    joined = [*parts[:cut], "".join(parts[cut : cut + 2]), *parts[cut + 2 :]]

    assert (digest(*parts) == digest(*joined)) == (parts == joined)
    assert len(digest(*parts)) == 64


# What is refused


@pytest.mark.parametrize("files", ["../%Y-%m.csv", "sales/../../%Y-%m.csv", ".."])
def test_a_source_outside_the_data_folder_is_refused(files: str) -> None:
    with pytest.raises(ValidationError, match=r"must be a path without `\.\.`"):
        Source(files=files)


@pytest.mark.parametrize("files", ["%Y-%m.csv", "a/b/%Y/%m.csv", "a..b/%Y-%m.csv"])
def test_a_source_under_the_data_folder_is_taken(files: str) -> None:
    assert Source(files=files).files == files


@pytest.mark.parametrize(
    ("grain", "start"), [("month", "2017-01-31"), ("day", "2017-01"), ("month", "2017-1"), ("month", "January 2017")]
)
def test_a_first_partition_that_is_no_key_is_refused(grain: str, start: str) -> None:
    with pytest.raises(ValidationError, match=start):
        Partitions(grain=grain, start=start, time="month")


GRID: dict[str, Any] = {"kind": "grid", "space": {"a": [1]}}
DRAWN: dict[str, Any] = {"kind": "random"}


def training(**declared: Any) -> Training:
    return Training.model_validate({"estimator": "e", "window": 5} | declared)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Partitions(grain="quarter", start="2017-01", time="month"), "grain"),
        (lambda: Validation(quarantine_limit=1.1), "quarantine_limit"),
        (lambda: Validation(quarantine_limit=-0.1), "quarantine_limit"),
        (lambda: Training(estimator="e", window=0, test=1), "window"),
        (lambda: Training(estimator="e", window=2, test=0), "test"),
        (lambda: Training(estimator="e", window=2, test=2), "2 of 2 partitions in the window leave none to learn from"),
        (lambda: Training(estimator="e", window=2, test=3), "leave none to learn from"),
        (lambda: training(split={"holdout": 4}), "test: 5 of 5 partitions in the window with validation and holdout"),
        (lambda: training(split={"validation": 0.5}), r"split\.validation: 0\.5: a split by time counts whole"),
        (lambda: training(split={"kind": "random", "holdout": 5}), r"split\.holdout: 5 of 5 partitions.*leave none"),
        (lambda: training(split={"kind": "random", "holdout": 0.5, "validation": 0.3}), "are 1 together and leave no"),
        (lambda: training(split={"kind": "grouped"}), "by is missing: name the column"),
        (lambda: training(split={"kind": "random", "by": "town"}), "by: 'town' means nothing here"),
        (lambda: training(split={"kind": "random", "holdout": 1.5}), "holdout: 1.5: write whole partitions"),
        (lambda: training(window=2, search=GRID), "search: one partition to learn from has no folds in time"),
        (lambda: training(search=GRID | {"space": {}}), "at least 1 item"),
        (lambda: training(search=GRID | {"space": {"a": []}}), r"space\.a: the list is empty"),
        (lambda: training(search=GRID | {"space": {"a": {"low": 1, "high": 2}}}), r"space\.a: a grid has no ranges"),
        (lambda: training(search=GRID | {"trials": 3}), "trials: a grid tries all its combinations"),
        (lambda: training(search=DRAWN | {"space": {"a": {"low": 2, "high": 1}}}), "low: 2 is not below high: 1"),
        (lambda: training(search=DRAWN | {"space": {"a": {"low": 0, "high": 1, "log": True}}}), "needs more than 0"),
        (lambda: Gate(metric="acuracy", at_most=1), "metric"),
        (lambda: Gate(metric="mape"), "gate mape: give at_most, at_least or both"),
        (lambda: Gate(metric="mape", at_most=1, slice="best"), "slice"),
        (lambda: Slice(column="town", values=["EAST"], below=3), "values and bounds exclude each other"),
        (lambda: Slice(column="area", at_least=3, below=3), "at_least 3 is not below 3"),
        (lambda: Costs(over=1), "give false_positive and false_negative, or over and under"),
        (lambda: Costs(over=1, under=1, false_positive=1, false_negative=1), "or over and under"),
        (lambda: Costs(over=0, under=0), "one of them above 0"),
        (lambda: Costs(over=-1, under=2), "over"),
        (lambda: Evaluation(learning_curve=[0.3, 0.1]), "no growing shares between 0 and 1"),
        (lambda: Evaluation(learning_curve=[0.3, 1.0]), "no growing shares between 0 and 1"),
        (lambda: Evaluation(baselines_waiver="because"), "baselines_waiver"),
        (lambda: Evaluation(confidence=1.0), "confidence"),
        (lambda: Retraining(tolerance=1.0), "tolerance"),
        (lambda: Retraining(cooldown=-1), "cooldown"),
        (lambda: Retraining(minimum_rows=0), "minimum_rows"),
        (lambda: Retraining(metric="r2"), "metric"),
        (lambda: Retraining(policy="sometimes"), "policy"),
        (lambda: Retraining(price=0), "price"),
        (lambda: Retraining(every=0), "every"),
        (lambda: Retraining(tolerence=2.0), "tolerence"),
    ],
)
def test_a_wrong_value_is_refused_by_name(declare: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        declare()


def test_limits_of_what_is_accepted_are_accepted() -> None:
    assert Validation(quarantine_limit=0).quarantine_limit == 0
    assert Validation(quarantine_limit=1).quarantine_limit == 1
    assert Training(estimator="e", window=2, test=1).window == 2
    assert Gate(metric="r2", at_least=0).at_least == 0
    assert Retraining(cooldown=0, minimum_rows=1).cooldown == 0


# Tasks


BINARY: dict[str, Any] = {"task": "binary", "gates": ()}


def test_the_error_that_is_watched_is_the_declared_one_else_that_of_the_task() -> None:
    assert project().watched == "mape"
    assert project(retraining=Retraining(metric="rmse")).watched == "rmse"
    assert project(**BINARY).watched == "log_loss"
    assert project(**BINARY | {"task": "multiclass"}).watched == "log_loss"
    assert project(**BINARY, retraining=Retraining(metric="brier")).watched == "brier"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            BINARY | {"gates": (Gate(metric="mape", at_most=0.1),)},
            r"gates: mape is no metric of a binary task\. Remedy: one of log_loss, brier, .*accuracy.*pr_auc",
        ),
        ({"gates": (Gate(metric="f1", at_least=0.5),)}, "gates: f1 is no metric of a regression task"),
        (
            BINARY | {"task": "multiclass", "gates": (Gate(metric="f1", at_least=0.5),)},
            "gates: f1 is no metric of a multiclass task.*f1_macro",
        ),
        (
            BINARY | {"retraining": Retraining(metric="mape")},
            r"retraining\.metric: mape cannot be watched in a binary task\. Remedy: one of log_loss, brier, error_rate",
        ),
        ({"positive": "yes"}, "positive: 'yes' means nothing in a regression task"),
    ],
)
def test_what_does_not_fit_the_task_is_refused_with_what_does(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project(**changed)


def test_the_hash_tells_a_changed_task_and_a_changed_positive_label() -> None:
    hashes = {
        project(gates=()).declaration_hash,
        project(**BINARY).declaration_hash,
        project(**BINARY, positive="no").declaration_hash,
        project(**BINARY | {"task": "multiclass"}).declaration_hash,
    }

    assert len(hashes) == 4


def test_a_window_of_one_partition_holds_rows_out_by_chance() -> None:
    assert Training(estimator="e", window=1).by_chance
    assert not Training(estimator="e", window=2).by_chance
    for share in (0, 1):
        with pytest.raises(ValidationError, match="test_share"):
            Training(estimator="e", window=1, test_share=share)


@pytest.mark.parametrize(("written", "label"), [(True, "true"), (1, "1"), ("yes", "yes"), (None, None)])
def test_a_positive_label_is_written_as_in_the_data(tmp_path: Path, written: Any, label: str | None) -> None:
    for name in ("clean.sql", "features.sql"):
        (tmp_path / name).write_text("SELECT 1")
    declared = {
        "description": "Whether it is.", "source": {"files": "%Y-%m.csv"}, "target": "y", "schema": "a:B",
        "partitions": {"grain": "month", "start": "2017-01", "time": "month"}, "training": TRAINING,
        "clean": str(tmp_path / "clean.sql"), "features": str(tmp_path / "features.sql"),
        "task": "binary", "positive": written,
    }  # fmt: skip
    resolved = ModelProject.model_validate(declared).resolve_project("it", tmp_path)

    assert (resolved.task, resolved.positive) == ("binary", label)


# Importing by name


def test_an_object_is_imported_by_module_and_name() -> None:
    assert load_object("datetime:datetime") is datetime


@pytest.mark.parametrize("path", ["datetime", "datetime:", ":datetime", "", "nowhere:x", "datetime:nothing", "..:x"])
def test_a_name_that_does_not_import_is_refused_with_what_was_expected(path: str) -> None:
    with pytest.raises(ValueError, match=r"does not import: .*Expected `module:name`") as caught:
        load_object(path)

    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("files", ["sales/%Y.csv", "sales/%m.csv"])
def test_a_source_that_names_one_file_for_two_partitions_is_refused(files: str) -> None:
    with pytest.raises(ValueError, match=r"names the file 'sales.*for the partitions"):
        project(source=Source(files=files))


def test_a_search_by_a_metric_of_another_task_is_refused_and_so_are_strata_of_numbers() -> None:
    searched = training(search=GRID | {"metric": "roc_auc"})
    with pytest.raises(ValueError, match=r"training\.search\.metric: roc_auc is no metric of a regression task"):
        replace(project(), training=searched)
    with pytest.raises(ValueError, match=r"training\.split: the values of '.*' are no strata in a regression"):
        replace(project(), training=training(split={"kind": "stratified"}))


@pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")  # Dagster's own
def test_a_space_of_lists_and_ranges_is_read_from_yaml_as_it_is_written() -> None:
    text = """
estimator: e
window: 5
search: {kind: random, space: {a: [null, 3, x], b: {low: 1, high: 9}, c: {low: 0.1, high: 1, log: true}}}
"""
    read = Training.resolve_from_yaml(text)
    assert read.search is not None
    assert read.search.model_dump()["space"] == {
        "a": [None, 3, "x"],
        "b": {"low": 1, "high": 9, "log": False},
        "c": {"low": 0.1, "high": 1, "log": True},
    }
