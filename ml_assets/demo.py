"""The main job, for everybody to see: a history is filled, a model trained, and a year played month by month.

Everything is real: the same assets, the same Dagster instance and the same daemon as in daily use. The demo only
materializes; whether a model is trained again is decided by the graph, and the daemon's sensor launches it. It resumes
where it was interrupted: what the ledger holds is not done twice.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from ml_assets import settings
from ml_assets.assets.common import DECISION_TAG
from ml_assets.automation.instance import instance_environment
from ml_assets.automation.processes import Supervisor
from ml_assets.automation.sensors import ATTEMPTS
from ml_assets.core.tasks import BY_NAME, title_of
from ml_assets.errors import RunFailedError
from ml_assets.history import backfill
from ml_assets.lake.connection import table_exists
from ml_assets.lake.origin import origin_warning
from ml_assets.lake.resource import open_lake
from ml_assets.lake.sql import Table
from ml_assets.project import load_object
from ml_assets.projects import load_project
from ml_assets.registry.explorations import read_exploration
from ml_assets.registry.ledger import VERDICTS, Entry, Ledger
from ml_assets.runs import (
    daemon_command,
    fail_orphaned_runs,
    load_definitions,
    materialize,
    open_instance,
    run_job,
    run_tags,
    sensor_cursor,
    sole_daemon,
    wait_for,
)
from ml_assets.sources.fill import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project

PROJECT = "house_prices"
HISTORY = ("2017-01", "2020-12")
MONTHS = tuple(f"2021-{month:02}" for month in range(1, 13))
RETRAINING_SECONDS = 240.0


def demo(say: Callable[[str], None], *, months: Sequence[str] = MONTHS, history: tuple[str, str] = HISTORY) -> None:
    """Run the main job on `house_prices`.

    Args:
        say: receives each line for the person who watches.
        months: the partitions that are played, one after the other.
        history: first and last partition of the history that is filled before.

    Raises:
        RunFailedError: if a run fails.
        TimeoutError: if the sensor does not launch a retraining that was decided.
    """
    started = time.monotonic()
    project = load_project(PROJECT)
    instance, defs = open_instance(), load_definitions(project)
    home = settings.home()
    lake = open_lake(home / "lake")
    ledger = Ledger(lake)
    decided = {entry.partition for entry in ledger.entries(PROJECT, "decision")}
    if set(history) <= decided:
        say(f"history {history[0]} … {history[1]} is there")
    else:
        backfill(instance, defs, ledger, project, first=history[0], last=history[1], say=say)
    with _daemon(instance, home, say):
        header = _header(project.watched)
        say(f"\n{header}\n{'-' * len(header)}")
        for month in months:
            entry = _live_decision(ledger, month)
            if entry is None or _is_unheard(instance, ledger, entry):
                run_job(instance, defs, f"{PROJECT}_refresh", partition=month)
                entry = _live_decision(ledger, month)
            say(_row(lake, month, entry))
            if entry is not None and entry.action == "retrain":
                _await_retraining(instance, ledger, entry, say)
    if read_exploration(PROJECT) is None:
        run = materialize(instance, defs, PROJECT, ["exploration"])
        say(f"\nthe rows are explored, run {run[:8]}")
    say(f"\ndone in {time.monotonic() - started:.0f} s")
    with lake.reader() as cursor:
        warning = origin_warning(cursor, PROJECT)
    if warning:
        say(f"\n*** {warning} ***")
    say(_where_to_look())


def fill_data(say: Callable[[str], None], project: Project) -> None:
    """Fill a project's data folder: what is there, else the publisher's files, else simulated ones.

    Args:
        say: receives each line for the person who watches.
        project: the project; its source says where from.
    """
    source = project.source
    folder = project.folder
    if source.publisher is None:
        raise ValueError(f"{project.name} declares no source.publisher: put its files under {folder} yourself")
    simulate = load_object(source.simulation) if source.simulation else None
    fill(folder, dataset=source.publisher.dataset, simulate=simulate, say=say, project=project.name)


@contextmanager
def _daemon(instance: dg.DagsterInstance, home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """A running daemon: the one that `make up` has started, or one for the time of the demo."""
    log = home / "logs" / "demo-daemon.log"
    sensor = f"{PROJECT}_retraining"
    with sole_daemon(home) as is_ours, Supervisor(say=say) as supervisor:
        if is_ours:
            fail_orphaned_runs(instance)
            say("starting the daemon, whose sensor launches retrainings")
            environment = instance_environment(home / "dagster")
            supervisor.start("dagster-daemon", daemon_command(home), env=environment, log=log)
        else:
            say("the daemon that is up launches the retrainings")
        wait_for(lambda: sensor_cursor(instance, sensor), seconds=120, what=f"the sensor (see {log})")
        yield


def _verdict(ledger: Ledger, decision: Entry) -> Entry | None:
    verdicts = [one for one in ledger.entries(PROJECT) if one.kind in VERDICTS]
    return next((one for one in verdicts if one.facts.get("decision") == decision.id), None)


def _is_unheard(instance: dg.DagsterInstance, ledger: Ledger, decision: Entry) -> bool:
    """Whether a decision to retrain stands in the ledger and nobody has launched anything: it was killed in between."""
    if decision.action != "retrain" or _verdict(ledger, decision):
        return False
    return not instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: str(decision.id)}), limit=1)


def _live_decision(ledger: Ledger, month: str) -> Entry | None:
    live = [
        entry for entry in ledger.entries(PROJECT, "decision") if entry.partition == month and entry.standing == "live"
    ]
    return live[-1] if live else None


def _await_retraining(instance: dg.DagsterInstance, ledger: Ledger, entry: Entry, say: Callable[[str], object]) -> None:
    def ended() -> Entry | None:
        runs = instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: str(entry.id)}))
        if len(runs) == ATTEMPTS and all(run.status == dg.DagsterRunStatus.FAILURE for run in runs):
            raise RunFailedError(
                f"decision {entry.id}: {ATTEMPTS} retrainings failed, the last is run {runs[0].run_id}"
            )
        verdict = _verdict(ledger, entry)
        run = instance.get_run_by_id(verdict.run_id) if verdict else None
        # Not before its end: after the verdict it still writes the model's card and exports it, and at the demo's end
        # the daemon is stopped, and its runs with it.
        return verdict if run is None or run.is_finished else None

    say(f"         {entry.reason}")
    done = wait_for(
        ended, seconds=RETRAINING_SECONDS, what=f"the retraining that decision {entry.id} asks for", pause=0.5
    )
    launcher = run_tags(instance, done.run_id).get("dagster/sensor_name", "nobody")
    say(f"         run {done.run_id[:8]}, launched by sensor {launcher}: version {done.version} {done.kind}")
    say(f"         {done.reason}")


def _header(metric: str) -> str:
    title = title_of(metric)
    counts = f"{'rows':>6} {'quarantined':>11} {'duplicates':>10}"
    return f"{'month':8} {counts} {'alarms':>6} {title:>7}  {'decision':9} {'champion':8}"


def _row(lake: Lake, month: str, entry: Entry | None) -> str:
    facts = entry.facts if entry else {}
    start = f"TIMESTAMP '{month}-01'"
    with lake.reader() as cursor:
        counts = []
        for name in ("raw", "validated", "quarantine"):
            table = Table(PROJECT, name)
            found = (
                cursor.execute(f"SELECT count(*) FROM {table.path} WHERE _partition = {start}").fetchone()
                if table_exists(cursor, table)
                else None
            )
            counts.append(found[0] if found else 0)
    error = facts.get("error")
    is_share = bool(facts) and BY_NAME[facts["metric"]].is_share
    shown = f"{'-':>7}" if error is None else f"{error:7.2%}" if is_share else f"{error:7.4g}"
    champion = f"v{facts['champion']}" if facts.get("champion") else "none"
    action = entry.action if entry else "-"
    raw, validated, bad = counts
    alarms = len(facts.get("alarms", ()))
    return f"{month:8} {raw:6,} {bad:11,} {raw - validated - bad:10,} {alarms:6} {shown}  {action:9} {champion:8}"


def _where_to_look() -> str:
    return (
        "\nwhere to look\n"
        "  make up                      Dagster's UI and the report pages; then\n"
        "  http://127.0.0.1:3000        the asset graph, group house_prices\n"
        f"  {settings.reports_url()}        status, drift, decisions and versions\n"
        f"  {settings.home() / 'lake'}"
    )
