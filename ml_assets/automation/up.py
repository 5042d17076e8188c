"""`ml-assets up`: Dagster's web server, its daemon and the report pages with one command.

Everything that can be wrong beforehand (a port in use, a host that is not ours, a second `up` on the same home, whose
daemon would launch every run twice) is found before anything is started. The programs run as `python -m …`, so that a
virtual environment need not be active, and listen on this machine only unless told otherwise: Dagster's UI has no
access control.
"""

from __future__ import annotations

import errno
import http.client
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ml_assets import settings
from ml_assets.automation.processes import ProcessError, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 180.0
"""How long the first start may take: a cold disk, no bytecode yet, and a busy machine together."""

WEBSERVER = "dagster-webserver"
DAEMON = "dagster-daemon"
REPORTS = "reports"
# It says every few seconds of each sensor that there is nothing to do: a log that only grows.
QUIET_DAEMON = ("--log-level", "warning")


class CannotStartError(RuntimeError):
    """Something is in the way, and nothing has been started; the message says what to change."""


@dataclass(frozen=True)
class Ports:
    """Where the two web servers listen."""

    host: str = "127.0.0.1"
    dagster: int = 3000
    reports: int = 3001

    @property
    def dagster_url(self) -> str:
        """The address of Dagster's UI, for a browser on this machine: with the prefix that its web server is given."""
        prefix = os.environ.get("DAGSTER_WEBSERVER_PATH_PREFIX", "").strip("/")
        return f"http://{_reachable(self.host)}:{self.dagster}{prefix and '/'}{prefix}"

    @property
    def reports_url(self) -> str:
        """The address of the report pages, for a browser on this machine."""
        return f"http://{_reachable(self.host)}:{self.reports}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach them."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def check(self) -> None:
        """Find out whether both ports can be listened on, by trying.

        Raises:
            CannotStartError: One cannot; says which program needs it and which setting to change.
        """
        _check_port(self.host, self.dagster, purpose="Dagster's web server", setting="--dagster-port")
        _check_port(self.host, self.reports, purpose="The report pages", setting="--reports-port")
        if self.dagster == self.reports:
            raise CannotStartError(
                f"Dagster's web server and the report pages cannot share port {self.dagster}: "
                "change --dagster-port or --reports-port."
            )


def up(
    *,
    home: Path,
    workspace: Sequence[str],
    host: str,
    dagster_port: int,
    reports_port: int,
    say: Callable[[str], object],
) -> int:
    """Start everything, say where it is, and stop everything on Ctrl-C or when a part of it ends.

    Args:
        home: The platform's folder; Dagster's instance is `dagster` in it, the logs are in `logs`.
        workspace: Arguments that tell Dagster where the code location is, e.g. `["-m", "ml_assets.definitions"]`.
        host: Address to listen on.
        dagster_port: Port of Dagster's UI.
        reports_port: Port of the report pages.
        say: Receives messages for the person who started it.

    Returns:
        The exit code: 128 + signal when a signal ended it (130 after Ctrl-C), 1 when a program failed.

    Raises:
        CannotStartError: Something is in the way; nothing has been started.
    """
    home = home.absolute()
    ports = Ports(host=host, dagster=dagster_port, reports=reports_port)
    home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(home / "up.lock", timeout=0):
            ports.check()
            return _run(home, workspace, ports, say)
    except Timeout:
        raise CannotStartError(
            f"ml-assets is already up for {home}: a second daemon would launch every run twice. "
            "Stop the other one, or set ML_ASSETS_HOME to another folder."
        ) from None
    except ProcessError as error:
        say(str(error))
        return 1


def commands(ports: Ports, workspace: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The command line of each program, in the order of starting.

    Args:
        ports: Where the web servers listen.
        workspace: Arguments that tell Dagster where the code location is.
    """
    python = [sys.executable, "-m"]
    return {
        WEBSERVER: [*python, "dagster_webserver", f"--host={ports.host}", f"--port={ports.dagster}", *workspace],
        DAEMON: [*python, "dagster._daemon", "run", *QUIET_DAEMON, *workspace],
        REPORTS: [
            *python,
            "ml_assets.serving.access.server",
            f"--host={ports.host}",
            f"--port={ports.reports}",
        ],
    }


def environment(home: Path, ports: Ports) -> dict[str, str]:
    """Write Dagster's instance, and say which variables the programs need to work on it and on the same home.

    `ML_ASSETS_URL` and `ML_ASSETS_DAGSTER_URL` stay as they are where somebody has set them: behind a proxy only they
    know the addresses.

    Args:
        home: The platform's folder, absolute.
        ports: Where the web servers listen.
    """
    from ml_assets.automation.instance import instance_environment, write_instance  # noqa: PLC0415 - imports Dagster

    instance = write_instance(home / "dagster")
    root = settings.own_root()
    return {
        **instance_environment(instance),
        **({} if root is None else {"ML_ASSETS_ROOT": str(root)}),
        "ML_ASSETS_HOME": str(home),
        "ML_ASSETS_URL": os.environ.get("ML_ASSETS_URL", ports.reports_url),
        "ML_ASSETS_DAGSTER_URL": os.environ.get("ML_ASSETS_DAGSTER_URL", ports.dagster_url),
    }


def _run(home: Path, workspace: Sequence[str], ports: Ports, say: Callable[[str], object]) -> int:
    if not ports.is_local:
        say(
            f"Warning: listening on {ports.host}. Dagster's UI has no access control: whoever reaches port "
            f"{ports.dagster} can launch and delete runs. Put a proxy before it: docs/access.md. The report pages "
            "demand keys; set ML_ASSETS_URL to the address under which others reach them."
        )
    env = environment(home, ports)
    with Supervisor(say=say) as supervisor:
        say(f"starting; logs are in {home / 'logs'}")
        for name, command in commands(ports, workspace).items():
            supervisor.start(name, command, env=env, log=home / "logs" / f"{name}.log")
        supervisor.wait_until(REPORTS, lambda: _answers(ports.host, ports.reports), START_SECONDS)
        supervisor.wait_until(WEBSERVER, lambda: _answers(ports.host, ports.dagster), START_SECONDS)
        say(f"Dagster  {ports.dagster_url}")
        say(f"Reports  {ports.reports_url}")
        say("Ctrl-C stops everything.")
        return supervisor.watch()


def _reachable(host: str) -> str:
    """The host as a URL on this machine writes it: "every interface" is not an address to go to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=2.0)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _check_port(host: str, port: int, *, purpose: str, setting: str) -> None:
    if not 0 < port < 2**16:
        raise CannotStartError(f"{purpose} cannot listen on port {port}: set {setting} to a number from 1 to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the servers do: connections that have just been closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _busy(port, purpose, setting) from None
        if error.errno == errno.EACCES:
            raise CannotStartError(
                f"{purpose} may not listen on port {port}: {error.strerror}. Set {setting} to a number above 1023."
            ) from None
        raise CannotStartError(
            f"{purpose} cannot listen on host {host!r}: {error.strerror}. "
            "Set --host to an address of this machine, for example 127.0.0.1."
        ) from None
    # macOS lets us bind 127.0.0.1 beside a program that listens on all interfaces.
    if _accepts(host, port):
        raise _busy(port, purpose, setting)


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((_reachable(host).strip("[]"), port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _busy(port: int, purpose: str, setting: str) -> CannotStartError:
    return CannotStartError(
        f"{purpose} cannot listen on port {port}: another program does already "
        f"(`lsof -nP -iTCP:{port} -sTCP:LISTEN` names it). End that program, or choose another port with {setting}."
    )
