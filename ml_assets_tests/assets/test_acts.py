"""Approving, declining, promoting and going back: who may serve, from when, and what the record says of it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest
from small_market import FEATURES, JUDGING, NAME, PREPARING, Market, open_market, sales
from typer.testing import CliRunner

from ml_assets import cli, projects
from ml_assets.assets import promotion
from ml_assets.assets.acts import ActError, Person, approve, decline, promote, roll_back
from ml_assets.lake.connection import Commit
from ml_assets.lake.resource import shared_lake
from ml_assets.lives import parse_moment, show_version
from ml_assets.registry.audit import verify
from ml_assets.registry.ledger import LEDGER, champion_at, current_champion, stages
from ml_assets.registry.models import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Version

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-06")
ANNA = Person("Anna", "looked at the slices", "anna")


def doubled(folder: Path, **changes: Any) -> Market:
    """Six months whose prices double in March: what learns from March on is better than what learnt before."""
    market = open_market(folder, **changes)
    for month in MONTHS:
        market.write(month, sales(month, level=2 if month > "2024-02" else 1))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    return market


def act(market: Market, do: Callable[..., Entry], *arguments: Any, **options: Any) -> Entry:
    with market.settings():
        return do(market.project, market.lake, *arguments, **options)


# ------------------------------------------------------------------------------------------ approval is required


@pytest.fixture(scope="module")
def waited(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Version 1 serves by approval; version 2, better by far, waits. Tests only read it."""
    market = doubled(tmp_path_factory.mktemp("waited"), promotion={"approval": "required"})
    market.retrain(through="2024-02")
    act(market, approve, 1, ANNA)
    market.retrain(through="2024-04")
    return market


@pytest.fixture
def careful(waited: Market, tmp_path: Path) -> Market:
    """The same, to act upon."""
    shutil.copytree(waited.folder / "home", tmp_path / "home")
    return open_market(tmp_path, promotion={"approval": "required"})


def test_a_version_that_passes_waits_and_the_champion_serves_on(waited: Market) -> None:
    assert stages(waited.ledger()) == {1: "champion", 2: "awaiting"}
    metadata = waited.metadata("champion")
    assert (metadata["verdict"], metadata["champion"]) == ("awaiting", 1)
    assert metadata["to_do"].startswith("ml-assets approve flats@2 --why WHY")
    (first, second) = waited.ledger("awaiting")
    assert (first.partition, second.partition) == ("", "")
    assert (first.facts["against"], second.facts["against"]) == (0, 1)


def test_an_approval_promotes_with_who_why_and_the_comparison_it_rests_on(careful: Market) -> None:
    entry = act(careful, approve, 2, ANNA)

    assert (entry.kind, entry.version, entry.action, entry.partition) == ("promoted", 2, "approve", "2024-05")
    assert {name: entry.facts[name] for name in ("by", "why", "login")} == {
        "by": "Anna", "why": "looked at the slices", "login": "anna",
    }  # fmt: skip
    assert entry.facts["comparison"] == careful.ledger("awaiting")[1].facts["comparison"]
    assert entry.facts["trained_by"] == "somebody in Dagster's UI"
    assert entry.reason.startswith("approved by Anna: looked at the slices; MAPE ")
    assert stages(careful.ledger()) == {1: "retired", 2: "champion"}
    with pytest.raises(ActError, match=r"flats: version 2 is champion; no version waits for approval"):
        act(careful, approve, 2, ANNA)


def stage_on_card(market: Market, number: int) -> str:
    text = market.registry.path(market.registry.version(NAME, number), "card.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| Stage |")]
    return line.split("|")[2].strip()


def test_the_card_of_whatever_version_changes_its_stage_says_so(careful: Market) -> None:
    careful.retrain(through="2024-05")
    assert [stage_on_card(careful, number) for number in (1, 2, 3)] == ["champion", "rejected", "awaiting"]

    act(careful, approve, 3, ANNA)
    assert [stage_on_card(careful, number) for number in (1, 3)] == ["retired", "champion"]
    act(careful, roll_back, 1, ANNA)
    assert [stage_on_card(careful, number) for number in (1, 3)] == ["champion", "retired"]


def test_a_version_whose_folder_is_lost_does_not_hold_up_the_one_that_takes_over(careful: Market) -> None:
    shutil.rmtree(careful.registry.path(careful.registry.version(NAME, 1), ""))
    entry = act(careful, approve, 2, ANNA)

    assert (entry.kind, stage_on_card(careful, 2)) == ("promoted", "champion")


def test_a_version_that_is_declined_is_rejected_and_the_champion_stays(careful: Market) -> None:
    entry = act(careful, decline, None, ANNA)

    assert (entry.kind, entry.version, entry.action) == ("rejected", 2, "decline")
    assert entry.reason == "declined by Anna: looked at the slices"
    assert stages(careful.ledger()) == {1: "champion", 2: "rejected"}
    with pytest.raises(ActError, match="no version waits"):
        act(careful, decline, None, ANNA)


def test_a_newer_version_takes_the_place_of_one_that_waits(careful: Market) -> None:
    careful.retrain(through="2024-05")

    assert stages(careful.ledger()) == {1: "champion", 2: "rejected", 3: "awaiting"}
    superseded = careful.ledger("rejected")[-1]
    assert (superseded.version, superseded.action) == (2, "supersede")
    assert superseded.reason == "version 3 has passed since and takes its place"
    with pytest.raises(ActError, match="version 2 is rejected; version 3 waits for approval"):
        act(careful, approve, 2, ANNA)


def test_a_stale_verdict_is_made_again_against_the_champion_of_now(careful: Market) -> None:
    careful.retrain(through="2024-05")
    act(careful, promote, 2, ANNA)
    entry = act(careful, approve, 3, ANNA)

    # Version 3 was far better than version 1; than version 2 it is not.
    assert (entry.kind, entry.version, entry.action) == ("rejected", 3, "approve")
    assert "judged again, since version 2 serves by now: not better by more than noise" in entry.reason
    assert entry.facts["against"] == 2
    assert stages(careful.ledger()) == {1: "retired", 2: "champion", 3: "rejected"}


def test_an_approval_during_which_another_takes_over_is_made_again(
    careful: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    careful.retrain(through="2024-05")
    act(careful, promote, 2, ANNA)
    act(careful, roll_back, 1, ANNA)
    act(careful, promote_again := roll_back, 2, ANNA)
    real, seen = promotion.judge, []

    def judged(project: Project, lake: Lake, version: Version, champion: int | None) -> Any:
        draft = real(project, lake, version, champion)
        seen.append(champion)
        if len(seen) == 1:  # while it was judged, somebody went back
            promote_again(project, lake, 1, ANNA)
        return draft

    monkeypatch.setattr("ml_assets.assets.acts.judge", judged)
    entry = act(careful, approve, 3, ANNA)

    # The second look was at version 1, which version 3 has been held against when it was made.
    assert (seen, entry.kind, entry.facts["against"]) == ([2], "promoted", 1)
    assert list(stages(careful.ledger()).values()).count("champion") == 1


def test_in_dagster_the_job_approves_with_who_and_why_in_its_config(careful: Market) -> None:
    config = {"version": 2, "by": "Berta", "why": "as agreed"}
    with careful.settings():
        done = careful.defs.resolve_job_def(f"{NAME}_approve").execute_in_process(
            instance=careful.instance, run_config={"ops": {f"{NAME}__approve": {"config": config}}}
        )
    entry = careful.ledger("promoted")[-1]

    assert (entry.version, entry.facts["by"], entry.facts["why"], entry.run_id) == (
        2,
        "Berta",
        "as agreed",
        done.run_id,
    )


def test_in_dagster_the_job_refuses_an_approval_by_nobody(careful: Market) -> None:
    config = {"version": 2, "by": " ", "why": "as agreed"}
    with careful.settings(), pytest.raises(ActError, match=r"by is empty: say who acts\. Remedy: ops: flats__approve"):
        careful.defs.resolve_job_def(f"{NAME}_approve").execute_in_process(
            instance=careful.instance, run_config={"ops": {f"{NAME}__approve": {"config": config}}}
        )

    assert stages(careful.ledger()) == {1: "champion", 2: "awaiting"}


def test_in_dagster_the_job_declines_too(careful: Market) -> None:
    config = {"version": 2, "by": "Berta", "why": "not before the audit", "decline": True}
    with careful.settings():
        careful.defs.resolve_job_def(f"{NAME}_approve").execute_in_process(
            instance=careful.instance, run_config={"ops": {f"{NAME}__approve": {"config": config}}}
        )

    assert stages(careful.ledger()) == {1: "champion", 2: "rejected"}


# ------------------------------------------------------------------------------------------ promoting and going back


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Version 2 took over from version 1 in May; version 3 is no better and was rejected."""
    market = doubled(tmp_path_factory.mktemp("taken"))
    market.retrain(through="2024-02")
    market.retrain(through="2024-04")
    market.retrain(through="2024-05")
    assert stages(market.ledger()) == {1: "retired", 2: "champion", 3: "rejected"}
    return market


@pytest.mark.parametrize(
    ("by", "why", "message"), [("Anna", " ", "reason is empty"), (" ", "so", "nobody is logged in")]
)
def test_an_act_has_a_name_and_a_reason(by: str, why: str, message: str) -> None:
    with pytest.raises(ActError, match=message):
        Person(by, why, "")


def test_the_name_is_the_logins_where_none_is_given() -> None:
    assert Person("", "so", "anna").evidence == {"by": "anna", "why": "so", "login": "anna"}
    assert Person("", "so").by == Person("x", "so").login


def test_acts_that_mean_nothing_are_refused_and_change_nothing(taken: Market) -> None:
    before = taken.ledger()
    for do, number, message in (
        (promote, 2, "version 2 already serves"),
        (promote, 1, "version 1 has served. Remedy: ml-assets models rollback flats@1"),
        (roll_back, 2, "version 2 is champion: only one that has served can serve again: 1"),
        (roll_back, 3, "version 3 is rejected: only one that has served"),
        (approve, 3, "version 3 is rejected; no version waits for approval"),
        (decline, None, "no version waits for approval"),
    ):
        with pytest.raises(ActError, match=message):
            act(taken, do, number, ANNA)  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match="flats has no version 9"):
        act(taken, roll_back, 9, ANNA)
    assert taken.ledger() == before


def test_a_version_whose_files_were_changed_never_takes_over(taken: Market) -> None:
    folder = taken.registry.folder / NAME / "1"
    record = (folder / "version.json").read_text()
    (folder / "version.json").write_text(record.replace('"seed": 7', '"seed": 8'))
    with pytest.raises(RegistryError, match=r"version 1: its version.json is not the one that the ledger names"):
        act(taken, roll_back, 1, ANNA)
    (folder / "version.json").write_text(record)
    model = (folder / "model.skops").read_bytes()
    (folder / "model.skops").write_bytes(model + b" ")
    with pytest.raises(RegistryError, match="it was changed"):
        act(taken, roll_back, 1, ANNA)
    (folder / "model.skops").write_bytes(model)
    assert current_champion(taken.ledger()) == 2


def test_a_champion_whose_record_was_exchanged_is_no_measure_for_a_challenger(careful: Market) -> None:
    record = careful.registry.folder / NAME / "1" / "version.json"
    record.write_text(record.read_text().replace('"seed": 7', '"seed": 8'))
    challenger = careful.registry.version(NAME, 2)
    with careful.settings(), pytest.raises(RegistryError, match=r"version 1: its version.json is not the one"):
        promotion.judge(careful.project, careful.lake, challenger, 1)


def test_a_version_whose_features_are_no_longer_made_never_takes_over(taken: Market, tmp_path: Path) -> None:
    shutil.copytree(taken.folder / "home", tmp_path / "home")
    market = open_market(tmp_path, features=FEATURES.replace("area, ", ""))
    with pytest.raises(ActError, match=r"version 1 needs the feature 'area', which features.sql no longer returns"):
        act(market, roll_back, 1, ANNA)


def test_going_back_reinstates_the_one_before_and_takes_nothing_from_what_was_decided(tmp_path: Path) -> None:
    market = doubled(tmp_path)
    market.retrain(through="2024-02")
    market.materialize(JUDGING, "2024-01", "2024-03")
    market.retrain(through="2024-04")
    market.materialize(JUDGING, "2024-04", "2024-05")
    served = {month: champion_at(market.ledger(), month) for month in MONTHS[:5]}
    entry = act(market, roll_back, None, ANNA)

    assert (entry.kind, entry.version, entry.action, entry.partition) == ("promoted", 1, "rollback", "2024-06")
    assert entry.reason == "back from version 2 by Anna: looked at the slices"
    assert stages(market.ledger()) == {1: "champion", 2: "retired"}
    assert {month: champion_at(market.ledger(), month) for month in MONTHS[:5]} == served
    market.refresh("2024-06")
    assert set(market.table("predictions", "2024-06")["version"]) == {1}
    with pytest.raises(ActError, match="no version has served before the champion"):
        act(market, roll_back, None, ANNA)


def test_going_back_before_anything_was_decided_leaves_earlier_partitions_with_theirs(taken: Market) -> None:
    act(taken, promote, 3, Person("Anna", "for the season", "anna"))
    act(taken, roll_back, None, ANNA)
    act(taken, roll_back, None, ANNA)

    entries = taken.ledger()
    assert [entry.version for entry in taken.ledger("promoted")] == [1, 2, 3, 2, 1]
    # Version 2 kept May, though version 1, which serves again, has learnt from nothing newer than January.
    assert [champion_at(entries, month) for month in ("2024-03", "2024-05", "2024-06")] == [1, 2, 1]
    assert stages(entries) == {1: "champion", 2: "retired", 3: "retired"}


def test_a_challenger_is_judged_against_the_champion_of_then_though_somebody_went_back_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = doubled(tmp_path)
    market.retrain(through="2024-02")
    market.retrain(through="2024-04")
    real, seen = promotion.judge, []

    def judged(project: Project, lake: Lake, version: Version, champion: int | None) -> Any:
        draft = real(project, lake, version, champion)
        seen.append((champion, draft.kind))
        if len(seen) == 1:
            roll_back(project, lake, 1, ANNA)
        return draft

    monkeypatch.setattr(promotion, "judge", judged)
    market.retrain(through="2024-05")

    # No better than version 2, which served when it was judged; far better than version 1, which serves by then.
    assert seen == [(2, "rejected"), (1, "promoted")]
    assert stages(market.ledger()) == {1: "retired", 2: "retired", 3: "champion"}
    assert market.ledger("promoted")[-1].facts["against"] == 1


def test_a_version_whose_training_was_killed_before_the_ledger_heard_of_it_is_registered_with_its_verdict(
    waited: Market, tmp_path: Path
) -> None:
    shutil.copytree(waited.folder / "home", tmp_path / "home")
    market = open_market(tmp_path)
    folder = market.registry.folder / NAME
    shutil.copytree(folder / "2", folder / "3")
    record = folder / "3" / "version.json"
    record.write_text(record.read_text().replace('"number": 2', '"number": 3').replace('"run_id": "', '"run_id": "x'))
    market.rerun("evaluation", "champion")

    assert stages(market.ledger())[3] == "champion"
    assert [entry.kind for entry in market.ledger() if entry.version == 3] == ["registered", "promoted"]
    assert market.ledger("registered")[-1].facts["by"] == "nobody knows: its training was killed"
    assert verify(market.lake, market.registry).findings == ()


# ------------------------------------------------------------------------------------------ limits


def test_a_version_that_is_too_slow_or_too_large_is_rejected_with_what_it_measured(tmp_path: Path) -> None:
    limits = {"latency_ms": 1e-6, "bulk_ms": 1e-6, "size_mb": 1e-6}
    market = doubled(tmp_path, promotion=limits)
    market.retrain(through="2024-02")
    (entry,) = market.ledger("rejected")
    costs = entry.facts["costs"]

    assert costs.keys() == limits.keys()
    assert 0 < costs["latency_ms"] < 5000
    assert costs["size_mb"] == (market.registry.folder / NAME / "1" / "model.skops").stat().st_size / 1e6
    assert [gate["metric"] for gate in entry.facts["gates"] if not gate["passed"]] == list(limits)
    assert "gate latency_ms <= 1e-06: it reached" in entry.reason
    card = market.registry.path(market.registry.version(NAME, 1), "card.md").read_text()
    assert f"| size_mb \\<= 1e-06 | {costs['size_mb']:,.4g} | not passed |" in card
    assert "| mape \\<= 0.2 | " in card
    shown = show_version(market.project, market.registry, market.ledger(), 1)
    assert shown["gates"] == entry.facts["gates"]


def test_a_challenger_on_fewer_rows_than_show_something_does_not_take_over(tmp_path: Path) -> None:
    market = doubled(tmp_path, promotion={"minimum_rows": 61})
    market.retrain(through="2024-02")
    market.retrain(through="2024-04")
    (entry,) = market.ledger("rejected")

    assert entry.reason.startswith("fewer than 61 rows show nothing: MAPE ")
    assert entry.facts["comparison"]["better"]


# ------------------------------------------------------------------------------------------ the commands


@pytest.fixture
def command(careful: Market, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setattr(projects, "load_project", lambda _: careful.project)
    shared_lake.cache_clear()

    def run(*words: str) -> Any:
        with careful.settings():
            return CliRunner().invoke(cli.app, list(words), catch_exceptions=True)

    yield run
    shared_lake.cache_clear()


def test_the_commands_tell_the_versions_and_act_on_them(careful: Market, command: Callable[..., Any]) -> None:
    listed = command("models", "list", NAME)
    assert "flats: 2 versions" in listed.output
    assert "awaiting" in listed.output
    assert [one["stage"] for one in json.loads(command("models", "list", NAME, "--json").output)] == [
        "champion", "awaiting",
    ]  # fmt: skip
    refused = command("approve", f"{NAME}@2")
    assert refused.exit_code == 2
    assert "--why" in refused.output
    done = command("approve", f"{NAME}@2", "--by", "Anna [red]", "--why", "looked at it")
    assert (done.exit_code, careful.ledger()[-1].facts["by"]) == (0, "Anna [red]")
    assert "flats version 2 promoted, serves from 2024-05: approved by Anna [red]: looked at it" in done.output
    shown = command("models", "show", NAME)
    assert "flats version 2: champion" in shown.output
    assert shown.output.index("mape <= 0.2") < shown.output.index("training_set.snapshot"), (
        "what it is worth comes first"
    )
    assert "\N{REPLACEMENT CHARACTER}" not in shown.output
    assert "{'" not in shown.output
    assert "lines, SHA-256" in shown.output
    assert "-- one row out for every row in" not in shown.output
    assert "-- one row out for every row in" in command("models", "show", NAME, "--full").output
    assert "Anna [red]" in shown.output
    life = json.loads(command("models", "show", f"{NAME}@2", "--json").output)["life"]
    assert [one["kind"] for one in life] == ["registered", "awaiting", "promoted"]
    differs = json.loads(command("models", "diff", f"{NAME}@2", "--json").output)
    assert differs["training_set.train"] == [["2024-01"], ["2024-03"]]
    assert "estimator" not in differs
    assert "training_set.train" in command("models", "diff", f"{NAME}@2", "1").output
    back = command("models", "rollback", NAME, "--why", "complaints")
    assert "flats version 1 promoted, serves from 2024-05: back from version 2" in back.output
    assert "already serves" in str(command("models", "promote", f"{NAME}@1", "--why", "again").exception)
    audited = command("audit", "verify")
    assert (audited.exit_code, "all as it was written" in audited.output) == (0, True)
    with careful.lake.transaction(Commit(NAME, "test")) as transaction:
        transaction.cursor.execute(f"UPDATE {LEDGER.path} SET reason = 'all was well' WHERE id = 2")
    audited = command("audit", "verify", "--json")
    assert (audited.exit_code, len(json.loads(audited.output)["findings"])) == (1, 1)
    assert "name the version" in str(command("models", "promote", NAME, "--why", "again").exception)
    assert "number of a version after @" in str(command("models", "show", f"{NAME}@x").exception)


def test_the_list_of_versions_is_read_at_80_columns(
    careful: Market, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("models", "list", NAME).output.splitlines()
    assert max(map(len, lines)) <= 80
    # What belongs together stands in one line: windows, moments, and of a reason more than a word.
    assert [line.split() for line in lines if "learnt from 2" in line] == [
        ["1", "champion", ANY, "learnt", "from", "2024-01", "…", "2024-01"],
        ["2", "awaiting", ANY, "learnt", "from", "2024-03", "…", "2024-03"],
    ]
    made = [line.strip() for line in lines if "made " in line]
    trained = careful.ledger("registered")
    assert [line.startswith(f"made {one.at[:10]} ") for line, one in zip(made, trained, strict=True)] == [True, True]
    *_, awaits = careful.ledger("awaiting")
    assert any(awaits.reason[:30] in line for line in lines)


def test_a_version_whose_folder_is_lost_or_broken_is_listed_so_beside_the_others(
    careful: Market, command: Callable[..., Any]
) -> None:
    careful.retrain(through="2024-05")
    careful.registry.path(careful.registry.version(NAME, 1), "model.skops").unlink()
    careful.registry.path(careful.registry.version(NAME, 2), "version.json").write_text("{")
    first, second, third = json.loads(command("models", "list", NAME, "--json").output)

    assert (first["stage"], second["stage"], third["stage"]) == ("champion", "rejected", "awaiting")
    assert "the model file is missing. Remedy: " in first["broken"]
    assert "flats version 2: its version.json cannot be read" in second["broken"]
    assert (second["size_mb"], third["broken"]) == (None, None)
    assert third["error"] < 0.1
    listed = command("models", "list", NAME)
    assert (listed.exit_code, listed.output.count("BROKEN")) == (0, 2)


def test_a_day_is_a_whole_day_however_it_is_written() -> None:
    for text in ("2024-05-03", "20240503", "2024-W18-5"):
        start, end = parse_moment(text)
        assert (start.isoformat(), (end - start).days) == ("2024-05-03T00:00:00+00:00", 1)
    start, end = parse_moment("2024-05-03T14:30")
    assert start == end


def test_what_served_is_told_for_the_days_own_rows_and_by_the_clock(
    careful: Market, command: Callable[..., Any]
) -> None:
    act(careful, approve, 2, ANNA)
    careful.materialize(JUDGING, MONTHS[0], MONTHS[-1])
    told = json.loads(command("models", "served", NAME, "--on", "2024-05-03", "--json").output)
    assert told["by_partition"] == [{"partition": "2024-05", "champion": 2, "scored_by": [2]}]
    assert [(one["champion"], one["why"]) for one in told["by_clock"]] == [(None, "no version had been promoted")]
    today = careful.ledger()[-1].at[:10]
    told = json.loads(command("models", "served", NAME, "--on", today, "--json").output)
    assert [one["champion"] for one in told["by_clock"]] == [None, 1, 2]
    assert "2024-05" in command("models", "served", NAME, "--on", "2024-05-03T14:30").output
    assert "expected a day or a moment" in str(command("models", "served", NAME, "--on", "May").exception)
