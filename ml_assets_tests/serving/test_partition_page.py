"""A partition, and a row of it back to its source."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_site import HOSTILE, PROJECT, Browser
from writing_tables import replace_window

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.models import Registry
from ml_assets.serving.app import create_app
from ml_assets.serving.partition_queries import Place, worst_of
from ml_assets.serving.tracing import Origin, column_origins, trace

if TYPE_CHECKING:
    from pathlib import Path

APRIL = "/projects/houses/partitions/2024-04"
ROW = "/projects/houses/predictions/2024-04?source=2024-04.csv&row=3"


def text_of(html: str) -> str:
    """A page's text on one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_it_accounts_for_its_rows_and_says_what_was_decided(client: Browser) -> None:
    page = client.get(APRIL).text
    text = text_of(page)
    assert "33 raw: 30 validated, 1 in quarantine , 2 duplicates" in text
    assert "7.0% against 5.0% expected of version 1" in text
    assert "version 1 : 30 rows" in text
    assert "The decision was to retrain: more than 1.25 times." in text
    assert "shape, chi-squared per degree of freedom" in text
    assert (
        "moves predictions by 25 % of a typical error, harmful; town &lt;b&gt;west&lt;/b&gt; carries 70 % of it" in text
    )
    assert 'rel="prev" href="/projects/houses/partitions/2024-03"' in page
    assert 'rel="next"' not in page
    assert "http://127.0.0.1:3000/assets/houses/predictions?view=partitions&amp;partition=2024-04" in page


def test_what_does_not_count_says_why(client: Browser) -> None:
    assert "not counted: the version has learnt from these rows" in text_of(
        client.get("/projects/houses/partitions/2024-01").text
    )
    assert "in sample" in text_of(client.get("/projects/houses/partitions/2024-01").text)


def test_rows_that_are_farthest_off_lead_to_their_lineage(client: Browser) -> None:
    page = client.get(APRIL).text
    links = re.findall(r'href="(/projects/houses/predictions/2024-04\?[^"]+)"', page)
    assert len(links) == 10
    off = [float(one.replace(",", "")) for one in re.findall(r'<td class="n">([\d,.]+)</td></tr>', page)][-10:]
    assert off == sorted(off, reverse=True)
    assert client.get(links[0].replace("&amp;", "&")).status_code == 200


def test_a_row_is_followed_from_its_prediction_to_its_source(client: Browser) -> None:
    page = client.get(ROW).text
    text = text_of(page)
    steps = [text.index(f" {step} ") for step in ("Prediction", "Features", "Validated", "Raw, as it came", "Source")]
    assert steps == sorted(steps)
    assert "version 1" in text
    assert "Learnt from 2024-01 … 2024-02, snapshot" in text
    assert "2024-04.csv , row 3" in text
    assert "http://127.0.0.1:3000/runs/run" in page


def test_a_row_in_quarantine_says_why_it_went_no_further(client: Browser) -> None:
    text = text_of(client.get("/projects/houses/predictions/2024-04?source=2024-04.csv&row=30").text)
    assert "It did not pass: town__isin of &lt;img src=x" in text


@pytest.mark.parametrize(
    "source",
    ["../../etc/passwd", "2024-04.csv' OR '1'='1", "%00", "2024-03.csv", HOSTILE, ""],
)
def test_a_source_is_a_name_and_nothing_else(client: Browser, source: str) -> None:
    answer = client.get("/projects/houses/predictions/2024-04", params={"source": source, "row": "3"})
    assert answer.status_code == 404
    assert "Its sources are 2024-04.csv." in answer.text
    assert HOSTILE not in answer.text


def test_a_form_finds_the_page_of_a_row(client: Browser) -> None:
    answer = client.get("/projects/houses/predictions?partition=2024-04&source=2024-04.csv&row=3")
    assert (answer.status_code, answer.headers["location"]) == (303, ROW)
    assert client.get("/projects/houses/predictions?partition=..%2F..&row=3").status_code == 404


@pytest.fixture
def lake(filled: Path, tmp_path: Path) -> Lake:
    shutil.copytree(filled / "home", tmp_path / "home")
    return Lake(tmp_path / "home" / "lake")


def test_the_origin_of_each_feature_is_read_off_the_sql(lake: Lake) -> None:
    sql = replace(
        PROJECT,
        clean_sql="SELECT _partition, _source, _row, upper(_simulated) AS note FROM raw",
        features_sql="SELECT *, _row * 2 AS twice, 1 AS one FROM validated",
    )
    with lake.reader() as cursor:
        found, why_not = column_origins(cursor, sql)
        assert column_origins(cursor, PROJECT)[0] == ()
        assert "SELECT" in column_origins(cursor, replace(PROJECT, clean_sql="DROP TABLE raw"))[1]
    assert why_not == ""
    assert found[-2:] == (Origin("twice", ("validated._row",), ("_row",)), Origin("one", (), ()))


def test_the_hash_of_the_source_is_that_of_when_it_was_read(lake: Lake, tmp_path: Path) -> None:
    import polars as pl

    place = Place(PROJECT.start_of("2024-04"), "2024-04.csv", 3)
    registry = Registry(tmp_path / "home" / "registry")
    with lake.reader() as cursor:
        before = trace(cursor, registry, PROJECT, place)
    rows = pl.DataFrame({"_partition": [place.start], "_source": [place.source], "sha256": ["ab" * 32]})
    window = PROJECT.window("2024-04", "2024-04")
    replace_window(lake, {PROJECT.table("raw_sources"): rows}, window, Commit("houses", "raw"))
    with lake.reader() as cursor:
        after = trace(cursor, registry, PROJECT, place)
    lake.close()
    assert before is not None
    assert after is not None
    assert (before.sha256, after.sha256) == ("", "ab" * 32)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_of_a_classification_the_surest_mistakes_are_farthest_off(tmp_path: Path, task: str) -> None:
    import polars as pl

    project = replace(PROJECT, task=task, target="label")  # type: ignore[arg-type]
    start = PROJECT.start_of("2024-04")
    rows = pl.DataFrame({"_partition": [start] * 4, "_source": ["a"] * 4, "_row": [1, 2, 3, 4]})
    labels = ["yes", "no", "yes", None]
    # Of a binary task the probability of `yes`, of many classes that of the likeliest.
    said = [0.9, 0.8, 0.1, 0.5] if task == "binary" else [0.9, 0.8, 0.9, 0.5]
    predictions = rows.with_columns(
        prediction=pl.Series(said), predicted_class=pl.Series(["yes", "yes", "no", "no"]), version=1
    )
    lake = Lake(tmp_path / "lake")
    tables = {"features": rows.with_columns(label=pl.Series(labels)), "predictions": predictions}
    replace_window(
        lake,
        {project.table(name): table for name, table in tables.items()},
        PROJECT.window("2024-04", "2024-04"),
        Commit("houses", "test"),
    )
    with lake.reader() as cursor:
        found = worst_of(cursor, project, start, ["no", "yes"])
        unknown = worst_of(cursor, project, start, [])
    lake.close()
    assert unknown == ([] if task == "binary" else found), "whose probability it is must be known"
    assert [one.row for one in found] == [3, 2, 1]
    assert [round(one.off, 6) for one in found] == [0.9, 0.8, 0.1]


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_label_is_shown_as_it_is_and_a_probability_says_of_what(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    import polars as pl

    project = replace(PROJECT, task=task, target="label", positive="1_000" if task == "binary" else None)  # type: ignore[arg-type]
    row = pl.DataFrame({"_partition": [project.start_of("2024-04")], "_source": ["2024-04.csv"], "_row": [3]})
    predictions = row.with_columns(
        prediction=0.25, predicted_class=pl.lit("1_000"), version=1, in_sample=False, hindsight=False
    )
    tables = {"features": row.with_columns(label=pl.lit("0042")), "predictions": predictions}
    replace_window(
        lake,
        {project.table(name): table for name, table in tables.items()},
        project.window("2024-04", "2024-04"),
        Commit("houses", "test"),
    )
    lake.close()
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    browser = Browser()
    browser._app = create_app({"houses": project})

    text = text_of(browser.get(ROW).text)

    said = "0.25 , the probability of 1_000" if task == "binary" else "1_000 with probability 0.25"
    assert f"Predicted {said}" in text
    assert "Actual label 0042" in text


def test_a_trace_says_which_sql_is_another_by_now(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.close()
    record = tmp_path / "home" / "registry" / "houses" / "1" / "version.json"
    stored = json.loads(record.read_text())
    record.write_text(json.dumps(stored | {"sources": {"clean_sql": "", "features_sql": "SELECT 1"}}))
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))

    text = text_of(Browser().get(ROW).text)

    assert "features.sql is another than when version 1 was trained" in text
    assert "clean.sql" not in text
    record.write_text(json.dumps(stored))
    text = text_of(Browser().get(ROW).text)
    assert "The tables and the SQL are shown as they are now." in text
    assert "is another than" not in text
