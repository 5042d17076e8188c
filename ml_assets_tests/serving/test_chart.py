"""The picture of error and drift: for any length of history, on any screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args
from xml.etree import ElementTree as ET

import pytest
from small_site import PROJECT, Browser
from test_glance import entry, partition, state

from ml_assets.core.policy import Policy
from ml_assets.declared.retraining import Retraining
from ml_assets.serving.chart import Point, Series, draw, series_of

TEXT = "{http://www.w3.org/2000/svg}text"
CHART = "/projects/houses/performance.svg"
FIRST = datetime(2019, 1, 1)  # noqa: DTZ001 - naive UTC


def words(svg: str) -> set[str]:
    """All that is written in a picture."""
    return {element.text or "" for element in ET.fromstring(svg).iter(TEXT)}  # noqa: S314 - our own


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    ("step", "many"),
    [
        (1 / 24, 2),
        (1 / 24, 60),
        (1, 1),
        (1, 3),
        (1, 25),
        (1, 65),
        (1, 400),
        (7, 52),
        (30, 3),
        (30, 28),
        (30, 59),
        (365, 9),
    ],
)
def test_any_span_of_time_is_drawn_without_a_complaint(step: float, many: int, *, narrow: bool) -> None:
    points = tuple(
        Point(FIRST + timedelta(days=step * number), 0.05, 0.06, 0.3, alarms=False, retrained=False)
        for number in range(many)
    )
    svg = draw(Series("mape", points, ((FIRST, 1),), None, "limit"), narrow=narrow)
    assert {"MAPE", "drift", "v1", "limit"} <= words(svg)


def test_what_is_not_known_is_a_gap_and_what_is_beyond_telling_is_cut() -> None:
    points = (
        Point(1, None, None, None, alarms=False, retrained=False),
        Point(2, 0.05, None, None, alarms=True, retrained=False),
        Point(3, 0.05, 0.06, 690.0, alarms=True, retrained=True),
    )
    svg = draw(Series("rmse", points, (), "SIMULATED", "limit"))
    assert {"RMSE", "drift alarm", "retraining decided", "SIMULATED DATA"} <= words(svg)
    assert "690" not in words(svg)
    assert draw(Series("rmse", points[:1], (), None, "limit")), "nothing at all is known"


@pytest.mark.parametrize("policy", get_args(Policy))
def test_the_line_is_called_by_what_it_is_under_the_policy(policy: Policy) -> None:
    retraining = Retraining(policy=policy, tolerance=1.5)
    found = series_of(replace(state(partition("2024-03")), project=replace(PROJECT, retraining=retraining)), None)
    said = words(draw(replace(found, points=(Point(1, 0.05, 0.06, 0.3, alarms=False, retrained=False),))))
    # Under any other policy nothing is done because of it.
    assert ("retrain above" in said) == (policy == "performance")
    assert ("1.5 times the test error" in said) == (policy != "performance")


def test_a_phone_gets_one_of_its_own_with_the_same_words(client: Browser) -> None:
    wide, narrow = client.get(CHART), client.get(f"{CHART}?size=phone")
    assert {"drift alarm", "retraining decided", "new champion"} <= words(wide.text) & words(narrow.text)
    assert narrow.text != wide.text
    assert narrow.headers["content-security-policy"] == wide.headers["content-security-policy"]


def test_every_live_decision_is_drawn_at_the_axis_where_no_error_is_known() -> None:
    decisions = [
        entry(1, "decision", 1, "2024-01", "retrain"),
        entry(2, "decision", 1, "2024-02", "ask"),
        entry(3, "decision", 1, "2024-03", "ask"),
        replace(entry(4, "decision", 1, "2024-04", "retrain"), standing="backfill"),
    ]
    partitions = [replace(partition(one.partition, None), decision=one) for one in decisions]
    found = state(*partitions, entries=(*decisions, entry(5, "answered", 0, "2024-04", "yes", decision=3)))

    series = series_of(found, None)

    assert [one.retrained for one in series.points] == [True, False, True, False]
    assert [one.asked for one in series.points] == [False, True, False, False]
    assert {"retraining decided", "a person asked"} <= words(draw(series))
    alone = [replace(one, retrained=False, asked=False) for one in series.points]
    assert not {"retraining decided", "a person asked"} & words(draw(replace(series, points=tuple(alone))))
