"""The page of a version: every picture beside its figures, whatever the names of columns and labels."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_site import HOSTILE, HOSTILE_COLUMN, PROJECT, Browser, feature_rows

from ml_assets.assets.judging import judge_version
from ml_assets.core.evaluation_pictures import draw_evaluation
from ml_assets.core.tasks import classes_of
from ml_assets.core.training import build_pipeline, feature_kinds, fit
from ml_assets.declared.evaluation import Evaluation, Slice
from ml_assets.registry.models import Registry, TrainingSet

if TYPE_CHECKING:
    from pathlib import Path

    from ml_assets.project import Project

PAGE = "/projects/houses/versions/1"
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
EVALUATION = Evaluation(minimum_rows=5, draws=200, learning_curve=[0.6], slices=[Slice(column="town")])


def judge(project: Project, home: Path) -> None:
    """A version of the project in the home's registry, trained on three months and judged on the fourth."""
    rows = feature_rows()
    kinds = feature_kinds(rows.schema, target=project.target, time="", task=project.task)
    train = rows.filter(rows["_partition"] < project.start_of(MONTHS[-1]))
    classes = classes_of(train[project.target], project.task, project.positive)
    training = project.training
    pipeline = build_pipeline(training.estimator, {}, kinds, 0, task=project.task)
    fit(pipeline, train, kinds, project.target, task=project.task, classes=classes)
    registry = Registry(home / "registry")
    version = registry.register(
        pipeline,
        {
            "project": "houses", "created_at": "2024-05-01T00:00:00+00:00", "run_id": "run", "parent": 0,
            "estimator": training.estimator, "parameters": {}, "seed": 0, "features": kinds, "target": project.target,
            "training_set": TrainingSet(1, MONTHS[:-1], MONTHS[-1:], rows.height, "", "run", 0, MONTHS[-1]),
            "hashes": {}, "packages": {}, "task": project.task, "classes": classes,
        },
    )  # fmt: skip
    found = judge_version(project, version, rows, registry)
    registry.write_evaluation(version, found.stored, draw_evaluation(found.numbers))


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_the_page_shows_every_picture_beside_its_figures(empty: Browser, tmp_path: Path, task: str) -> None:
    project = replace(PROJECT, evaluation=EVALUATION)
    if task == "multiclass":
        training = PROJECT.training.model_copy(update={"estimator": "sklearn.naive_bayes.GaussianNB"})
        # One of its labels is hostile.
        project = replace(
            PROJECT, training=training, evaluation=EVALUATION.model_copy(update={"slices": [Slice(column="area")]}),
            target="town", task="multiclass",
        )  # fmt: skip
    judge(project, tmp_path / "home")
    answer = empty.get(PAGE)
    page = answer.text

    assert answer.status_code == 200
    images = re.findall(r'<img class="picture" src="([^"]+)" alt="([^"]+)">', page)
    assert len(images) == 4
    for source, described in images:
        shown = empty.get(source)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
        assert described.endswith("The figures are in the table below.")
    for title in ("Verdict", "Gates", "Metrics", "Baselines", "Learning curve", "Slices"):
        assert f"<h2>{title}</h2>" in page
    assert HOSTILE not in page
    assert HOSTILE_COLUMN not in page


def test_an_evaluation_of_before_shows_what_it_holds(client: Browser) -> None:
    answer = client.get(PAGE)

    assert answer.status_code == 200
    assert "<h2>Metrics</h2>" in answer.text
    assert "<h2>Slices</h2>" not in answer.text
    assert client.get(f"{PAGE}/slices.png").status_code == 404


def test_a_version_that_is_not_there_is_not_found(client: Browser) -> None:
    answer = client.get("/projects/houses/versions/99")

    assert answer.status_code == 404
    assert "houses has no version 99" in answer.text
    assert client.get("/projects/houses/versions/1/..%2Fversion.png").status_code == 404


def test_the_project_leads_to_its_versions(client: Browser) -> None:
    assert f'href="{PAGE}"' in client.get("/projects/houses").text
