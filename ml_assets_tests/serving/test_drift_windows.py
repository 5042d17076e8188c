"""Drift of any window against any other: our numbers from profiles, Evidently's from the rows, side by side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from small_site import HOSTILE, HOSTILE_COLUMN, PROJECT

from ml_assets.core.drift import drift
from ml_assets.core.profiles import add_up, choose_bins, count_values
from ml_assets.lake.connection import Lake
from ml_assets.registry.models import Registry
from ml_assets.serving import drift_reports, windows
from ml_assets.serving.drift_reports import make_ready
from ml_assets.serving.reports import Reports, Subject
from ml_assets.serving.side_by_side import as_table, of_evidently
from ml_assets.serving.site import Site, build_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from small_site import Browser

# Evidently and the server that it imports use what numpy and litestar call deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PAGE = "/projects/houses/drift/report"


def address(first: str, last: str, against: str, page: str = PAGE) -> str:
    return f"{page}?{urlencode({'from': first, 'to': last, 'against': against})}"


@pytest.fixture(scope="module")
def lake(filled: Path) -> Iterator[Lake]:
    found = Lake(filled / "home" / "lake")
    yield found
    found.close()


@pytest.fixture(scope="module")
def registry(filled: Path) -> Registry:
    return Registry(filled / "home" / "registry")


def compared(lake: Lake, registry: Registry, first: str, last: str, against: str) -> dict[tuple[str, str], float]:
    with lake.reader() as cursor:
        found = windows.compare(cursor, windows.parse(PROJECT, registry, first, last, against))
    return {(one.column, one.name): one.value for one in found}


def test_a_window_is_the_sum_of_its_partitions(lake: Lake, registry: Registry) -> None:
    import polars as pl

    with lake.reader() as cursor:
        rows = cursor.execute(f"SELECT _partition, area FROM {PROJECT.table('features').path}").pl()
        (area,) = [one for one in windows.read_bins(cursor, PROJECT.table("bins")).values() if one.name == "area"]
    starts = [PROJECT.start_of(key) for key in ("2024-01", "2024-02", "2024-03", "2024-04")]

    def counted(*which: int) -> Any:
        chosen = rows.filter(pl.col("_partition").is_in([starts[one] for one in which]))
        return {"area": count_values(area, chosen["area"].to_numpy())}

    by_hand = {(one.column, one.name): one.value for one in drift(counted(0, 1), counted(2, 3), {"area": area})}
    found = compared(lake, registry, "2024-03", "2024-04", "2024-01..2024-02")
    assert {key: value for key, value in found.items() if key[0] == "area"} == pytest.approx(by_hand)
    # The version learnt from the same two months.
    assert compared(lake, registry, "2024-03", "2024-04", "version:1") == pytest.approx(found)


def test_a_window_has_not_drifted_from_itself(lake: Lake, registry: Registry) -> None:
    found = compared(lake, registry, "2024-02", "2024-03", "2024-02..2024-03")

    assert {column for column, _ in found} == {"town", "area", "price"}
    for (column, name), value in found.items():
        assert value == pytest.approx(1.0 if name == "chi_squared" else 0.0, abs=1e-12), (column, name)


@pytest.mark.parametrize(
    ("first", "last", "against", "message"),
    [
        ("2024-02", "2024-01", "version:1", "2024-02 is after 2024-01"),
        ("2024-01", "2024-02", "version:7", "there is no such version. There are: 1"),
        ("2024-01", "2024-02", "version:../1", "there is no such version"),
        ("2024-01", "2024-02", "", "expected version:N, or KEY..KEY"),
        ("2024-01", "2024-02", "2024-01..2024-02..2024-03", "expected version:N, or KEY..KEY"),
        ("2024-01", "2024-02", "2024-02..2024-01", "2024-02 is after 2024-01"),
        ("../../registry", "2024-02", "version:1", "keys look like"),
        ("2024-01", "2024-02", "2024-01../..", "expected version:N, or KEY..KEY"),
        ("2024-01", "2024-02", "a/b..c", "keys look like"),
    ],
)
@pytest.mark.parametrize("page", [PAGE, f"{PAGE}/evidently"])
def test_what_is_no_window_is_refused_with_what_is(
    client: Browser, page: str, first: str, last: str, against: str, message: str
) -> None:
    answer = client.get(address(first, last, against, page))

    assert answer.status_code == 404
    assert message in answer.text


def test_a_window_without_rows_is_said_to_have_none(client: Browser, empty: Browser) -> None:
    assert "Nothing to compare" in client.get(address("2025-01", "2025-02", "version:1")).text
    answer = client.get(address("2025-01", "2025-02", "version:1", f"{PAGE}/evidently"))
    assert (answer.status_code, "holds no features of 2025-01..2025-02" in answer.text) == (404, True)
    assert empty.get(address("2024-01", "2024-01", "2024-01")).status_code == 200
    assert empty.get(address("2024-01", "2024-01", "2024-01", f"{PAGE}/evidently")).status_code == 404


def test_the_page_shows_our_numbers_and_frames_evidentlys(client: Browser) -> None:
    answer = client.get(address("2024-03", "2024-04", "2024-01..2024-02"))

    assert answer.status_code == 200
    assert "Against 2024-01..2024-02" in answer.text
    assert "Wasserstein, in standard deviations" in answer.text
    assert "/drift/report/evidently?from=2024-03&amp;to=2024-04&amp;against=2024-01..2024-02" in answer.text


@pytest.mark.parametrize("against", ["version:1", "2024-01..2024-02"])
def test_evidentlys_report_is_made_once_with_both_numbers_side_by_side(
    client: Browser, monkeypatch: pytest.MonkeyPatch, against: str
) -> None:
    rendered = []

    def render(subject: Subject, **world: Any) -> str:
        rendered.append(subject.name)
        return windows_render(subject, **world)

    windows_render = drift_reports.render
    monkeypatch.setattr(drift_reports, "render", render)
    asked = address("2024-03", "2024-04", against, f"{PAGE}/evidently")
    first, second = client.get(asked), client.get(asked)

    assert (first.status_code, second.text) == (200, first.text)
    assert rendered == [f"2024-03..2024-04~{'v1' if against == 'version:1' else against}"]
    assert "2024-03..2024-04: all 60 rows, against all 60 rows" in first.text
    assert first.headers["content-security-policy"].startswith("sandbox allow-scripts")
    (table,) = re.findall(r"<details open>.*?</details>", first.text)
    cells = {row[:2]: row[2:] for row in re.findall(r"<td>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", table)}
    assert {column for column, _ in cells} >= {"area", "town", "price"}
    # A distance does not depend on bins but for their width.
    ours, theirs = map(float, cells["area", "Wasserstein, in standard deviations"])
    assert ours == pytest.approx(theirs, rel=0.25, abs=0.02)
    assert HOSTILE not in first.text
    assert HOSTILE_COLUMN not in first.text


def test_on_the_same_rows_and_categories_both_count_the_same() -> None:
    draw = np.random.default_rng(7)
    before, now = draw.choice(list("abcd"), 3_000), draw.choice(list("abcd"), 2_000, p=[0.4, 0.3, 0.2, 0.1])
    import polars as pl

    (bins,) = choose_bins(pl.DataFrame({"town": before}), {"town": "category"})
    from ml_assets.core.profiles import Counts

    def counted(values: Any) -> Counts:
        names, rows = np.unique(values, return_counts=True)
        return Counts("town", "category", 0, 0.0, dict(zip(names.tolist(), rows.tolist(), strict=True)))

    ours = {
        (one.column, one.name): one.value
        for one in drift(add_up([counted(before)]), add_up([counted(now)]), {"town": bins})
    }
    theirs = of_evidently(pd.DataFrame({"town": now}), pd.DataFrame({"town": before}), {"town": "category"})
    assert set(theirs) == {("town", "psi"), ("town", "js")}
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, rel=1e-6)


def test_a_column_that_does_not_vary_has_no_distance_in_standard_deviations() -> None:
    before, now = pd.DataFrame({"area": [1.0] * 50}), pd.DataFrame({"area": [1.0] * 40 + [2.0] * 10})

    assert ("area", "wasserstein") not in of_evidently(now, before, {"area": "number"})


def test_without_a_statistic_that_both_have_there_is_no_table() -> None:
    assert as_table({("a", "psi"): 1.0}, {("b", "psi"): 1.0}) == ""
    assert "<img" not in as_table({(HOSTILE_COLUMN, "psi"): 1.0}, {(HOSTILE_COLUMN, "psi"): 1.0})


# ------------------------------------------------------------------------------------------- before anybody asks


@pytest.fixture
def site(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("ML_ASSETS_HOME", str(filled / "home"))
    made = build_site({"houses": PROJECT})
    object.__setattr__(made, "reports", Reports(tmp_path))
    yield made
    made.reports.close()
    made.lake.close()


def test_the_report_of_an_alarm_is_there_before_anybody_asks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    monkeypatch.setattr(drift_reports, "render", lambda subject, **_: rendered.append(subject.partition) or "made")

    assert make_ready(site, set()) == ["houses 2024-04"], "the others raised no alarm"
    assert make_ready(site, set()) == []
    assert rendered == ["2024-04"]


def test_one_that_cannot_be_made_is_logged_and_not_tried_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def fail(subject: Subject, **_: Any) -> str:
        tried.append(subject.partition)
        raise RuntimeError("no memory")

    monkeypatch.setattr(drift_reports, "render", fail)
    given_up: set[tuple[str, str]] = set()
    assert make_ready(site, given_up) == make_ready(site, given_up) == []
    assert tried == ["2024-04"]
    assert "the report on houses, 2024-04 could not be made" in caplog.text
