"""Commands that make something of a version, `PROJECT@N`: again, or in another form."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version

Versions_ = Annotated[str, typer.Argument(metavar="PROJECT[@N]", help="A version, or all of a project.")]
Version_ = Annotated[str, typer.Argument(metavar="PROJECT@N", help="A version.")]


def rebuild(
    name: Versions_,
    restore: Annotated[  # noqa: FBT002
        bool, typer.Option("--restore", help="Put the model file back where it was changed or lost.")
    ] = False,
) -> None:
    """Train versions again from their records and compare bit for bit; names the first asset that differs."""
    registry, project, numbers = versions_of(name)
    wrong = 0
    for number in numbers:
        try:
            wrong += not _rebuild_one(registry, project, number, restore=restore)
        except Exception as error:
            if len(numbers) == 1:
                raise
            # Whatever it is, an estimator of the project's own may have raised it: the others are looked at too.
            why = str(error) or type(error).__name__
            typer.echo(f"{project}@{number} cannot be made again: {why}", err=True)
            wrong += 1
    if wrong:
        raise typer.Exit(1)


def _rebuild_one(registry: Registry, project: str, number: int, *, restore: bool) -> bool:
    """Whether a version, made again, is what was registered, or its model file is restored."""
    from ml_assets import rebuild as making  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    rebuilt = making.rebuild(shared_lake().lake, registry, registry.version(project, number), _declared(project))
    typer.echo("\n".join(rebuilt.report()))
    if restore and rebuilt.model_file:
        making.restore(registry, rebuilt)
        typer.echo("  the model file is restored, bit for bit as it was registered")
        return True
    return rebuilt.same


def export(
    name: Version_,
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="The ONNX file to write.")],
) -> None:
    """Write a version as ONNX, if that says the same as the version on real rows."""
    from ml_assets.assets.publishing import export_onnx, in_words  # noqa: PLC0415
    from ml_assets.registry.export import ExportRefusedError  # noqa: PLC0415
    from ml_assets.registry.models import RegistryError  # noqa: PLC0415

    project, lake, version = _one(name)
    try:
        exported = export_onnx(project, lake, version)
    except (ExportRefusedError, RegistryError) as error:
        raise ValueError(str(error)) from error
    onnx.write_bytes(exported.content)
    typer.echo(f"{onnx}: {in_words(exported)}; SHA-256 {exported.sha256}")


def log(name: Versions_) -> None:
    """Tell the declared MLflow server of versions, or bring what it knows of them up to date."""
    from ml_assets.assets.publishing import log as run  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415
    from ml_assets.registry.tracking import TrackingError  # noqa: PLC0415

    registry, project, numbers = versions_of(name)
    for number in numbers:
        try:
            told = run(load_project(project), shared_lake().lake, registry.version(project, number))
        except TrackingError as error:
            raise ValueError(str(error)) from error
        typer.echo(f"{project}@{number} is MLflow's run {told}")


def card(name: Version_) -> None:
    """Write a version's card beside it as Markdown, and print it."""
    from ml_assets.assets.publishing import make_card  # noqa: PLC0415

    typer.echo(make_card(*_one(name)), nl=False)


def _one(name: str) -> tuple[Project, Lake, Version]:
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415

    registry, project, numbers = versions_of(name)
    if "@" not in name:
        raise ValueError(f"{name!r} names no version. Expected PROJECT@N, such as {project}@{numbers[-1]}")
    return load_project(project), shared_lake().lake, registry.version(project, numbers[0])


def versions_of(name: str) -> tuple[Registry, str, list[int]]:
    """The project, and the numbers of the versions, that `PROJECT@N` or `PROJECT` names.

    Raises:
        ValueError: if it names none.
    """
    from ml_assets.lives import parse_name  # noqa: PLC0415
    from ml_assets.registry.models import home_registry  # noqa: PLC0415

    project, number = parse_name(name)
    registry = home_registry()
    numbers = registry.numbers(project) if number is None else [number]
    if not numbers:
        raise ValueError(f"{project} has no version yet. Remedy: `ml-assets retrain {project}`")
    return registry, project, numbers


def _declared(name: str) -> Project | None:
    """The project as it is declared today, or None where it is not, or wrongly: a record does not need it."""
    from ml_assets.projects import load_project  # noqa: PLC0415

    try:
        return load_project(name)
    except ValueError:
        return None
