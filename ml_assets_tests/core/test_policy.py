from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.policy import Decision, Evidence, decide_by_performance, standing


def decided(*, tolerance: float = 1.25, cooldown: int = 2, minimum_rows: int = 100, **known: Any) -> Decision:
    facts = {"partition": "2024-05", "champion": 3, "rows": 500, "metric": "mape", "error": 0.2, "reference": 0.1}
    evidence = Evidence(**(facts | {"since_retraining": None} | known))
    return decide_by_performance(evidence, tolerance=tolerance, cooldown=cooldown, minimum_rows=minimum_rows)


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
