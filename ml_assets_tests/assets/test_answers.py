"""A decision that asks: a person answers, by a command or in Dagster, or it expires."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from small_market import NAME, Market, open_market
from typer.testing import CliRunner

from ml_assets import cli, projects
from ml_assets.assets.acts import ActError, Person
from ml_assets.assets.answers import answer, expire
from ml_assets.lake.connection import Commit
from ml_assets.lake.resource import shared_lake
from ml_assets.registry.ledger import Draft

if TYPE_CHECKING:
    from pathlib import Path

    from ml_assets.registry.ledger import Entry

ANN = Person("Ann", "rates have changed", login="ann")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(tmp_path_factory.mktemp("asks"))


def decide(market: Market, month: str, action: str = "ask") -> int:
    draft = Draft(NAME, "decision", f"mape has doubled in {month}", {}, month, 1, action, "live")
    return market.book().append(Commit(NAME, "test"), lambda _: [draft])[0].id


def answers(market: Market, decision: int) -> list[Entry]:
    return [one for one in market.ledger("answered") if one.facts["decision"] == decision]


def test_a_yes_stands_in_the_ledger_with_who_and_why_and_up_to_where_is_trained(market: Market) -> None:
    asked = decide(market, "2024-01")
    decide(market, "2024-02", "hold")
    entry = answer(market.project, market.lake, None, ANN, yes=True)

    assert (entry.kind, entry.action, entry.partition) == ("answered", "yes", "2024-02")
    assert entry.reason == "yes from Ann: rates have changed"
    assert entry.facts == {
        "decision": asked, "asked": "mape has doubled in 2024-01",
        "by": "Ann", "why": "rates have changed", "login": "ann",
    }  # fmt: skip


def test_it_is_answered_once_and_of_many_who_answer_at_once_one_is_heard(market: Market) -> None:
    asked = decide(market, "2024-03")

    def say(number: int) -> str:
        try:
            return answer(market.project, market.lake, asked, ANN, yes=number % 2 == 0).action
        except ActError as error:
            return str(error)

    with ThreadPoolExecutor(6) as people:
        said = list(people.map(say, range(6)))
    (heard,) = [one for one in said if one in {"yes", "no"}]
    assert [one.action for one in answers(market, asked)] == [heard]
    told = f"flats: decision {asked} was answered {heard}: {heard} from Ann: rates have changed; no decision waits"
    assert [one.startswith(told) for one in said].count(True) == 5


def test_what_cannot_be_answered_is_refused_with_what_can(market: Market) -> None:
    held = decide(market, "2024-04", "hold")
    with pytest.raises(ActError, match="flats: no decision waits for an answer"):
        answer(market.project, market.lake, None, ANN, yes=True)
    asked = decide(market, "2024-05")
    with pytest.raises(ActError, match=f"flats: decision {held} asks nothing; decision {asked} waits for an answer"):
        answer(market.project, market.lake, held, ANN, yes=True)
    answer(market.project, market.lake, asked, ANN, yes=False)


def test_what_nobody_answers_expires_and_the_ledger_tells_it_once(market: Market) -> None:
    asked = decide(market, "2024-06")
    decide(market, "2024-07", "hold")
    assert expire(market.project, market.lake) == []
    decide(market, "2024-08", "hold")
    with pytest.raises(ActError, match=f"decision {asked} has expired; no decision waits"):
        answer(market.project, market.lake, asked, ANN, yes=True)

    (told,) = expire(market.project, market.lake, "run")
    assert (told.action, told.reason, told.run_id) == ("expire", "nobody has answered by 2024-08", "run")
    assert expire(market.project, market.lake) == []


def test_in_dagster_the_job_answers(market: Market) -> None:
    asked = decide(market, "2024-09")
    config = {"ops": {f"{NAME}__decide": {"config": {"decision": asked, "yes": False, "by": "Bo", "why": "a fair"}}}}
    with market.settings():
        done = market.defs.resolve_job_def(f"{NAME}_decide").execute_in_process(
            instance=market.instance, run_config=config
        )

    (entry,) = answers(market, asked)
    assert (entry.action, entry.reason, entry.run_id) == ("no", "no from Bo: a fair", done.run_id)


def test_the_commands_tell_what_waits_and_answer_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = open_market(tmp_path)
    monkeypatch.setattr(projects, "load_project", lambda _: market.project)

    def run(*words: str) -> Any:
        shared_lake.cache_clear()
        with market.settings():
            return CliRunner().invoke(cli.app, list(words))

    decide(market, "2024-01", "hold")
    asked = decide(market, "2024-02")
    told = run("decisions", NAME)
    assert told.output.startswith(f"decision {asked} on 2024-02 waits for an answer: mape has doubled in 2024-02")
    done = run("decide", NAME, str(asked), "--yes", "--by", "Ann", "--why", "rates")
    assert f"decision {asked}: yes from Ann: rates; the daemon trains on rows up to 2024-02" in done.output
    found = json.loads(run("decisions", NAME, "--json").output)
    assert [(one["id"], one["state"]) for one in found] == [(asked, "yes"), (asked - 1, "")]
    assert run("decide", NAME, "--yes", "--why", "again").exit_code == 1
    shared_lake.cache_clear()


def test_a_question_expires_when_the_next_partitions_are_decided(tmp_path: Path) -> None:
    from small_market import JUDGING, PREPARING, sales

    market = open_market(tmp_path)
    for number in range(1, 8):
        market.write(f"2024-{number:02}", sales(f"2024-{number:02}"))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain()
    market.materialize(JUDGING, "2024-01", "2024-05")
    asked = decide(market, "2024-05")
    market.refresh("2024-06")
    assert answers(market, asked) == []
    market.refresh("2024-07")
    assert [one.action for one in answers(market, asked)] == ["expire"]


def test_a_project_that_asks_trains_only_once_somebody_has_said_yes(tmp_path: Path) -> None:
    from small_market import JUDGING, PREPARING, sales
    from test_retraining_sensor import Watch, key

    market = open_market(tmp_path, retraining={"ask": True})
    for number in range(1, 7):
        month = f"2024-{number:02}"
        market.write(month, sales(month, level=2 if number == 6 else 1))
    market.materialize(PREPARING, "2024-01", "2024-05")
    market.retrain()
    market.materialize(JUDGING, "2024-01", "2024-05")
    watch = Watch(market)
    market.refresh("2024-06")
    asked = market.decision("2024-06")

    assert (asked.action, asked.standing) == ("ask", "live")
    assert watch.keys() == []
    answer(market.project, market.lake, asked.id, ANN, yes=True)
    (request,) = watch.tick()
    assert (request.run_key, request.tags["ml_assets/through"]) == (key(asked.id), "2024-06")
    market.retrain(through="2024-06", decision=asked.id)
    assert watch.keys() == [], "its verdict stands in the ledger"
