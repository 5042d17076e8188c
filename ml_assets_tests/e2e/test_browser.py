"""What a person does: opens the asset graph in Dagster's UI, follows the link of `drift`, and sees the report."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playing import DAGSTER_PORT, REPORTS_PORT, ROOT, environment
from playwright.sync_api import Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
REQUIRED = os.environ.get("ML_ASSETS_REQUIRE_BROWSER") == "1"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and not REQUIRED,
        reason="needs Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path",
    ),
]

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


def test_the_asset_graph_shows_every_asset_of_the_project(page: Page) -> None:
    page.goto(f"{DAGSTER}/locations/ml_assets/asset-groups/house_prices")
    for name in ("raw", "validated", "quarantine", "features", "profile", "training_set", "model", "evaluation"):
        page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
    for name in ("champion", "predictions", "drift", "performance", "decision"):
        page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)


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


def test_the_project_page_tells_champion_decisions_and_versions(page: Page) -> None:
    page.goto(f"{REPORTS}/projects/house_prices")
    text = page.inner_text("main")
    assert "Champion" in text
    assert "serves from 2021-0" in text
    assert "more than 1.25 times" in text
    assert page.locator("img, svg").count() > 0


def test_the_checks_of_the_schema_are_asset_checks(page: Page) -> None:
    page.goto(f"{DAGSTER}/assets/house_prices/validated?view=checks")
    page.get_by_text("flat_type__isin").first.wait_for(timeout=60_000)


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
