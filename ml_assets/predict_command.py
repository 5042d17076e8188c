"""The command `ml-assets predict`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer


def predict(
    name: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")],
    *,
    given: Annotated[Path, typer.Option("--input", metavar="FILE", help="Rows to predict: .csv or .parquet.")],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where they go with their predictions.")],
    version: Annotated[int, typer.Option(help="A version; the champion where it is left out.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Predict the rows of a file of any size, piece by piece.

    Rows that do not pass the schema go to OUTPUT's name with `.refused` before its ending, each with its reasons.
    """
    from ml_assets import settings  # noqa: PLC0415
    from ml_assets.lake.connection import Lake  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415
    from ml_assets.registry.ledger import current_champion, read_entries  # noqa: PLC0415
    from ml_assets.registry.models import home_registry  # noqa: PLC0415
    from ml_assets.serving.predicting.files import check_paths, predict_file  # noqa: PLC0415
    from ml_assets.serving.predicting.inputs import CannotServeError  # noqa: PLC0415
    from ml_assets.serving.predicting.request import RefusedError  # noqa: PLC0415
    from ml_assets.serving.predicting.served import Served  # noqa: PLC0415

    refused = output.with_suffix(f".refused{output.suffix}")
    check_paths([given, output, refused], force=force)
    project, lake = load_project(name), Lake(settings.home() / "lake")
    with lake.reader() as cursor:
        entries = read_entries(cursor, name)
    number = version or current_champion(entries)
    if number is None:
        raise ValueError(f"{name} has no champion yet. Remedy: `ml-assets retrain {name}`, or --version")
    try:
        served = Served(project, lake, home_registry(), number, entries)
        done = predict_file(served, given, output, refused, lambda line: typer.echo(line, err=True))
    except (CannotServeError, RefusedError) as error:
        raise ValueError(f"{given}: {error}") from error
    finally:
        lake.close()
    typer.echo(f"{output}: {done.predicted:,} rows predicted by version {number} ({served.scorer.engine})")
    if done.refused:
        typer.echo(f"{refused}: {done.refused:,} rows refused, with their reasons")
