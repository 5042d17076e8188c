"""The main job on a short range, and what a person then sees of it in a browser.

History, training, refreshes, a decision, a retraining that the sensor launches; the asset graph in Dagster's UI, the
link of `drift` to its report, the pictures of `exploration`. In one file, which one process runs: it is played once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import httpx
import pytest
from asking import ask, cases_of
from browsing import keep_picture, look_around
from playing import DAGSTER_PORT, DEMO, REPORTS_PORT, ROOT, environment, run
from playwright.sync_api import Locator, Page, sync_playwright

from ml_assets.assets.exploration import TITLES
from ml_assets.lake.connection import Lake
from ml_assets.registry.ledger import Ledger, stages
from ml_assets.registry.models import Registry

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
REQUIRED = os.environ.get("ML_ASSETS_REQUIRE_BROWSER") == "1"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SKIP = pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED,
    reason="needs Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path",
)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DAGSTER, REPORTS = f"http://127.0.0.1:{DAGSTER_PORT}", f"http://127.0.0.1:{REPORTS_PORT}"


def instance_of(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(home / "dagster"))


def test_a_decision_is_acted_on_by_the_sensor_and_a_better_champion_is_promoted(played: tuple[Path, str]) -> None:
    home, printed = played
    entries = Ledger(Lake(home / "lake")).entries("house_prices")
    asked = {entry.id for entry in entries if entry.standing == "live" and entry.action == "retrain"}
    promoted = [entry for entry in entries if entry.kind == "promoted" and entry.facts["decision"] in asked]
    assert promoted
    comparison = promoted[-1].facts["comparison"]
    assert comparison["challenger"] < comparison["champion"]
    assert stages(entries)[promoted[-1].version] == "champion"
    run_record = instance_of(home).get_run_by_id(promoted[-1].run_id)
    assert run_record is not None
    assert run_record.tags["dagster/sensor_name"] == "house_prices_retraining"
    assert "launched by sensor house_prices_retraining" in printed


def test_every_retraining_came_to_its_end_with_a_card_and_an_export_of_its_champion(played: tuple[Path, str]) -> None:
    home, _ = played
    runs = instance_of(home).get_runs(dg.RunsFilter(job_name="house_prices_retrain"))
    assert {one.status for one in runs} == {dg.DagsterRunStatus.SUCCESS}
    for entry in Ledger(Lake(home / "lake")).entries("house_prices", "promoted"):
        folder = home / "registry" / "house_prices" / str(entry.version)
        assert (folder / "card.md").is_file()
        assert (folder / "model.onnx").is_file()


def test_each_decision_that_asks_for_it_has_exactly_one_retraining(played: tuple[Path, str]) -> None:
    home, _ = played
    asked = [
        entry.id
        for entry in Ledger(Lake(home / "lake")).entries("house_prices", "decision")
        if entry.standing == "live" and entry.action == "retrain"
    ]
    runs = instance_of(home).get_runs(dg.RunsFilter(job_name="house_prices_retrain"))
    launched = sorted(int(one.tags["ml_assets/decision"]) for one in runs if "ml_assets/decision" in one.tags)
    assert launched == sorted(asked)


def test_a_range_is_one_run_and_decisions_of_a_history_launch_nothing(played: tuple[Path, str]) -> None:
    home, _ = played
    history = [
        entry
        for entry in Ledger(Lake(home / "lake")).entries("house_prices", "decision")
        if entry.partition <= "2020-12"
    ]
    assert len(history) == 24
    assert {entry.standing for entry in history} == {"backfill"}
    assert len({entry.run_id for entry in history}) == 1


def test_the_same_command_again_repeats_nothing(played: tuple[Path, str], data: Path) -> None:
    home, first = played
    versions = Registry(home / "registry").numbers("house_prices")
    entries = len(Ledger(Lake(home / "lake")).entries("house_prices"))
    again = run(DEMO, home, data)
    assert Registry(home / "registry").numbers("house_prices") == versions
    assert len(Ledger(Lake(home / "lake")).entries("house_prices")) == entries
    rows = [line for line in first.splitlines() if line.startswith("2021-")]
    assert [line for line in again.splitlines() if line.startswith("2021-")] == rows


def test_every_version_that_was_made_can_be_made_again(played: tuple[Path, str], data: Path) -> None:
    home, _ = played
    versions = Registry(home / "registry").numbers("house_prices")
    code = "from ml_assets.cli import app; app(['rebuild', 'house_prices'])"
    said = run(code, home, data)
    assert said.count("every bit is the same") == len(versions) > 1


@pytest.fixture(scope="module")
def everything_up(played: tuple[Path, str], data: Path) -> Iterator[subprocess.Popen[str]]:
    """`ml-assets up` on the home that the demo left."""
    home, _ = played
    ports = [f"--dagster-port={DAGSTER_PORT}", f"--reports-port={REPORTS_PORT}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ml_assets.cli", "up", *ports],
        cwd=ROOT,
        env=environment(home, data),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ctrl-C" in line:
            break
    else:
        pytest.fail("ml-assets up ended")
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def page(everything_up: subprocess.Popen[str]) -> Iterator[Page]:
    assert everything_up.poll() is None
    assert CHROMIUM, "Chromium is required here and not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # The graph is drawn on as much room as the window has.
        yield browser.new_page(viewport={"width": 1600, "height": 1000})
        browser.close()


@SKIP
@pytest.mark.browser
def test_the_asset_graph_shows_every_asset_of_the_project(page: Page) -> None:
    page.goto(f"{DAGSTER}/locations/ml_assets/asset-groups/house_prices")
    for name in ("raw", "validated", "quarantine", "features", "profile", "training_set", "model", "evaluation"):
        page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
    for name in ("champion", "predictions", "drift", "performance", "decision"):
        page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)


@SKIP
@pytest.mark.browser
def test_the_link_of_drift_leads_to_the_evidently_report(page: Page) -> None:
    page.goto(f"{DAGSTER}/assets/house_prices/drift")
    link = page.locator(f'a[href^="{REPORTS}/projects/house_prices/drift/2021-"]').first
    link.wait_for(timeout=60_000)
    with page.context.expect_page() as opened:
        link.click()
    report = opened.value
    report.wait_for_load_state()
    assert "Drift in 2021-08" in report.inner_text("h1")
    evidently = report.frame_locator("iframe")
    evidently.get_by_text("Dataset Drift", exact=False).first.wait_for(timeout=120_000)
    evidently.get_by_text("floor_area_sqm").first.wait_for(timeout=60_000)
    report.close()


@SKIP
@pytest.mark.browser
def test_the_project_page_tells_champion_decisions_and_versions(page: Page) -> None:
    page.goto(f"{REPORTS}/projects/house_prices")
    text = page.inner_text("main")
    assert "Champion" in text
    assert "serves from 2021-0" in text
    assert "a retraining costs 1" in text
    assert page.locator("img, svg").count() > 0


@SKIP
@pytest.mark.browser
def test_every_page_opens_from_the_start_page_has_a_heading_and_fits_a_phone(page: Page) -> None:
    seen = look_around(page, REPORTS)
    page.set_viewport_size({"width": 1600, "height": 1000})

    assert seen.wrong == {}
    project = "/projects/house_prices"
    wanted = {"/", "/ledger", project, "/try/house_prices"}
    wanted |= {f"{project}/{name}" for name in ("partitions", "drift", "versions", "quarantine", "ledger", "lineage")}
    wanted |= {f"{project}/partitions/…", f"{project}/versions/…"}
    wanted |= {f"{project}/versions/…/diff/…", f"{project}/predictions/…"}
    assert wanted <= seen.kinds.keys()


@SKIP
@pytest.mark.browser
def test_the_start_page_says_how_the_model_is_and_why_it_was_trained(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{REPORTS}/")
    text = page.inner_text("main")
    assert "MAPE" in text
    assert "was trained after" in text
    page.get_by_role("link", name="What changed").first.click()
    assert "mape" in page.inner_text("main").lower()
    page.goto(f"{REPORTS}/projects/house_prices")
    keep_picture(page, "project")


@SKIP
@pytest.mark.browser
def test_the_form_says_what_the_api_says_and_moves_when_a_field_does(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{REPORTS}/try/house_prices")
    said = []
    for area in ("70", "120"):
        page.get_by_role("spinbutton", name="floor_area_sqm").fill(area)
        page.get_by_role("button", name="Predict").click()
        shown = page.locator(".said strong").inner_text()
        row = {one.get_attribute("name"): one.input_value() for one in page.locator("form.row [name]").all()}
        whole = {name: int(row[name]) for name in ("lease_commence_year", "remaining_lease_months")}
        row |= {"floor_area_sqm": float(area), **whole}
        answer = httpx.post(f"{REPORTS}/predict/house_prices", json=row, timeout=30).raise_for_status()
        said.append(answer.json()["predictions"][0]["prediction"])
        assert shown == f"{said[-1]:,.0f}"
    assert said[0] < said[1]
    assert "What moved it" in page.inner_text("main")
    keep_picture(page, "try")
    page.get_by_role("spinbutton", name="floor_area_sqm").fill("4000")
    page.get_by_role("button", name="Predict").click()
    # The browser itself holds the field to the schema's limits.
    assert page.get_by_role("spinbutton", name="floor_area_sqm").evaluate("field => field.validity.rangeOverflow")


@SKIP
@pytest.mark.browser
def test_a_page_leads_back_to_dagster(page: Page) -> None:
    page.goto(f"{REPORTS}/projects/house_prices/partitions/2021-08")
    page.locator(f'a[href^="{DAGSTER}/"]').first.click()
    page.wait_for_load_state()
    assert page.url.startswith(DAGSTER)
    page.get_by_text("house_prices").first.wait_for(timeout=60_000)


@SKIP
@pytest.mark.browser
def test_the_checks_of_the_schema_are_asset_checks(page: Page) -> None:
    page.goto(f"{DAGSTER}/assets/house_prices/validated?view=checks")
    page.get_by_text("flat_type__isin").first.wait_for(timeout=60_000)


@SKIP
@pytest.mark.browser
def test_the_pictures_of_the_exploration_show_in_dagster_and_its_page_opens_from_there(page: Page) -> None:
    page.goto(f"{DAGSTER}/assets/house_prices/exploration")
    link = page.locator(f'a[href="{REPORTS}/projects/house_prices/exploration"]').first
    link.wait_for(timeout=60_000)
    for name in TITLES:
        # What is long stands behind a click.
        page.locator("tr", has_text=f"picture_{name}").get_by_text("[Show Markdown]").click()
        picture = page.locator('img[src^="data:image/png;base64,"]')
        picture.wait_for(timeout=60_000)
        assert picture.get_attribute("alt") == TITLES[name]
        assert _is_drawn(picture)
        page.keyboard.press("Escape")
        picture.wait_for(state="detached")
    with page.context.expect_page() as opened:
        link.click()
    shown = opened.value
    shown.wait_for_load_state()
    pictures = shown.locator("main img").all()
    assert len(pictures) == len(TITLES)
    assert all(map(_is_drawn, pictures))
    shown.close()


def _is_drawn(picture: Locator) -> bool:
    """Whether the browser has read the picture: a broken one has no width."""
    return bool(picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth > 100, () => false)"))


CLIENTS, ASKING_SECONDS = 50, 20


@pytest.mark.usefixtures("everything_up")
def test_fifty_programs_get_right_answers_while_the_champion_changes(played: tuple[Path, str], data: Path) -> None:
    home, _ = played
    cases = cases_of(home, "house_prices", "resale_price")
    newest = max(cases[0].said)
    change = f"""
from ml_assets.cli import app
for act in (["rollback", "house_prices"], ["rollback", "house_prices@{newest}"]):
    app(["models", *act, "--why", "to see that nobody notices"], standalone_mode=False)
"""
    url, options = f"{REPORTS}/predict/house_prices", {"clients": CLIENTS, "seconds": ASKING_SECONDS}
    # In a thread: the browser has this one's loop.
    with ThreadPoolExecutor(1) as beside:
        asking = beside.submit(lambda: asyncio.run(ask(url, cases, **options)))
        run(change, home, data)
        found = asking.result()

    assert found.failed == []
    assert found.wrong == []
    assert len(found.by_version) == 2, "the champion and the one before it"
    assert found.by_version.total() > CLIENTS


@SKIP
@pytest.mark.browser
def test_ctrl_c_leaves_no_process_and_frees_both_ports(everything_up: subprocess.Popen[str]) -> None:
    everything_up.send_signal(signal.SIGINT)
    everything_up.wait(timeout=60)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(_answers(url) for url in (DAGSTER, REPORTS)):
        time.sleep(0.2)
    assert not _answers(DAGSTER)
    assert not _answers(REPORTS)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2)
    except httpx.TransportError:
        return False
    return True
