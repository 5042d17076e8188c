"""Which decision waits for a person: told of a ledger only."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ml_assets.registry.asks import asks, untold, waiting_ask
from ml_assets.registry.ledger import Entry


def entry(number: int, action: str, kind: str = "decision", standing: str = "live", about: int = 0) -> Entry:
    facts = json.dumps({"decision": about} if about else {})
    return Entry(number, "", "flats", kind, f"{number:04}", 1, action, standing, "", facts, "", "", "")  # type: ignore[arg-type]


def states(entries: list[Entry], expires: int = 2) -> dict[int, str]:
    return {one.decision.id: one.state for one in asks(entries, expires)}


def test_a_decision_that_asks_waits_until_so_many_partitions_have_been_decided_after_it() -> None:
    told = [entry(1, "hold"), entry(2, "ask"), entry(3, "hold"), entry(4, "hold")]

    assert states(told[:2]) == states(told[:3]) == {2: "waiting"}
    assert states(told) == {2: "expired"}
    assert states(told, expires=3) == {2: "waiting"}


def test_what_is_decided_in_a_history_or_again_asks_nobody_and_lets_nothing_expire() -> None:
    assert states([entry(1, "ask", standing="backfill"), entry(2, "ask", standing="again")]) == {}
    assert states([entry(1, "ask"), *(entry(n, "ask", standing="again") for n in range(2, 6))]) == {1: "waiting"}


def test_a_later_decision_to_do_something_takes_the_place_of_the_question() -> None:
    assert states([entry(1, "ask"), entry(2, "ask")]) == {1: "expired", 2: "waiting"}
    assert states([entry(1, "ask"), entry(2, "retrain")]) == {1: "expired"}


def test_an_answer_stands_whatever_comes_later() -> None:
    for said, state in (("yes", "yes"), ("no", "no"), ("expire", "expired")):
        told = [entry(1, "ask"), entry(2, said, "answered", "", about=1), entry(3, "ask"), entry(4, "hold")]
        assert states(told) == {1: state, 3: "waiting"}


def test_what_has_expired_is_told_once() -> None:
    told = [entry(1, "ask"), entry(2, "hold"), entry(3, "hold")]
    assert [one.id for one in untold(told, 2)] == [1]
    assert untold([*told, entry(4, "expire", "answered", "", about=1)], 2) == []


@given(st.lists(st.sampled_from(["hold", "retrain", "ask"])), st.integers(1, 4), st.data())
def test_never_more_than_one_waits_and_it_is_the_newest_to_do_something(
    actions: list[str], expires: int, data: st.DataObject
) -> None:
    told: list[Entry] = []
    for action in actions:
        told.append(entry(len(told) + 1, action))
        waits = waiting_ask(told, expires)
        assert list(states(told, expires).values()).count("waiting") == (waits is not None)
        if waits is not None:
            done = [one for one in told if one.kind == "decision" and one.action != "hold"]
            assert waits == done[-1]
            if data.draw(st.booleans()):
                told.append(entry(len(told) + 1, data.draw(st.sampled_from(["yes", "no"])), "answered", "", waits.id))
                assert waiting_ask(told, expires) is None
