"""Evidently's report: made once, kept by what it depends on, safe to open."""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from small_site import HOSTILE, HOSTILE_COLUMN, PROJECT

from ml_assets.lake.connection import Lake
from ml_assets.registry.models import Registry
from ml_assets.serving import drift_reports, reports
from ml_assets.serving.reports import Reports, Subject, finish, read_subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from small_site import Browser

REPORT = "/projects/houses/drift/2024-04/evidently"


@pytest.fixture
def subject(filled: Path) -> Subject:
    lake = Lake(filled / "home" / "lake")
    with lake.reader() as cursor:
        found = read_subject(cursor, Registry(filled / "home" / "registry"), PROJECT, PROJECT.start_of("2024-04"), None)
    lake.close()
    assert found is not None
    return found


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Reports]:
    made = Reports(tmp_path)
    yield made
    made.close()


# Evidently and the server that it imports use what numpy and litestar call deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evidently_report_is_made_once_and_is_safe_to_open(client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    def render(subject: Subject, **world: Any) -> str:
        rendered.append(subject.partition)
        return reports.render(subject, **world)

    monkeypatch.setattr(drift_reports, "render", render)
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    first, second = client.get(REPORT), client.get(REPORT)
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.text == first.text
    assert rendered == ["2024-04"]
    assert os.environ["DO_NOT_TRACK"] == "1"

    # What Evidently made, with the reference of the champion and its predictions.
    assert "prediction" in first.text
    assert "Data Drift Summary" in first.text
    assert "all 30 rows, against all 60 rows that version 1 learnt from (2024-01 … 2024-02)" in first.text
    assert "SIMULATED DATA" in first.text

    # Hostile values are in it, but never as they were.
    assert "alert('value" in first.text
    assert HOSTILE not in first.text
    assert HOSTILE_COLUMN not in first.text

    # It works offline, shut in a sandbox.
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=.?(?:https?:)?//", first.text)
    policy = first.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_a_report_is_kept_on_the_disk(kept: Reports, subject: Subject, tmp_path: Path) -> None:
    assert kept.make(subject, lambda _: "made").result(5) == "made"
    assert Reports(tmp_path).find(subject) == "made"
    assert [path.name for path in tmp_path.rglob("*.*")] == [f"2024-04~v1-{subject.key}.html"]


def test_a_report_is_made_again_when_what_it_depends_on_changes(
    kept: Reports, subject: Subject, tmp_path: Path
) -> None:
    changed = [
        replace(subject, current=subject.current.with_columns(area=subject.current["area"] + 1)),
        replace(subject, rows=31),
        replace(subject, version=replace(subject.version, artefact="another")),
        replace(subject, warning="simulated"),
    ]
    assert len({one.key for one in [subject, *changed]}) == 5
    kept.make(subject, lambda _: "old").result(5)
    assert kept.make(changed[0], lambda _: "new").result(5) == "new"
    assert len(list(tmp_path.rglob("*.html"))) == 1, "the outdated one is removed"


def test_requests_for_a_report_that_is_being_made_wait_for_it(kept: Reports, subject: Subject) -> None:
    made = []
    go = threading.Event()

    def render(_: Subject) -> str:
        go.wait(5)
        made.append(1)
        return "made"

    with ThreadPoolExecutor(4) as readers:
        waiting = [readers.submit(lambda: kept.make(subject, render).result(10)) for _ in range(4)]
        time.sleep(0.1)
        go.set()
        assert [one.result(10) for one in waiting] == ["made"] * 4
    assert made == [1]


def test_a_report_that_failed_is_made_when_it_is_next_asked_for(
    kept: Reports, subject: Subject, tmp_path: Path
) -> None:
    def fail(_: Subject) -> str:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        kept.make(subject, fail).result(5)
    assert not list(tmp_path.rglob("*.*"))
    assert kept.make(subject, lambda _: "made").result(5) == "made"


def test_many_rows_are_sampled_the_same_way_every_time(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "SAMPLE", 10)
    lake, registry = Lake(filled / "home" / "lake"), Registry(filled / "home" / "registry")
    found = []
    for _ in range(2):
        with lake.reader() as cursor:
            found.append(read_subject(cursor, registry, PROJECT, PROJECT.start_of("2024-04"), None))
    lines: list[str] = []
    monkeypatch.setattr(reports, "evidently_html", lambda *_: "")
    monkeypatch.setattr(reports, "finish", lambda _, said, __: lines.extend(said) or "")
    first, second = found
    assert first is not None
    assert second is not None
    assert first.current.equals(second.current)
    assert (first.current.height, first.rows) == (10, 30)
    reports.render(first, lake, registry)
    lake.close()
    assert "a fixed random sample of 10 of the 30 rows" in lines[0]
    assert "a fixed random sample of 10 of the 60 rows" in lines[0]


def test_a_partition_that_no_version_has_scored_has_no_report(filled: Path) -> None:
    lake = Lake(filled / "home" / "lake")
    with lake.reader() as cursor:
        assert read_subject(cursor, Registry(filled), PROJECT, PROJECT.start_of("2025-01"), None) is None
    lake.close()


def test_a_report_of_another_make_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be made safe"):
        finish("<html><body></body></html>", [])
