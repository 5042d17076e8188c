"""Running parts of a project's graph in this process, on the same Dagster instance that the UI and the daemon use."""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml
from filelock import FileLock, Timeout

from ml_assets import settings
from ml_assets.assets.common import BY_TAG, KILLED_TAG
from ml_assets.automation.alerts import Failure, alert_of, failure_of
from ml_assets.automation.instance import instance_environment, write_instance
from ml_assets.automation.up import QUIET_DAEMON
from ml_assets.errors import RunFailedError
from ml_assets.registry.alerts import add_alert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ml_assets.project import Project

LOCATION = "ml_assets"
# Names the lock that the process executing a run holds.
OWNER_TAG = "ml_assets/owner"
# The partitioned assets that need no model, and those that are about one.
PREPARING = ("raw", "validated", "quarantine", "features", "profile")
JUDGING = ("predictions", "drift", "performance", "decision")
# The run log in Dagster has everything; the terminal gets one sentence.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def open_instance() -> dg.DagsterInstance:
    """The platform's Dagster instance, made if missing; sets the environment of this process and its children."""
    home = settings.home()
    os.environ["ML_ASSETS_HOME"] = str(home)
    if root := settings.own_root():
        os.environ["ML_ASSETS_ROOT"] = str(root)
    os.environ.update(instance_environment(write_instance(home / "dagster")))
    instance = dg.DagsterInstance.get()
    _fail_killed_runs(instance, home)
    return instance


@contextmanager
def sole_daemon(home: Path) -> Iterator[bool]:
    """Whether this process may start the daemon of a home: two would launch every run twice.

    Args:
        home: the platform's folder.

    Yields:
        True where no other process holds the place, and then nobody takes it within the block.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def fail_orphaned_runs(instance: dg.DagsterInstance) -> None:
    """Report as failed the runs of a daemon that is gone: its code servers, and so their workers, went with it.

    For whoever is about to start the only daemon. Otherwise they would hold their places in the queue for hours.
    """
    for run in _unfinished(instance):
        if OWNER_TAG not in run.tags:
            # Before it fails: the sensor tries again what was killed, however often.
            instance.add_run_tags(run.run_id, {KILLED_TAG: "true"})
            instance.report_run_failed(run, "the daemon that launched this run was killed, and the run with it")


def _fail_killed_runs(instance: dg.DagsterInstance, home: Path) -> None:
    """Report as failed the runs of processes like this one that were killed: Dagster does not watch them."""
    for run in _unfinished(instance):
        owner = run.tags.get(OWNER_TAG)
        if owner is None:
            continue
        lock = FileLock(_owner_file(home, owner))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            message = "the process that executed this run was killed"
            instance.report_run_failed(run, message)
            add_alert(alert_of(run, message))
        finally:
            lock.release()


def _unfinished(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    statuses = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    return instance.get_runs(dg.RunsFilter(statuses=statuses))


def _owner_file(home: Path, owner: str) -> Path:
    return home / "runs" / f"{uuid.UUID(owner)}.lock"


def _execute(job: dg.JobDefinition, instance: dg.DagsterInstance, tags: Mapping[str, str], **options: Any) -> str:
    """Execute a job here, under a lock that a killed process lets go of."""
    owner = str(uuid.uuid4())
    file = _owner_file(settings.home(), owner)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        # Whoever started it here sees it fail: the daemon must not start it a second time.
        own = {OWNER_TAG: owner, BY_TAG: settings.login() or "nobody", "dagster/max_retries": "0"}
        result = job.execute_in_process(instance=instance, tags={**tags, **own}, raise_on_error=False, **options)
    file.unlink(missing_ok=True)
    return _finished(instance, result)


def load_definitions(project: Project | None = None) -> dg.Definitions:
    """The definitions of one project, whatever may be wrong with another's declaration; or those of all."""
    # These cost an import of Dagster's components.
    if project is None:
        from ml_assets.definitions import defs  # noqa: PLC0415

        return defs()
    from ml_assets.component import build_definitions  # noqa: PLC0415
    from ml_assets.projects import keep_loaded, without_warnings_of_dagster_itself  # noqa: PLC0415

    with without_warnings_of_dagster_itself():
        made = dg.Definitions.merge(build_definitions(project), dg.Definitions(executor=dg.in_process_executor))
    keep_loaded()
    return made


def workspace(home: Path) -> list[str]:
    """The arguments that tell Dagster's programs where the code location is, under one name everywhere.

    The name is part of what sensors and schedules are known by: under another one they would start anew.
    """
    file = settings.project_root() / "workspace.yaml"
    if not file.is_file():
        # An installed package has none, nor has a team's own.
        file = home / "workspace.yaml"
        module = {"module_name": "ml_assets.definitions", "location_name": LOCATION}
        home.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}), encoding="utf-8")
    return ["-w", str(file)]


def materialize_range(
    instance: dg.DagsterInstance, defs: dg.Definitions, project: str, names: Sequence[str], *, first: str, last: str
) -> str:
    """Materialize a range of partitions of some assets as one run.

    Returns:
        The run's id.

    Raises:
        RunFailedError: if it fails.
    """
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return materialize(instance, defs, project, names, tags)


def materialize(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    project: str,
    names: Sequence[str],
    tags: Mapping[str, str] | None = None,
) -> str:
    """Materialize some assets as one run: those without partitions, or as tags say.

    Returns:
        The run's id.

    Raises:
        RunFailedError: if it fails.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey([project, name]) for name in names]
    return _execute(job, instance, tags or {}, asset_selection=keys, run_config=QUIET)


def run_job(
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
    name: str,
    *,
    partition: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> str:
    """Run one of the project's jobs.

    Args:
        instance: where the run is recorded.
        defs: the code location's definitions.
        name: the job's name.
        partition: the partition, if the job has them.
        config: run configuration.

    Returns:
        The run's id.

    Raises:
        RunFailedError: if it fails.
    """
    job = defs.resolve_job_def(name)
    return _execute(job, instance, {}, partition_key=partition, run_config={**QUIET, **(config or {})})


def daemon_command(home: Path) -> list[str]:
    """The command line of the Dagster daemon."""
    return [sys.executable, "-m", "dagster._daemon", "run", *QUIET_DAEMON, *workspace(home)]


def wait_for(condition: Callable[[], Any], *, seconds: float, what: str, pause: float = 0.3) -> Any:
    """Wait until a condition is true, and return what it returned.

    Raises:
        TimeoutError: naming what was waited for.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds:.0f} s for {what}")


def sensor_cursor(instance: dg.DagsterInstance, name: str) -> str | None:
    """The cursor of a sensor, or None while it has never ticked."""
    for state in instance.all_instigator_state():
        if state.instigator_name == name and state.instigator_data is not None:
            return getattr(state.instigator_data, "cursor", None)
    return None


def _finished(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    if result.success:
        return result.run_id
    failure = failure_of(instance, result.run_id) or Failure("", "see its log in Dagster")
    add_alert(alert_of(result.dagster_run, failure.message))
    where = f" in {failure.step}" if failure.step else ""
    raise RunFailedError(f"run {result.run_id} failed{where}: {failure.message}")


def run_tags(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    """The tags of a run."""
    run = instance.get_run_by_id(run_id)
    return {} if run is None else run.tags
