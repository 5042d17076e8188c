"""How long a retraining takes to start after the decision that asks for it, with the real daemon, queue and sensor.

Prints one line of JSON: the seconds from each decision's event to the start of its run, and their median.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

ROUNDS = 5
# Ledger ids that no decision has: only the way from the event to the run is measured.
FIRST_DECISION = 1_000_000


def main(data: str, home: str) -> None:
    """Fill two years in a fresh home, start the daemon, and time some decisions."""
    os.environ |= {"ML_ASSETS_HOME": home, "ML_ASSETS_DATA": str(Path(data).parent)}
    import dagster as dg  # noqa: PLC0415 - after the environment is set

    from ml_assets.assets.common import DECISION_TAG  # noqa: PLC0415
    from ml_assets.automation.instance import instance_environment  # noqa: PLC0415
    from ml_assets.automation.processes import Supervisor  # noqa: PLC0415
    from ml_assets.demo import PROJECT  # noqa: PLC0415
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
    waited = []
    with Supervisor(say=lambda _: None) as supervisor:
        environment = instance_environment(folder / "dagster")
        supervisor.start("daemon", daemon_command(folder), env=environment, log=folder / "logs" / "daemon.log")
        wait_for(lambda: sensor_cursor(instance, f"{PROJECT}_retraining"), seconds=120, what="the sensor")
        for number in range(FIRST_DECISION, FIRST_DECISION + ROUNDS):
            filters = dg.RunsFilter(tags={DECISION_TAG: str(number)})

            def started(filters: dg.RunsFilter = filters) -> float | None:
                records = instance.get_run_records(filters)
                return records[0].start_time if records else None

            def finished(filters: dg.RunsFilter = filters) -> bool:
                return instance.get_runs(filters)[0].is_finished

            decided = time.time()
            key = dg.AssetKey([PROJECT, "decision"])
            metadata = {"acting_decision": number, "acting_partition": "2020-12"}
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2020-12", metadata=metadata))
            waited.append(round(wait_for(started, seconds=120, what="the run", pause=0.05) - decided, 2))
            wait_for(finished, seconds=180, what="the end of the run")
    sys.stdout.write(json.dumps({"seconds": waited, "median": statistics.median(waited)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
