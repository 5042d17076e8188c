"""`ml-assets keys …`: who may look, predict and decide, over the network."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ml_assets.serving.access.keys import Key

keys_app = typer.Typer(no_args_is_help=True, help="Keys: who may look, predict and decide.")

Projects = Annotated[
    list[str], typer.Option("--project", metavar="NAME", help="Where it holds; may be repeated. '*' for every project.")
]
Scopes = Annotated[
    list[str],
    typer.Option("--scope", metavar="SCOPE", help="look, predict or decide; may be repeated. Who decides may look."),
]


@keys_app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is: stands in the record of all they do.")],
    *,
    project: Projects,
    scope: Scopes,
    expires: Annotated[
        str,
        typer.Option("--expires", metavar="WHEN", help="30m (minutes), 12h, 90d, a day such as 2027-01-31, or never."),
    ] = "90d",
) -> None:
    """Make a key. It is printed this once and kept nowhere."""
    from ml_assets.projects import load_projects  # noqa: PLC0415
    from ml_assets.serving.access import keys  # noqa: PLC0415
    from ml_assets.serving.access.store import home_store  # noqa: PLC0415

    end = keys.parse_end(expires, datetime.now(UTC))
    keys.refuse_unknown(project, load_projects())
    key, text = keys.make_key(home_store(), name, projects=project, scopes=scope, expires=end)
    # What is read by a person goes beside what is caught by a program: `KEY=$(ml-assets keys add …)`.
    typer.echo(f"key {key.id} of {key.name}, {keys.in_words(end)}. Keep it now: it is shown this once.", err=True)
    typer.echo(text)


@keys_app.command(name="list")
def list_() -> None:
    """Every key that was ever made, without its secret."""
    from ml_assets.serving.access.keys import list_keys  # noqa: PLC0415
    from ml_assets.serving.access.store import home_store  # noqa: PLC0415

    found = list_keys(home_store())
    for key in found:
        where = "every project" if key.projects is None else " ".join(sorted(key.projects))
        used = f"used {key.used}" if key.used else "never used"
        typer.echo(f"{key.id}  {_state(key)}  {key.name}: {' '.join(sorted(key.scopes))} in {where}; {used}")
    typer.echo(f"{len(found)} key{'s' * (len(found) != 1)}")


@keys_app.command()
def revoke(number: Annotated[str, typer.Argument(metavar="ID", help="The key's id: the part after `mla_`.")]) -> None:
    """End a key, and every session begun with it, at once and for good."""
    from ml_assets.serving.access.keys import revoke_key  # noqa: PLC0415
    from ml_assets.serving.access.store import home_store  # noqa: PLC0415

    key = revoke_key(home_store(), number)
    typer.echo(f"key {key.id} of {key.name} opens nothing any more")


@keys_app.command()
def log(*, limit: Annotated[int, typer.Option(help="How many of the newest to show.", min=1)] = 24) -> None:
    """What was done with keys and what was refused; and whether that record is what was written."""
    from ml_assets.serving.access.record import each, read, verify  # noqa: PLC0415
    from ml_assets.serving.access.store import home_store  # noqa: PLC0415

    store = home_store()
    entries = read(store, limit)
    for one in entries:
        who = f"{one.who or 'nobody known'}{f', key {one.key}' if one.key else ''}"
        typer.echo(f"{one.id}  {one.at[:19].replace('T', ' ')} UTC  {one.what}  {who}  {one.detail}".rstrip())
    findings = verify(each(store))
    for finding in findings:
        typer.echo(finding, err=True)
    many = entries[-1].id if entries else 0
    typer.echo(f"{many:,} entries: {f'{len(findings)} findings' if findings else 'all as it was written'}")
    if findings:
        raise typer.Exit(1)


def _state(key: Key) -> str:
    """Whether a key opens anything, and until when, in words."""
    from ml_assets.serving.access.keys import in_words  # noqa: PLC0415

    if key.revoked is not None:
        return f"revoked {datetime.fromtimestamp(key.revoked, UTC):%Y-%m-%d %H:%M} UTC"
    return in_words(key.expires) if key.is_usable(time.time()) else f"expired, was {in_words(key.expires)}"
