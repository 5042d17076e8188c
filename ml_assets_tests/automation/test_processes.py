"""Real processes, three generations deep, because only they show what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from ml_assets.automation import guard
from ml_assets.automation.processes import ProcessError, StopSignal, Supervisor
from ml_assets.automation.up import CannotStartError, Ports, commands, environment, up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30.0

# A program with a child and a grandchild; the marker is on every command line. `stubborn`: ignores SIGTERM.
TREE = """
import signal, subprocess, sys, time
from pathlib import Path
marker, depth, mode, ready = sys.argv[1:]
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if int(depth):
    subprocess.Popen([sys.executable, "-I", "-S", __file__, marker, str(int(depth) - 1), mode, ready])
else:
    Path(ready).touch()
if mode == "dies" and depth == "2":
    while not Path(ready).exists():
        time.sleep(0.01)
    sys.exit("no more memory")
time.sleep(60)
"""

SUPERVISOR = """
import sys
from pathlib import Path
from ml_assets.automation.processes import Supervisor
marker, folder, grace, *modes = sys.argv[1:]
folder = Path(folder)
with Supervisor(say=lambda message: print(message, flush=True), grace=float(grace)) as supervisor:
    for n, mode in enumerate(modes):
        ready = folder / f"ready-{n}"
        command = [sys.executable, "-I", "-S", str(folder / "tree.py"), marker, "2", mode, str(ready)]
        supervisor.start(f"child-{n}", command, env={}, log=folder / f"child-{n}.log")
        print("started", flush=True)
    for n, mode in enumerate(modes):
        supervisor.wait_until(f"child-{n}", (folder / f"ready-{n}").exists, 10)
    print("up", flush=True)
    if modes[0] == "raises":
        raise LookupError("from inside the block")
    sys.exit(supervisor.watch())
"""

# `ml-assets up`, with programs that start at once.
UP = """
import sys
from pathlib import Path
from ml_assets.automation import up
marker, folder, dagster, reports = sys.argv[1:]
folder = Path(folder)
tree = [sys.executable, "-I", "-S", str(folder / "tree.py"), marker, "2", "plain", str(folder / "ready")]
web = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder)]
up.environment = lambda home, ports: {}
up.commands = lambda ports, workspace: {
    "dagster-webserver": [*web, str(ports.dagster)], "dagster-daemon": tree, "reports": [*web, str(ports.reports)],
}
say = lambda message: print(message, flush=True)
sys.exit(up.up(home=folder / "home", workspace=[], host="127.0.0.1", dagster_port=int(dagster),
               reports_port=int(reports), say=say))
"""


@dataclass(frozen=True)
class Tree:
    """A supervisor in a process of its own, and everything that carries its marker."""

    marker: str
    supervisor: subprocess.Popen[str]

    def processes(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline", "status"])
            if self.marker in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def guards(self) -> list[psutil.Process]:
        return [process for process in self.processes() if any(part.endswith("guard.py") for part in process.cmdline())]

    def leaders(self) -> list[psutil.Process]:
        return [
            process
            for process in self.processes()
            if os.getpgid(process.pid) == process.pid and process not in self.guards()
        ]

    def wait_for(self, line: str) -> None:
        assert self.supervisor.stdout is not None
        while line not in (said := self.supervisor.stdout.readline()):
            assert said, f"ended before it said {line!r}"

    def end(self) -> tuple[int, str]:
        """Exit code and what it had still to say; fails if any process of the tree is left."""
        said, _ = self.supervisor.communicate(timeout=PATIENCE)
        self.assert_nothing_left()
        return self.supervisor.returncode, said

    def assert_nothing_left(self) -> None:
        # A supervisor that was killed cannot wait for its guards, so they are given time.
        assert eventually(lambda: not self.processes()), [process.cmdline() for process in self.processes()]


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Launcher:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trees: list[Tree] = []
        (folder / "tree.py").write_text(TREE)

    def __call__(
        self, *modes: str, grace: float = 5.0, ignoring: tuple[signal.Signals, ...] = (), up: bool = True
    ) -> Tree:
        tree = self.script(SUPERVISOR, str(self.folder), str(grace), *modes, ignoring=ignoring)
        if up:
            tree.wait_for("up")
            # The supervisor, and for each child a guard and three generations.
            expected = 1 + len(modes) * (3 if modes[0] == "dies" else 4)
            assert len(tree.processes()) >= expected
        return tree

    def script(self, source: str, *arguments: str, ignoring: tuple[signal.Signals, ...] = ()) -> Tree:
        marker = f"marker-{uuid.uuid4().hex}"
        script = self.folder / f"{marker}.py"
        script.write_text(source)

        def ignore() -> None:
            # Whoever runs the tests may have been started with `&` or nohup itself.
            for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(signum, signal.SIG_IGN if signum in ignoring else signal.SIG_DFL)

        supervisor = subprocess.Popen(
            [sys.executable, str(script), marker, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=ignore,  # noqa: PLW1509 - as a shell does for `&` and nohup
        )
        self.trees.append(Tree(marker, supervisor))
        return self.trees[-1]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    for tree in launcher.trees:  # only when a test failed is there anything left
        for process in tree.processes():
            process.kill()
        tree.supervisor.wait()
        assert tree.supervisor.stdout is not None
        tree.supervisor.stdout.close()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_in_reverse_order(launch: Launcher, signum: signal.Signals) -> None:
    tree = launch("plain", "plain")
    tree.supervisor.send_signal(signum)
    code, said = tree.end()
    assert code == 128 + signum
    assert said.index("stopping child-1") < said.index("stopping child-0")


def test_a_signal_while_starting_stops_what_has_been_started(launch: Launcher) -> None:
    tree = launch("plain", "plain", "plain", up=False)
    tree.wait_for("started")
    tree.supervisor.send_signal(signal.SIGINT)
    assert tree.end()[0] == 128 + signal.SIGINT


def test_a_signal_at_the_very_moment_of_a_start_does_not_lose_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_popen = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def popen_and_signal(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(real_popen(*args, **kwargs))
        signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen_and_signal)
    with pytest.raises(StopSignal), Supervisor(say=lambda _: None) as supervisor:
        supervisor.start("child", ["sleep", "60"], env={}, log=tmp_path / "child.log")
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def test_a_killed_supervisor_leaves_nothing(launch: Launcher) -> None:
    tree = launch("plain", "plain")
    tree.supervisor.kill()
    assert tree.end()[0] == -signal.SIGKILL


def test_a_supervisor_killed_while_starting_leaves_nothing(launch: Launcher) -> None:
    for milliseconds in (0, 5, 15, 30, 60):
        tree = launch("plain", "plain", up=False)
        tree.wait_for("started")
        time.sleep(milliseconds / 1000)
        tree.supervisor.kill()
        tree.end()


def test_a_killed_supervisor_leaves_nothing_that_ignores_sigterm(launch: Launcher) -> None:
    tree = launch("stubborn", grace=0.3)
    tree.supervisor.kill()
    tree.end()


def test_a_killed_guard_stops_all(launch: Launcher) -> None:
    tree = launch("plain", "plain")
    tree.guards()[0].kill()
    code, said = tree.end()
    assert code == 1
    assert "lost its guard" in said


def test_a_guard_cannot_be_ended_kindly(launch: Launcher) -> None:
    tree = launch("plain")
    (watcher,) = tree.guards()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        watcher.send_signal(signum)
    time.sleep(0.1)
    assert watcher.status() != psutil.STATUS_ZOMBIE
    tree.supervisor.kill()
    tree.end()


def test_a_killed_child_stops_all_and_is_named(launch: Launcher) -> None:
    tree = launch("plain", "plain")
    tree.leaders()[0].kill()
    code, said = tree.end()
    assert code == 1
    assert "was killed by SIGKILL" in said


def test_a_child_that_ends_stops_all_and_its_last_words_are_shown(launch: Launcher) -> None:
    tree = launch("dies", "plain", up=False)
    code, said = tree.end()
    assert code == 1
    assert "child-0 ended with exit code 1" in said
    assert "    no more memory" in said


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(launch: Launcher) -> None:
    tree = launch("stubborn", grace=0.5)
    started = time.monotonic()
    tree.supervisor.send_signal(signal.SIGTERM)
    tree.end()
    assert time.monotonic() - started >= 0.5


def test_a_child_has_time_to_clean_up(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    program = "trap 'sleep 0.3; echo cleaned; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with Supervisor(say=lambda _: None) as supervisor:
        supervisor.start("child", ["sh", "-c", program], env={}, log=log)
        supervisor.wait_until("child", lambda: "ready" in log.read_text(), PATIENCE)
    assert log.read_text().endswith("cleaned\n")


def test_stopping_does_not_wait_for_the_dead_that_nobody_collects() -> None:
    with subprocess.Popen(["sleep", "0"], start_new_session=True) as process:
        assert eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert not guard.has_members(process.pid)


def test_a_second_signal_kills_without_grace(launch: Launcher) -> None:
    tree = launch("stubborn", "stubborn", grace=60)
    tree.supervisor.send_signal(signal.SIGINT)
    tree.wait_for("stopping child-1")
    tree.supervisor.send_signal(signal.SIGINT)
    assert tree.end()[0] == 128 + signal.SIGINT


def test_an_exception_in_the_block_stops_all(launch: Launcher) -> None:
    tree = launch("raises", up=False)
    code, said = tree.end()
    assert code == 1
    assert "LookupError: from inside the block" in said


def test_a_supervisor_started_in_the_background_of_a_script_still_obeys(launch: Launcher) -> None:
    tree = launch("plain", ignoring=(signal.SIGINT, signal.SIGQUIT))
    tree.supervisor.send_signal(signal.SIGINT)
    assert tree.end()[0] == 128 + signal.SIGINT


def test_nohup_is_respected(launch: Launcher) -> None:
    tree = launch("plain", ignoring=(signal.SIGHUP,))
    tree.supervisor.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert tree.supervisor.poll() is None
    tree.supervisor.send_signal(signal.SIGTERM)
    tree.end()


def test_a_closed_terminal_does_not_keep_anything_from_stopping(launch: Launcher) -> None:
    tree = launch("plain", "plain")
    assert tree.supervisor.stdout is not None
    tree.supervisor.stdout.close()
    tree.supervisor.send_signal(signal.SIGHUP)
    assert tree.supervisor.wait(PATIENCE) == 128 + signal.SIGHUP
    tree.assert_nothing_left()


def test_a_child_gets_default_signals_and_its_environment(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    program = (
        "import os, signal; print(os.environ['COLOUR'], os.getpgid(0) == os.getsid(0) == os.getpid());"
        "print({signal.getsignal(s).name for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)});"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.pthread_sigmask(0, ()))"
    )
    inherited = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.signal(signum, signal.SIG_IGN) for signum in inherited]
    try:
        with Supervisor(say=lambda _: None) as supervisor:
            child = supervisor.start("child", [sys.executable, "-c", program], env={"COLOUR": "red"}, log=log)
            assert child.process.wait(PATIENCE) == 0
    finally:
        for signum, handler in zip(inherited, before, strict=True):
            signal.signal(signum, handler)
    assert log.read_text().splitlines() == ["red True", "{'SIG_DFL'}", "True set()"]


def test_a_child_does_not_ignore_a_broken_pipe_as_python_does(tmp_path: Path) -> None:
    with Supervisor(say=lambda _: None) as supervisor:
        child = supervisor.start("child", ["sh", "-c", "kill -PIPE $$"], env={}, log=tmp_path / "child.log")
        assert child.process.wait(PATIENCE) == -signal.SIGPIPE


def test_the_handlers_of_the_caller_are_restored() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Supervisor(say=lambda _: None):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_the_log_of_the_last_run_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    for word in ("first", "second", "third"):
        with Supervisor(say=lambda _: None) as supervisor:
            supervisor.start("child", ["echo", word], env={}, log=log).process.wait(PATIENCE)
    assert log.read_text() == "third\n"
    assert log.with_name("child.log.1").read_text() == "second\n"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Supervisor(say=lambda _: None) as supervisor:
        supervisor.start("child", ["no-such-program"], env={}, log=tmp_path / "child.log")
        with pytest.raises(ProcessError, match=r"child ended with exit code 1(.|\n)*cannot start no-such-program"):
            supervisor.wait_until("child", lambda: False, PATIENCE)


def test_waiting_ends_when_another_child_does(tmp_path: Path) -> None:
    with Supervisor(say=lambda _: None) as supervisor:
        supervisor.start("child", ["sleep", "60"], env={}, log=tmp_path / "child.log")
        supervisor.start("other", ["sh", "-c", "exit 3"], env={}, log=tmp_path / "other.log")
        with pytest.raises(ProcessError, match="other ended with exit code 3"):
            supervisor.wait_until("child", lambda: False, PATIENCE)


def test_waiting_ends_when_the_time_is_over(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with Supervisor(say=lambda _: None) as supervisor:
        supervisor.start("child", ["sh", "-c", "echo thinking; sleep 60"], env={}, log=log)
        assert eventually(lambda: "thinking" in log.read_text())
        with pytest.raises(ProcessError, match=r"child was not ready within 0 s(.|\n)*    thinking"):
            supervisor.wait_until("child", lambda: False, 0.3)


def test_two_children_of_one_name_are_refused(tmp_path: Path) -> None:
    with Supervisor(say=lambda _: None) as supervisor:
        supervisor.start("child", ["sleep", "60"], env={}, log=tmp_path / "child.log")
        with pytest.raises(ValueError, match="'child' runs already"):
            supervisor.start("child", ["sleep", "60"], env={}, log=tmp_path / "child.log")


def test_up_says_where_things_are_and_ctrl_c_stops_them(launch: Launcher) -> None:
    dagster, reports = free_port(), free_port()
    tree = launch.script(UP, str(launch.folder), str(dagster), str(reports))
    tree.wait_for(f"Dagster  http://127.0.0.1:{dagster}")
    tree.wait_for(f"Reports  http://127.0.0.1:{reports}")
    second = launch.script(UP, str(launch.folder), str(free_port()), str(free_port()))
    assert "already up for" in second.end()[1]
    tree.supervisor.send_signal(signal.SIGINT)
    assert tree.end()[0] == 128 + signal.SIGINT
    for port in (dagster, reports):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


@pytest.mark.parametrize("taken", ["dagster", "reports"])
def test_a_busy_port_is_an_error_before_anything_is_started(tmp_path: Path, taken: str) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = {"dagster": free_port(), "reports": free_port(), taken: server.getsockname()[1]}
        with pytest.raises(CannotStartError, match=rf"port {ports[taken]}: another program(.|\n)*--{taken}-port"):
            up(
                home=tmp_path / "home",
                workspace=[],
                host="127.0.0.1",
                dagster_port=ports["dagster"],
                reports_port=ports["reports"],
                say=said.append,
            )
    assert said == []
    assert not (tmp_path / "home" / "dagster").exists()


@pytest.mark.parametrize(
    ("host", "dagster", "reports", "message"),
    [
        ("127.0.0.1", 3000, 70_000, r"port 70000: set --reports-port to a number from 1 to 65535"),
        ("127.0.0.1", 0, 3001, r"port 0: set --dagster-port"),
        ("203.0.113.7", 3000, 3001, r"host '203.0.113.7'(.|\n)*--host"),
    ],
)
def test_a_wrong_address_names_its_setting(host: str, dagster: int, reports: int, message: str) -> None:
    dagster, reports = (free_port() if port in (3000, 3001) else port for port in (dagster, reports))
    with pytest.raises(CannotStartError, match=message):
        Ports(host=host, dagster=dagster, reports=reports).check()


def test_one_port_for_both_is_refused() -> None:
    port = free_port()
    with pytest.raises(CannotStartError, match=f"cannot share port {port}"):
        Ports(dagster=port, reports=port).check()


def test_addresses_are_ones_that_a_browser_can_open() -> None:
    assert Ports().dagster_url == "http://127.0.0.1:3000"
    assert Ports().reports_url == "http://127.0.0.1:3001"
    assert Ports(host="0.0.0.0").dagster_url == "http://127.0.0.1:3000"  # noqa: S104
    assert Ports(host="::1").dagster_url == "http://[::1]:3000"
    assert [Ports(host=host).is_local for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org")] == [  # noqa: S104
        True,
        True,
        True,
        False,
        False,
    ]


def test_all_programs_work_on_one_home_and_link_to_the_report_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ML_ASSETS_URL", raising=False)
    env = environment(tmp_path, Ports(reports=4001))
    assert env["DAGSTER_HOME"] == str(tmp_path / "dagster")
    assert (tmp_path / "dagster" / "dagster.yaml").is_file()
    assert env["ML_ASSETS_HOME"] == str(tmp_path)
    assert env["ML_ASSETS_URL"] == "http://127.0.0.1:4001"
    monkeypatch.setenv("ML_ASSETS_URL", "https://reports.example.org")
    assert environment(tmp_path, Ports())["ML_ASSETS_URL"] == "https://reports.example.org"


def test_the_report_pages_link_to_the_dagster_that_is_started_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ML_ASSETS_DAGSTER_URL", raising=False)
    monkeypatch.delenv("DAGSTER_WEBSERVER_PATH_PREFIX", raising=False)
    assert environment(tmp_path, Ports(dagster=4000))["ML_ASSETS_DAGSTER_URL"] == "http://127.0.0.1:4000"
    monkeypatch.setenv("DAGSTER_WEBSERVER_PATH_PREFIX", "/dagster-act")
    assert environment(tmp_path, Ports())["ML_ASSETS_DAGSTER_URL"] == "http://127.0.0.1:3000/dagster-act"
    monkeypatch.setenv("ML_ASSETS_DAGSTER_URL", "https://dagster.example.org")
    assert environment(tmp_path, Ports())["ML_ASSETS_DAGSTER_URL"] == "https://dagster.example.org"


def test_the_programs_run_from_a_virtual_environment_that_is_not_active() -> None:
    programs = commands(Ports(dagster=4000, reports=4001), ["-w", "workspace.yaml"])
    assert list(programs) == ["dagster-webserver", "dagster-daemon", "reports"]
    assert all(command[:2] == [sys.executable, "-m"] for command in programs.values())
    assert programs["dagster-webserver"][3:] == ["--host=127.0.0.1", "--port=4000", "-w", "workspace.yaml"]
    assert programs["dagster-daemon"][-4:] == ["--log-level", "warning", "-w", "workspace.yaml"]


def test_listening_for_others_comes_with_a_warning(launch: Launcher) -> None:
    source = UP.replace('host="127.0.0.1"', 'host="0.0.0.0"')
    tree = launch.script(source, str(launch.folder), str(free_port()), str(free_port()))
    tree.wait_for("Warning: listening on 0.0.0.0. Dagster's UI has no access control")
    tree.wait_for("Ctrl-C")
    tree.supervisor.send_signal(signal.SIGINT)
    tree.end()
