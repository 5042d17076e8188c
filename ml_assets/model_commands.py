"""The commands about versions and decisions.

`ml-assets models …`, `approve` and `decline`; `decisions` and `decide`; and `ml-assets audit …`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry

Which = Annotated[str, typer.Argument(metavar="PROJECT[@N]", help="The project, and the number of a version.")]
One = Annotated[str, typer.Argument(metavar="PROJECT@N", help="The project and the number of a version.")]
Name = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")]
By = Annotated[str, typer.Option("--by", metavar="WHO", help="Who acts; the login's name where it is left out.")]
Why = Annotated[str, typer.Option("--why", metavar="WHY", help="The reason: it stays in the record.")]
Full = Annotated[bool, typer.Option("--full", help="Texts and lists as a whole.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]

Number = Annotated[
    int, typer.Argument(metavar="[ID]", help="The decision's number in the ledger; the one that waits if left out.")
]

# Entries of a list in the record that are shown without --full.
SHOWN = 12

models_app = typer.Typer(no_args_is_help=True, help="Versions: which there are, how they differ, and which serves.")
audit_app = typer.Typer(no_args_is_help=True, help="Whether the record is what was written.")


def approve(which: Which, *, why: Why, by: By = "") -> None:
    """Let the version serve that waits for a person."""
    from ml_assets.assets import acts  # noqa: PLC0415

    project, number = _split(which)
    _tell(acts.approve(project, _lake(), number, acts.Person(by, why)))


def decline(which: Which, *, why: Why, by: By = "") -> None:
    """Reject the version that waits for a person; the champion stays."""
    from ml_assets.assets import acts  # noqa: PLC0415

    project, number = _split(which)
    _tell(acts.decline(project, _lake(), number, acts.Person(by, why)))


def decisions(
    name: Name,
    *,
    limit: Annotated[int, typer.Option(help="How many of the newest to show.", min=1)] = 24,
    as_json: Json = False,
) -> None:
    """The newest decisions, with what became of those that ask a person; the one that waits comes first."""
    from dataclasses import asdict  # noqa: PLC0415

    from ml_assets.registry.asks import asks  # noqa: PLC0415

    project, _ = _split(name)
    entries = _entries(project)
    asked = {one.decision.id: one for one in asks(entries, project.retraining.ask_expires)}
    made = [one for one in reversed(entries) if one.kind == "decision"][:limit]
    if as_json:
        _print_json([asdict(one) | {"state": asked[one.id].state if one.id in asked else ""} for one in made])
        return
    waits = next((one.decision for one in asked.values() if one.state == "waiting"), None)
    if waits is not None:
        typer.echo(f"decision {waits.id} on {waits.partition} waits for an answer: {waits.reason}")
        typer.echo(f"  ml-assets decide {name} {waits.id} --yes --why WHY, or --no\n")
    rows: list[tuple[Any, ...]] = [
        (one.id, one.partition, one.action, asked[one.id].state if one.id in asked else "", one.standing, one.reason)
        for one in made
    ]
    columns = ("decision", "partition", "action", "answer", "standing", "why")
    _print_table(f"{name}: the newest {len(rows)} decisions", columns, rows)


def decide(
    name: Name,
    number: Number = 0,
    *,
    yes: Annotated[bool, typer.Option("--yes/--no", help="Whether a model is trained.")],
    why: Why,
    by: By = "",
) -> None:
    """Answer a decision that asks: a yes has the daemon train a challenger, a no leaves the champion as it is."""
    from ml_assets.assets.acts import Person  # noqa: PLC0415
    from ml_assets.assets.answers import answer  # noqa: PLC0415

    project, _ = _split(name)
    entry = answer(project, _lake(), number or None, Person(by, why), yes=yes)
    follows = f"; the daemon trains on rows up to {entry.partition}" if yes else "; the champion stays"
    typer.echo(f"{name} decision {entry.facts['decision']}: {entry.reason}{follows}")


@models_app.command()
def promote(which: One, *, why: Why, by: By = "") -> None:
    """Let a version serve that has never served, whatever its verdict was."""
    from ml_assets.assets import acts  # noqa: PLC0415

    project, number = _split(which)
    _tell(acts.promote(project, _lake(), _demanded(project, number), acts.Person(by, why)))


@models_app.command()
def rollback(which: Which, *, why: Why, by: By = "") -> None:
    """Let a version serve again that has served: the one before the champion, or a given one."""
    from ml_assets.assets import acts  # noqa: PLC0415

    project, number = _split(which)
    _tell(acts.roll_back(project, _lake(), number, acts.Person(by, why)))


@models_app.command(name="list")
def list_(name: Name, *, as_json: Json = False) -> None:
    """Every version with its stage, its error on rows held out, and the last word on it."""
    from ml_assets.core.tasks import title_of  # noqa: PLC0415
    from ml_assets.lives import list_versions  # noqa: PLC0415

    project, _ = _split(name)
    found = list_versions(project, _registry(), _entries(project))
    if as_json:
        _print_json(found)
        return
    columns = ("version", "stage", title_of(project.watched), "about it")
    rows = ((one["version"], one["stage"], _figure(one["error"]), _about(one)) for one in found)
    _print_table(f"{project.name}: {len(found)} version{'s' * (len(found) != 1)}", columns, rows)


@models_app.command()
def show(which: Which, *, full: Full = False, as_json: Json = False) -> None:
    """Everything recorded of a version, the champion where none is named: how it was made and what became of it."""
    from ml_assets.core.card import passed  # noqa: PLC0415
    from ml_assets.lives import leaves, show_version, version_named  # noqa: PLC0415

    project, number = _split(which)
    entries = _entries(project)
    found = show_version(project, _registry(), entries, version_named(project, number, entries))
    if as_json:
        _print_json(found)
        return
    typer.echo(f"{project.name} version {found['record']['number']}: {found['stage']}\n")
    if found["evaluation"]:
        metrics = found["evaluation"]["metrics"]
        rows = ((name, _figure(value), _figure(metrics["test"].get(name))) for name, value in metrics["train"].items())
        _print_table("its metrics", ("metric", "on what it learnt from", "on rows held out"), rows)
    if found["gates"]:
        rows = ((gate["demand"], _figure(gate["value"]), passed(gate)) for gate in found["gates"])
        _print_table("its gates", ("gate", "reached", "verdict"), rows)
    facts = {**found["record"], "record_sha256": found["record_sha256"]}
    _print_table("its record", ("what", "value"), ((name, _lines(value, full)) for name, value in leaves(facts)))
    life = ((_minute(one["at"]), one["kind"], one["serves_from"], one["reason"]) for one in found["life"])
    _print_table("its life", ("when (UTC)", "what", "serves from", "why"), life)


@models_app.command()
def diff(
    which: One,
    other: Annotated[int, typer.Argument(metavar="[M]", help="The other version; the champion it began from.")] = 0,
    *,
    full: Full = False,
    as_json: Json = False,
) -> None:
    """What differs between the records and test metrics of two versions."""
    from ml_assets.lives import diff_versions  # noqa: PLC0415

    project, number = _split(which)
    second = _demanded(project, number)
    first = other or _registry().version(project.name, second).parent
    if not first:
        raise typer.BadParameter(f"version {second} began from no champion: name the other version")
    found = diff_versions(project, _registry(), first, second)
    if as_json:
        _print_json(found)
        return
    rows = ((name, _lines(one, full), _lines(two, full)) for name, (one, two) in found.items())
    _print_table(f"{project.name}", ("what", f"version {first}", f"version {second}"), rows)


@models_app.command()
def served(
    name: Name,
    *,
    on: Annotated[str, typer.Option("--on", metavar="WHEN", help="A day or a moment in UTC, such as 2024-05-03.")],
    as_json: Json = False,
) -> None:
    """Which version served on a day: for the day's own rows, and by the clock."""
    from ml_assets import lives  # noqa: PLC0415

    project, _ = _split(name)
    start, end = lives.parse_moment(on)
    with _lake().reader() as cursor:
        found = lives.served(cursor, project, start, end)
    if as_json:
        _print_json(found)
        return
    rows: Iterable[Sequence[Any]] = (
        (one["partition"], _or_none(one["champion"]), ", ".join(map(str, one["scored_by"])) or "not scored")
        for one in found["by_partition"]
    )
    title = f"Rows of {on}: whose predictions they have"
    _print_table(title, ("partition", "version by the ledger", "version in the lake"), rows)
    rows = ((_minute(one["since"]), _or_none(one["champion"]), one["why"]) for one in found["by_clock"])
    _print_table(f"The clock on {on}: who was champion", ("from (UTC)", "version", "why"), rows)


@audit_app.command()
def verify(
    *,
    head: Annotated[str, typer.Option("--head", metavar="ID:HASH", help="A head that an earlier audit printed.")] = "",
    as_json: Json = False,
) -> None:
    """Find any edit of the ledger or of a version's files. Prints the head: note it where nobody here can write."""
    from dataclasses import asdict  # noqa: PLC0415

    from ml_assets.registry.audit import verify as run  # noqa: PLC0415

    found = run(_lake(), _registry(), head)
    if as_json:
        _print_json(asdict(found))
    else:
        for finding in found.findings:
            typer.echo(finding, err=True)
        told = f"{len(found.findings)} findings" if found.findings else "all as it was written"
        typer.echo(f"{found.entries:,} entries and the files of {found.versions:,} versions: {told}")
        typer.echo(f"head {found.head or 'none: the ledger is empty'}")
    if found.findings:
        raise typer.Exit(1)


def _split(which: str) -> tuple[Project, int | None]:
    """`PROJECT` or `PROJECT@N`."""
    from ml_assets.lives import parse_name  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415

    name, number = parse_name(which)
    return load_project(name), number


def _demanded(project: Project, number: int | None) -> int:
    if number is None:
        raise ValueError(f"{project.name}: name the version, as in {project.name}@3")
    return number


def _lake() -> Lake:
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    return shared_lake().lake


def _registry() -> Registry:
    from ml_assets.assets.common import registry  # noqa: PLC0415

    return registry()


def _entries(project: Project) -> list[Entry]:
    from ml_assets.registry.ledger import Ledger  # noqa: PLC0415

    return Ledger(_lake()).entries(project.name)


def _tell(entry: Entry) -> None:
    serves = f", serves from {entry.partition}" if entry.kind == "promoted" else ""
    typer.echo(f"{entry.project} version {entry.version} {entry.kind}{serves}: {entry.reason}")
    if entry.kind == "rejected" and entry.action == "approve":
        raise typer.Exit(1)


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False))


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        # A person's reason is text, never markup.
        lines = (cell if isinstance(cell, tuple) else (str(cell),) for cell in row)
        table.add_row(*(Text("\n".join("".join(_visible(line)) for line in cell)) for cell in lines))
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(table)
    console.print()


def _visible(text: str) -> Iterator[str]:
    return (one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_figure, value)) if len(value) < 5 else f"{value[0]} … {value[-1]}"  # noqa: PLR2004
    return f"{value:,.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _about(one: dict[str, Any]) -> tuple[str, ...]:
    """What a list tells of a version, in lines that a terminal of 80 columns has room for."""
    if one["broken"]:
        return (f"BROKEN: {one['broken']}",)
    return (
        f"learnt from {' … '.join(one['learnt_from'])}",
        f"tested on {' … '.join(one['tested_on'])}",
        f"made {_minute(one['made'])} UTC, {one['size_mb']:.2f} MB",
        one["reason"],
    )


def _lines(value: Any, full: bool) -> tuple[str, ...]:  # noqa: FBT001 - handed on from the option
    """A value of a record as lines of a cell: a text by its hash and a list by its first entries, or as a whole."""
    if isinstance(value, str) and "\n" in value:
        lines = tuple(value.expandtabs(4).splitlines())
        told = f"{len(lines)} lines, SHA-256 {hashlib.sha256(value.encode()).hexdigest()}; the text with --full"
        return lines if full else (told,)
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        shown = value if full else value[:SHOWN]
        rest = len(value) - len(shown)
        return (*map(_entry, shown), *([f"… and {rest} more; all with --full"] if rest else []))
    if full and isinstance(value, list):
        return (", ".join(map(_figure, value)),)
    return (_figure(value),)


def _entry(one: dict[str, Any]) -> str:
    """An entry of a list in one line, without what says nothing."""
    from ml_assets.lives import leaves  # noqa: PLC0415

    return ", ".join(f"{name} {_figure(value)}" for name, value in leaves(one) if value not in (None, "", [], False))


def _or_none(version: int | None) -> str:
    return "none" if version is None else str(version)
