"""What an act would do, in words, before anybody does it: read from the ledger, and never binding.

The act itself decides under the writer lock on what the ledger holds then, and may refuse what a plan promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ml_assets.core.card import passed
from ml_assets.registry.asks import asks
from ml_assets.registry.ledger import before_champion, current_champion, last_verdict, read_entries, stages
from ml_assets.serving.queries import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.serving.site import Site

Deed = Literal["approve", "reject", "promote", "rollback", "answer"]
OF_VERSIONS: tuple[Deed, ...] = ("approve", "reject", "promote")


@dataclass(frozen=True)
class Plan:
    """What would happen.

    Attributes:
        title: of the page.
        address: where the form goes.
        told: what would happen, a sentence each.
        against: why it cannot be done; "" where it can.
        number: the version or decision; None where none was named.
        choices: the answers that can be given, with what each does; none where there is nothing to choose.
    """

    title: str
    address: str
    told: tuple[str, ...]
    against: str = ""
    number: int | None = None
    choices: tuple[tuple[str, str], ...] = ()


def plan(site: Site, project: Project, deed: Deed, number: int | None) -> Plan:
    """What an act would do now.

    Args:
        site: where the record is read.
        project: the project.
        deed: the act.
        number: the version, or the decision to answer; None to go back to the version before the champion.
    """
    with reading(site.lake) as cursor:
        entries = read_entries(cursor, project.name) if cursor else []
    champion = current_champion(entries)
    if deed == "answer":
        return _answer(project, entries, number)
    if deed == "rollback":
        return _rollback(project, entries, number, champion)
    address = f"/projects/{project.name}/versions/{number}/{deed}"
    title = f"{deed.capitalize()} version {number} of {project.name}"
    if deed == "promote":
        told, against = _promote(site, project, number or 0, stages(entries).get(number or 0), champion)
    else:
        told, against = _judge(entries, deed, number or 0, champion)
    return Plan(title, address, told, against, number)


def _judge(entries: Sequence[Entry], deed: Deed, number: int, champion: int | None) -> tuple[tuple[str, ...], str]:
    """Approve or reject one that waits: what happens, and why it cannot."""
    stage, verdict = stages(entries).get(number, "unknown"), last_verdict(entries, number)
    if stage != "awaiting" or verdict is None:
        return (), f"Version {number} is {stage}: only one that waits for a person is approved or rejected."
    judged = f"What it was judged by: {verdict.reason}."
    if deed == "reject":
        stays = f"version {champion} stays champion" if champion else "no version serves"
        return (f"Version {number} is rejected; {stays}.", judged), ""
    stale = verdict.facts.get("against", 0) != (champion or 0)
    again = (
        f"It was held against another champion than version {champion}, which serves by now: it is judged again first, "
        "and rejected if it is no better."
    )
    return (_takes_over(number, champion), judged, *([again] if stale else [])), ""


def _takes_over(number: int, champion: int | None) -> str:
    retires = f" Version {champion} retires, and can be brought back." if champion else ""
    return (
        f"Version {number} becomes champion. It serves from the first partition that has not been decided on.{retires}"
    )


def _promote(
    site: Site, project: Project, number: int, stage: str | None, champion: int | None
) -> tuple[tuple[str, ...], str]:
    if stage in {"champion", "retired"}:
        return (), f"Version {number} is {stage}: one that has served is brought back, not promoted."
    if number not in site.registry.numbers(project.name):
        return (), f"There is no version {number}."
    stored = site.registry.evaluation(project.name, number)
    failed = [gate["demand"] for gate in stored["gates"] if passed(gate) == "not passed"] if stored else []
    told = [_takes_over(number, champion), "It does so whatever its verdict was: nothing judges it again."]
    if stored is None:
        told.append("It was never evaluated.")
    if failed:
        told.append(f"It fails {', '.join(failed)}; the record will say so.")
    return tuple(told), ""


def _rollback(project: Project, entries: Sequence[Entry], number: int | None, champion: int | None) -> Plan:
    wanted, found = before_champion(entries) if number is None else number, stages(entries)
    title, address = f"Go back in {project.name}", f"/projects/{project.name}/rollback"
    if wanted is None:
        return Plan(title, address, (), "No version has served before the champion.")
    title = f"Go back to version {wanted} of {project.name}"
    if found.get(wanted) != "retired":
        against = f"Version {wanted} is {found.get(wanted, 'unknown')}: only one that has served can serve again."
        return Plan(title, address, (), against, wanted)
    told = (_takes_over(wanted, champion), "Predictions that were made stay as they are.")
    return Plan(title, address, told, "", wanted)


def _answer(project: Project, entries: Sequence[Entry], number: int | None) -> Plan:
    title, address = (
        f"Answer decision {number} of {project.name}",
        f"/projects/{project.name}/decisions/{number}/answer",
    )
    one = next((one for one in asks(entries, project.retraining.ask_expires) if one.decision.id == number), None)
    if one is None:
        return Plan(title, address, (), f"Decision {number} asks nothing.", number)
    told = (f"Decision {number} on {one.decision.partition}: {one.decision.reason}.",)
    if one.state != "waiting":
        was = "has expired" if one.state == "expired" else f"was answered {one.state}"
        why = f": {one.answer.reason}" if one.answer else ""
        return Plan(title, address, told, f"Decision {number} {was}{why}.", number)
    choices = (("yes", "train a challenger; the daemon does"), ("no", "leave the champion as it is"))
    return Plan(title, address, told, "", number, choices)
