"""What the ledger tells in plain words: why a version was trained, what happened when, and what an entry means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.core.tasks import title_of
from ml_assets.registry.ledger import VERDICTS
from ml_assets.serving import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ml_assets.registry.ledger import Entry

# What an entry does, by kind and action.
TITLES = {
    "decision": "decided", "answered": "question answered", "registered": "trained", "awaiting": "waits for a person",
    "promoted": "serves", "rejected": "rejected", "replayed": "quarantine judged again",
}  # fmt: skip
# How a version comes to serve that has served before.
AGAIN = frozenset({"rollback", "reinstate"})


@dataclass(frozen=True)
class Why:
    """Why a version was trained.

    Attributes:
        version: its number.
        decision: the decision to retrain, or the question that a person answered yes; None where nobody decided.
        by: who had it trained, where that is known.
        verdict: what last became of it; None while nobody has judged it.
        judged: what became of it when it was judged, which coming back later does not undo.
    """

    version: int
    decision: Entry | None
    by: str
    verdict: Entry | None
    judged: Entry | None = None

    @property
    def costs(self) -> dict[str, float]:
        """What it costs to ask it, as it was measured when it was judged; empty where it was not."""
        return dict(self.judged.facts.get("costs", {})) if self.judged else {}

    @property
    def words(self) -> str:
        """In one sentence, without the version."""
        if self.decision is not None:
            return f"after {self.decision.partition}, because {because(self.decision)}"
        return f"without a decision, by {self.by}" if self.by else "without a decision: somebody started it"


def why_trained(entries: Sequence[Entry], number: int) -> Why:
    """Why a version was trained, as its project's ledger tells it."""
    own = [one for one in entries if one.version == number and one.kind != "decision"]
    asked = next((one.facts["decision"] for one in own if one.facts.get("decision")), 0)
    decision = next((one for one in entries if one.id == asked and one.kind == "decision"), None)
    by = next((str(one.facts.get("by", "")) for one in own if one.kind == "registered"), "")
    verdicts = [one for one in own if one.kind in VERDICTS]
    judged = next((one for one in verdicts if "costs" in one.facts or "comparison" in one.facts), None)
    return Why(number, decision, by, verdicts[-1] if verdicts else None, judged)


def last_trained(entries: Sequence[Entry]) -> Why | None:
    """Why the newest version was trained; None where there is none."""
    numbers = [one.version for one in entries if one.kind == "registered"]
    return why_trained(entries, numbers[-1]) if numbers else None


def because(decision: Entry) -> str:
    """What a decision rests on, for people; the policy's own sentence stands beside it."""
    facts = decision.facts
    metric, error, reference = facts.get("metric", ""), facts.get("error"), facts.get("reference")
    alarms = facts.get("alarms") or ()
    if error is None or not reference:
        return decision.reason
    was, then = words.metric(error, metric), words.metric(reference, metric)
    said = f"the {title_of(metric)} was {was} against {then} when it was judged"
    if error > reference:
        said = f"the {title_of(metric)} had grown to {was} from {then} when it was judged"
    if alarms:
        said += f", and {words.counted(len(alarms), 'column')} had drifted"
    return said


def title_of_entry(entry: Entry) -> str:
    """What an entry says, in a few words."""
    if entry.kind == "decision":
        return entry.action
    if entry.kind == "answered":
        return {"yes": "answered: yes", "no": "answered: no"}.get(entry.action, "nobody answered")
    if entry.kind == "promoted" and entry.action in AGAIN:
        return f"version {entry.version} serves again"
    named = f"version {entry.version} " if entry.version else ""
    return named + TITLES.get(entry.kind, entry.kind)


def events(entries: Iterable[Entry], limit: int) -> list[Entry]:
    """The newest entries that changed something, or were to, newest first: no decision to hold, none of a history."""
    told = [one for one in entries if one.kind != "decision" or (one.action != "hold" and one.standing == "live")]
    return told[: -limit - 1 : -1]
