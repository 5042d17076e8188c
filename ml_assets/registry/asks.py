"""Decisions that ask a person: which one waits for an answer, and what became of the others.

A question is about the newest partition. It is no longer asked when a later partition asks or retrains by itself, nor
when so many later partitions have been decided that the evidence is old. Like a version's stage, this is never stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.registry.ledger import Entry

State = Literal["waiting", "yes", "no", "expired"]


@dataclass(frozen=True)
class Ask:
    """A decision that asks.

    Attributes:
        decision: its entry.
        state: whether it waits, was answered, or nobody answered in time.
        answer: the entry of the answer, or of its having expired; None while it waits, or nobody has told yet.
    """

    decision: Entry
    state: State
    answer: Entry | None


def asks(entries: Sequence[Entry], expires: int) -> list[Ask]:
    """The decisions of a project that asked.

    Args:
        entries: the project's ledger, oldest first.
        expires: partitions decided later after which a question expires.
    """
    answers = {one.facts["decision"]: one for one in entries if one.kind == "answered"}
    live = [one for one in entries if (one.kind, one.standing) == ("decision", "live")]
    found = []
    for position, one in enumerate(live):
        if one.action != "ask":
            continue
        later = live[position + 1 :]
        answer = answers.get(one.id)
        if answer is not None:
            state: State = "expired" if answer.action == "expire" else "yes" if answer.action == "yes" else "no"
        else:
            overtaken = any(other.action != "hold" for other in later)
            state = "expired" if overtaken or len(later) >= expires else "waiting"
        found.append(Ask(one, state, answer))
    return found


def waiting_ask(entries: Sequence[Entry], expires: int) -> Entry | None:
    """The decision that waits for a person, or None: there is never more than one."""
    return next((one.decision for one in asks(entries, expires) if one.state == "waiting"), None)


def untold(entries: Sequence[Entry], expires: int) -> list[Entry]:
    """The decisions that have expired, and of which the ledger does not say so yet."""
    return [one.decision for one in asks(entries, expires) if one.state == "expired" and one.answer is None]
