"""A binary and a multiclass project with text, boolean, date, category and number, through the whole graph."""

from __future__ import annotations

import random
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics
from small_market import JUDGING, NAME, PREPARING, Market, Row, RunFailed, open_market

from ml_assets.registry.ledger import stages
from ml_assets.registry.models import RegistryError

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("month", "sent", "words", "sender", "known", "length", "label")
CLEAN = f"SELECT month || '-01' AS month, {', '.join(COLUMNS[1:])}, _partition, _source, _row FROM raw"
FEATURES = f"SELECT _partition, _source, _row, {', '.join(COLUMNS)} FROM validated"
VOCABULARY = {
    "ham": "lunch today meeting tomorrow home later thanks see you",
    "spam": "WINNER! free cash prize claim now call urgent offer",
    "alert": "server down disk full restart failed error node timeout",
}
# From July on, messages read the other way about: what the model has learnt is worth little.
SWAPPED = {"ham": "spam", "spam": "ham", "alert": "alert"}
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
BINARY: dict[str, Any] = {
    "task": "binary",
    "positive": "spam",
    "training": {"estimator": "sklearn.linear_model.LogisticRegression", "window": 2, "test": 1, "text": ["words"]},
    "gates": [{"metric": "f1", "at_least": 0.8}, {"metric": "log_loss", "at_most": 0.5}],
    "retraining": {"tolerance": 1.5, "cooldown": 1, "minimum_rows": 20},
}
MULTICLASS: dict[str, Any] = {
    "task": "multiclass",
    "training": {
        "estimator": "sklearn.naive_bayes.MultinomialNB", "window": 2, "test": 1, "text": ["words"],
        "text_features": "counts", "stop_words": "english",
    },
    "gates": [{"metric": "accuracy", "at_least": 0.8}],
    "retraining": {"metric": "error_rate", "tolerance": 1.5, "cooldown": 1, "minimum_rows": 20},
    # Of 90 messages it cannot be told that naive Bayes is better than a linear model.
    "evaluation": {"baselines_waiver": "another estimator than a linear one is wanted here"},
}  # fmt: skip


def messages(month: str, labels: list[str], *, swapped: bool = False, rows: int = 90) -> list[Row]:
    """Messages of a month, the same at every call; some words are of another kind, so that labels are not certain."""
    made = random.Random(month)
    written = []
    for number in range(rows):
        label = made.choice(labels)
        said = SWAPPED[label] if swapped else label
        vocabularies = [VOCABULARY[said if made.random() < 0.7 else made.choice(labels)] for _ in range(6)]
        written.append(
            {
                "month": month,
                "sent": f"{month}-{number % 28 + 1:02}T12:00:00",
                "words": "" if number == 0 else " ".join(made.choice(text.split()) for text in vocabularies),
                "sender": made.choice(["person", "shop"]),
                "known": made.choice(["true", "false"]),
                "length": "" if number % 9 == 0 else str(made.randint(5, 160)),
                "label": label,
            }
        )
    return written


def open_messages(folder: Path, **changes: Any) -> Market:
    source = {"ignore_in_duplicates": []}
    declared = {"schema": "message_schema:Message", "target": "label", "source": source} | changes
    return open_market(folder, clean=CLEAN, features=FEATURES, **declared)


def played(folder: Path, declared: dict[str, Any], labels: list[str]) -> Market:
    """Four months of history, a model, and two months that are lived: the second reads the other way about."""
    market = open_messages(folder, **declared)
    for month in MONTHS:
        market.write(month, messages(month, labels), COLUMNS)
    for month in ("2024-05", "2024-06"):
        market.write(month, messages(month, labels, swapped=month == "2024-06"), COLUMNS)
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    market.retrain()
    market.materialize(JUDGING, MONTHS[0], MONTHS[-1])
    market.refresh("2024-05")
    market.refresh("2024-06")
    return market


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return played(tmp_path_factory.mktemp("binary"), BINARY, ["ham", "spam"])


@pytest.fixture(scope="module")
def multiclass(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """As the binary one, with a third label; May has one message of a class that nobody has seen."""
    return played(tmp_path_factory.mktemp("multiclass"), MULTICLASS, ["ham", "spam", "alert"])


def joined(market: Market, month: str) -> pl.DataFrame:
    keys = ["_partition", "_source", "_row"]
    return market.table("predictions", month).join(market.table("features", month), on=keys, how="inner")


def measured(market: Market, month: str) -> dict[str, float]:
    return dict(market.table("performance", month).select("metric", "value").iter_rows())


def test_a_version_of_a_classification_records_its_task_its_classes_and_the_kinds_of_its_features(
    binary: Market, multiclass: Market
) -> None:
    one, many = binary.registry.version(NAME, 1), multiclass.registry.version(NAME, 1)

    assert (one.task, one.classes) == ("binary", ("ham", "spam"))
    assert (many.task, many.classes) == ("multiclass", ("alert", "ham", "spam"))
    assert one.features == many.features == {
        "sent": "date", "words": "text", "sender": "category", "known": "number", "length": "number",
    }  # fmt: skip
    assert one.training_set.test_share == 0


def test_the_first_version_passes_its_gates_and_serves(binary: Market, multiclass: Market) -> None:
    for market in (binary, multiclass):
        assert stages(market.ledger())[1] == "champion"
        assert market.ledger("promoted")[0].partition == "2024-05"
    evaluation = binary.registry.evaluation(NAME, 1)
    assert evaluation is not None
    # Those that are declared, and the baselines.
    assert [gate["passed"] for gate in evaluation["gates"]] == [True, True, True]
    assert {"roc_auc", "pr_auc", "f1", "brier"} <= evaluation["metrics"]["test"].keys()


def test_a_binary_prediction_is_the_probability_of_the_positive_label(binary: Market) -> None:
    rows = joined(binary, "2024-05")

    assert set(binary.columns("predictions")) == {
        "_partition", "_source", "_row", "prediction", "version", "in_sample", "hindsight",
    }  # fmt: skip
    means = dict(rows.group_by("label").agg(pl.col("prediction").mean()).iter_rows())
    assert (means["spam"] > 0.7, means["ham"] < 0.3) == (True, True)
    assert rows["prediction"].is_between(0, 1).all()


def test_binary_performance_is_that_of_scikit_learn_on_the_same_rows(binary: Market) -> None:
    for month in ("2024-05", "2024-06"):
        rows = joined(binary, month)
        actual, chance = (rows["label"] == "spam").to_numpy(), rows["prediction"].to_numpy()
        said = chance > 0.5
        assert measured(binary, month) == pytest.approx(
            {
                "rows": rows.height,
                "scored": rows.height,
                "log_loss": metrics.log_loss(actual, chance),
                "brier": metrics.brier_score_loss(actual, chance),
                "error_rate": metrics.zero_one_loss(actual, said),
                "accuracy": metrics.accuracy_score(actual, said),
                "precision": metrics.precision_score(actual, said),
                "recall": metrics.recall_score(actual, said),
                "f1": metrics.f1_score(actual, said),
            }
        )


def test_a_multiclass_prediction_holds_all_probabilities_and_the_likeliest_class(multiclass: Market) -> None:
    rows = joined(multiclass, "2024-05")
    probabilities, classes = np.array(rows["probabilities"].to_list()), multiclass.registry.version(NAME, 1).classes

    assert probabilities.sum(axis=1) == pytest.approx(np.ones(rows.height))
    assert rows["prediction"].to_list() == probabilities.max(axis=1).tolist()
    assert rows["predicted_class"].to_list() == [classes[place] for place in probabilities.argmax(axis=1)]
    assert (rows["predicted_class"] == rows["label"]).mean() > 0.8


def test_multiclass_performance_is_that_of_scikit_learn_on_the_same_rows(multiclass: Market) -> None:
    classes = list(multiclass.registry.version(NAME, 1).classes)
    for month in ("2024-05", "2024-06"):
        rows = joined(multiclass, month)
        expected = {
            "rows": rows.height,
            "scored": rows.height,
            "log_loss": metrics.log_loss(rows["label"].to_list(), rows["probabilities"].to_list(), labels=classes),
            "error_rate": metrics.zero_one_loss(rows["label"].to_list(), rows["predicted_class"].to_list()),
            "accuracy": metrics.accuracy_score(rows["label"].to_list(), rows["predicted_class"].to_list()),
        }
        assert measured(multiclass, month) == pytest.approx(expected)


def test_rows_that_were_learnt_from_never_count(binary: Market) -> None:
    assert binary.table("predictions", "2024-03")["in_sample"].all()
    assert measured(binary, "2024-03") == {}
    assert not binary.table("predictions", "2024-04")["in_sample"].any()


def test_the_watched_loss_asks_for_a_retraining_when_it_has_grown(binary: Market, multiclass: Market) -> None:
    for market, metric, title in ((binary, "log_loss", "Log loss"), (multiclass, "error_rate", "Error rate")):
        may, june = market.decision("2024-05"), market.decision("2024-06")
        assert (may.action, june.action) == ("hold", "retrain"), (may.reason, june.reason)
        assert june.facts["metric"] == metric
        assert june.facts["error"] == measured(market, "2024-06")[metric]
        assert june.reason.startswith(f"{title} ")


def test_drift_counts_the_target_by_its_labels_and_text_by_its_length(binary: Market) -> None:
    profile = binary.table("profile", "2024-05")
    kinds = dict(profile.select("column_name", "kind").unique().iter_rows())

    assert kinds == {
        "sent": "number", "words": "number", "sender": "category", "known": "number", "length": "number",
        "label": "category",
        "words (tokens)": "number", "words (words)": "category",
    }  # fmt: skip
    labels = profile.filter((pl.col("column_name") == "label") & pl.col("bin").is_not_null())
    assert dict(labels.select("bin", "rows").iter_rows()) == dict(
        binary.table("features", "2024-05")["label"].value_counts().iter_rows()
    )
    drifted = binary.table("drift", "2024-05")
    assert {"label", "words", "sent", "prediction"} <= set(drifted["column_name"])


def test_a_challenger_that_knows_more_classes_is_held_against_the_champion(tmp_path: Path) -> None:
    """A third label appears in May; it is counted as wrong, and the version that knows it takes over."""
    market = open_messages(tmp_path, **MULTICLASS | {"retraining": {"metric": "log_loss", "minimum_rows": 20}})
    for month in MONTHS[:2]:
        market.write(month, messages(month, ["ham", "spam"]), COLUMNS)
    for month in MONTHS[2:]:
        market.write(month, messages(month, ["ham", "spam", "alert"]), COLUMNS)
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    market.retrain(through="2024-02")
    market.refresh("2024-03")

    rows = joined(market, "2024-03")
    found = measured(market, "2024-03")
    assert found["unseen_rows"] == (rows["label"] == "alert").sum() > 0
    assert found["error_rate"] == pytest.approx((rows["label"] != rows["predicted_class"]).mean())
    assert market.decision("2024-03").action == "retrain"

    market.retrain(through="2024-04")
    (entry,) = market.ledger("promoted")[1:]
    assert entry.facts["comparison"]["rows"] == 90
    assert entry.facts["comparison"]["challenger"] < 1 < entry.facts["comparison"]["champion"]


def test_a_window_of_one_partition_is_split_by_chance_and_serves_its_own(tmp_path: Path) -> None:
    training = BINARY["training"] | {"window": 1, "test_share": 0.4, "seed": 3}
    market = open_messages(tmp_path, **BINARY | {"training": training})
    market.write("2024-01", messages("2024-01", ["ham", "spam"], rows=200), COLUMNS)
    market.materialize(PREPARING, "2024-01")
    market.retrain()
    market.refresh("2024-01")

    version, rows = market.registry.version(NAME, 1), joined(market, "2024-01")
    held_out = rows.filter(~pl.col("in_sample"))
    assert (version.training_set.train, version.training_set.test) == (("2024-01",), ("2024-01",))
    assert market.metadata("training_set")["rows_held_out"] == held_out.height
    assert 50 < held_out.height < 110
    assert measured(market, "2024-01")["rows"] == held_out.height
    evaluation = market.registry.evaluation(NAME, 1)
    assert evaluation is not None
    assert measured(market, "2024-01")["log_loss"] == pytest.approx(evaluation["metrics"]["test"]["log_loss"])
    market.retrain()
    assert market.ledger("rejected")[-1].facts["comparison"]["rows"] == held_out.height, "the same rows are held out"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (BINARY | {"positive": None}, r"which label of 'label' counts as positive: 'ham', 'spam'\? .*positive: spam"),
        (BINARY | {"positive": True}, "positive: 'true' is no label of 'label'.*in quotes"),
        (BINARY | {"training": {**BINARY["training"], "text": ["word"]}}, r"training\.text: .* no column 'word'"),
        (
            BINARY | {"training": {**BINARY["training"], "estimator": "sklearn.linear_model.Ridge"}},
            "'sklearn.linear_model.Ridge' is no classifier class .* the task is binary",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_the_rows_fails_and_says_what_to_do(
    tmp_path: Path, declared: dict[str, Any], message: str
) -> None:
    market = open_messages(tmp_path, **declared)
    for month in MONTHS[:2]:
        market.write(month, messages(month, ["ham", "spam"]), COLUMNS)

    def train() -> None:
        market.materialize(PREPARING, MONTHS[0], MONTHS[1])
        market.retrain()

    with pytest.raises(RunFailed, match=message):
        train()


def test_a_version_of_another_task_does_not_serve(binary: Market) -> None:
    from dataclasses import replace

    from ml_assets.assets.predictions import score

    version = binary.registry.version(NAME, 1)
    other = replace(binary.project, task="multiclass", positive=None, gates=())
    with pytest.raises(RegistryError, match="was trained for binary and the project's task is now multiclass"):
        score(binary.lake, other, version, binary.table("features", "2024-05"))


# What is shown


@pytest.mark.parametrize("which", ["binary", "multiclass"])
def test_the_pages_show_the_watched_error_and_the_metrics_of_the_task(
    request: pytest.FixtureRequest, which: str
) -> None:
    from ml_assets.serving.chart import draw, series_of
    from ml_assets.serving.glance import glance_of
    from ml_assets.serving.queries import read_state
    from ml_assets.serving.site import build_site

    market: Market = request.getfixturevalue(which)
    with market.settings():
        site = build_site({NAME: market.project})
    with market.lake.reader() as cursor:
        state = read_state(cursor, site.registry, market.project)
    page = site.page(
        "project.html", warnings=[], state=state, project=market.project, shown=24, alerts=(), happened=[],
        glance=glance_of(state, datetime(2024, 7, 1)), certificate=None, limit="",  # noqa: DTZ001 - naive UTC
    ).body.decode()  # fmt: skip
    title = {"binary": "Log loss", "multiclass": "Error rate"}[which]

    assert f'<th scope="col" class="n">{title}</th>' in page
    assert f"</strong> {title} in 2024-06" in page
    assert "MAPE" not in page
    assert ("ROC AUC" in page) == (which == "binary")
    assert ("F1, macro" in page) == (which == "multiclass")
    assert title in draw(series_of(state, None))


# Evidently and the server that it imports use what numpy and litestar call deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evidently_reports_on_a_classification_and_says_that_text_is_left_out(multiclass: Market) -> None:
    from ml_assets.serving.reports import read_subject, render

    with multiclass.lake.reader() as cursor:
        start = multiclass.project.start_of("2024-06")
        subject = read_subject(cursor, multiclass.registry, multiclass.project, start, None)
    assert subject is not None
    content = render(subject, multiclass.lake, multiclass.registry)

    assert "Left out, because it is text: words." in content
    assert "90 rows that version 1 learnt from" in content
