"""What a person does about versions: approve or decline one that waits, promote one, go back to one that has served.

Each act is one entry of the ledger with who and why, decided under the writer lock on what the ledger holds then: at
every moment, and whatever is killed, the project has the champion of before or that of after.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ml_assets import settings
from ml_assets.assets.common import ledger, registration, registry, require_registered
from ml_assets.assets.features import current_kinds
from ml_assets.assets.promotion import failed_gates, from_now_on, judge, newest_predicted
from ml_assets.assets.publishing import publish
from ml_assets.core.training import unfit
from ml_assets.lake.connection import Commit
from ml_assets.registry.ledger import Draft, before_champion, current_champion, last_verdict, stages, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Version


class ActError(ValueError):
    """What a person asks for cannot be done; the message says why and what can."""


class UnpublishedError(ValueError):
    """An act was done and stands in the ledger; what should be made of it was not, or not all of it.

    Attributes:
        entry: of the ledger.
    """

    def __init__(self, entry: Entry, error: Exception) -> None:
        super().__init__(
            f"{entry.project}: this stands in the ledger as entry {entry.id}, but its ONNX file, cards or tracking "
            f"were not all made: {type(error).__name__}: {error}. Once that is mended: `ml-assets models export "
            f"{entry.project}@{entry.version} --onnx FILE`"
        )
        self.entry = entry


@dataclass(frozen=True)
class Person:
    """Who acts, and why.

    Attributes:
        by: the name they give; the login's where it is empty.
        why: in their words.
        login: as the operating system knows the process, or `key ID` of who acts from a page: stands in the ledger
            beside the name, which anybody can claim.
    """

    by: str
    why: str
    login: str = field(default_factory=settings.login)

    def __post_init__(self) -> None:
        """Refuse an act without a name or a reason.

        Raises:
            ActError: naming what is missing.
        """
        object.__setattr__(self, "by", " ".join(self.by.split()) or self.login)
        object.__setattr__(self, "why", " ".join(self.why.split()))
        if not self.by:
            raise ActError("nobody is logged in here: say who acts. Remedy: --by NAME")
        if not self.why:
            raise ActError("the reason is empty: it stays in the record. Remedy: --why 'a sentence'")

    @property
    def evidence(self) -> dict[str, str]:
        """As it stands in the ledger."""
        return {"by": self.by, "why": self.why, "login": self.login}


def approve(project: Project, lake: Lake, number: int | None, person: Person, *, run_id: str = "") -> Entry:
    """Let a version serve that waits for a person.

    Where another champion serves by now than the one that it was held against, it is judged again, against that one:
    an approval is of a comparison, and that comparison is stale.

    Args:
        project: the project.
        lake: where its rows and the ledger are.
        number: the version; the one that waits where it is None.
        person: who approves, and why.
        run_id: the Dagster run in which it happens, if any.

    Returns:
        The entry: `promoted`, or `rejected` where it was judged again and is no better.

    Raises:
        ActError: if the version does not wait.
        RegistryError: if its files are not those that were registered.
    """
    written: list[Entry] = []
    while not written:  # another act has overtaken this one: look again
        written = _approve(project, lake, number, person, run_id)
    return _published(project, lake, written[0])


def _approve(project: Project, lake: Lake, number: int | None, person: Person, run_id: str) -> list[Entry]:
    entries = ledger(lake).entries(project.name)
    verdict = _waiting(project, entries, number)
    version, champion = _usable(project, lake, entries, verdict.version), current_champion(entries)
    if verdict.facts["against"] == (champion or 0):
        draft = Draft(project.name, "promoted", verdict.reason, verdict.facts, version=version.number)
    else:
        draft = judge(project, lake, version, champion)
        draft = replace(draft, reason=f"judged again, since version {champion} serves by now: {draft.reason}")
    reason = f"approved by {person.by}: {person.why}; {draft.reason}"
    evidence = {**draft.evidence, **person.evidence, "trained_by": _trainer(entries, version.number)}
    draft = replace(draft, reason=reason, action="approve", evidence=evidence)

    def unless_overtaken(now: Sequence[Entry]) -> list[Draft]:
        unchanged = last_verdict(now, version.number) == verdict and current_champion(now) == champion
        return [from_now_on(project, version, draft, now, newest_predicted(project, lake))] if unchanged else []

    return ledger(lake).append(Commit(project.name, "approve", run_id), unless_overtaken)


def decline(project: Project, lake: Lake, number: int | None, person: Person, *, run_id: str = "") -> Entry:
    """Reject a version that waits for a person. For arguments and errors see `approve`."""

    def act(entries: Sequence[Entry]) -> list[Draft]:
        verdict = _waiting(project, entries, number)
        reason, facts = f"declined by {person.by}: {person.why}", {**verdict.facts, **person.evidence}
        return [Draft(project.name, "rejected", reason, facts, version=verdict.version, action="decline")]

    (entry,) = ledger(lake).append(Commit(project.name, "decline", run_id), act)
    return _published(project, lake, entry)


def promote(project: Project, lake: Lake, number: int, person: Person) -> Entry:
    """Make a version champion that has never served, whatever its verdict was; gates that it fails are in the record.

    Raises:
        ActError: if it serves, has served, or was trained for another task or other features.
        RegistryError: if there is no such version, or its files are not those that were registered.
    """
    book = ledger(lake)
    version = _usable(project, lake, book.entries(project.name), number)
    stored = registry().evaluation(project.name, number) or {"gates": [], "metrics": {"test": {}}}
    verdict = last_verdict(book.entries(project.name), number)
    # A verdict knows of the limits on time and size too.
    gates = verdict.facts.get("gates", stored["gates"]) if verdict else stored["gates"]
    facts = {"gates": gates, "test": stored["metrics"]["test"], **person.evidence}
    failed = failed_gates(gates)

    def act(entries: Sequence[Entry]) -> list[Draft]:
        stage = stages(entries).get(number, "candidate")
        if stage in {"champion", "retired"}:
            remedy = f". Remedy: ml-assets models rollback {project.name}@{number}" if stage == "retired" else ""
            raise ActError(f"{project.name} version {number} {'has served' if remedy else 'already serves'}{remedy}")
        reason = f"promoted by {person.by}: {person.why}" + (f"; it fails {failed}" if failed else "")
        reason += "" if stored["metrics"]["test"] else "; it was never evaluated"
        draft = Draft(project.name, "promoted", reason, facts, version=number, action="promote")
        # A kill may have left it without its entry.
        drafts = [] if number in stages(entries) else [registration(version, "nobody knows: its training was killed")]
        return [*drafts, from_now_on(project, version, draft, entries, newest_predicted(project, lake))]

    *_, entry = book.append(Commit(project.name, "promote"), act)
    return _published(project, lake, entry)


def roll_back(project: Project, lake: Lake, number: int | None, person: Person) -> Entry:
    """Let a version serve again that has served: the one before the champion, or a given one.

    It serves from the first partition that has not been decided on: predictions that were acted on stay as they are.

    Raises:
        ActError: if there is none, or the version has not served.
        RegistryError: if its files are not those that were registered.
    """
    book = ledger(lake)
    entries = book.entries(project.name)
    wanted = before_champion(entries) if number is None else number
    if wanted is None:
        raise ActError(f"{project.name}: no version has served before the champion")
    version, seen = _usable(project, lake, entries, wanted), current_champion(entries)

    def act(entries: Sequence[Entry]) -> list[Draft]:
        found, champion = stages(entries), current_champion(entries)
        if found.get(wanted) != "retired":
            retired = ", ".join(str(one) for one, stage in found.items() if stage == "retired") or "none"
            raise ActError(
                f"{project.name} version {wanted} is {found.get(wanted, 'unknown')}: only one that has served can "
                f"serve again: {retired}"
            )
        if number is None and champion != seen:
            raise ActError(f"{project.name}: version {champion} has just become champion. Remedy: look, and ask again")
        reason = f"back from version {champion} by {person.by}: {person.why}"
        draft = Draft(project.name, "promoted", reason, person.evidence, version=wanted, action="rollback")
        return [from_now_on(project, version, draft, entries, newest_predicted(project, lake))]

    (entry,) = book.append(Commit(project.name, "rollback"), act)
    return _published(project, lake, entry)


def _published(project: Project, lake: Lake, entry: Entry) -> Entry:
    """The entry, once the ONNX file, the cards and MLflow say so too.

    Raises:
        UnpublishedError: if they do not: the entry stands all the same.
    """
    try:
        publish(project, lake, entry)
    except Exception as error:
        raise UnpublishedError(entry, error) from error
    return entry


def _trainer(entries: Sequence[Entry], number: int) -> str:
    """Who had a version trained: an approval by somebody else counts for more."""
    kept = (one.facts.get("by", "") for one in entries if (one.kind, one.version) == ("registered", number))
    return str(next(kept, ""))


def _waiting(project: Project, entries: Sequence[Entry], number: int | None) -> Entry:
    """The verdict on the version that waits."""
    stage, waits = stages(entries), waiting(entries)
    wanted = waits if number is None else number
    verdict = None if wanted is None else last_verdict(entries, wanted)
    if verdict is None or verdict.kind != "awaiting":
        told = f"version {waits} waits" if waits is not None else "no version waits"
        asked = "" if number is None else f" version {number} is {stage.get(number, 'unknown')};"
        raise ActError(f"{project.name}:{asked} {told} for approval")
    return verdict


def _usable(project: Project, lake: Lake, entries: Sequence[Entry], number: int) -> Version:
    """A version that can serve: its files are those that were registered, its task and features are the project's."""
    version = registry().version(project.name, number)
    require_registered(entries, version)
    registry().load(version)
    if version.task != project.task:
        raise ActError(
            f"{project.name} version {number} was trained for {version.task}, and the project's task is now "
            f"{project.task}"
        )
    with lake.reader() as cursor:
        # Not read off the table: the lake keeps a column that the statement no longer returns.
        wrong = unfit(version.features, current_kinds(cursor, project))
    if wrong:
        raise ActError(
            f"{project.name} version {number} {wrong}. Remedy: return it and materialize features again, or train"
        )
    return version
