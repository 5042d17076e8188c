"""Policies beside each other: what is told of them, and what is recommended."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from streams import aging, history_of_losses, stream

from ml_assets.core.policy import Rule
from ml_assets.core.replay_pictures import PICTURES, draw_replay
from ml_assets.core.replay_report import Report, as_json, report

RULES = {
    "periodic": Rule("periodic", every=8, cooldown=0, minimum_rows=1),
    "performance": Rule("performance", minimum_rows=1),
    "worth_it": Rule("worth_it", cooldown=0, minimum_rows=1),
}


@pytest.fixture(scope="module")
def spurt() -> Report:
    return report(stream("spurt"), RULES, price=1, declared="periodic")


def test_each_policy_stands_beside_hindsight(spurt: Report) -> None:
    assert [one.policy for one in spurt.policies] == ["never", "periodic", "performance", "worth_it"]
    for one in spurt.policies:
        assert len(one.retrained) == one.retrainings
        assert len(one.errors) == len(spurt.partitions)
        assert one.oracle <= one.periodic + 1e-12
        assert one.share is None or one.share <= 1 + 1e-12 or one.reinstatements
    assert spurt.policies[0].share is None
    assert spurt.policies[-1].share == pytest.approx(1, abs=0.05)


def test_a_cost_is_what_errors_and_retrainings_come_to(spurt: Report) -> None:
    for one in spurt.policies:
        expected = len(spurt.partitions) * one.error / spurt.young + spurt.price * one.retrainings
        assert one.cost == pytest.approx(expected)


def test_the_policy_that_costs_least_is_recommended_with_what_it_saves(spurt: Report) -> None:
    costs = {one.policy: one.cost for one in spurt.policies}

    assert spurt.recommended == min(costs, key=lambda name: costs[name])
    assert spurt.words.startswith(f"{spurt.recommended} costs least over 80 partitions: ")
    assert f"{1 - costs[spurt.recommended] / costs['periodic']:.1%}" in spurt.words


def test_where_nothing_wears_never_is_recommended() -> None:
    found = report(history_of_losses(aging(20, 0.0)), RULES, price=1, declared="never")

    assert found.recommended == "never"
    assert found.words.endswith("; it is what the project has")
    assert all(one.share is None for one in found.policies)


def test_the_frontier_goes_from_none_to_as_many_as_any_policy_wanted(spurt: Report) -> None:
    most = max(number for number, _ in spurt.frontier["oracle"])

    assert [number for number, _ in spurt.frontier["periodic"]] == list(range(most + 1))
    assert most >= max(one.retrainings for one in spurt.policies)
    oracle = [error for _, error in spurt.frontier["oracle"]]
    assert oracle == sorted(oracle, reverse=True)
    assert len({number for number, _ in spurt.frontier["worth_it"]}) > 3


def test_a_report_is_json_and_two_pictures(spurt: Report) -> None:
    assert json.loads(json.dumps(as_json(spurt), allow_nan=False))["recommended"] == spurt.recommended
    drawn = draw_replay(spurt)
    assert drawn.keys() == PICTURES.keys()
    for content in drawn.values():
        assert Image.open(io.BytesIO(content)).width > 400
        assert len(content) < 40_000
