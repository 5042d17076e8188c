"""The rows about serving: the prediction API beside the pipeline itself, and beside MLflow's scoring server."""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.harness import Comparison, row
from benchmarks.process import ProcessFailedError
from benchmarks.rows import WORK, data_folder, python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROJECT = "house_prices"
CLIENTS, SECONDS, REPEATS = 8, 10, 3
READY_SECONDS = 120.0
ARROW = "application/vnd.apache.arrow.stream"


@cache
def prepared() -> Path:
    """A folder with a home that has a champion, the same model for MLflow, and requests; made anew for each run."""
    import shutil  # noqa: PLC0415

    folder = WORK / "serving"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    script("prepare", folder)
    return folder


def script(what: str, folder: Path) -> dict[str, Any]:
    """What one of the parts of `platform_serving` reports."""
    return python("-m", "benchmarks.platform_serving", str(data_folder()), str(folder / "home"), what).report()


class Server:
    """A running server, and how long it took to be ready."""

    def __init__(self, process: psutil.Popen, url: str, ready: float) -> None:
        self.process, self.url, self.ready = process, url, ready

    def memory(self) -> float:
        """Resident memory of the server and its children, in MiB."""
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_info().rss for one in tree) / 2**20

    def load(self, bodies: Path, *, clients: int = CLIENTS, seconds: float = SECONDS) -> dict[str, float]:
        """Keep clients at it."""
        arguments = (self.url, str(bodies), "--clients", str(clients), "--seconds", str(seconds))
        seen = python("-m", "benchmarks.load", *arguments).report()
        if seen["failed"]:
            raise ProcessFailedError(f"{seen['failed']} requests to {self.url} failed")
        return seen


@contextmanager
def ours(*, onnx: bool = True) -> Iterator[Server]:
    """The platform's own."""
    folder, port = prepared(), _free_port()
    command = [sys.executable, "-m", "ml_assets.cli", "serve", "--port", str(port)]
    env = {"ML_ASSETS_HOME": str(folder / "home"), "ML_ASSETS_DATA": str(data_folder().parent)}
    base = f"http://127.0.0.1:{port}"
    with (
        nullcontext() if onnx else _without_onnx(folder / "home" / "registry" / PROJECT),
        _running(command, env, ready=f"{base}/readyz", url=f"{base}/predict/{PROJECT}") as server,
    ):
        yield server


@contextmanager
def _without_onnx(versions: Path) -> Iterator[None]:
    """Put the exports aside, as where the converter cannot or the two disagree."""
    exports = sorted(versions.glob("*/model.onnx*"))
    if not exports:
        raise FileNotFoundError(f"{versions} has no export to do without")
    for file in exports:
        file.rename(file.with_name(f"aside.{file.name}"))
    try:
        yield
    finally:
        for file in exports:
            file.with_name(f"aside.{file.name}").rename(file)


@contextmanager
def mlflow() -> Iterator[Server]:
    """MLflow's, with the same model."""
    folder, port = prepared(), _free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder / "mlflow"), "--env-manager", "local",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    # Its command looks for uvicorn on the path.
    env = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    base = f"http://127.0.0.1:{port}"
    with _running(command, env, ready=f"{base}/ping", url=f"{base}/invocations") as server:
        yield server


@contextmanager
def _running(command: list[str], env: Mapping[str, str], *, ready: str, url: str) -> Iterator[Server]:
    around = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with (WORK / "serving" / "server.log").open("wb") as log:
        process = psutil.Popen(command, env={**around, **env}, stdout=log, stderr=log)
        try:
            while not _answers(ready):
                if process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                    raise ProcessFailedError(f"{' '.join(command)} is not ready: see {log.name}")
                time.sleep(0.02)
            yield Server(process, url, time.perf_counter() - began)
        finally:
            tree = [*process.children(recursive=True), process] if process.is_running() else []
            for one in tree:
                one.terminate()
            psutil.wait_procs(tree, timeout=20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - an address of ours
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def rates(*, onnx: bool) -> list[tuple[dict[str, float], dict[str, float]]]:
    """What eight clients saw of both servers, in turn; the same figures for every row."""
    found = []
    for _ in range(REPEATS):
        with ours(onnx=onnx) as server:
            server.load(prepared() / "ours.jsonl", seconds=2)
            own = server.load(prepared() / "ours.jsonl") | {"ready": server.ready, "memory": server.memory()}
        with mlflow() as server:
            server.load(prepared() / "theirs.jsonl", seconds=2)
            other = server.load(prepared() / "theirs.jsonl") | {"ready": server.ready, "memory": server.memory()}
        found.append((own, other))
    return found


def of_both(name: str, *, onnx: bool = True) -> Comparison:
    """One of the figures of `rates`."""
    found = rates(onnx=onnx)
    return Comparison(tuple(own[name] for own, _ in found), tuple(other[name] for _, other in found))


@row("api-row", target="<= 1 x", unit="s", ours="one row by HTTP, features included, p50", other="predict in process")
def api_row() -> Comparison:
    """A row by the API costs no more than the pipeline's own predict, features and HTTP included."""
    own, bare = [], []
    with ours() as server:
        server.load(prepared() / "ours.jsonl", clients=1, seconds=2)
        for _ in range(REPEATS):
            own.append(server.load(prepared() / "ours.jsonl", clients=1, seconds=5)["p50"])
            bare.append(script("bare", prepared())["seconds"])
    return Comparison(tuple(own), tuple(bare))


@row("api-rate", target=">= 8 x", unit="1/s", ours="requests by ONNX, 8 clients", other="MLflow's scoring server")
def api_rate() -> Comparison:
    """Requests a second where the champion was exported with proven parity."""
    return of_both("rate")


@row("api-p99", target="< 1 x", unit="s", ours="p99 of the same", other="MLflow's scoring server")
def api_p99() -> Comparison:
    """The slowest of a hundred."""
    return of_both("p99")


@row("api-rate-sklearn", target=">= 1.3 x", unit="1/s", ours="the same by scikit-learn", other="MLflow's")
def api_rate_sklearn() -> Comparison:
    """Requests a second where scikit-learn itself must predict."""
    return of_both("rate", onnx=False)


@row("api-p99-sklearn", target="< 1 x", unit="s", ours="p99 of the same", other="MLflow's scoring server")
def api_p99_sklearn() -> Comparison:
    """The slowest of a hundred."""
    return of_both("p99", onnx=False)


@row("api-ready", target="<= 0.5 x", unit="s", ours="from start to ready", other="MLflow's scoring server")
def api_ready() -> Comparison:
    """A worker is there soon."""
    return of_both("ready")


@row("api-memory", target="<= 1 x", unit="MiB", ours="memory of a worker that was busy", other="MLflow's")
def api_memory() -> Comparison:
    """Resident, with all that it started."""
    return of_both("memory")


@row("api-bulk", target="<= 1.3 x", unit="s", ours="1 M rows by HTTP, features included", other="predict in process")
def api_bulk() -> Comparison:
    """A million rows as Arrow cost little more than the pipeline's own predict of ready features."""
    own, bare = [], []
    body = (prepared() / "bulk.arrow").read_bytes()
    with ours() as server:
        for _ in range(REPEATS):
            asked = urllib.request.Request(server.url, body, {"Content-Type": ARROW, "Accept": ARROW})  # noqa: S310
            began = time.perf_counter()
            with urllib.request.urlopen(asked, timeout=300) as response:  # noqa: S310
                response.read()
            own.append(time.perf_counter() - began)
            bare.append(script("bulk", prepared())["seconds"])
    return Comparison(tuple(own), tuple(bare))
