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
    from collections.abc import Callable, Mapping

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


# What partitions differ by, without anybody calling it drift


def shifted(random: np.random.Generator, rows: int, centre: float) -> np.ndarray:
    return random.multinomial(rows, np.diff(np.concatenate([[0], ndtr(EDGES - centre), [1]])))


def rate_of(make: Callable[[np.random.Generator, int], dict[str, Counts]], *, history: int, partitions: int) -> float:
    """Alarms in a partition over the budget, three streams together."""
    found = 0
    for seed in range(3):
        random = np.random.default_rng(seed)
        places = [Place(index, make(random, index)) for index in range(history + partitions)]
        watch = calibrate(places[:history], places[:history], budget=BUDGET)
        found += sum(bool(alarms(watch, place)) for place in places[history:])
    return found / (3 * partitions * BUDGET)


@pytest.mark.parametrize(("spread", "columns", "history"), [(0.05, 4, 24), (0.1, 4, 60), (0.1, 15, 60)])
def test_partitions_whose_means_differ_anyway_keep_to_the_budget(spread: float, columns: int, history: int) -> None:
    def make(random: np.random.Generator, _: int) -> dict[str, Counts]:
        return {
            f"n{one}": counts(f"n{one}", shifted(random, 5_000, random.normal(0, spread))) for one in range(columns)
        }

    assert rate_of(make, history=history, partitions=80) <= 1.6


@pytest.mark.parametrize(("rate", "history"), [(0.002, 4), (0.002, 24), (0.01, 24), (0.999, 24)])
def test_rare_flags_and_hardly_ever_missing_values_keep_to_the_budget(rate: float, history: int) -> None:
    def make(random: np.random.Generator, _: int) -> dict[str, Counts]:
        drawn = random.binomial(500, rate, 25)
        return {f"f{index}": counts(f"f{index}", np.array([500 - one, one])) for index, one in enumerate(drawn)}

    assert rate_of(make, history=history, partitions=80) <= 1.5


def test_a_batch_that_every_partition_brings_is_no_new_category() -> None:
    def make(random: np.random.Generator, index: int) -> dict[str, Counts]:
        drawn = random.multinomial(970, [0.5, 0.3, 0.2])
        bins = {"a": int(drawn[0]), "b": int(drawn[1]), "c": int(drawn[2]), f"batch {index}": 30}
        return {"batch": Counts("batch", "category", 0, 0.0, bins)}

    assert rate_of(make, history=48, partitions=40) <= 1.5


def test_towns_that_trade_places_are_seen_however_many_there_are() -> None:
    towns = np.full(26, 1_000)
    watch = calibrate([Place(0, {"town": counts("town", towns, "category")})], [], budget=BUDGET)
    for town in range(25):
        traded = np.full(26, 100)
        traded[town], traded[town + 1] = 195, 5
        assert ("town", "shape") in alarms(watch, Place(1, {"town": counts("town", traded, "category")}))


def test_rare_categories_are_judged_together() -> None:
    random, shares = np.random.default_rng(0), np.array([0.4995, 0.001, 0.4995])
    watch = calibrate([Place(0, {"x": counts("x", (shares * 100_000).astype(int), "category")})], [], budget=BUDGET)
    p = []
    for _ in range(2_000):
        place = Place(1, {"x": counts("x", random.multinomial(300, shares), "category")})
        p += [math.exp(one.log_p) for one in judge(watch, place) if one.name == "shape"]
    assert np.mean(np.array(p) < 0.001) < 0.004


def test_a_partition_like_all_others_never_alarms_whatever_the_budget() -> None:
    random = np.random.default_rng(0)
    places = [
        Place(index, {"x": counts("x", random.multinomial(500, [0.65, 0.35]), "category")}) for index in range(200)
    ]
    watch = calibrate(places, places, budget=1 / 2)

    assert not alarms(watch, Place(200, {"x": counts("x", np.array([325, 175]), "category")}))


def test_a_phase_that_the_reference_lacks_is_compared_with_what_partitions_differ_by() -> None:
    random = np.random.default_rng(0)

    def make(index: int) -> Place:
        centre = 0.3 * math.sin(2 * math.pi * index / 12)
        return Place(index, {"x": counts("x", shifted(random, 5_000, centre))})

    places = [make(index) for index in range(60)]
    # Six months are learnt from; the other six of the year come now.
    watch = calibrate(places[48:54], places[:54], budget=BUDGET, period=12)

    assert not [index for index in range(54, 60) if alarms(watch, places[index])]


def test_columns_that_came_later_do_not_loosen_the_threshold() -> None:
    stream = Stream(0, 2_000)
    places = [stream.next() for _ in range(80)]
    few = [Place(one.position, {name: one.profile[name] for name in ("n0", "n1", "n2")}) for one in places[:60]]
    history = [*few, *places[60:]]

    assert calibrate(places[60:], history, budget=BUDGET).rate > 0.6


def test_a_watch_over_nothing_says_so() -> None:
    empty = [Place(index, {"x": Counts("x", "number", 0, 0.0, {})}) for index in range(10)]

    assert "no column is watched" in told_of(calibrate(empty, empty, budget=BUDGET))


def test_history_teaches_the_same_one_by_one_and_in_one_run() -> None:
    stream = Stream(4, 2_000)
    history, later = [stream.next() for _ in range(12)], [stream.next() for _ in range(12)]
    together = Watched(history, history, budget=BUDGET)
    found = [together.see(place) for place in later]
    for index in range(12):
        quiet = [place for place, one in zip(later[:index], found, strict=False) if not any(s.alarm for s in one)]
        alone = Watched(history, [*history, *quiet], budget=BUDGET)
        assert alone.see(later[index]) == found[index]
