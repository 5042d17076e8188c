"""Each decision is retrained exactly once: daemons are killed at random moments, or two are at work.

The daemons, the code server, the queue, the processes of the runs and the training are the real ones; only what a
daemon imports is there before it starts.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "assets"))  # where the small market is

from small_market import NAME, open_market

from ml_assets.assets.common import DECISION_TAG
from ml_assets.automation.instance import instance_environment, write_instance
from ml_assets.automation.sensors import ATTEMPTS
from ml_assets.lake.connection import Commit
from ml_assets.lake.resource import open_lake
from ml_assets.registry.ledger import VERDICTS, Draft, Ledger
from ml_assets.runs import fail_orphaned_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05")
KILLS = 50
DECISIONS = 4


@dataclass
class World:
    """A home whose daemons come and go.

    Attributes:
        folder: of the market.
        instance: as the daemons have it.
        asked: the decisions that are to be retrained.
    """

    folder: Path
    instance: dg.DagsterInstance
    environment: dict[str, str]
    server: subprocess.Popen[str] | None = None
    zygote: subprocess.Popen[str] | None = None
    asked: list[int] = field(default_factory=list)
    daemons: list[int] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(open_lake(self.folder / "home" / "lake"))

    def start_server(self) -> None:
        """A code server, which outlives daemons, and what daemons are forked from."""
        socket = self.folder / "server.sock"
        socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "dagster", "api", "grpc", "-m", "flats_location", "--socket", str(socket)]
        self.server = self.start(command, "server.log")
        arguments = ["--grpc-socket", str(socket), "--log-level", "warning"]
        if self.zygote is None:
            self.zygote = self.start([sys.executable, str(HERE / "daemon_zygote.py"), *arguments], "daemon.log")
        self.wait(socket.exists, 90, "the code server")

    def start(self, command: list[str], log: str) -> subprocess.Popen[str]:
        with (self.folder / log).open("a") as file:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )

    def daemon(self) -> int:
        """A new daemon's process id."""
        assert self.zygote is not None
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        self.zygote.stdin.write("\n")
        self.zygote.stdin.flush()
        self.daemons.append(int(self.zygote.stdout.readline()))
        return self.daemons[-1]

    def decide(self) -> None:
        """A decision that a retraining comes of: to retrain, or one that asks and is answered."""
        asks = len(self.asked) % 2 == 1
        drafts = [Draft(NAME, "decision", "why", {}, MONTHS[-1], 1, "ask" if asks else "retrain", "live")]
        (made,) = self.ledger.append(Commit(NAME, "test"), lambda _: drafts)
        if asks:
            said = Draft(NAME, "answered", "yes", {"decision": made.id}, MONTHS[-1], 1, "yes")
            self.ledger.append(Commit(NAME, "test"), lambda _: [said])
        self.asked.append(made.id)

    def runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(job_name=f"{NAME}_retrain")))

    def of_decision(self, *statuses: str) -> Counter[int]:
        """Runs of each decision, of some statuses or of any."""
        runs = [one for one in self.runs() if not statuses or one.status.value in statuses]
        return Counter(int(one.tags[DECISION_TAG]) for one in runs)

    def trained(self) -> Counter[int]:
        """Runs of each decision that began: one whose daemon was killed just before it had is none."""
        records = self.instance.get_run_records(dg.RunsFilter(job_name=f"{NAME}_retrain"))
        return Counter(int(one.dagster_run.tags[DECISION_TAG]) for one in records if one.start_time is not None)

    def verdicts(self) -> Counter[int]:
        """Verdicts on each decision; superseding another, or of no decision, is none."""
        return Counter(
            one.facts["decision"]
            for one in self.ledger.entries(NAME)
            if one.kind in VERDICTS and one.facts.get("decision")
        )

    def finished(self) -> bool:
        return set(self.of_decision("SUCCESS")) >= set(self.asked)

    @staticmethod
    def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
            time.sleep(0.2)

    def kill(self, pid: int) -> None:
        """Kill one of its own daemons, of which it knows no other number than that of a process that runs."""
        self.daemons.remove(pid)
        os.kill(pid, signal.SIGKILL)
        self.wait(lambda: not psutil.pid_exists(pid), 10, "a killed daemon to be gone")

    def kill_everything(self) -> None:
        """The code server with its runs, at once."""
        assert self.server is not None
        everything = [psutil.Process(self.server.pid), *psutil.Process(self.server.pid).children(recursive=True)]
        for one in everything:
            one.kill()
        psutil.wait_procs(everything)
        self.server.communicate()

    def close(self) -> None:
        """Leave no process behind, whatever a test came to."""
        for pid in [*self.daemons]:
            self.kill(pid)
        self.kill_everything()
        if self.zygote is not None:
            self.zygote.kill()
            self.zygote.communicate()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("flats")
    market = open_market(folder)
    market.found(MONTHS)
    home = write_instance(folder / "home" / "dagster")
    # A daemon that is killed as it starts a run leaves it to this: five minutes are for machines, not for a test.
    settings = home / "dagster.yaml"
    hurried = {
        "start_timeout_seconds: 300": "start_timeout_seconds: 20",
        "poll_interval_seconds: 30": "poll_interval_seconds: 2",
    }
    text = settings.read_text()
    for slow, fast in hurried.items():
        assert slow in text
        text = text.replace(slow, fast)
    settings.write_text(text)
    environment = {
        **os.environ,
        **instance_environment(home),
        "ML_ASSETS_HOME": str(folder / "home"),
        "ML_ASSETS_DATA": str(folder / "data"),
        "FLATS": str(folder),
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent / "assets", ROOT))),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in instance_environment(home).items():
            patch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            found = World(folder, instance, environment)
            try:
                found.start_server()
                # Sensors begin at the present: the first tick comes before the first decision.
                pid = found.daemon()
                found.wait(lambda: _has_cursor(instance), 60, "the sensor's first tick")
                found.kill(pid)
                yield found
            finally:
                found.close()


def _has_cursor(instance: dg.DagsterInstance) -> bool:
    states = {one.instigator_name: one.instigator_data for one in instance.all_instigator_state()}
    return bool(getattr(states.get(f"{NAME}_retraining"), "cursor", None))


def test_fifty_kills_lose_and_double_no_retraining(world: World) -> None:
    moments = random.Random(20261122)
    begin = len(world.asked)
    for number in range(KILLS):
        if number % (KILLS // DECISIONS) == 0 and len(world.asked) < begin + DECISIONS:
            world.decide()
        pid = world.daemon()
        time.sleep(moments.uniform(0.05, 1.5))
        world.kill(pid)
    pid = world.daemon()
    world.wait(world.finished, 120, "the retrainings of all decisions")
    world.kill(pid)

    mine = world.asked[begin:]
    assert len(mine) == DECISIONS
    assert {one: world.trained()[one] for one in mine} == dict.fromkeys(mine, 1)
    assert {one: world.verdicts()[one] for one in mine} == dict.fromkeys(mine, 1)


def test_two_daemons_at_once_launch_each_decision_once(world: World) -> None:
    begin = len(world.asked)
    pair = [world.daemon(), world.daemon()]
    for _ in range(2):
        world.decide()
        time.sleep(1.5)
    world.wait(world.finished, 90, "the retrainings of all decisions")
    for pid in pair:
        world.kill(pid)

    mine = world.asked[begin:]
    assert {one: world.of_decision()[one] for one in mine} == dict.fromkeys(mine, 1)
    assert {one: world.verdicts()[one] for one in mine} == dict.fromkeys(mine, 1)


def test_a_retraining_that_is_killed_with_everything_more_often_than_it_may_fail_still_comes_to_its_verdict(
    world: World,
) -> None:
    begin = len(world.asked)
    world.decide()
    (decision,) = world.asked[begin:]
    for attempt in range(1, ATTEMPTS + 1):
        pid = world.daemon()

        def is_at_work(attempt: int = attempt) -> bool:
            runs = [one for one in world.runs() if one.tags[DECISION_TAG] == str(decision)]
            return len(runs) == attempt and runs[0].status.value == "STARTED"

        world.wait(is_at_work, 60, f"attempt {attempt}")
        world.kill(pid)
        world.kill_everything()
        fail_orphaned_runs(world.instance)  # as `ml-assets up` does
        world.start_server()
    pid = world.daemon()
    world.wait(world.finished, 90, "the retraining")
    world.kill(pid)

    assert world.of_decision("FAILURE")[decision] == ATTEMPTS
    assert world.of_decision("SUCCESS")[decision] == 1
    assert world.verdicts()[decision] == 1
