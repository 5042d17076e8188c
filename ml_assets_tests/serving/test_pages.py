"""What the pages say, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from small_site import HOSTILE, HOSTILE_COLUMN, PROJECT, Browser, make_data
from writing_tables import replace_window

from ml_assets.declared.rows import Partitions
from ml_assets.declared.sources import Source
from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.alerts import Alert
from ml_assets.registry.models import Registry
from ml_assets.serving import pages
from ml_assets.serving.access.keys import make_key
from ml_assets.serving.access.store import home_store
from ml_assets.serving.chart import draw, series_of
from ml_assets.serving.queries import State, read_state

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    "/",
    "/projects/houses",
    "/projects/houses/partitions",
    "/projects/houses/quarantine",
    "/projects/houses/drift",
    "/projects/houses/drift/2024-04",
]
CHART = "/projects/houses/performance.svg"


def text_of(html: str) -> str:
    """A page's text on one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize("path", [*PAGES[:-1], CHART])
def test_a_fresh_installation_has_every_page(empty: Browser, path: str) -> None:
    assert empty.get(path).status_code == 200


@pytest.mark.parametrize("path", PAGES[:-1])
def test_a_fresh_installation_says_what_to_do(empty: Browser, path: str) -> None:
    assert "ml-assets backfill houses" in empty.get(path).text


def test_a_partition_of_a_fresh_installation_is_not_there_and_says_what_to_do(empty: Browser) -> None:
    page = empty.get("/projects/houses/drift/2024-04")
    assert page.status_code == 404
    assert "There is no partition yet. To fill a first history: ml-assets backfill houses." in page.text


def test_looking_at_a_fresh_installation_makes_no_lake(empty: Browser, tmp_path: Path) -> None:
    empty.get("/")
    empty.get("/projects/houses/drift/2024-04")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("", None, "houses has no version 1. It has: none. Remedy: name one of these; or, where its folder was lost"),
        ("version.json", '{"number": 1, "proj', "houses version 1: its version.json cannot be read: Unterminated"),
        ("version.json", "{}", "houses version 1: its version.json cannot be read: &#39;training_set&#39;. Remedy:"),
        ("evaluation.json", "[1]", "houses version 1: its evaluation.json cannot be read: "),
    ],
)
def test_a_version_whose_folder_is_broken_is_shown_so_and_takes_no_page_down(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str | None, reason: str
) -> None:
    shutil.copytree(filled / "home", tmp_path / "home")
    broken = tmp_path / "home" / "registry" / "houses" / "1" / file
    if content is None:
        shutil.rmtree(broken)
    else:
        broken.write_text(content)
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    browser = Browser()

    assert [browser.get(path).status_code for path in [*PAGES, CHART]] == [200] * 7
    page = browser.get("/projects/houses").text
    assert f'<span class="tag bad">broken</span> {reason}' in page
    assert "version 1 , serves from 2024-04" in text_of(page)
    for path in ("versions/1", "versions/1/card", "versions/1/card.md"):
        answer = browser.get(f"/projects/houses/{path}")
        assert (answer.status_code, "Remedy" in answer.text) == (404, True), path


def test_blocks_are_drawn_by_their_number_and_never_as_days_of_1970(filled: Path) -> None:
    blocks = replace(PROJECT, source=Source(files="*.csv"), partitions=Partitions(grain="block", rows=100))
    with Lake(filled / "home" / "lake").reader() as cursor:
        months = read_state(cursor, Registry(filled / "home" / "registry"), PROJECT)
    partitions = tuple(
        replace(one, start=blocks.start_of(key), key=key)
        for key, one in zip([f"block-{number:06}" for number in (7, 8, 9, 10)], months.partitions, strict=True)
    )
    promotions = tuple(replace(one, partition="block-000010") for one in months.promotions)
    series = series_of(State(blocks, partitions, months.versions, promotions), None)

    assert [one.place for one in series.points] == [7, 8, 9, 10]
    assert (series.promoted, [one.place for one in series.points if one.retrained]) == (((10, 1),), [10])
    assert {">9<", ">10<"} <= set(re.findall(r">[0-9]+<", draw(series)))
    assert "1970" not in draw(series)


def test_a_lake_with_raw_rows_alone_is_shown(empty: Browser, tmp_path: Path) -> None:
    import polars as pl

    make_data(tmp_path / "data", simulated=False)
    rows = pl.DataFrame({"_partition": [PROJECT.start_of("2024-01")], "_row": [1]})
    lake = Lake(tmp_path / "home" / "lake")
    replace_window(lake, {PROJECT.table("raw"): rows}, PROJECT.window("2024-01", "2024-01"), Commit("houses", "raw"))
    lake.close()
    for path in PAGES[:-1]:
        page = empty.get(path)
        assert page.status_code == 200
        assert 'class="warning"' not in page.text
    assert "2024-01 1" + 6 * " \N{EN DASH}" in text_of(empty.get("/projects/houses/partitions").text)


def test_home_shows_each_project_at_a_glance(client: Browser) -> None:
    text = text_of(client.get("/").text)
    for said in (
        "version 1 , serves from 2024-04",
        "2024-04 , 33 rows",
        "7.0% MAPE in 2024-04, 1.40 \N{MULTIPLICATION SIGN} the 5.0%",
    ):
        assert said in text


def test_the_live_decision_is_shown_and_not_a_later_repetition(client: Browser) -> None:
    text = text_of(client.get("/").text)
    assert "2024-04: retrain more than 1.25 times" in text
    assert "asked once more" not in text


def test_partitions_stand_newest_first_with_what_became_of_their_rows(client: Browser) -> None:
    text = text_of(client.get("/projects/houses").text)
    assert "2024-04 33 1 2 1 7.0%" in text
    assert "2024-01 32 0 2 1 in sample" in text
    assert text.index("2024-04 33") < text.index("2024-01 32")


def test_a_statistic_says_how_rare_it_is_and_from_where_it_alarms(client: Browser) -> None:
    text = text_of(client.get("/projects/houses/drift/2024-04").text)
    assert "shape, chi-squared per degree of freedom 0.5000 10,000 1,000 alarm" in text
    assert "PSI 0.0100 tells only" in text
    assert text.index("alarm area") > 0, "alarms come first"


def test_an_alarm_says_why_and_which_rows_carry_it(client: Browser) -> None:
    page = client.get("/projects/houses/drift/2024-04").text
    assert (
        "25 % of a typical error +0.01 MAPE town &lt;b&gt;west&lt;/b&gt;: 70 % of it with 20 % of the rows"
        in text_of(page)
    )
    assert "<b>west</b>" not in page, "escaped"
    assert "unknown: ValueError: no such &lt;b&gt;town&lt;/b&gt; unknown" in text_of(page)
    assert "Why" not in text_of(client.get("/projects/houses/drift/2024-03").text)


def test_what_the_sign_of_a_cost_means_stands_above_it(client: Browser) -> None:
    text = text_of(client.get("/projects/houses/drift/2024-04").text)
    said = "With a plus the move makes predictions worse, with a minus better"
    assert text.index(said) < text.index("+0.01 MAPE")


def test_a_statistic_of_a_partition_without_values_is_left_empty(client: Browser) -> None:
    page = client.get("/projects/houses/drift/2024-03").text
    assert "area location 1 1,000 no" in text_of(page)
    assert "nan" not in text_of(page)


def test_a_drift_page_says_what_alarms_are_for_under_the_policy(client: Browser) -> None:
    text = text_of(client.get("/projects/houses/drift/2024-04").text)
    assert "The policy is performance : alarms stand beside its decisions as evidence." in text


def test_a_partition_older_than_what_its_version_learnt_from_is_hindsight(
    client: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: Any) -> State:
        state = read_state(*arguments)
        first, *others = state.partitions
        return replace(state, partitions=(replace(first, in_sample=False, hindsight=True), *others))

    monkeypatch.setattr(pages, "read_state", read)
    assert "2024-01 32 0 2 1 hindsight" in text_of(client.get("/projects/houses").text)


def test_a_version_that_waits_is_shown_with_what_to_do(client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: Any) -> State:
        state = read_state(*arguments)
        return replace(state, versions=tuple(replace(one, stage="awaiting") for one in state.versions))

    assert "Waiting for a person" not in client.get("/projects/houses").text
    monkeypatch.setattr(pages, "read_state", read)
    for path in ("/", "/projects/houses"):
        text = text_of(client.get(path).text)
        assert "version 1: the first version that passes. ml-assets approve houses@1 --why" in text


def test_a_long_history_is_cut_with_a_link_to_all_of_it(client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SHOWN", 2)
    page = client.get("/projects/houses").text
    assert "All 4 partitions" in page
    assert "/partitions/2024-01" not in page
    assert "/partitions/2024-01" in client.get("/projects/houses/partitions").text


def test_the_quarantine_says_why_since_when_where_and_what_has_left_it(client: Browser) -> None:
    assert 'href="/projects/houses/quarantine"' in client.get("/projects/houses").text
    page = client.get("/projects/houses/quarantine").text
    text = text_of(page)
    assert "1 of 129 rows did not pass" in text
    assert "town__isin &lt;img src=x onerror=alert(&#39;column&#39;)&gt; 1 0.78% 2024-04" in text
    assert "\\x1b&lt;/script&gt;&lt;script&gt;alert(&#39;value&#39;)&lt;/script&gt;" in text
    assert "1 \N{MULTIPLICATION SIGN}, 2024-04.csv row 30" in text
    assert "2024-04 33 1 3.03% town__isin 1" in text
    assert "judged again: &lt;/script&gt;" in text


def test_versions_show_stage_window_metrics_and_verdict(client: Browser) -> None:
    text = text_of(client.get("/projects/houses").text)
    assert "1 champion 2024-01 … 2024-02 2024-03 … 2024-03 5.0% 12,346 9,000 0.9" in text
    assert "the first version that passes" in text


def test_alerts_are_shown_on_the_project_whose_job_failed(client: Browser, filled: Path) -> None:
    at = "2026-01-02T03:04:05+00:00"
    alerts = [
        asdict(Alert(at, "a1b2c3d4e5", "houses_refresh", ("houses",), "2024-05", "<b>ours</b>")),
        asdict(Alert(at, "f", "houses_big_refresh", ("houses_big",), "", "of another")),
    ]
    file = filled / "home" / "alerts.jsonl"
    file.write_text("".join(json.dumps(alert) + "\n" for alert in alerts) + '{"run_id": "half')
    try:
        page, home = client.get("/projects/houses").text, client.get("/").text
    finally:
        file.unlink()
    assert "&lt;b&gt;ours&lt;/b&gt;" in page
    assert "2026-01-02 03:04" in page
    assert "of another" not in page
    assert "of another" in home


@pytest.mark.parametrize("path", PAGES)
def test_hostile_data_is_escaped(client: Browser, path: str) -> None:
    page = client.get(path).text
    assert HOSTILE not in page
    assert HOSTILE_COLUMN not in page
    assert "<b>houses</b>" not in page


def test_a_hostile_column_name_is_shown_as_text(client: Browser) -> None:
    assert "&lt;img src=x onerror=alert(" in client.get("/projects/houses/drift/2024-04").text


@pytest.mark.parametrize("path", [*PAGES, CHART, "/projects/nobody", "/projects/houses/drift/2031-01"])
def test_simulated_data_are_announced_on_every_page(client: Browser, path: str) -> None:
    assert "SIMULATED DATA" in client.get(path).text


def test_simulated_data_are_announced_also_when_their_files_are_gone(
    client: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(tmp_path, simulated=False)
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path))
    for path in PAGES:
        assert "SIMULATED DATA" in client.get(path).text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/projects/nobody", "Declared are: houses"),
        ("/projects/houses/drift/2031-01", "There are 2024-01 … 2024-04"),
        ("/projects/houses/drift/2031-01/evidently", "There are 2024-01 … 2024-04"),
        ("/projects/houses/drift/2024-4", "keys look like &#39;2024-01&#39;"),
        ("/projects/houses/drift/latest", "keys look like &#39;2024-01&#39;"),
        ("/projects/houses/drift/latest/evidently", "keys look like"),
        ("/nowhere", "There is no such page"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(client: Browser, path: str, said: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert said in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/projects/..%2f..%2fregistry",
        "/projects/%2e%2e",
        "/projects/houses/drift/..%2f..%2f..%2fregistry/evidently",
        "/projects/houses/drift/2024-04%2f..%2fx/evidently",
        "/projects/houses/drift/2024-04%00/evidently",
        "/projects/houses/drift/%2e%2e/evidently",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
    ],
)
def test_traversal_ends_in_a_404(client: Browser, filled: Path, path: str) -> None:
    before = sorted(filled.rglob("*.html"))
    assert client.get(path).status_code == 404
    assert sorted(filled.rglob("*.html")) == before


def test_a_hostile_address_is_escaped_in_the_answer(client: Browser) -> None:
    page = client.get("/projects/%3Cscript%3Ealert(1)%3C%2Fscript%3E").text
    assert "<script" not in page
    page = client.get("/projects/%3Cimg%20src=x%3E").text
    assert "&lt;img src=x&gt;" in page


@pytest.mark.parametrize("path", [*PAGES, CHART, "/healthz", "/nowhere", "/static/style.css"])
def test_every_answer_carries_the_security_headers(client: Browser, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "http" not in policy


def test_pages_hold_no_script_and_no_address_elsewhere_but_dagsters(client: Browser) -> None:
    for path in PAGES:
        page = client.get(path).text
        assert "<script" not in page
        assert " style=" not in page
        assert not re.findall(r'(?:src|href)="(?!/)(?!#)(?!http://127.0.0.1:3000/)', page)


def test_an_error_says_nothing_of_the_inside(client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(pages, "read_state", fail)
    response = client.get("/projects/houses")
    assert response.status_code == 500
    assert "Something went wrong" in response.text
    assert "secret detail" not in response.text
    assert "Traceback" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_without_a_key_pages_can_only_be_read(client: Browser, method: str) -> None:
    assert client.request(method, "/projects/houses").status_code == 403


def test_only_its_own_names_are_answered(client: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("127.0.0.1:3001", "localhost", "[::1]:3001"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:3001"):
        response = client.get("/", headers={"host": host})
        assert response.status_code == 400
        assert "houses" not in response.text
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    make_key(home_store(), "Ann", projects=["*"], scopes=["look"], expires=None)
    monkeypatch.setenv("ML_ASSETS_URL", "https://models.example.org/ml")
    assert Browser().get("/healthz", headers={"host": "models.example.org"}).status_code == 200


def test_the_chart_marks_champions_retrainings_and_the_limit(client: Browser) -> None:
    response = client.get(CHART)
    assert response.headers["content-type"] == "image/svg+xml"
    root = ET.fromstring(response.text)  # noqa: S314 - our own
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"v1", "MAPE", "new champion", "retrain above", "retraining decided"} <= words
    assert "prefers-color-scheme: dark" in response.text


def test_a_picture_has_its_figures_in_words(client: Browser) -> None:
    page = client.get("/projects/houses").text
    assert '<th scope="col" class="n">Retrain above</th>' in page
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) == 1
    assert re.search(r'alt="[^"]*7\.0% in 2024-04', pictures[0])
