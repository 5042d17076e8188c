"""The command `ml-assets replay`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def replay(
    name: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")],
    *,
    policy: Annotated[
        list[str] | None, typer.Option(help="Play only this policy; may be repeated. All where it is left out.")
    ] = None,
    price: Annotated[float, typer.Option(help="Price of a retraining.", show_default="the declared one")] = 0.0,
    label_delay: Annotated[int, typer.Option(help="By how many partitions labels come late.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what each policy of retraining would have cost and gained over the recorded history, and which to take.

    Trains every version that any of them could have wanted, once; goes on where it was interrupted.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from ml_assets.assets.replay import ReplayConfig, replay_project, table_of  # noqa: PLC0415
    from ml_assets.core.replay_pictures import draw_replay  # noqa: PLC0415
    from ml_assets.core.replay_report import as_json as values_of  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415
    from ml_assets.registry.replays import write_replay  # noqa: PLC0415

    def progress(line: str) -> None:
        # Beside the answer, which may be read by a program.
        typer.echo(line, err=True)

    config = ReplayConfig(policies=policy or [], price=price, label_delay=label_delay)
    found = replay_project(load_project(name), shared_lake().lake, config, progress)
    folder = write_replay(name, values_of(found), draw_replay(found))
    if as_json:
        sys.stdout.write(json.dumps(values_of(found), allow_nan=False) + "\n")
        return
    head, rows = table_of(found)
    table = Table(title=f"{name}: {found.partitions[0]} … {found.partitions[-1]}, price {found.price:g}", box=None)
    for title in head:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False, emoji=False, width=max(Console().width, 100))
    console.print(table)
    typer.echo(found.words)
    typer.echo(f"pictures and numbers: {folder}")
