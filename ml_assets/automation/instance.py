"""The Dagster instance of the platform: one folder that holds its `dagster.yaml` and everything that Dagster writes.

Dagster's defaults are for trying it out: events stored one by one, a queue that looks every five seconds, ten runs at a
time, no limit on a run that hangs, telemetry on. A team that starts the platform gets the settings below instead, and
may change the file: from then on it is theirs, and only a file that is still as it was written here is ever replaced.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import yaml

from ml_assets.core.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = "# Written by ml-assets, and yours to change: once it differs from sha256 "


def write_instance(home: Path) -> Path:
    """Write `dagster.yaml` into the folder of an instance, unless somebody has made it theirs.

    Args:
        home: The instance's folder (`DAGSTER_HOME`); made if it is missing.

    Returns:
        The folder as an absolute path, which `DAGSTER_HOME` must be.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    file = home / "dagster.yaml"
    content = _sealed(yaml.safe_dump(_settings(home), sort_keys=False))
    current = file.read_text() if file.exists() else None
    if current != content and (current is None or _is_as_written(current)):
        # Whole or not at all: the web server and the daemon may start, and read, at the same time.
        replace_file(file, content)
    return home


def instance_environment(home: Path) -> dict[str, str]:
    """Say which environment variables the processes of an instance need.

    Args:
        home: The instance's folder.

    Returns:
        Variables to add to a process's environment.
    """
    return {
        "DAGSTER_HOME": str(home.resolve()),
        # Without it Dagster makes no batches, and our event store is no faster than its own.
        "DAGSTER_EVENT_BATCH_SIZE": "500",
        "DAGSTER_DISABLE_TELEMETRY": "1",  # Dagster's upload
        "DO_NOT_TRACK": "1",  # Evidently
        # Threads of GNU OpenMP that wait for each other by spinning take the cores from those they wait for, and those
        # that sleep at once take long to wake: a fit of seconds took eight times as long either way (core/training.py).
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000"),
    }


def _settings(home: Path) -> dict[str, Any]:
    # Classes by name: who writes the file, the command line first of all, should not have to import Dagster.
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},  # the dialog that covers the page on a first visit
        # These three folders are where Dagster itself would put them, so that an instance can go back to its defaults.
        "run_storage": _configured("ml_assets.automation.run_store", "OnceSqliteRunStorage", home / "history"),
        "event_log_storage": _configured(
            "ml_assets.automation.event_store", "BatchedSqliteEventLogStorage", home / "history" / "runs"
        ),
        "schedule_storage": _configured("dagster._core.storage.schedules", "SqliteScheduleStorage", home / "schedules"),
        "compute_logs": _configured(
            "dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager", home / "storage"
        ),
        "run_coordinator": {
            "module": "dagster",
            "class": "QueuedRunCoordinator",
            "config": {
                # From a decision to its retraining in seconds: the default looks every 5.
                "dequeue_interval_seconds": 1,
                # Runs share this machine's cores, and the lake has one writer at a time: more would only wait.
                "max_concurrent_runs": 4,
                # The tag's value is the project: one retraining and one refresh of each at a time.
                "tag_concurrency_limits": [
                    {"key": tag, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
                    for tag in ("ml_assets/retraining", "ml_assets/refresh")
                ],
            },
        },
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 300,  # a run's process imports for a minute on a busy machine
            # A run whose whole process tree was killed says it is started until this is over. Longer than any honest
            # run; one that needs more says so in its tag `dagster/max_runtime`.
            "max_runtime_seconds": 6 * 60 * 60,
            "poll_interval_seconds": 30,
        },
        # A process that died is tried again; an asset that failed would fail again.
        "run_retries": {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False},
        # In turn, one project's slow sensor would hold up the others'.
        "sensors": {"use_threads": True, "num_workers": 4},
        "schedules": {"use_threads": True, "num_workers": 4},
        # A sensor that looks every few seconds and finds nothing writes thousands of ticks a day.
        "retention": {"sensor": {"purge_after_days": {"skipped": 1, "success": 90, "failure": 90}}},
        "code_servers": {"local_startup_timeout": 300, "reload_timeout": 300},
    }


def _configured(module: str, name: str, base_dir: Path) -> dict[str, Any]:
    return {"module": module, "class": name, "config": {"base_dir": str(base_dir)}}


def _sealed(body: str) -> str:
    return f"{_HEADER}{hashlib.sha256(body.encode()).hexdigest()}, it is not replaced.\n{body}"


def _is_as_written(content: str) -> bool:
    """Say whether a file carries our header and still hashes to what the header says."""
    return content == _sealed(content.partition("\n")[2])
