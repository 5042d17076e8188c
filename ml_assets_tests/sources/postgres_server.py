"""A PostgreSQL server of our own: on the loopback, on a free port, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

# Every character that an address or a connection string gives a meaning of its own.
PASSWORD = "p@ss w'rd/\\#?%41"  # noqa: S105 - of a server that lives for a test
PROGRAMS = ("initdb", "postgres", "psql")
USUAL_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/bin")
START_SECONDS = 30.0


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL on this machine, by PATH or in the usual places."""
    usual = [path for place in USUAL_PLACES for path in sorted(Path("/").glob(place.lstrip("/")), reverse=True)]
    folders = [*([Path(found).parent] if (found := shutil.which("initdb")) else []), *usual]
    return next((path for path in folders if all((path / name).exists() for name in PROGRAMS)), None)


@dataclass
class Server:
    """A server that can be stopped and started again."""

    folder: Path
    binaries: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://reader:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n")
        self._give_away()
        words = ["initdb", "-D", str(self.folder / "data"), "-U", "reader", "--pwfile", str(password)]
        options = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [self.binaries / words[0], *words[1:], *options],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            **self._user(),
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "port": self.port}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._user(),
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                self.run("SELECT 1")
            except subprocess.CalledProcessError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()  # SIGTERM: "smart" waits for clients, so:
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.send_signal(3)  # SIGQUIT, at once
                self.process.wait(10)
            self.process = None

    def run(self, sql: str) -> str:
        """Run statements as the owner; what they print."""
        environment = {**os.environ, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "5"}
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "reader", "-d", "postgres"]
        done = subprocess.run(
            [self.binaries / "psql", *address, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=sql.encode(),
            check=True,
            capture_output=True,
            timeout=60,
            env=environment,
        )
        return done.stdout.decode()

    def _user(self) -> dict[str, int | list[int]]:
        """PostgreSQL refuses to run as root."""
        if os.getuid() != 0:
            return {}
        for name in ("postgres", "nobody"):
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        raise AssertionError("there is neither a user postgres nor nobody to run PostgreSQL as")

    def _give_away(self) -> None:
        if user := self._user():
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, user["user"], user["group"])


def new_server() -> Server | None:
    """A running server, or None where PostgreSQL is not installed."""
    place = binaries()
    if place is None:
        return None
    # Not under pytest's folder, which only its owner may enter.
    server = Server(Path(tempfile.mkdtemp(prefix="postgres-")), place)
    try:
        server.create()
        server.start()
    except BaseException:
        server.stop()
        shutil.rmtree(server.folder)
        raise
    return server
