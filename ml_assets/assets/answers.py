"""What becomes of a decision that asks: a person says yes or no, or nobody does and it expires.

An answer is one entry of the ledger, decided under the writer lock: of two people who answer at once, one is told that
the other has. A yes is launched by the sensor, as a decision to retrain is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_assets.assets.acts import ActError
from ml_assets.assets.common import ledger
from ml_assets.lake.connection import Commit
from ml_assets.registry.asks import asks, untold
from ml_assets.registry.ledger import Draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.assets.acts import Person
    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry


def answer(project: Project, lake: Lake, number: int | None, person: Person, *, yes: bool, run_id: str = "") -> Entry:
    """Answer a decision that asks.

    Args:
        project: the project.
        lake: where the ledger is.
        number: the decision's number in the ledger; the one that waits where it is None.
        person: who answers, and why.
        yes: whether it is retrained.
        run_id: the Dagster run in which it happens, if any.

    Returns:
        The entry. A yes trains on the rows up to the newest partition that has been decided by now.

    Raises:
        ActError: if that decision asks nothing, has been answered, or has expired.
    """

    def act(entries: Sequence[Entry]) -> list[Draft]:
        asked = _waiting(project, entries, number)
        newest = max(
            (one for one in entries if one.kind == "decision"), key=lambda one: project.start_of(one.partition)
        )
        said = "yes" if yes else "no"
        reason = f"{said} from {person.by}: {person.why}"
        return [_draft(asked, said, reason, newest.partition, person.evidence)]

    (entry,) = ledger(lake).append(Commit(project.name, "answer", run_id), act)
    return entry


def expire(project: Project, lake: Lake, run_id: str = "") -> list[Entry]:
    """Tell in the ledger which decisions have expired without an answer. Told once, whoever else does."""

    def act(entries: Sequence[Entry]) -> list[Draft]:
        decided = [one for one in entries if (one.kind, one.standing) == ("decision", "live")]
        return [
            _draft(one, "expire", f"nobody has answered by {decided[-1].partition}", decided[-1].partition, {})
            for one in untold(entries, project.retraining.ask_expires)
        ]

    book = ledger(lake)
    # Looked at first: a write would hold the lock for nothing.
    return book.append(Commit(project.name, "expire", run_id), act) if act(book.entries(project.name)) else []


def _draft(asked: Entry, action: str, reason: str, partition: str, said: dict[str, Any]) -> Draft:
    evidence = {"decision": asked.id, "asked": asked.reason, **said}
    return Draft(asked.project, "answered", reason, evidence, partition, action=action)


def _waiting(project: Project, entries: Sequence[Entry], number: int | None) -> Entry:
    """The decision that is to be answered."""
    found = {one.decision.id: one for one in asks(entries, project.retraining.ask_expires)}
    waits = next((one.decision for one in found.values() if one.state == "waiting"), None)
    if waits is not None and number in {None, waits.id}:
        return waits
    told = f"decision {waits.id} waits" if waits is not None else "no decision waits"
    if number is None:
        raise ActError(f"{project.name}: {told} for an answer")
    one = found.get(number)
    why = "asks nothing" if one is None else "has expired" if one.state == "expired" else f"was answered {one.state}"
    if one is not None and one.answer is not None:
        why = f"{why}: {one.answer.reason}"
    raise ActError(f"{project.name}: decision {number} {why}; {told} for an answer")
