"""People are told what happened, once: through Apprise, against a real server that takes its webhooks."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from ml_assets.automation import notify
from ml_assets.automation.messages import event_of, message_of
from ml_assets.automation.notify import AlertsError, build_alerts_sensor, collect, deliver, send
from ml_assets.declared.alerts import Alerts
from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.alerts import Alert, add_alert
from ml_assets.registry.ledger import Draft, Ledger
from ml_assets.registry.outbox import Message, outbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Apprise asks a module of the standard library that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")

SECRET = "hunter2"  # noqa: S105 - must never be seen
HELLO = Message("ledger-1", 100.0, "flats", "retrain", "title", "body", "link")


class Project:
    """As much of a project as is told of."""

    def __init__(self, *on: str) -> None:
        self.name = "flats"
        self.alerts = Alerts(on=list(on)) if on else Alerts()  # type: ignore[arg-type]


class Receiver:
    """What a server was sent, and whether it takes it."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refuses = False
        self.url = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not found.refuses:
                found.taken.append(content)
            self.send_response(503 if found.refuses else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"json://ann:{SECRET}@127.0.0.1:{server.server_port}/hook"
        yield found
        server.shutdown()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Path:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("ML_ASSETS_URL", "http://reports.example")
    monkeypatch.setenv("ML_ASSETS_ALERTS", receiver.url)
    return tmp_path


def write(home: Path, *drafts: Draft) -> list[Any]:
    with closing_lake(home) as lake:
        return Ledger(lake).append(Commit("flats", "test"), lambda _: drafts)


@contextmanager
def closing_lake(home: Path) -> Iterator[Lake]:
    lake = Lake(home / "lake")
    yield lake
    lake.close()


DECIDED = {
    "retrain": Draft("flats", "decision", "mape has doubled", {"alarms": ["price"]}, "2024-07", 1, "retrain", "live"),
    "ask": Draft("flats", "decision", "mape has doubled", {"alarms": []}, "2024-08", 1, "ask", "live"),
    "alarm": Draft("flats", "decision", "it does no harm", {"alarms": ["area"]}, "2024-09", 1, "hold", "live"),
    "expired": Draft("flats", "answered", "nobody", {"decision": 2}, "2024-10", 1, "expire"),
    "awaiting": Draft("flats", "awaiting", "better", {}, version=2),
    "promoted": Draft("flats", "promoted", "better by 3 %", {}, "2024-11", 2),
    "rejected": Draft("flats", "rejected", "no better", {}, version=3),
}
UNTOLD = (
    Draft("flats", "decision", "all is well", {"alarms": []}, "2024-10", 1, "hold", "live"),
    Draft("flats", "decision", "a history", {"alarms": ["price"]}, "2024-01", 1, "retrain", "backfill"),
    Draft("flats", "registered", "trained", {}, version=2),
    Draft("flats", "rejected", "a newer one", {}, version=2, action="supersede"),
    Draft("flats", "answered", "yes", {"decision": 2}, "2024-10", 1, "yes"),
)


def test_what_happens_is_an_event_of_its_kind_and_the_rest_is_none(home: Path) -> None:
    told = write(home, *DECIDED.values())

    assert [event_of(one) for one in told] == list(DECIDED)
    assert [event_of(one) for one in write(home, *UNTOLD)] == [None] * len(UNTOLD)


def test_a_message_says_what_happened_why_what_to_do_and_where_to_look(home: Path) -> None:
    told = dict(zip(DECIDED, write(home, *DECIDED.values()), strict=True))
    retrain, ask = message_of(told["retrain"], "retrain"), message_of(told["ask"], "ask")

    assert retrain.title == "flats: a model is trained again, because of 2024-07"
    assert retrain.body.splitlines() == [
        "Why: mape has doubled",
        "Drift alarms: price",
        "Look: http://reports.example/projects/flats/drift/2024-07",
        f"Event ledger-1 of {told['retrain'].at[:16]} UTC",
    ]
    assert "To do: ml-assets decide flats 2 --yes --why WHY, or --no" in ask.body
    assert message_of(told["promoted"], "promoted").title == "flats: version 2 serves from 2024-11"
    assert "To do: ml-assets approve flats@2" in message_of(told["awaiting"], "awaiting").body


def test_only_what_the_project_declares_is_told_and_failed_runs_of_its_own_or_of_none(home: Path) -> None:
    write(home, *DECIDED.values())
    for number, projects in enumerate([("flats",), ("other",), ()]):
        add_alert(Alert("2024-12-01T00:00:00+00:00", f"r{number}", "a_job", projects, "2024-11", "no space"))
    state = {"ledger": 0, "since": 0.0}
    with closing_lake(home) as lake:

        def events(*on: str) -> list[str]:
            return [one.event for one in collect(Project(*on), lake, state)[0]]  # type: ignore[arg-type]

        assert events("ask", "rejected") == ["ask", "rejected"]
        assert events("failed") == ["failed", "failed"]
        assert sorted({*events()}) == sorted({*DECIDED, "failed"} - {"alarm"})
        _, later = collect(Project(), lake, state)  # type: ignore[arg-type]
        assert collect(Project(), lake, later)[0] == []  # type: ignore[arg-type]


@pytest.mark.usefixtures("home")
def test_it_arrives_once_however_often_it_is_collected(receiver: Receiver) -> None:
    for _ in range(3):
        outbox().add([HELLO], notify.targets())
        deliver()

    assert [(one["title"], one["message"]) for one in receiver.taken] == [("title", "body")]


@pytest.mark.usefixtures("home")
def test_a_server_that_refuses_is_asked_again_later(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.refuses = True
    outbox().add([HELLO], notify.targets())
    assert deliver() == ["ledger-1 to json://…: waiting"]
    assert deliver() == [], "not at once"
    receiver.refuses = False
    monkeypatch.setattr("ml_assets.registry.outbox.DELAYS", (0,))
    outbox()._mark(outbox().deliveries()[0], "waiting", 1, 0.0)
    assert deliver() == ["ledger-1 to json://…: sent"]
    assert len(receiver.taken) == 1


def test_no_address_is_kept_logged_or_told(
    home: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.refuses = True
    outbox().add([HELLO], notify.targets())
    said = "".join(deliver())
    monkeypatch.setenv("ML_ASSETS_ALERTS", f"{receiver.url} nonsense://{SECRET}")
    with pytest.raises(AlertsError) as error:
        send(f"nonsense://{SECRET}", HELLO)
    assert "Apprise does not understand URL 2, nonsense://…" in str(error.value)
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for text in (said, str(error.value), caplog.text, kept.decode("latin1")):
        assert SECRET not in text


def tick(sensor: dg.SensorDefinition, cursor: str | None) -> str:
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance, cursor=cursor) as context:
        sensor(context)
        return str(context.cursor)


def test_the_sensor_tells_what_happens_from_its_first_tick_on(home: Path, receiver: Receiver) -> None:
    sensor = build_alerts_sensor(Project())  # type: ignore[arg-type]
    write(home, DECIDED["rejected"])
    first = tick(sensor, None)
    write(home, DECIDED["retrain"], DECIDED["promoted"])
    second = tick(sensor, first)
    tick(sensor, first)
    tick(sensor, second)

    assert [one["title"] for one in receiver.taken] == [
        "flats: a model is trained again, because of 2024-07",
        "flats: version 2 serves from 2024-11",
    ]


def test_where_nobody_is_to_be_told_nothing_waits_for_the_day_that_somebody_is(
    home: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = build_alerts_sensor(Project())  # type: ignore[arg-type]
    cursor = tick(sensor, None)
    monkeypatch.delenv("ML_ASSETS_ALERTS")
    write(home, DECIDED["retrain"])
    cursor = tick(sensor, cursor)
    monkeypatch.setenv("ML_ASSETS_ALERTS", receiver.url)
    tick(sensor, cursor)

    assert receiver.taken == []


@pytest.mark.usefixtures("home")
def test_the_command_tests_every_target_and_tells_no_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from ml_assets import cli

    outbox().add([HELLO], notify.targets())
    deliver()
    listed = CliRunner().invoke(cli.app, ["alerts"]).output
    assert "1970-01-01 00:01 UTC  sent    ledger-1  title\n1 targets" in listed
    monkeypatch.setenv("ML_ASSETS_ALERTS", f"{receiver.url} nonsense://{SECRET}")
    done = CliRunner().invoke(cli.app, ["alerts", "--test"])
    assert "target 1, json://…: taken" in done.output
    assert "target 2, nonsense://…: refused" in done.output
    assert done.exit_code == 1
    assert [one["title"] for one in receiver.taken] == ["title", "ml-assets: a test"]
    assert SECRET not in listed + done.output
    monkeypatch.delenv("ML_ASSETS_ALERTS")
    assert "names no target" in str(CliRunner().invoke(cli.app, ["alerts", "--test"]).exception)
