"""A project at a glance: the traffic light, its words, and what makes rows late."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_site import PROJECT
from writing_tables import replace_window

from ml_assets.core.policy import Action
from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import Entry, Kind
from ml_assets.registry.models import Registry
from ml_assets.serving.glance import HEIGHT, WIDTH, Glance, freshness_of, glance_of, spark_of
from ml_assets.serving.queries import ModelVersion, Partition, State, read_state
from ml_assets.serving.stories import TITLES, because, events, title_of_entry, why_trained

if TYPE_CHECKING:
    from pathlib import Path

MAY = datetime(2024, 5, 20)  # noqa: DTZ001 - naive UTC


def partition(key: str, error: float | None = 0.05, version: int | None = 1, standing: str = "matured") -> Partition:
    return Partition(
        key=key, start=PROJECT.start_of(key), rows=10, quarantined=0, duplicates=0, version=version, in_sample=False,
        hindsight=False, alarms=(), error=error, decision=None, standing=standing,
    )  # fmt: skip


def entry(number: int, kind: str, version: int = 0, key: str = "", action: str = "", **facts: object) -> Entry:
    import json

    return Entry(
        number, "2024-05-02T10:00:00+00:00", "houses", kind, key, version, action,  # type: ignore[arg-type]
        "live" if kind == "decision" else "", f"reason {number}", json.dumps(facts), "run", "", "",
    )  # fmt: skip


def state(*partitions: Partition, champion: int | None = 1, reference: float | None = 0.05, **more: object) -> State:
    test = {} if reference is None else {"mape": reference}
    versions = tuple(
        ModelVersion(number, None, "champion" if number == champion else "retired", test, entry(1, "promoted", number))
        for number in (1, 2)
    )
    return State(PROJECT, partitions, versions, **more)  # type: ignore[arg-type]


BACK = entry(9, "promoted", 1, "2024-05", "rollback")


def glance(found: State) -> Glance:
    return glance_of(found, MAY)


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (state(), "new", "no partition has been materialized."),
        (state(partition("2024-04", 0.055)), "good", "MAPE 5.5% in 2024-04 against 5.0% expected."),
        (state(partition("2024-04", 0.0624)), "good", "MAPE 6.2% in 2024-04 against 5.0% expected."),
        (state(partition("2024-04", 0.07)), "bad", "MAPE 7.0% in 2024-04 against 5.0% expected."),
        (state(partition("2024-03", 0.07), partition("2024-04", None)), "bad", "MAPE 7.0% in 2024-03"),
        (state(partition("2024-04", 0.05, standing="provisional")), "good", "MAPE 5.0% (provisional) in 2024-04"),
        (state(partition("2024-04", None)), "watch", "version 1 serves, not measured on new rows yet; MAPE 5.0%"),
        (state(partition("2024-04", 0.05), reference=None), "watch", "the version was never tested"),
        (state(partition("2024-04"), champion=None), "watch", "no version serves yet."),
        (
            state(partition("2024-04", 0.09), champion=2), "good",
            "version 2 is new, MAPE 5.0% in its test; version 1 before it came to 9.0% in 2024-04.",
        ),
        (
            state(partition("2024-03", 0.05, 1), partition("2024-04", 0.2, 2), promotions=(BACK,)), "good",
            "serves again, MAPE 5.0% in 2024-03 when it served before; version 2 before it came to 20.0% in 2024-04.",
        ),
        (
            state(partition("2024-03", 0.07, 1), partition("2024-04", 0.2, 2), promotions=(BACK,)), "bad",
            "version 1 serves again, MAPE 7.0% in 2024-03",
        ),
        (
            state(partition("2024-04", 0.2, 2), promotions=(BACK,)), "good",
            "version 1 serves again, MAPE 5.0% in its test; version 2 before it came to 20.0% in 2024-04.",
        ),
        # Its labels come so late that the newest partitions have none.
        (state(partition("2024-04", None), measured=partition("2023-01", 0.055)), "good", "MAPE 5.5% in 2023-01 again"),
        (state(partition("2024-04", None), measured=partition("2023-01", 0.07)), "bad", "MAPE 7.0% in 2023-01 again"),
        (state(partition("2024-04"), ask=entry(7, "decision", 1, "2024-04", "ask")), "watch", "MAPE 5.0% in 2024-04"),
    ],
)  # fmt: skip
def test_the_light_says_how_the_model_does(found: State, level: str, words: str) -> None:
    told = glance(found)
    assert told.level == level
    assert words in told.words


def test_the_champions_newest_measured_partition_is_found_however_old_it_is(filled: Path, tmp_path: Path) -> None:
    import polars as pl

    shutil.copytree(filled / "home", tmp_path / "home")
    lake, registry = Lake(tmp_path / "home" / "lake"), Registry(tmp_path / "home" / "registry")
    rows = [("2024-01", 1, 0.01), ("2024-02", 1, 0.02), ("2024-03", 2, 0.03), ("2024-04", 1, None)]
    errors = pl.DataFrame(
        [(PROJECT.start_of(key), version, "mape", value) for key, version, value in rows],
        schema=["_partition", "version", "metric", "value"], orient="row",
    )  # fmt: skip
    window = PROJECT.window("2024-01", "2024-04")
    replace_window(lake, {PROJECT.table("performance"): errors}, window, Commit("houses", "test"))
    with lake.reader() as cursor:
        found = read_state(cursor, registry, PROJECT, 1)
    lake.close()

    assert [(one.key, one.error) for one in found.partitions] == [("2024-04", None)]
    assert found.measured is not None
    assert (found.measured.key, found.measured.error, found.judged) == ("2024-02", 0.02, found.measured)


def test_what_waits_for_a_person_is_said_and_never_hides_that_the_model_is_wrong() -> None:
    asked = entry(7, "decision", 1, "2024-04", "ask")
    assert glance(state(partition("2024-04"), ask=asked)).waits == "a question on 2024-04"
    assert glance(state(partition("2024-04", 0.2), ask=asked)).level == "bad"


@pytest.mark.parametrize(
    ("read_at", "now", "behind", "is_late"),
    [
        ("2024-05-01", "2024-05-20", 0, False),
        ("2024-05-01", "2024-06-10", 1, False),
        ("2024-05-31", "2024-07-01", 2, True),
        # A history, or one that was caught up with: it is behind, and does not come as it came to be.
        ("2026-11-22", "2026-11-22", 30, False),
        (None, "2024-09-01", 4, False),
        ("2024-05-01", "2024-04-20", 0, False),
    ],
)
def test_late_is_what_was_up_to_date_before(read_at: str | None, now: str, behind: int, is_late: bool) -> None:  # noqa: FBT001
    read = None if read_at is None else datetime.fromisoformat(read_at)
    fresh = freshness_of(state(partition("2024-04"), read_at=read), datetime.fromisoformat(now))
    assert fresh is not None
    assert (fresh.key, fresh.behind, fresh.is_late) == ("2024-04", behind, is_late)
    told = glance_of(state(partition("2024-04"), read_at=read), datetime.fromisoformat(now))
    assert told.level == ("watch" if is_late else "good")


@given(st.integers(0, 2000), st.integers(0, 400))
def test_time_makes_nothing_fresher(days: int, more: int) -> None:
    found = state(partition("2024-04"), read_at=datetime(2024, 5, 2))  # noqa: DTZ001
    first, later = (freshness_of(found, MAY + timedelta(days=each)) for each in (days, days + more))
    assert first is not None
    assert later is not None
    assert (later.behind or 0) >= (first.behind or 0)
    assert later.is_late >= first.is_late


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=40))
def test_the_line_stays_in_its_picture_and_has_a_gap_where_nothing_is_known(errors: list[float | None]) -> None:
    starts = [PROJECT.step(PROJECT.start_of("2020-01"), number) for number in range(len(errors))]
    keys = [PROJECT.key_of(start) for start in starts]
    line = spark_of(state(*(partition(key, error) for key, error in zip(keys, errors, strict=True))))

    known = [error for error in errors if error is not None]
    if len(known) < 2:
        assert line is None
        return
    assert line is not None
    points = [tuple(map(float, one.split())) for path in line.paths for one in path.removeprefix("M").split(" L")]
    assert len(points) == len(known)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert points[-1] == line.end


def test_a_version_is_told_why_it_was_trained() -> None:
    decision = entry(
        3, "decision", 1, "2024-04", "retrain", metric="mape", error=0.1, reference=0.05, alarms=["area", "town"]
    )
    entries = [
        entry(1, "registered", 1, by="Ann", decision=0),
        entry(2, "promoted", 1, "2024-02"),
        decision,
        entry(4, "registered", 2, by="sensor", decision=3),
        entry(5, "rejected", 2, decision=3),
    ]
    first, second = why_trained(entries, 1), why_trained(entries, 2)
    assert first.words == "without a decision, by Ann"
    assert first.verdict is not None
    assert first.verdict.id == 2
    said = "the MAPE had grown to 10.0% from 5.0% when it was judged, and 2 columns had drifted"
    assert second.words == f"after 2024-04, because {said}"
    assert second.verdict is not None
    assert title_of_entry(second.verdict) == "version 2 rejected"
    assert glance(state(partition("2024-04"), entries=tuple(entries))).why == second


def test_a_decision_without_an_error_is_told_in_the_policys_words() -> None:
    assert because(entry(3, "decision", 1, "2024-04", "retrain", metric="mape", error=None)) == "reason 3"
    better = entry(3, "decision", 1, "2024-04", "retrain", metric="mape", error=0.04, reference=0.05)
    assert because(better) == "the MAPE was 4.0% against 5.0% when it was judged"


def test_every_kind_of_entry_has_words() -> None:
    assert set(TITLES) == set(get_args(Kind))
    assert title_of_entry(entry(1, "registered", 3)) == "version 3 trained"
    assert title_of_entry(entry(1, "of later", 3)) == "version 3 of later", "one that this code does not know yet"


@pytest.mark.parametrize("action", get_args(Action))
def test_a_decision_is_told_in_the_one_word_that_the_ledger_has_for_it(action: str) -> None:
    assert title_of_entry(entry(1, "decision", 1, "2024-01", action)) == action


def test_what_happened_leaves_out_that_nothing_did() -> None:
    kept = entry(1, "decision", 1, "2024-01", "hold")
    filled = replace(entry(2, "decision", 1, "2024-02", "retrain"), standing="backfill")
    acted, served = entry(3, "decision", 1, "2024-03", "retrain"), entry(4, "promoted", 2)
    assert events([kept, filled, acted, served], 9) == [served, acted]
    assert events([acted, served], 1) == [served]


def test_what_was_said_when_a_version_was_judged_stays_when_it_serves_again() -> None:
    entries = [
        entry(1, "registered", 1),
        entry(2, "promoted", 1, "2024-03", costs={"latency_ms": 9.9}),
        entry(3, "promoted", 2, "2024-04", costs={"latency_ms": 8.0}),
        entry(4, "promoted", 1, "2024-05", "rollback", by="Ann"),
    ]
    found = why_trained(entries, 1)

    assert found.verdict == entries[3]
    assert found.judged == entries[1]
    assert found.costs == {"latency_ms": 9.9}
