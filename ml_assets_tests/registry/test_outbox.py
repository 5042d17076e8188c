"""The outbox: whatever is killed, nothing is sent twice, and nothing is lost without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.registry.outbox import DELAYS, KEPT_SECONDS, Message, Outbox

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def message(number: int, at: float = 100.0) -> Message:
    return Message(f"ledger-{number}", at, "flats", "retrain", "title", "body", "link")


def states(box: Outbox) -> dict[tuple[str, str], str]:
    return {(one.message.id, one.target): one.state for one in box.deliveries()}


def test_a_message_is_due_once_for_each_target_oldest_first(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    for _ in range(3):
        box.add([message(1), message(2)], ["a", "b"])

    due = [(one.message.id, one.target) for one in box.due(["a", "b"], 100)]
    assert sorted(due) == [("ledger-1", "a"), ("ledger-1", "b"), ("ledger-2", "a"), ("ledger-2", "b")]
    assert [name for name, _ in due] == ["ledger-1", "ledger-1", "ledger-2", "ledger-2"]
    assert [one.message for one in box.due(["b"], 100)] == [message(1), message(2)]


def test_a_target_that_came_later_gets_no_old_message_and_one_that_is_gone_nothing(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    box.add([message(1)], ["a"])
    box.add([message(1)], ["a", "b"])

    assert [one.target for one in box.due(["a", "b"], 100)] == ["a"]
    assert box.due(["b"], 100) == []


def test_one_that_is_refused_is_tried_later_and_later_and_fails_at_last(tmp_path: Path) -> None:
    box, now = Outbox(tmp_path / "outbox.sqlite"), 100.0
    box.add([message(1)], ["a"])
    for delay in (*DELAYS, 0):
        (one,) = box.due(["a"], now)
        box.begin(one)
        state = box.end(one, now, taken=False)
        assert box.due(["a"], now + delay - 1) == []
        now += delay
    assert state == "failed"
    assert [(one.state, one.tries) for one in box.deliveries("failed")] == [("failed", 1 + len(DELAYS))]


def test_while_one_process_sends_no_other_does(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    with box.sender() as first, Outbox(tmp_path / "outbox.sqlite").sender() as second:
        assert (first, second) == (True, False)
    with box.sender() as again:
        assert again


def test_old_messages_are_forgotten(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    box.add([message(1, 100.0), message(2, 200.0)], ["a"])
    box.add([message(3, KEPT_SECONDS + 150.0)], ["a"])

    assert states(box) == {("ledger-2", "a"): "waiting", ("ledger-3", "a"): "waiting"}


class KilledError(Exception):
    """As kill -9: nothing after it happens."""


@settings(deadline=None, max_examples=40)
@given(kills=st.lists(st.integers(0, 6), max_size=8), refusals=st.sets(st.integers(0, 5)))
def test_killed_anywhere_each_message_is_taken_once_or_in_doubt(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], refusals: set[int]
) -> None:
    """Each life of the sender is killed before one of its steps; at last one is left alone."""
    file = tmp_path_factory.mktemp("box") / "outbox.sqlite"
    taken: list[str] = []
    calls = 0
    now = 100.0

    def life(steps: float) -> None:
        nonlocal calls, now

        def step() -> None:
            nonlocal steps
            if steps <= 0:
                raise KilledError
            steps -= 1

        box = Outbox(file)
        step()
        box.add([message(1), message(2)], ["a"])
        with box.sender():
            while any(one.state == "waiting" for one in box.deliveries()):
                now += 10_000
                for one in box.due(["a"], now):
                    step()
                    box.begin(one)
                    step()
                    calls += 1
                    accepted = calls not in refusals
                    if accepted:
                        taken.append(one.message.id)
                    step()
                    box.end(one, now, taken=accepted)

    for steps in kills:
        try:
            life(steps)
        except KilledError:
            continue
    life(float("inf"))
    found = states(Outbox(file))
    assert len(taken) == len(set(taken)), "nothing twice"
    for name in ("ledger-1", "ledger-2"):
        state = found[name, "a"]
        assert state in {"sent", "doubt"}
        assert state == "doubt" or name in taken, "what is said to be sent was"
