"""Both sides of the `replay` row: a whole replay, and the fits that it rests on, one after the other.

    python -m benchmarks.platform_replay DATA HOME prepare|ours|fits

`prepare` fills a home with all months. `ours` replays house_prices with no fit on disk: reads the lake, fits, judges
every fit on every later month, plays the policies, draws. `fits` reads the same rows and makes the same fits, no more.
Each prints one line of JSON; imports do not count.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIRST, LAST = "2017-01", "2024-10"


def main(data: str, home: str, what: str) -> None:
    """Do one of the three."""
    os.environ |= {"ML_ASSETS_HOME": home, "ML_ASSETS_DATA": str(Path(data).parent)}
    report = {"prepare": prepare, "ours": ours, "fits": fits}[what]()
    sys.stdout.write(json.dumps(report) + "\n")


def prepare() -> dict[str, Any]:
    """Fill the home."""
    from ml_assets.demo import PROJECT  # noqa: PLC0415
    from ml_assets.runs import PREPARING, load_definitions, materialize_range, open_instance  # noqa: PLC0415

    materialize_range(open_instance(), load_definitions(), PROJECT, PREPARING, first=FIRST, last=LAST)
    return {}


def ours() -> dict[str, Any]:
    """Replay."""
    from ml_assets.assets.replaying import history_of  # noqa: PLC0415
    from ml_assets.core.replay_pictures import draw_replay  # noqa: PLC0415
    from ml_assets.core.replay_report import report  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    project = _warm()
    rules = {name: project.retraining.rule(name) for name in ("periodic", "performance", "worth_it")}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        history = history_of(project, shared_lake().lake, Path(folder))
        draw_replay(report(history, rules, price=1.0, declared="performance"))
        return {"seconds": time.perf_counter() - began, "fits": len(history.partitions)}


def fits() -> dict[str, Any]:
    """Make the fits."""
    from ml_assets.assets.replaying import read_recorded  # noqa: PLC0415
    from ml_assets.lake.resource import shared_lake  # noqa: PLC0415

    project = _warm()
    began = time.perf_counter()
    recorded = read_recorded(project, shared_lake().lake)
    window = project.training.window
    for served in range(window, len(recorded.starts)):
        recorded.fit(recorded.training_set(recorded.starts[:served]))
    return {"seconds": time.perf_counter() - began, "fits": len(recorded.starts) - window}


def _warm() -> Any:
    """The project, with what fits and draws imported."""
    from ml_assets.core.drawing import as_png, figure_of  # noqa: PLC0415
    from ml_assets.core.training import build_pipeline  # noqa: PLC0415
    from ml_assets.demo import PROJECT  # noqa: PLC0415
    from ml_assets.projects import load_project  # noqa: PLC0415

    project = load_project(PROJECT)
    build_pipeline(project.training.estimator, {}, {"area": "number"}, 0)
    as_png(figure_of(1, 1))
    return project


if __name__ == "__main__":
    main(*sys.argv[1:])
