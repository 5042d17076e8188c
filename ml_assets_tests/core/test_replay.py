"""Policies played over a history, and hindsight."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import aging, history_of_losses, stream

from ml_assets.core.policy import Policy, Rule
from ml_assets.core.replay import Course, History, best_courses, best_periodic, course_of, play

KINDS = ("linear", "sudden", "regimes", "spurt")
PRICES = (0.5, 1.0, 2.0)


def rule(policy: Policy = "worth_it", **settled: Any) -> Rule:
    return Rule(policy, **({"cooldown": 0, "minimum_rows": 1} | settled))


def random_history(seed: int, many: int, *, delay: int = 0) -> History:
    made = np.random.default_rng(seed)
    losses = np.where(np.isnan(aging(many, 0.1)), np.nan, aging(many, 0.1) + made.random((many, many)))
    return history_of_losses(losses, delay=delay)


def plans(many: int, number: int) -> list[Course]:
    history = history_of_losses(aging(many, 0.0))
    return [course_of(history, plan) for plan in combinations(range(1, many), number)]


# ----------------------------------------------------------------------------------------------------------- hindsight


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), many=st.integers(2, 7))
def test_the_best_plan_is_the_best_of_all_plans(seed: int, many: int) -> None:
    history = random_history(seed, many)
    found = best_courses(history, many - 1)

    for most in range(many):
        every = [plan.error(history) for number in range(most + 1) for plan in plans(many, number)]
        assert found[most].error(history) == pytest.approx(min(every))
        assert len(found[most].retrained) <= most


def test_partitions_of_more_rows_count_for_more_in_the_best_plan() -> None:
    losses = aging(4, 1.0)
    history = replace(history_of_losses(losses), rows=np.array([1.0, 1.0, 100.0, 1.0]))

    assert best_courses(history, 1)[1].retrained == (2,)


@pytest.mark.parametrize(
    ("number", "expected"), [(0, ()), (1, (6,)), (2, (4, 8)), (3, (3, 6, 9)), (5, (2, 4, 6, 8, 10))]
)
def test_the_best_periodic_plan_is_even_where_all_is(number: int, expected: tuple[int, ...]) -> None:
    assert best_periodic(history_of_losses(aging(12, 1.0)), number).retrained == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), many=st.integers(3, 20), number=st.integers(0, 19))
def test_a_periodic_plan_has_just_so_many_retrainings_and_is_no_better_than_the_best(
    seed: int, many: int, number: int
) -> None:
    history, number = random_history(seed, many), min(number, many - 1)
    found = best_periodic(history, number)

    assert len(found.retrained) == number
    assert found.error(history) >= best_courses(history, number)[number].error(history) - 1e-12


# ------------------------------------------------------------------------------------------------------------ policies


def test_never_keeps_the_first_champion() -> None:
    history = history_of_losses(aging(5, 1.0))

    assert play(history, rule("never")) == Course((0,) * 5)
    assert play(history, rule("never")).error(history) == pytest.approx(3)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_periodic_retrains_after_so_many_partitions(every: int) -> None:
    assert play(history_of_losses(aging(8, 0.0)), rule("periodic", every=every)).retrained == tuple(
        range(every, 8, every)
    )


def test_performance_retrains_when_the_error_has_grown() -> None:
    # 1.0, 1.1, 1.2, 1.3: the fourth is beyond 1.25 times the first.
    assert play(history_of_losses(aging(10, 0.1)), rule("performance")).retrained == (4, 8)


def test_drift_retrains_on_the_alarms_of_the_champion_of_then() -> None:
    alarms = np.zeros((6, 6), dtype=bool)
    alarms[0, 2] = alarms[0, 4] = True
    history = replace(history_of_losses(aging(6, 0.0)), alarms=lambda fit, now: bool(alarms[fit, now]))

    assert play(history, rule("drift")).retrained == (3,)


def test_cooldown_keeps_retrainings_apart() -> None:
    assert play(history_of_losses(aging(9, 1.0)), rule("performance", cooldown=3)).retrained == (2, 6)


@pytest.mark.parametrize("policy", ["periodic", "performance", "worth_it"])
def test_who_is_asked_says_yes(policy: Policy) -> None:
    history = stream("spurt")

    assert play(history, rule(policy, ask=True)) == play(history, rule(policy))
    assert play(history, rule(policy)).retrained


@pytest.mark.parametrize("price", [1.0, 4.0])
def test_worth_it_finds_the_best_distance_where_errors_grow_evenly(price: float) -> None:
    # A rate of 0.02 and a price P: √(2P/r) is 10 for 1, and 20 for 4.
    made = np.random.default_rng(0).normal(0, 0.001, (121, 121))
    retrained = play(history_of_losses(aging(121, 0.02) + made), rule(price=price)).retrained
    distances = np.diff([0, *retrained])

    assert distances == pytest.approx((2 * price / 0.02) ** 0.5, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), price=st.floats(0.01, 10))
def test_worth_it_never_retrains_where_a_fresh_version_is_no_better(seed: int, price: float) -> None:
    # Hard partitions and easy ones, the same for every version, none of them further off than a price.
    hard = 1 + 0.1 * price * np.random.default_rng(seed).random(40)
    losses = np.where(np.isnan(aging(40, 0.0)), np.nan, hard)
    retrained = play(history_of_losses(losses), rule(price=price)).retrained

    assert len(retrained) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_worth_it_leaves_what_is_stable_alone(seed: int) -> None:
    assert play(stream("stable", seed), rule(price=2)).retrained == ()


def test_worth_it_learns_that_no_retraining_helps_against_rows_that_grow_harder() -> None:
    history = stream("harder")
    fits = play(history, rule(price=0.5)).retrained

    # Its own error alone would ask for more than thirty.
    assert len(fits) < 15


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(0.005, 0.2), price=st.floats(0.2, 5), dearer=st.floats(1, 5))
def test_a_dearer_retraining_is_never_made_more_often(rate: float, price: float, dearer: float) -> None:
    made = np.random.default_rng(0).normal(0, 0.001, (60, 60))
    history = history_of_losses(aging(60, rate) + made)

    few, many = (play(history, rule(price=one)).retrained for one in (price * dearer, price))
    assert len(few) <= len(many)


def test_a_version_whose_regime_comes_back_serves_again_without_training() -> None:
    # Fits 0 … 9 know one state, later ones the other; the first comes back at 20.
    state = np.r_[np.zeros(10), np.ones(10), np.zeros(10)]
    made = np.random.default_rng(0).normal(0, 0.01, (30, 30))
    losses = 1 + (state[:, None] != state[None, :]) + made
    course = play(history_of_losses(np.where(np.isnan(aging(30, 0)), np.nan, losses)), rule(price=1.0))

    assert course.fits[-1] == 0
    assert course.retrained[0] == 11
    assert len(course.retrained) <= 2
    assert [20 < one <= 25 for one in course.reinstated] == [True]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000), now=st.integers(1, 28), delay=st.integers(0, 3), price=st.floats(0.05, 2),
    policy=st.sampled_from(["performance", "worth_it"]),
)  # fmt: skip
def test_no_policy_knows_the_future_nor_labels_that_have_not_come(
    seed: int, now: int, delay: int, price: float, policy: Policy
) -> None:
    history = random_history(seed, 30, delay=delay)
    changed = history.losses.copy()
    changed[:, now + 1 :] *= 7
    other = replace(history, losses=changed)

    then = [play(one, rule(policy, price=price)).fits[: now + 2 + delay] for one in (history, other)]
    assert then[0] == then[1]


def test_rmse_is_the_root_of_the_mean_over_all_rows() -> None:
    history = history_of_losses(np.array([[1.0, 4.0], [np.nan, 9.0]]), metric="rmse")

    assert course_of(history, ()).error(history) == pytest.approx(2.5**0.5)
    assert history.young == pytest.approx(5**0.5)
    assert history.errors[1, 1] == 3


def test_a_cost_adds_errors_and_retrainings_in_one_unit() -> None:
    history = history_of_losses(aging(4, 1.0))

    assert course_of(history, ()).cost(history, price=2.0) == pytest.approx(1 + 2 + 3 + 4)
    assert course_of(history, (2,)).cost(history, price=2.0) == pytest.approx(1 + 2 + 1 + 2 + 2)


def test_at_as_many_retrainings_it_is_better_than_even_spacing_tuned_in_hindsight() -> None:
    ratios: dict[str, float] = {}
    for kind in KINDS:
        courses = [
            (one, play(one, rule(price=price))) for one in map(partial(stream, kind), range(2)) for price in PRICES
        ]
        ratios[kind] = np.mean([
            course.error(history) / best_periodic(history, len(course.retrained)).error(history)
            for history, course in courses
        ])  # fmt: skip

    assert np.mean(list(ratios.values())) < 0.99
    assert max(ratios.values()) < 1.015, ratios


@pytest.mark.parametrize("kind", ["stable", "season", *KINDS])
def test_it_costs_little_more_than_the_best_periodic_policy_of_all_in_hindsight(kind: str) -> None:
    history, price = stream(kind, 5), 1.0
    best = min(best_periodic(history, number).cost(history, price) for number in range(40))

    assert play(history, rule(price=price)).cost(history, price) <= 1.1 * best
