"""Alarms on a budget: what stable streams raise, what shifts are caught, and what is learnt from history."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri

from ml_assets.core.alarms import LEAST_HISTORY, Place, Watch, Watched, calibrate, judge, told_of
from ml_assets.core.profiles import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBERS, CATEGORIES = 20, (2, 4, 8, 15, 30)
EDGES = ndtri(np.linspace(0, 1, 101)[1:-1])
BUDGET = 1 / 24


def counts(name: str, rows: np.ndarray, kind: str = "number", missing: int = 0) -> Counts:
    names = [str(index) if kind == "number" else f"value {index:02}" for index in range(rows.size)]
    held = {name: int(count) for name, count in zip(names, rows, strict=True) if count}
    return Counts(name, kind, missing, 0.0, held)


class Stream:
    """Partitions of 25 columns without drift, or with what is asked for."""

    def __init__(self, seed: int, rows: int, season: float = 0.0) -> None:
        self.random, self.rows, self.season = np.random.default_rng(seed), rows, season
        self.shares = [self.random.dirichlet(np.ones(size)) for size in CATEGORIES]
        self.position = 0

    def next(self, shift: Mapping[int, float] | None = None) -> Place:
        phase = 2 * math.pi * self.position / 7
        profile = {}
        for column in range(NUMBERS):
            centre = (shift or {}).get(column, 0.0) + self.season * math.sin(phase + column)
            chances = np.diff(np.concatenate([[0], ndtr(EDGES - centre), [1]]))
            profile[f"n{column}"] = counts(f"n{column}", self.random.multinomial(self.rows, chances))
        for column, shares in enumerate(self.shares):
            chances = shares * np.exp(self.season * np.sin(phase + np.arange(shares.size)))
            drawn = self.random.multinomial(self.rows, chances / chances.sum())
            profile[f"c{column}"] = counts(f"c{column}", drawn, "category")
        self.position += 1
        return Place(self.position - 1, profile)

    def watch(self, partitions: int) -> Watch:
        history = [self.next() for _ in range(partitions)]
        return calibrate(history, history, budget=BUDGET, period=7)


def alarms(watch: Watch, place: Place) -> list[tuple[str, str]]:
    return [(one.column, one.name) for one in judge(watch, place) if one.alarm]


@pytest.mark.parametrize(
    ("rows", "season", "history"), [(500, 0.0, 48), (5_000, 0.0, 24), (50_000, 0.0, 48), (5_000, 0.2, 60)]
)
def test_stable_streams_raise_about_as_many_alarms_as_the_budget_allows(rows: int, season: float, history: int) -> None:
    found = total = 0
    for seed in range(4):
        stream = Stream(seed, rows, season)
        watch = stream.watch(history)
        for _ in range(100):
            found += bool(alarms(watch, stream.next()))
            total += 1
    assert 0.5 * BUDGET <= found / total <= 1.5 * BUDGET


@pytest.mark.parametrize(("rows", "shift", "least"), [(500, 0.1, 0.2), (500, 0.25, 0.95), (5_000, 0.1, 0.95)])
def test_a_shift_of_3_columns_in_25_is_caught_and_named(rows: int, shift: float, least: float) -> None:
    stream = Stream(1, rows)
    watch = stream.watch(24)
    shifted = {0: shift, 5: shift, 9: shift}

    caught = [alarms(watch, stream.next(shifted)) for _ in range(40)]

    assert np.mean([bool(one) for one in caught]) >= least
    named = [column for one in caught for column, _ in one]
    assert np.mean([column in {"n0", "n5", "n9"} for column in named]) > 0.8


def test_a_season_is_no_alarm_and_a_monday_like_a_sunday_is() -> None:
    stream = Stream(3, 5_000, season=0.3)
    watch = stream.watch(42)
    monday = stream.next()

    assert not alarms(watch, monday)
    stream.position = monday.position + 3
    other = stream.next()
    assert alarms(watch, Place(monday.position, other.profile))


def test_more_partitions_apart_than_chance_has_it_are_learnt_to_be_usual() -> None:
    random = np.random.default_rng(0)

    def place(position: int, centre: float) -> Place:
        chances = np.diff(np.concatenate([[0], ndtr(EDGES - centre), [1]]))
        return Place(position, {"x": counts("x", random.multinomial(20_000, chances))})

    restless = [place(index, random.normal(0, 0.1)) for index in range(40)]
    calm = [place(index, 0.0) for index in range(40)]

    assert not alarms(calibrate(restless, restless, budget=BUDGET), place(40, 0.15))
    assert ("x", "location") in alarms(calibrate(calm, calm, budget=BUDGET), place(40, 0.15))


def test_location_is_as_powerful_as_a_test_of_means_and_is_not_moved_by_an_outlier() -> None:
    random = np.random.default_rng(1)
    reference = counts("x", np.full(100, 1_000))
    chances = np.diff(np.concatenate([[0], ndtr(EDGES - 0.2), [1]]))
    drawn = random.multinomial(400, chances)
    watch = calibrate([Place(0, {"x": reference})], [], budget=BUDGET)
    (location,) = [one for one in judge(watch, Place(1, {"x": counts("x", drawn)})) if one.name == "location"]

    assert location.value == pytest.approx(0.2, abs=0.1)
    z = location.value / math.sqrt(1 / 400 + 1 / 100_000)
    assert location.log_p == pytest.approx(math.log(2 * stats.norm.sf(abs(z))), rel=0.05)


def test_values_above_all_of_the_reference_are_seen() -> None:
    watch = calibrate([Place(0, {"x": counts("x", np.full(50, 10))})], [], budget=BUDGET)
    beyond = np.zeros(100, dtype=int)
    beyond[99] = 40

    assert ("x", "location") in alarms(watch, Place(1, {"x": counts("x", beyond)}))


def test_the_first_missing_values_of_a_column_alarm_and_the_usual_ones_do_not() -> None:
    full, holed = np.full(100, 50), np.full(100, 50)
    never = calibrate([Place(0, {"x": counts("x", full)})], [], budget=BUDGET)
    often = calibrate([Place(0, {"x": counts("x", full, missing=100)})], [], budget=BUDGET)
    place = Place(1, {"x": counts("x", holed // 10, missing=10)})

    assert ("x", "missing") in alarms(never, place)
    assert not alarms(often, place)


def test_a_category_that_was_never_there_alarms_where_none_was_rare() -> None:
    known = np.array([500, 300, 200])
    watch = calibrate([Place(0, {"town": counts("town", known * 10, "category")})], [], budget=BUDGET)
    with_new = Counts("town", "category", 0, 0.0, {"value 00": 50, "value 01": 30, "value 02": 20, "new": 5})

    assert ("town", "new_categories") in alarms(watch, Place(1, {"town": with_new}))


def test_a_few_rows_alarm_no_more_often_than_many() -> None:
    stream = Stream(5, 5_000)
    watch = stream.watch(24)
    stream.rows = 40

    assert np.mean([bool(alarms(watch, stream.next())) for _ in range(100)]) <= 1.5 * BUDGET + 0.03


def test_with_little_history_thresholds_are_those_of_theory_and_it_says_so() -> None:
    watch = Stream(0, 500).watch(LEAST_HISTORY - 1)

    assert watch.is_theory
    assert watch.achieved is None
    assert watch.threshold == pytest.approx(-math.log1p(-BUDGET))
    assert told_of(watch) == (
        "budget: one false alarm in 24 partitions; thresholds are those of theory, with 7 partitions of history"
    )


def test_the_achieved_rate_is_told_beside_the_budget() -> None:
    watch = Stream(0, 500).watch(48)

    assert watch.achieved is not None
    assert 0 <= watch.achieved <= 0.2
    assert told_of(watch).startswith("budget: one false alarm in 24 partitions; on 48 partitions of history ")


def test_a_column_that_is_gone_or_has_another_type_now_is_not_judged() -> None:
    watch = calibrate([Place(0, {"x": counts("x", np.full(10, 10))})], [], budget=BUDGET)

    assert judge(watch, Place(1, {})) == []
    assert judge(watch, Place(1, {"x": counts("x", np.full(3, 10), "category")})) == []
    assert judge(watch, Place(1, {"x": counts("x", np.zeros(3, dtype=int))})) == []


def test_what_raised_no_alarm_is_learnt_from_and_what_did_is_not() -> None:
    stream = Stream(2, 2_000)
    history = [stream.next() for _ in range(10)]
    watched = Watched(history, history, budget=BUDGET)
    for _ in range(10):
        watched.see(stream.next({0: 1.0}))
    assert watched.watch.history == 10
    for _ in range(10):
        watched.see(stream.next())
    assert watched.watch.history > 15
