"""kill -9 in the middle of a search: what was finished is not tried again, and the end is the same."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from playing import ROOT, run, start

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TESTS = ROOT / "ml_assets_tests"
SEARCH = {
    "kind": "bayesian", "space": {"max_depth": {"low": 1, "high": 6}, "n_estimators": [200, 400]},
    "trials": 8, "folds": 2, "workers": 2,
}  # fmt: skip
COMMAND = """
import json, sys
sys.path[:0] = [{paths!r}[0], {paths!r}[1]]
from pathlib import Path
from small_market import NAME, PREPARING, open_market, sales
training = {{"estimator": "sklearn.ensemble.GradientBoostingRegressor", "window": 6, "test": 1, "search": {search}}}
market = open_market(Path({folder!r}), training=training)
for month in range(1, 7):
    market.write(f"2024-{{month:02}}", sales(f"2024-{{month:02}}"))
market.materialize(PREPARING, "2024-01", "2024-06")
print("prepared", flush=True)
run_id = market.rerun("training_set", "model")
(number,) = market.registry.numbers(NAME)
version = market.registry.version(NAME, number)
said = [entry.user_message for entry in market.instance.all_logs(run_id)]
said = [one for one in said if one.startswith("going on")]
print("RESULT " + json.dumps([version.search, version.parameters, said]), flush=True)
"""


def command(folder: Path) -> str:
    paths = (str(TESTS / "assets"), str(TESTS))
    return COMMAND.format(paths=paths, folder=str(folder), search=repr(SEARCH))


def attempts(folder: Path) -> list[Any]:
    return [
        json.loads(line)
        for file in folder.glob("home/registry/*/searches/*/attempts.jsonl")
        for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def result(output: str) -> Any:
    (line,) = [line for line in output.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def test_a_killed_search_goes_on_and_ends_as_one_that_never_was(tmp_path: Path, data: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(command(killed), tmp_path, data)
    until = time.monotonic() + 200
    while len(attempts(killed)) < 5:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    finished = attempts(killed)
    # Its processes do not stay behind.
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    search, parameters, messages = result(run(command(killed), tmp_path, data))
    expected, best, _ = result(run(command(whole), tmp_path, data))

    def said(one: Any) -> Any:
        return [(trial["number"], trial["parameters"], trial["values"]) for trial in one["trials"]]

    assert 5 <= len(finished) < 16
    assert messages == [f"going on with a search of which {len(finished)} fits are done"]
    assert said(search) == said(expected)
    assert (search["best"], parameters) == (expected["best"], best)
    # What was finished is there with the very seconds that it took then.
    for trial in search["trials"]:
        folds = [one["seconds"] for one in finished if one["trial"] == trial["number"]]
        if len(folds) == 2:
            assert trial["seconds"] == pytest.approx(sum(folds), abs=0.002)
