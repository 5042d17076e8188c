from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.policy import Decision, Evidence, Policy, Rule, decide, standing
from ml_assets.core.wear import Wear

FACTS: dict[str, Any] = {
    "partition": "2024-05", "champion": 3, "rows": 500, "metric": "mape", "error": 0.2, "reference": 0.1,
    "since_retraining": None, "served": 9,
}  # fmt: skip
POLICIES: tuple[Policy, ...] = ("periodic", "drift", "performance", "worth_it")
# What makes each policy act.
DUE: dict[str, Any] = {"drift_alarm": True, "wear": Wear(usual=0.1, noise=0.01, excess=0.1, expected=0.0)}


def decided(*, tolerance: float = 1.25, cooldown: int = 2, minimum_rows: int = 100, **known: Any) -> Decision:
    rule = Rule("performance", tolerance=tolerance, cooldown=cooldown, minimum_rows=minimum_rows)
    return decide(Evidence(**(FACTS | known)), rule)


def decided_by(policy: Policy, *, rule: dict[str, Any] | None = None, **known: Any) -> Decision:
    return decide(Evidence(**(FACTS | DUE | known)), Rule(policy, **({"cooldown": 0} | (rule or {}))))


@pytest.mark.parametrize(
    ("known", "action", "words"),
    [
        ({}, "retrain", "MAPE 0.2 against 0.1 when version 3 was judged: more than 1.25 times"),
        ({"error": 0.125}, "hold", "MAPE 0.125 against 0.1 when version 3 was judged: within 1.25 times"),
        ({"error": 0.1250001}, "retrain", "more than 1.25 times"),
        ({"error": 0.0}, "hold", "within 1.25 times"),
        ({"champion": None, "error": None, "reference": None, "rows": 0}, "hold", "there is no champion yet"),
        ({"champion": None}, "hold", "there is no champion yet"),
        ({"rows": 99}, "hold", "99 labelled rows that the champion has not learnt from; 100 are needed"),
        ({"rows": 100}, "retrain", "more than"),
        (
            {"rests_on": "(provisional, 61% of labels)"},
            "retrain",
            "MAPE 0.2 (provisional, 61% of labels) against 0.1 when version 3 was judged",
        ),
        ({"rows": 0, "error": None}, "hold", "0 labelled rows"),
        ({"error": None}, "hold", "labelled rows"),
        ({"reference": None}, "hold", "labelled rows"),
        ({"since_retraining": 0}, "hold", "a retraining was decided 0 partitions ago"),
        ({"since_retraining": 2}, "hold", "more than 1.25 times, but a retraining was decided 2 partitions ago"),
        ({"since_retraining": 3}, "retrain", "more than 1.25 times"),
        ({"since_retraining": 1, "error": 0.1}, "hold", "within 1.25 times"),
        ({"since_retraining": 1, "cooldown": 0}, "retrain", "more than"),
        ({"since_retraining": 0, "cooldown": 0}, "hold", "0 partitions ago"),
        ({"reference": 0.0, "error": 0.0}, "hold", "within"),
        ({"reference": 0.0, "error": 1e-9}, "retrain", "more than"),
        ({"tolerance": 2.0}, "hold", "within 2 times"),
        ({"alarms": ("area", "town"), "error": 0.1}, "hold", "within"),
        ({"metric": "rmse"}, "retrain", "RMSE 0.2 against 0.1"),
    ],
)
def test_a_champion_is_retrained_when_its_error_has_grown_and_nothing_speaks_against_it(
    known: dict[str, Any], action: str, words: str
) -> None:
    decision = decided(**known)

    assert decision.action == action
    assert words in decision.reason


@settings(max_examples=50, deadline=None)
@given(error=st.floats(0, 10), worse=st.floats(0, 10))
def test_a_greater_error_never_speaks_for_the_champion(error: float, worse: float) -> None:
    if decided(error=error).action == "retrain":
        assert decided(error=error + worse).action == "retrain"


def test_never_retrains_whatever_has_happened() -> None:
    assert decided_by("never") == Decision("hold", "the policy is never to retrain")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_waits_for_a_champion_for_rows_and_for_the_cooldown(policy: Policy) -> None:
    assert decided_by(policy).action == "retrain"
    assert decided_by(policy, champion=None).reason == "there is no champion yet"
    assert "199 labelled rows" in decided_by(policy, rows=199).reason
    waiting = decided_by(policy, since_retraining=6, rule={"cooldown": 6})
    assert waiting.action == "hold"
    assert waiting.reason.endswith(", but a retraining was decided 6 partitions ago")
    assert decided_by(policy, since_retraining=7, rule={"cooldown": 6}).action == "retrain"


@pytest.mark.parametrize("policy", POLICIES)
def test_who_asks_does_nothing_by_himself(policy: Policy) -> None:
    asked = decided_by(policy, rule={"ask": True})

    assert asked.action == "ask"
    assert asked.reason == f"{decided_by(policy).reason}; a person is asked"
    assert decided_by(policy, rule={"ask": True}, rows=0).action == "hold"


@pytest.mark.parametrize(
    ("served", "since", "action"),
    [(5, None, "hold"), (6, None, "retrain"), (9, 5, "hold"), (9, 6, "retrain"), (5, 6, "hold")],
)
def test_periodic_counts_from_the_last_retraining_also_one_that_was_rejected(
    served: int, since: int | None, action: str
) -> None:
    assert decided_by("periodic", served=served, since_retraining=since, rule={"every": 6}).action == action


def test_drift_acts_on_alarms_that_do_harm_and_tells_of_the_others() -> None:
    assert decided_by("drift", alarms=("area",)).reason == "drift that calls for action in area"
    harmless = decided_by("drift", drift_alarm=False, alarms=("area", "town"))
    assert harmless == Decision("hold", "drift in area, town does the model no harm")
    assert decided_by("drift", drift_alarm=False).reason == "no drift alarm"


@pytest.mark.parametrize(
    ("excess", "expected", "futile", "price", "action"),
    [
        (0.1, 0.0, 0, 1.0, "retrain"),
        (0.06, 0.04, 0, 1.0, "retrain"),
        (0.06, 0.03, 0, 1.0, "hold"),
        (0.1, 0.0, 0, 1.1, "hold"),
        (0.1, 0.0, 1, 1.0, "hold"),
        (0.1, 0.0, 1, 0.5, "retrain"),
        (0.1, 0.0, 3, 0.125, "retrain"),
        (6.4, 0.0, 99, 1.0, "retrain"),
        (0.0, 0.0, 0, 1e-9, "hold"),
    ],
)
def test_it_is_worth_it_when_what_was_lost_and_what_will_be_reaches_the_price(
    excess: float, expected: float, futile: int, price: float, action: str
) -> None:
    wear = Wear(usual=0.1, noise=0.01, excess=excess, expected=expected, futile=futile)

    assert decided_by("worth_it", wear=wear, rule={"price": price}).action == action


def test_worth_it_gives_its_figures() -> None:
    wear = Wear(usual=0.1, noise=0.01, excess=0.15, expected=0.02, futile=2)

    assert decided_by("worth_it", wear=wear).reason == (
        "beyond the usual MAPE of 0.1, version 3 has cost the errors of 1.5 ordinary partitions and will cost 0.2 "
        "until the next decision; a retraining costs 4, the last 2 not having earned it"
    )
    assert decided_by("worth_it", wear=None, too_few=(1, 3)).reason == (
        "too few labelled partitions to tell an error that grows from noise: version 3 has served 1 labelled "
        "partition, and 3 more are needed"
    )


def test_a_retired_version_that_is_better_again_is_reinstated_at_no_price() -> None:
    cheap = Wear(usual=0.1, noise=0.01, excess=0.0, expected=0.0)

    assert decided_by("worth_it", wear=cheap, retired=2).action == "reinstate"
    assert decided_by("worth_it", wear=cheap, retired=2).version == 2
    assert decided_by("worth_it", retired=2, rule={"ask": True}).action == "ask"


@settings(max_examples=100, deadline=None)
@given(
    price=st.floats(1e-3, 1e3),
    cheaper=st.floats(1e-3, 1),
    excess=st.floats(0, 10),
    expected=st.floats(0, 10),
    futile=st.integers(0, 9),
)
def test_what_is_worth_a_price_is_worth_a_lower_one(
    price: float, cheaper: float, excess: float, expected: float, futile: int
) -> None:
    wear = Wear(0.1, 0.01, excess, expected, futile)
    if decided_by("worth_it", wear=wear, rule={"price": price}).action == "retrain":
        assert decided_by("worth_it", wear=wear, rule={"price": price * cheaper}).action == "retrain"


@pytest.mark.parametrize(
    ("partition", "is_range", "was_decided", "newest", "expected"),
    [
        ("2024-05", False, False, None, "live"),
        ("2024-05", False, False, "2024-04", "live"),
        # The newest may have been decided in a history that was filled: it has not acted yet.
        ("2024-05", False, False, "2024-05", "live"),
        ("2024-05", False, False, "2024-06", "backfill"),
        ("2024-05", True, False, None, "backfill"),
        ("2024-05", True, False, "2024-04", "backfill"),
        ("2024-05", False, True, "2024-05", "again"),
        ("2024-05", False, True, "2024-06", "again"),
        ("2024-05", True, True, "2024-05", "again"),
    ],
)
def test_only_the_first_decision_on_the_newest_partition_is_live(
    *, partition: str, is_range: bool, was_decided: bool, newest: str | None, expected: str
) -> None:
    assert standing(partition, is_range=is_range, decided=was_decided, newest=newest) == expected
