"""How long a retraining takes to start after the decision that asks for it, with the real daemon, queue and sensor.

Prints one line of JSON: the seconds from each decision's entry in the ledger to the start of its run, and their median.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

ROUNDS = 5


def main(data: str, home: str) -> None:
    """Fill two years in a fresh home, start the daemon, and time some decisions."""
    os.environ |= {"ML_ASSETS_HOME": home, "ML_ASSETS_DATA": str(Path(data).parent)}
    import dagster as dg  # noqa: PLC0415 - after the environment is set

    from ml_assets.assets.common import DECISION_TAG  # noqa: PLC0415
    from ml_assets.automation.instance import instance_environment  # noqa: PLC0415
    from ml_assets.automation.processes import Supervisor  # noqa: PLC0415
    from ml_assets.demo import PROJECT  # noqa: PLC0415
    from ml_assets.lake.connection import Commit  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415
    from ml_assets.registry.ledger import Draft, Ledger  # noqa: PLC0415
    from ml_assets.runs import (  # noqa: PLC0415
        PREPARING,
        daemon_command,
        load_definitions,
        materialize_range,
        open_instance,
        sensor_cursor,
        wait_for,
    )

    folder = Path(home)
    instance = open_instance()
    materialize_range(instance, load_definitions(), PROJECT, PREPARING, first="2019-01", last="2020-12")
    draft = Draft(PROJECT, "decision", "measured", {}, partition="2020-12", action="retrain", standing="live")
    ledger, waited = Ledger(shared_lake().lake), []
    with Supervisor(say=lambda _: None) as supervisor:
        environment = instance_environment(folder / "dagster")
        supervisor.start("daemon", daemon_command(folder), env=environment, log=folder / "logs" / "daemon.log")
        wait_for(lambda: sensor_cursor(instance, f"{PROJECT}_retraining"), seconds=120, what="the sensor")
        for _ in range(ROUNDS):
            (entry,) = ledger.append(Commit(PROJECT, "benchmark"), lambda _: [draft])
            decided = time.time()
            filters = dg.RunsFilter(tags={DECISION_TAG: str(entry.id)})

            def started(filters: dg.RunsFilter = filters) -> float | None:
                records = instance.get_run_records(filters)
                return records[0].start_time if records else None

            def finished(filters: dg.RunsFilter = filters) -> bool:
                return instance.get_runs(filters)[0].is_finished

            waited.append(round(wait_for(started, seconds=120, what="the run", pause=0.05) - decided, 2))
            wait_for(finished, seconds=180, what="the end of the run")
    sys.stdout.write(json.dumps({"seconds": waited, "median": statistics.median(waited)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
