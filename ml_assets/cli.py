"""The command line: `ml-assets …`. Each command imports what it needs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from ml_assets import predict_command, replay_command, serve_command, version_commands
from ml_assets.alert_commands import alerts
from ml_assets.key_commands import keys_app
from ml_assets.model_commands import approve, audit_app, decide, decisions, decline, models_app

if TYPE_CHECKING:
    from ml_assets.project import Project

Project_ = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")]
OnlyKey = Annotated[
    str,
    typer.Argument(metavar="[PARTITION]", help="A partition's key, such as 2021-03; a project without time has one."),
]
Key_ = Annotated[str, typer.Argument(help="A partition's key, such as 2021-03; all that the source holds without one.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Declare a machine-learning project once, get its whole asset graph.",
)
lake_app = typer.Typer(no_args_is_help=True, help="Upkeep of the lake.")
app.add_typer(lake_app, name="lake")
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows that did not pass: why, to repair them, and back in.")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(models_app, name="models")
app.add_typer(audit_app, name="audit")
app.add_typer(keys_app, name="keys")
for simple in (
    approve, decline, decisions, decide, alerts, version_commands.rebuild, replay_command.replay, serve_command.serve,
    predict_command.predict,
):  # fmt: skip
    app.command()(simple)
for command in (version_commands.export, version_commands.log, version_commands.card):
    models_app.command()(command)


@app.command()
def data(project: Project_) -> None:
    """Fill a project's data folder: what is there, else the publisher's files, else simulated ones."""
    from ml_assets.demo import fill_data  # noqa: PLC0415

    fill_data(_say, _project(project))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new project's name: lower-case letters, digits, _.")],
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FILE-OR-URI",
            help="A file, a pattern ('sales/*.csv', 'sales/%Y-%m.csv'), s3://…, sqlite:PATH#TABLE, or for PostgreSQL "
            "env:VARIABLE#TABLE.",
        ),
    ],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    time: Annotated[str, typer.Option(help="The column that says when a row happened; guessed if left out.")] = "",
    grain: Annotated[str, typer.Option(help="hour, day, week, month, block or none; guessed if left out.")] = "",
    task: Annotated[str, typer.Option(help="regression, binary or multiclass; guessed if left out.")] = "",
    columns: Annotated[str, typer.Option(help="Names of the columns of a file without a header: a,b,c.")] = "",
) -> None:
    """Write a project from its data: types, ranges, time, task and gates are guessed, each with its reason."""
    from pydantic import ValidationError  # noqa: PLC0415

    from ml_assets.scaffold.scaffolder import Wanted, new_project  # noqa: PLC0415

    options = {"from": source, "target": target, "time": time, "grain": grain, "task": task, "columns": columns}
    try:
        wanted = Wanted.model_validate({option: value for option, value in options.items() if value})
    except ValidationError as error:
        told = error.errors()[0]
        raise ValueError(f"--{told['loc'][0]} {told['input']}: {told['msg'][:1].lower()}{told['msg'][1:]}") from error
    _say("\n".join(new_project(name, wanted).report()))


@app.command()
def check(
    project: Annotated[str, typer.Argument(metavar="[PROJECT]", help="The project's name; all where left out.")] = "",
) -> None:
    """Look for mistakes in declarations, SQL and schemas, without any data; each is told with its place."""
    from ml_assets.projects import check_projects  # noqa: PLC0415

    found = check_projects(project)
    for mistake in (mistake for mistakes in found.values() for mistake in mistakes):
        typer.echo(str(mistake), err=True)
    if any(found.values()):
        raise typer.Exit(1)
    _say(f"no mistake found in {', '.join(found) or 'any project: none is declared'}")


@app.command()
def demo() -> None:
    """Run the main job on house_prices: fill four years, train, and play 2021 month by month."""
    from ml_assets.demo import demo as run  # noqa: PLC0415

    data("house_prices")
    run(_say)


@app.command()
def backfill(project: Project_, first: Key_ = "", last: Key_ = "") -> None:
    """Fill a range of a project's history, or all that its source holds; train a first version where there is none."""
    from ml_assets.assets.source import held_by_source  # noqa: PLC0415
    from ml_assets.history import backfill as run  # noqa: PLC0415
    from ml_assets.history import check_range  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.registry.ledger import Ledger  # noqa: PLC0415
    from ml_assets.runs import load_definitions, open_instance  # noqa: PLC0415

    declared = _project(project)
    if not first:
        held = list(held_by_source(declared, shared_lake().lake))
        if declared.calendar.has_time:
            # The present partition is not over: the schedule refreshes it when it is.
            newest = declared.newest_ended(datetime.now(UTC).replace(tzinfo=None))
            held = [start for start in held if newest is not None and start <= newest]
        if not held:
            raise ValueError(f"the source of {project} holds no row of a partition that has ended")
        first, last = declared.key_of(held[0]), declared.key_of(held[-1])
        _say(
            f"{project}: {declared.source.words} holds {len(held)} partition{'s' * (len(held) != 1)}, {first} … {last}"
        )
    last = last or first
    check_range(declared, first, last)
    instance = open_instance()
    run(instance, load_definitions(declared), Ledger(shared_lake().lake), declared, first=first, last=last, say=_say)


@app.command(name="catch-up")
def catch_up(
    project: Project_,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which partitions are touched.")] = False,  # noqa: FBT002
) -> None:
    """Find late, corrected and removed rows, materialize the partitions that they touch, and say what they changed."""
    from ml_assets.assets.source import changes, to_be_read  # noqa: PLC0415
    from ml_assets.history import catch_up as run  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.registry.ledger import Ledger  # noqa: PLC0415
    from ml_assets.runs import load_definitions, open_instance  # noqa: PLC0415

    declared = _project(project)
    found = changes(declared, shared_lake().lake)
    _say("\n".join(map(str, found)) or f"{project}: the lake holds what the source holds")
    present = to_be_read(declared, found)
    if present and not dry_run:
        run(
            open_instance(), load_definitions(declared), Ledger(shared_lake().lake), declared, changes=present, say=_say
        )


@app.command()
def refresh(project: Project_, partition: OnlyKey = "") -> None:
    """Run a project's refresh job: one partition, from the source to the decision."""
    from ml_assets.assets.common import register_blocks  # noqa: PLC0415
    from ml_assets.history import check_range  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.refreshed import lines_of  # noqa: PLC0415
    from ml_assets.runs import load_definitions, open_instance, run_job  # noqa: PLC0415

    declared = _project(project)
    if not partition:
        if declared.partitions.grain != "none":
            raise ValueError(f"which partition of {project}? Name one by its key, such as {declared.first}")
        partition = declared.first
    check_range(declared, partition, partition)
    instance = open_instance()
    register_blocks(instance, declared, [partition])
    run = run_job(instance, load_definitions(declared), f"{project}_refresh", partition=partition)
    for line in lines_of(shared_lake().lake, declared, partition, run):
        _say(line)


@app.command()
def retrain(project: Project_) -> None:
    """Run a project's retraining job: train a challenger and hold it against the champion."""
    from ml_assets.history import tell_verdict  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.registry.ledger import Ledger  # noqa: PLC0415
    from ml_assets.runs import load_definitions, open_instance, run_job  # noqa: PLC0415

    declared = _project(project)
    run = run_job(open_instance(), load_definitions(declared), f"{project}_retrain")
    tell_verdict(Ledger(shared_lake().lake), declared, run, _say)


@app.command()
def explore(project: Project_) -> None:
    """Explore the rows of a project that are in the lake: numbers and pictures, as a page and in Dagster."""
    from ml_assets import settings  # noqa: PLC0415
    from ml_assets.runs import load_definitions, materialize, open_instance  # noqa: PLC0415

    declared = _project(project)
    run = materialize(open_instance(), load_definitions(declared), project, ["exploration"])
    _say(f"{project}: run {run[:8]}; with `ml-assets up`: {settings.reports_url()}/projects/{project}/exploration")


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    dagster_port: Annotated[int, typer.Option(help="Port of Dagster's UI.")] = 3000,
    reports_port: Annotated[int, typer.Option(help="Port of the report pages.")] = 3001,
) -> None:
    """Start Dagster's UI, the daemon and the report pages; Ctrl-C stops all."""
    from ml_assets import settings  # noqa: PLC0415
    from ml_assets.automation.up import up as run  # noqa: PLC0415
    from ml_assets.projects import load_projects  # noqa: PLC0415
    from ml_assets.runs import fail_orphaned_runs, open_instance, sole_daemon, workspace  # noqa: PLC0415
    from ml_assets.serving.access.server import check_start  # noqa: PLC0415

    check_start(host)
    load_projects()  # a declaration that is wrong is told here, not in the logs of three programs
    home = settings.home()
    with sole_daemon(home) as is_ours:
        if is_ours:
            fail_orphaned_runs(open_instance())
    code = run(
        home=home, workspace=workspace(home), host=host, dagster_port=dagster_port, reports_port=reports_port, say=_say
    )
    raise typer.Exit(code)


@lake_app.command()
def compact(
    keep_days: Annotated[float, typer.Option(help="Snapshots younger than this many days stay.", min=0)] = 7,
) -> None:
    """Merge small files and forget old snapshots, but none that a model was trained on."""
    from ml_assets import settings  # noqa: PLC0415
    from ml_assets.lake.connection import Lake  # noqa: PLC0415
    from ml_assets.lake.upkeep import compact as run  # noqa: PLC0415
    from ml_assets.registry.models import home_registry  # noqa: PLC0415

    protected = home_registry().snapshots()
    done = run(Lake(settings.home() / "lake"), keep=timedelta(days=keep_days), protected=protected)
    _say(
        f"{done.files_merged} files merged, {done.snapshots_expired} snapshots expired, "
        f"{done.files_deleted} files deleted"
    )
    _say(f"{len(protected)} snapshots that models were trained on are kept")


@lake_app.command()
def drop(
    project: Project_, tables: Annotated[list[str], typer.Argument(metavar="TABLE...", help="One, or several.")]
) -> None:
    """Drop tables, to materialize them anew with other types. Snapshots that models were trained on still hold them."""
    from ml_assets import settings  # noqa: PLC0415
    from ml_assets.lake.connection import Commit, Lake, LakeError, table_exists  # noqa: PLC0415
    from ml_assets.lake.sql import Table  # noqa: PLC0415
    from ml_assets.registry.ledger import LEDGER  # noqa: PLC0415

    if project == LEDGER.project:
        raise LakeError("the ledger is never dropped: it says what served when, and why")
    places = [Table(project, table) for table in dict.fromkeys(tables)]
    with Lake(settings.home() / "lake").transaction(Commit(project, "lake drop")) as transaction:
        for place in places:
            if not table_exists(transaction.cursor, place):
                raise LakeError(f"the lake holds no table {place}; nothing was dropped")
            transaction.cursor.execute(f"DROP TABLE {place.path}")
    _say(f"dropped {', '.join(map(str, places))}")


Partition_ = Annotated[str, typer.Option("--partition", help="Only this partition.", metavar="KEY")]
Check_ = Annotated[str, typer.Option("--check", help="Only rows that fail this check.", metavar="NAME")]


@quarantine_app.command()
def show(
    project: Project_,
    partition: Partition_ = "",
    check: Check_ = "",
    limit: Annotated[int, typer.Option(help="Values to show of each check.", min=0)] = 3,
) -> None:
    """Say why rows are in quarantine: by check, since when and with which values; and by partition."""
    from rich.console import Console  # noqa: PLC0415

    from ml_assets.lake.origin import origin_warning  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.quarantine import read_quarantine  # noqa: PLC0415
    from ml_assets.quarantine_tables import tables  # noqa: PLC0415

    declared = _project(project)
    with shared_lake().lake.reader() as cursor:
        warning = origin_warning(cursor, project)
        found = read_quarantine(cursor, declared, partition=partition, check=check, examples=limit)
    if warning:
        _say(warning)
    _say(f"{project}: {found.rows:,} of {found.raw:,} rows are in quarantine")
    console = Console(markup=False, highlight=False, emoji=False)
    for table in tables(found) if found.rows or found.replayed else []:
        console.print()
        console.print(table)


@quarantine_app.command()
def export(
    project: Project_,
    file: Annotated[Path, typer.Argument(help="File to write: .csv, .parquet or .jsonl.", metavar="FILE")],
    partition: Partition_ = "",
    check: Check_ = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,  # noqa: FBT002
) -> None:
    """Write the rows in quarantine as they came, with the file, row and reasons of each. No value is altered."""
    from ml_assets.lake.origin import origin_warning  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.quarantine import export as run  # noqa: PLC0415

    declared = _project(project)
    with shared_lake().lake.reader() as cursor:
        warning = origin_warning(cursor, project)
        done = run(cursor, declared, file, partition=partition, check=check, force=force)
    if warning:
        _say(warning)
    _say(
        f"{done.rows:,} rows written to {file}" if done.rows else f"{project}: no row is in quarantine; nothing written"
    )
    if done.formulas:
        _say(
            f"{done.formulas:,} cells begin like a spreadsheet's formula (= + - @) and are written as they came. "
            "Import all columns as text, or export .jsonl or .parquet"
        )


@quarantine_app.command()
def replay(
    project: Project_,
    partition: Annotated[
        list[str] | None,
        typer.Option("--partition", help="Only this one; may be repeated. All that hold such rows.", metavar="KEY"),
    ] = None,
    rules: Annotated[  # noqa: FBT002
        bool, typer.Option("--rules", help="Only clean.sql or the schema has changed: do not look at the source.")
    ] = False,
) -> None:
    """Judge rows in quarantine again, after their source was repaired or the rules changed; those that pass re-enter.

    Only into their own partitions. Says which model versions had missed them.
    """
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.reentry import replay as run  # noqa: PLC0415
    from ml_assets.runs import load_definitions, open_instance  # noqa: PLC0415

    declared, instance = _project(project), open_instance()
    lake, defs = shared_lake().lake, load_definitions()
    run(instance, defs, lake, declared, keys=partition or (), rules=rules, say=_say)


def main() -> None:
    """Run the command line; what the user can mend is shown as one sentence, not as a traceback."""
    from ml_assets.automation.up import CannotStartError  # noqa: PLC0415
    from ml_assets.errors import RunFailedError  # noqa: PLC0415
    from ml_assets.lake.connection import LakeError  # noqa: PLC0415
    from ml_assets.registry.models import RegistryError  # noqa: PLC0415
    from ml_assets.sources.fill import DataFolderError  # noqa: PLC0415
    from ml_assets.sources.publisher import PublisherError  # noqa: PLC0415
    from ml_assets.sources.reading import SourceError  # noqa: PLC0415

    try:
        app()
    except (
        CannotStartError,
        LakeError,
        DataFolderError,
        PublisherError,
        RegistryError,
        RunFailedError,
        SourceError,
        TimeoutError,
        ValueError,
    ) as error:
        typer.echo(f"ml-assets: {error}", err=True)
        sys.exit(1)


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


def _project(name: str) -> Project:
    from ml_assets.projects import load_project  # noqa: PLC0415

    return load_project(name)


if __name__ == "__main__":
    main()
