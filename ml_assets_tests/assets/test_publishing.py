"""What is made of a version once it has been judged: card, ONNX file, and an entry in a real MLflow server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from small_market import NAME, PREPARING, Market, open_market, sales

from ml_assets.assets import publishing
from ml_assets.assets.acts import Person, promote
from ml_assets.registry.export import predict_onnx
from ml_assets.registry.tracking import TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONTHS = ("2024-01", "2024-02", "2024-03")
TRACKED = {"mlflow": {"url_env": "THE_MLFLOW", "experiment": "flats of ours"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}
    # Nine processes more, for work that nobody asks of it here.
    quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *stores], cwd=folder, env=quiet, stdout=out, stderr=out, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 180
        while not _answers(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        yield address
    finally:
        # It would wait for its clients' connections, and there is nothing to save.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market whose first version was trained while MLflow was away."""
    market = open_market(tmp_path_factory.mktemp("tracked"), tracking=TRACKED)
    for month in MONTHS:
        market.write(month, sales(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THE_MLFLOW", "http://user:s3cret@127.0.0.1:9")
        market.retrain()
    return market


def log(market: Market, number: int) -> str:
    with market.settings():
        return publishing.log(market.project, market.lake, market.registry.version(NAME, number))


def test_a_version_has_its_card_and_onnx_file_beside_it(tracked: Market) -> None:
    version, metadata = tracked.registry.version(NAME, 1), tracked.metadata("champion")

    card = tracked.registry.path(version, "card.md").read_text()
    assert card.startswith("# Model card of flats@1\n")
    assert "| Stage | champion |" in card
    assert "the first version that passes the gates" in card
    assert "| ONNX file | agrees on " in card
    assert metadata["card"].endswith("/projects/flats/versions/1/card")
    assert metadata["onnx"].startswith("agrees with the version on ")
    assert metadata["predictions_served_by"] == "ONNX"
    rows = tracked.table("features", "2024-03")
    found = predict_onnx(tracked.registry.path(version, "model.onnx"), version, rows)
    assert abs(found - tracked.registry.predict(version, rows)).max() < 1


def test_a_training_does_not_fail_while_mlflow_is_away_and_no_secret_is_told(tracked: Market) -> None:
    told = tracked.metadata("champion")["mlflow"]

    assert told == (
        "not logged: the server at THE_MLFLOW does not answer, or refuses: INTERNAL_ERROR. "
        "To log it later: ml-assets models log flats@1"
    )
    assert tracked.ledger("promoted")


def test_what_was_missed_is_logged_later_once_and_brought_up_to_date(
    tracked: Market, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("THE_MLFLOW", server)
    run_id = log(tracked, 1)
    assert log(tracked, 1) == run_id, "told twice it is one run"

    version = tracked.registry.version(NAME, 1)
    client = MlflowClient(tracking_uri=server)
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == "flats of ours"
    assert (run.info.run_name, run.info.status) == ("flats@1", "FINISHED")
    assert run.data.params["estimator"] == "sklearn.linear_model.LinearRegression"
    assert run.data.params["train"] == "2024-02 … 2024-02"
    evaluation = tracked.registry.evaluation(NAME, 1)
    assert evaluation is not None
    assert run.data.metrics["test_mape"] == pytest.approx(evaluation["metrics"]["test"]["mape"])
    assert run.data.tags["ml_assets.stage"] == "champion"
    assert run.data.tags["ml_assets.artefact"] == version.artefact
    files = {file.path for file in client.list_artifacts(run_id)}
    assert files == {"model.skops", "model.onnx", "card.md", "version.json", "evaluation.json"}
    folder = client.download_artifacts(run_id, "model.skops")
    with open(folder, "rb") as file:  # noqa: PTH123 - a path of MLflow's
        assert file.read() == tracked.registry.path(version, "model.skops").read_bytes()


def test_a_retraining_tells_a_server_that_is_there(
    tracked: Market, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("THE_MLFLOW", server)
    tracked.retrain()

    told = tracked.metadata("champion")
    run = MlflowClient(tracking_uri=server).get_run(told["mlflow"].removeprefix("run "))
    assert run.data.tags["ml_assets.version"] == f"flats@{told['challenger']}"
    assert run.data.tags["ml_assets.stage"] == "rejected"
    assert "onnx" not in told, "only what serves is exported"


def test_mlflow_hears_of_the_version_that_no_longer_serves(
    tracked: Market, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("THE_MLFLOW", server)
    tracked.retrain()
    number = tracked.metadata("champion")["challenger"]
    with tracked.settings():
        promote(tracked.project, tracked.lake, number, Person("Anna", "it may serve", "anna"))

    client = MlflowClient(tracking_uri=server)
    assert client.get_run(log(tracked, number)).data.tags["ml_assets.stage"] == "champion"
    (place,) = (one.experiment_id for one in [client.get_experiment_by_name("flats of ours")] if one)
    (first,) = client.search_runs([place], "tags.`ml_assets.version` = 'flats@1'")
    assert first.data.tags["ml_assets.stage"] == "retired"


def test_without_a_declaration_or_an_address_it_says_what_to_do(
    story: Any, tracked: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "mlflow" not in story.market.metadata("champion")
    with pytest.raises(TrackingError, match=r"flats declares no MLflow\. Remedy: write tracking\.mlflow"):
        log(story.market, 1)
    monkeypatch.delenv("THE_MLFLOW", raising=False)
    with pytest.raises(TrackingError, match=r"THE_MLFLOW is not set\. Remedy: set it"):
        log(tracked, 1)


def broken(*_: object) -> bytes:
    raise AttributeError("'Pipeline' object has no attribute 'transformers_'")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOLERANCE", -1.0, "flats@1: the ONNX model disagrees on"),
        ("_convert", broken, "flats@1 cannot be exported: AttributeError: 'Pipeline' object has no"),
    ],
)
def test_an_export_that_is_refused_does_not_undo_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, said: str
) -> None:
    from ml_assets.registry import export

    monkeypatch.setattr(export, name, value)
    market = open_market(tmp_path)
    market.found(MONTHS)

    assert [entry.version for entry in market.ledger("promoted")] == [1]
    assert said in market.metadata("champion")["onnx"]
    record = json.loads(market.registry.path(market.registry.version(NAME, 1), "version.json").read_text())
    assert record["number"] == 1
    assert not market.registry.path(market.registry.version(NAME, 1), "model.onnx").exists()
