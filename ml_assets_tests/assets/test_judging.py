"""What is found of a version: rows are made up so that the answer is known, models are real, Dagster is not needed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml_assets.assets.evaluation import in_words
from ml_assets.assets.judging import Judgement, judge_version
from ml_assets.core.evaluation import measure
from ml_assets.core.evaluation_pictures import draw_evaluation
from ml_assets.core.tasks import as_actual, classes_of
from ml_assets.core.training import build_pipeline, feature_kinds, fit
from ml_assets.declared.evaluation import Costs, Evaluation, Slice
from ml_assets.declared.modelling import Gate, Training
from ml_assets.declared.monitoring import Monitoring
from ml_assets.declared.retraining import Retraining
from ml_assets.declared.rows import Partitions, Validation
from ml_assets.declared.sources import Source
from ml_assets.project import Project
from ml_assets.registry.models import Registry, TrainingSet, Version

if TYPE_CHECKING:
    from pathlib import Path

TREE = "sklearn.tree.DecisionTreeRegressor"
PROJECT = Project(
    name="rents", description="", owners=(), source=Source(files="rents/%Y-%m-%d.csv"),
    partitions=Partitions(grain="day", start="2024-01-01", time="day"), schema="nowhere:Row", clean_sql="",
    features_sql="", clean_path="", features_path="", target="rent", validation=Validation(),
    training=Training(estimator=TREE, parameters={"max_depth": 6}, window=40, test=14), gates=(),
    monitoring=Monitoring(), retraining=Retraining(metric="mae"),
    evaluation=Evaluation(minimum_rows=30, draws=300),
)  # fmt: skip
DAYS, ROWS = 40, 40


def rents(seed: int = 1) -> pl.DataFrame:
    """Rents by area; in one town they are anybody's guess."""
    random = np.random.default_rng(seed)
    starts = PROJECT.starts(PROJECT.window("2024-01-01", "2024-02-09"))
    day = np.repeat(np.arange(DAYS), ROWS)
    area, town = random.uniform(20, 120, DAYS * ROWS), random.choice(["EAST", "WEST", "NORTH"], DAYS * ROWS)
    noise = random.normal(0, np.where(town == "NORTH", 300, 60))
    return pl.DataFrame(
        {
            "_partition": [starts[each] for each in day],
            "_source": "s",
            "_row": np.arange(DAYS * ROWS),
            "day": [starts[each].date() for each in day],
            "area": area,
            "town": town,
            "lessor": random.choice([f"L{number}" for number in range(15)], DAYS * ROWS),
            "rent": 1000 + 10 * area + noise,
        }
    )


def trained(project: Project, rows: pl.DataFrame, folder: Path) -> tuple[Registry, Version]:
    training = project.training
    keys = [project.key_of(start) for start in rows["_partition"].unique().sort()]
    chosen = TrainingSet(
        1, tuple(keys[: -training.test]), tuple(keys[-training.test :]), rows.height, "", "run", 0, keys[-1]
    )
    kinds = feature_kinds(rows.schema, target=project.target, time=project.partitions.time, task=project.task)
    train = rows.filter(rows["_partition"] < project.start_of(chosen.test[0]))
    classes = classes_of(train[project.target], project.task, project.positive)
    pipeline = build_pipeline(training.estimator, training.parameters, kinds, training.seed, task=project.task)
    fit(pipeline, train, kinds, project.target, task=project.task, classes=classes)
    fields: dict[str, Any] = {
        "project": project.name, "created_at": "", "run_id": "run", "parent": 0, "estimator": training.estimator,
        "parameters": training.parameters, "seed": training.seed, "features": kinds, "target": project.target,
        "training_set": chosen, "hashes": {}, "packages": {}, "task": project.task, "classes": classes,
    }  # fmt: skip
    registry = Registry(folder)
    return registry, registry.register(pipeline, fields)


def judged(project: Project, rows: pl.DataFrame, folder: Path) -> tuple[Judgement, Version, Registry]:
    registry, version = trained(project, rows, folder)
    return judge_version(project, version, rows, registry), version, registry


def declaring(**evaluation: Any) -> Project:
    return replace(PROJECT, evaluation=PROJECT.evaluation.model_copy(update=evaluation))


def rung(found: Judgement, name: str) -> dict[str, Any]:
    return next(one for one in found.numbers["baselines"] if one["name"] == name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judgement, Version, Registry]:
    return judged(PROJECT, rents(), tmp_path_factory.mktemp("plain"))


def test_metrics_are_those_of_the_predictions_and_lie_in_their_intervals(
    plain: tuple[Judgement, Version, Registry],
) -> None:
    found, version, registry = plain
    held_out = rents().filter(pl.col("_partition") >= PROJECT.start_of(version.training_set.test[0]))
    expected = measure("regression", held_out["rent"].to_numpy(), registry.predict(version, held_out))

    assert found.numbers["metrics"]["test"] == pytest.approx(expected)
    for name, (low, high) in found.numbers["intervals"].items():
        assert low < expected[name] < high
    assert found.numbers["rows"] == {"train": 26 * ROWS, "train_measured": 26 * ROWS, "test": 14 * ROWS}


def test_days_are_drawn_where_there_are_enough_and_rows_where_not(
    plain: tuple[Judgement, Version, Registry], tmp_path: Path
) -> None:
    assert (plain[0].numbers["resampling"]["drawn"], plain[0].numbers["resampling"]["units"]) == ("clusters", 14)
    by_lessor, *_ = judged(declaring(clusters="lessor", learning_curve=[]), rents(), tmp_path / "lessor")
    assert by_lessor.numbers["resampling"]["units"] == 15
    short = replace(declaring(learning_curve=[]), training=PROJECT.training.model_copy(update={"test": 5}))
    few, *_ = judged(short, rents(), tmp_path / "few")
    assert few.numbers["resampling"]["drawn"] == "rows"
    assert "5 clusters by partition are fewer than 10" in few.numbers["resampling"]["said"]


def test_every_rung_is_judged_on_the_same_rows(plain: tuple[Judgement, Version, Registry]) -> None:
    found, version, _ = plain
    rows = rents()
    test = rows.filter(pl.col("_partition") >= PROJECT.start_of(version.training_set.test[0]))["rent"].to_numpy()
    train = rows["rent"].to_numpy()[: 26 * ROWS]

    assert [one["name"] for one in found.numbers["baselines"]] == ["mean", "median", "last_value", "linear"]
    assert rung(found, "mean")["metrics"] == pytest.approx(
        measure("regression", test, np.full(len(test), train.mean()))
    )
    # Without an entity the last value is the mean of the day before: of days held out too, for it was known by then.
    means = rows.group_by("_partition", maintain_order=True).agg(pl.col("rent").mean())["rent"].to_numpy()
    yesterday = np.repeat(means[25:39], ROWS)
    assert rung(found, "last_value")["metrics"] == pytest.approx(measure("regression", test, yesterday))
    # What a linear model knows of these rows is all there is to know: their noise is 60 and 300 about a line.
    assert rung(found, "linear")["metrics"]["rmse"] == pytest.approx(np.sqrt((2 * 60**2 + 300**2) / 3), rel=0.1)


def test_a_model_that_is_no_better_than_a_baseline_fails_a_gate(
    plain: tuple[Judgement, Version, Registry], tmp_path: Path
) -> None:
    found, *_ = plain
    (gate,) = found.gates

    # A tree of steps is no better than a line where there is one.
    assert not gate.passed
    assert gate.demand.startswith("mae below the ")
    assert "of a baseline (linear model) by more than noise" in gate.demand
    assert gate.value == pytest.approx(found.numbers["metrics"]["test"]["mae"])
    waived, *_ = judged(
        declaring(baselines_waiver="steps are what the law demands", learning_curve=[]), rents(), tmp_path
    )
    assert (waived.gates[-1].passed, waived.gates[-1].waiver) == (True, "steps are what the law demands")


def test_a_model_that_is_better_than_all_baselines_passes(tmp_path: Path) -> None:
    # A step in the area: no line can follow it.
    rows = rents().with_columns(rent=pl.col("rent") + 2000 * (pl.col("area") > 70) - 20 * pl.col("area"))
    found, *_ = judged(declaring(baselines_waiver="never read, for it is better"), rows, tmp_path)

    assert (found.gates[-1].passed, found.gates[-1].waiver) == (True, "")
    assert all(one["beaten"] for one in found.numbers["baselines"])


def test_a_linear_model_needs_no_other_beside_it(tmp_path: Path) -> None:
    training = Training(estimator="sklearn.linear_model.Ridge", window=40, test=14)
    found, *_ = judged(replace(PROJECT, training=training), rents(), tmp_path)

    assert rung(found, "linear")["left_out"] == "the model is linear itself"
    assert found.gates[-1].passed


def test_what_repeats_after_a_season_is_told_by_the_season(tmp_path: Path) -> None:
    rows = rents().with_columns(rent=1000 + 500 * pl.col("day").dt.weekday() + 0.01 * pl.col("rent"))
    found, *_ = judged(declaring(season=7, entity="town", learning_curve=[]), rows, tmp_path)

    assert rung(found, "seasonal")["metrics"]["mae"] < 10
    assert rung(found, "last_value")["metrics"]["mae"] > 400
    assert found.gates[-1].demand.startswith("mae below the ")
    assert "(value a season ago)" in found.gates[-1].demand
    assert not found.gates[-1].passed


def test_a_last_value_is_taken_from_no_row_of_the_same_day_unless_labels_are_known_at_once(tmp_path: Path) -> None:
    """Electricity's lesson: what stays as it was is best told by what it was, as far as that was known."""
    random = np.random.default_rng(3)
    state = (np.cumsum(random.random(DAYS * ROWS) < 0.05) % 2).astype(bool)
    rows = rents().with_columns(
        pl.Series("up", state), day=pl.col("_partition") + pl.duration(minutes=pl.col("_row") % ROWS)
    ).drop("rent")  # fmt: skip
    binary = replace(
        PROJECT, target="up", task="binary", retraining=Retraining(), training=Training(
            estimator="sklearn.tree.DecisionTreeClassifier", parameters={"max_depth": 2}, window=40, test=14,
        ),
    )  # fmt: skip
    accuracy = {}
    for known in ("with_the_partition", "at_once"):
        evaluation = binary.evaluation.model_copy(update={"labels_known": known, "learning_curve": []})
        found, *_ = judged(replace(binary, evaluation=evaluation), rows, tmp_path / known)
        accuracy[known] = rung(found, "last_value")["metrics"]["accuracy"]
        assert not found.gates[-1].passed

    test = state[26 * ROWS :]
    assert accuracy["at_once"] == pytest.approx((test == state[26 * ROWS - 1 : -1]).mean())
    assert accuracy["with_the_partition"] < 0.75


def test_the_town_that_cannot_be_told_is_found(plain: tuple[Judgement, Version, Registry]) -> None:
    found, *_ = plain
    slices = found.numbers["slices"]

    assert [one["title"] for one in slices] == ["town = NORTH"]
    assert slices[0]["p_value"] < 0.001
    assert slices[0]["value"] == slices[0]["metrics"]["mae"] > 3 * slices[0]["rest"]
    low, high = slices[0]["intervals"]["mae"]
    assert low < slices[0]["value"] < high
    assert found.numbers["slices_looked_at"] > 7


def test_gates_hold_for_slices_and_for_the_ends_of_intervals(tmp_path: Path) -> None:
    def gates(*declared: Gate) -> list[tuple[bool, str]]:
        project = replace(declaring(learning_curve=[], slices=[Slice(column="town")]), gates=declared)
        found, *_ = judged(project, rents(), tmp_path)
        assert {one["title"] for one in found.numbers["slices"]} >= {f"town = {town}" for town in ("EAST", "WEST")}
        return [(gate.passed, gate.demand) for gate in found.gates[:-1]]

    assert gates(
        Gate(metric="mae", at_most=150),
        Gate(metric="mae", at_most=150, slice=Slice(column="town", values=["EAST"])),
        Gate(metric="mae", at_most=150, slice=Slice(column="town")),
        Gate(metric="mae", at_most=150, slice="worst"),
        Gate(metric="mae", at_most=150, slice=Slice(column="area", at_least=110)),
        Gate(metric="mae", at_most=150, slice=Slice(column="town", values=["SOUTH"])),
        Gate(metric="mae", at_most=125, confident=True),
        Gate(metric="r2", at_least=0.5, confident=True),
    ) == [
        (True, "mae <= 150"),
        (True, "mae <= 150 where town = EAST"),
        (False, "mae <= 150 where town = NORTH"),
        (False, "mae <= 150 where town = NORTH"),
        (True, "mae <= 150 where 110 ≤ area"),
        (False, "mae <= 150 where town = SOUTH"),
        (False, "mae <= 125, with confidence"),
        (True, "r2 >= 0.5, with confidence"),
    ]


def test_a_tree_without_a_limit_is_told_to_learn_by_heart(tmp_path: Path) -> None:
    training = PROJECT.training.model_copy(update={"parameters": {}})
    found, *_ = judged(replace(PROJECT, training=training), rents(), tmp_path)
    steps, kinds = found.numbers["learning_curve"], [one["kind"] for one in found.numbers["fit"]]

    assert [step["rows"] for step in steps] == [104, 312, 26 * ROWS]
    assert "overfits" in kinds
    assert "moved" not in kinds


def test_rents_that_rise_are_told_from_learning_by_heart(tmp_path: Path) -> None:
    rows = rents().with_columns(rent=pl.col("rent") + 1500 * (pl.col("_partition") >= PROJECT.start_of("2024-01-27")))
    found, *_ = judged(replace(PROJECT, training=PROJECT.training.model_copy(update={"parameters": {"max_depth": 3}})),
                       rows, tmp_path)  # fmt: skip
    kinds = [one["kind"] for one in found.numbers["fit"]]

    assert "moved" in kinds
    assert "overfits" not in kinds


def labelled(share: float = 0.3) -> pl.DataFrame:
    random = np.random.default_rng(8)
    rows = rents().drop("rent")
    chance = 1 / (1 + np.exp(-(rows["area"].to_numpy() - 70) / 10 - np.log(share / (1 - share))))
    return rows.with_columns(pl.Series("let", random.random(rows.height) < chance))


def test_the_threshold_is_chosen_on_training_rows_and_costs_less_on_the_test(tmp_path: Path) -> None:
    project = replace(
        PROJECT, target="let", task="binary",
        evaluation=PROJECT.evaluation.model_copy(update={"costs": Costs(false_positive=1, false_negative=9)}),
        training=Training(estimator="sklearn.naive_bayes.GaussianNB", window=40, test=14), retraining=Retraining(),
    )  # fmt: skip
    found, version, registry = judged(project, labelled(), tmp_path)
    threshold = found.numbers["threshold"]

    assert threshold["value"] < 0.4
    assert threshold["test_cost"] < threshold["test_cost_of_half"] == pytest.approx(found.numbers["costs"]["test"])
    assert threshold["rows"] == 26 * ROWS - found.numbers["learning_curve"][-2]["rows"]
    # Other labels in the test, and the threshold is the same.
    turned = pl.col("let") ^ (pl.col("_partition") >= project.start_of(version.training_set.test[0]))
    again = judge_version(project, version, labelled().with_columns(let=turned), registry)
    assert again.numbers["threshold"]["value"] == threshold["value"]
    assert again.numbers["threshold"]["test_cost"] != threshold["test_cost"]
    said = in_words(version, found.stored)["threshold"].md_str
    assert f"above {threshold['value']:.3g}:" in said


def test_costs_of_values_are_told_of_the_model_and_of_every_baseline(tmp_path: Path) -> None:
    found, version, registry = judged(declaring(costs=Costs(over=1, under=3), learning_curve=[]), rents(), tmp_path)
    held_out = rents().filter(pl.col("_partition") >= PROJECT.start_of(version.training_set.test[0]))
    error = registry.predict(version, held_out) - held_out["rent"].to_numpy()

    assert found.numbers["costs"]["test"] == pytest.approx(np.where(error > 0, error, -3 * error).mean())
    assert all(one["cost"] > 0 for one in found.numbers["baselines"])


def test_many_classes_are_judged_as_two_are(tmp_path: Path) -> None:
    rows = rents().with_columns(
        size=pl.when(pl.col("area") < 50).then(pl.lit("small")).when(pl.col("area") < 90).then(pl.lit("middle"))
        .otherwise(pl.lit("large"))
    ).drop("rent")  # fmt: skip
    project = replace(
        PROJECT, target="size", task="multiclass", retraining=Retraining(metric="error_rate"),
        training=Training(estimator="sklearn.tree.DecisionTreeClassifier", parameters={"max_depth": 3}, window=40,
                          test=14),
    )  # fmt: skip
    found, version, _ = judged(project, rows, tmp_path)

    assert found.gates[-1].passed
    assert found.numbers["confusion"]["classes"] == ("large", "middle", "small")
    assert set(draw_evaluation(found.numbers)) == {"confusion", "learning_curve", "baselines"}
    assert as_actual(rows["size"], "multiclass", version.classes).min() == 0


def test_rows_with_a_target_of_zero_are_compared_by_another_metric_than_mape(tmp_path: Path) -> None:
    rows = rents().with_columns(rent=pl.when(pl.col("_row") == 5).then(0.0).otherwise("rent"))
    found, *_ = judged(replace(PROJECT, retraining=Retraining(metric="mape")), rows, tmp_path)

    assert found.numbers["watched"] == "mae"
    assert "mape" not in found.numbers["metrics"]["train"]


def test_an_evaluation_is_kept_with_its_pictures_and_read_again(plain: tuple[Judgement, Version, Registry]) -> None:
    found, version, registry = plain
    drawn = draw_evaluation(found.numbers)
    registry.write_evaluation(version, found.stored, drawn)
    stored = registry.evaluation(version.project, version.number)
    assert stored is not None

    assert stored == json.loads(json.dumps({**found.stored, "pictures": sorted(drawn)}))
    assert set(drawn) == {"predictions", "learning_curve", "baselines", "slices"}
    # The same pictures from what was read.
    assert draw_evaluation(stored) == drawn
    assert registry.picture(version.project, version.number, "slices") == drawn["slices"]
    assert registry.picture(version.project, version.number, "../version") is None
    assert sum(map(len, drawn.values())) < 60_000


def test_where_the_version_errs_is_learnt_on_the_rows_held_out(plain: tuple[Judgement, Version, Registry]) -> None:
    found, version, _ = plain
    losses = found.numbers["losses"]
    rows = found.numbers["rows"]["test"]

    assert (losses["metric"], losses["rows"], version.task) == ("mae", rows, "regression")
    assert losses["tree"]["by"] == "town"
    assert losses["tree"]["among"] in (["EAST", "WEST"], ["WEST", "EAST"]), "in the third, rents are anybody's guess"


def test_a_version_is_judged_the_same_at_every_call(plain: tuple[Judgement, Version, Registry]) -> None:
    found, version, registry = plain
    again = judge_version(PROJECT, version, rents(), registry)

    assert (again.numbers, again.gates) == (found.numbers, found.gates)
    assert set(again.seconds) == {
        "predictions", "metrics", "losses", "intervals", "baselines", "learning_curve", "slices", "gates"
    }  # fmt: skip


def test_every_picture_has_its_numbers_in_words(plain: tuple[Judgement, Version, Registry]) -> None:
    found, version, _ = plain
    said = in_words(version, found.stored)

    assert "Linear model" in said["baselines"].md_str
    assert "town = NORTH" in said["slices"].md_str
    assert "1,040" in said["learning_curve"].md_str
    assert said["test_mae"] == found.numbers["metrics"]["test"]["mae"]
    assert "slices" in said["seconds"].md_str
