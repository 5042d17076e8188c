from __future__ import annotations

import hashlib
import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_writers import THREADS, TURNS, append_from_threads, draft

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import (
    COLUMNS,
    LEDGER,
    Draft,
    Entry,
    Kind,
    Ledger,
    before_champion,
    champion_at,
    champion_on,
    current_champion,
    seal,
    stages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMIT = Commit("houses", "decision", "run-1")


def all_entries(lake: Lake) -> list[Entry]:
    """The whole ledger, of all projects, in the order of its numbers."""
    with lake.reader() as cursor:
        listed = ", ".join(f'"{name}"' for name in COLUMNS)
        return [Entry(*row) for row in cursor.execute(f"SELECT {listed} FROM {LEDGER.path} ORDER BY id").fetchall()]


def is_intact(entries: Sequence[Entry]) -> bool:
    """What anybody can check without this platform: numbers without gaps, every hash, every link."""
    previous = ""
    for number, entry in enumerate(entries, 1):
        content = {name: value for name, value in asdict(entry).items() if name != "hash"}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        if entry.id != number or entry.previous != previous:
            return False
        if entry.hash != hashlib.sha256(text.encode()).hexdigest():
            return False
        previous = entry.hash
    return True


def append(ledger: Ledger, *drafts: Draft, commit: Commit = COMMIT) -> list[Entry]:
    return ledger.append(commit, lambda _: drafts)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    lake = Lake(tmp_path_factory.mktemp("ledger") / "lake")
    yield lake
    lake.close()


# ---- appending


def test_an_empty_ledger_has_no_entries(lake: Lake) -> None:
    assert Ledger(lake).entries("houses") == []
    assert append(Ledger(lake)) == []
    assert Ledger(lake).entries("houses") == []


def test_an_entry_says_all_that_its_draft_said_and_who_wrote_it_when(lake: Lake) -> None:
    ledger = Ledger(lake)
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    new = Draft("houses", "decision", "it drifts", {"psi": 0.3}, "2024-01", 4, "retrain", "live")
    [entry] = append(ledger, new)
    assert ledger.entries("houses") == [entry]
    assert (entry.id, entry.previous, entry.run_id) == (1, "", "run-1")
    assert {name: getattr(entry, name) for name in asdict(new) if name != "evidence"} == {
        name: value for name, value in asdict(new).items() if name != "evidence"
    }
    assert entry.facts == {"psi": 0.3}
    assert before <= datetime.fromisoformat(entry.at) <= datetime.now(UTC)


def test_entries_are_read_by_project_and_kind_oldest_first(lake: Lake) -> None:
    ledger = Ledger(lake)
    append(ledger, draft("houses", "a"), draft("houses", "b", kind="promoted"))
    append(ledger, draft("rents", "c"), commit=Commit("rents", "decision"))
    append(ledger, draft("houses", "d"))
    assert [entry.reason for entry in ledger.entries("houses")] == ["a", "b", "d"]
    assert [entry.reason for entry in ledger.entries("houses", "decision")] == ["a", "d"]
    assert [entry.reason for entry in ledger.entries("rents")] == ["c"]
    assert [entry.id for entry in all_entries(lake)] == [1, 2, 3, 4]


def test_drafts_are_decided_on_the_projects_entries_so_far(lake: Lake) -> None:
    ledger = Ledger(lake)
    append(ledger, draft("rents", "other"), commit=Commit("rents", "decision"))
    append(ledger, draft("houses", "a"), draft("houses", "b"))
    seen: list[list[str]] = []

    def decide(entries: list[Entry]) -> list[Draft]:
        seen.append([entry.reason for entry in entries])
        return []

    assert ledger.append(COMMIT, decide) == []
    assert seen == [["a", "b"]]
    assert len(all_entries(lake)) == 3


def test_what_drafts_are_decided_on_is_still_true_when_they_are_written(lake: Lake) -> None:
    ledger = Ledger(lake)

    def claim(number: int) -> list[Entry]:
        return ledger.append(COMMIT, lambda entries: [] if entries else [draft("houses", f"claimed by {number}")])

    with ThreadPoolExecutor(6) as pool:
        claimed = [entry for entries in pool.map(claim, range(6)) for entry in entries]
    assert ledger.entries("houses") == claimed
    assert len(claimed) == 1


def test_a_decision_that_fails_leaves_the_ledger_as_it_was(lake: Lake) -> None:
    ledger = Ledger(lake)
    append(ledger, draft("houses"))

    def fail(_: list[Entry]) -> list[Draft]:
        raise RuntimeError("no metrics")

    with pytest.raises(RuntimeError, match="no metrics"):
        ledger.append(COMMIT, fail)
    with pytest.raises(TypeError, match="not JSON serializable"):
        append(ledger, draft("houses", "fine"), draft("houses", evidence={"when": datetime.now(UTC)}))
    assert len(ledger.entries("houses")) == 1
    append(ledger, draft("houses"))
    assert is_intact(all_entries(lake))


def test_numbers_have_no_gaps_and_the_chain_holds_when_threads_and_processes_append_at_once(lake: Lake) -> None:
    context = multiprocessing.get_context("spawn")
    names = ["one", "two"]
    started = [context.Process(target=append_from_threads, args=(lake.folder, name)) for name in names]
    for process in started:
        process.start()
    append_from_threads(lake.folder, "here")
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    entries = all_entries(lake)
    assert is_intact(entries)
    expected = {
        f"{name}/{thread}/{turn}/{part}"
        for name in [*names, "here"]
        for thread in range(THREADS)
        for turn in range(TURNS)
        for part in range(1 + turn % 2)
    }
    assert sorted(entry.reason for entry in entries) == sorted(expected)
    for earlier, later in pairwise(entries):
        if later.reason.endswith("/1"):  # the second of two that were appended together
            assert earlier.reason == later.reason[:-1] + "0"


# ---- the chain


@pytest.fixture
def chain(shared: Lake) -> list[Entry]:
    ledger = Ledger(shared)
    if not ledger.entries("houses"):
        for number in range(3):
            append(ledger, Draft("houses", "decision", "why", {"n": number}, "2024-01", number, "hold", "live"))
        append(ledger, draft("rents"), commit=Commit("rents", "decision"))
    return all_entries(shared)


def test_an_untouched_ledger_verifies_whatever_projects_are_in_it(chain: list[Entry]) -> None:
    assert is_intact(chain)
    assert [seal(asdict(entry)) for entry in chain] == [entry.hash for entry in chain]


@pytest.mark.parametrize("field", COLUMNS)
@pytest.mark.parametrize("number", [0, 1])
def test_any_edited_field_of_any_entry_is_noticed(chain: list[Entry], field: str, number: int) -> None:
    value = getattr(chain[number], field)
    edited = replace(chain[number], **{field: value + 1 if isinstance(value, int) else value + " "})
    assert not is_intact([*chain[:number], edited, *chain[number + 1 :]])
    if field not in {"hash", "id", "previous"}:  # not even when its own hash is made to fit
        forged = replace(edited, hash=seal(asdict(edited)))
        assert not is_intact([*chain[:number], forged, *chain[number + 1 :]])


def test_a_removed_or_moved_entry_is_noticed(chain: list[Entry]) -> None:
    assert not is_intact(chain[1:])
    assert not is_intact([chain[0], *chain[2:]])
    assert not is_intact([chain[1], chain[0], *chain[2:]])
    assert not is_intact([chain[0], replace(chain[2], id=2), replace(chain[1], id=3), *chain[3:]])


def test_an_entry_edited_in_the_lake_is_noticed(lake: Lake) -> None:
    ledger = Ledger(lake)
    append(ledger, draft("houses", "a"), draft("houses", "b"))
    with lake.transaction(COMMIT) as transaction:
        transaction.rows(f"UPDATE {LEDGER.path} SET reason = 'c' WHERE id = 1")
    assert [entry.id for entry in ledger.entries("houses")] == [1, 2]  # whatever order the rows are stored in
    assert not is_intact(all_entries(lake))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | TEXT | st.floats(allow_nan=False)
EVIDENCE = st.dictionaries(TEXT, st.recursive(SCALARS, st.lists, max_leaves=4), max_size=3)


@settings(max_examples=12, deadline=None)
@given(
    st.builds(
        Draft,
        st.just("odd"),
        st.sampled_from(get_args(Kind)),
        TEXT,
        EVIDENCE,
        TEXT,
        st.integers(0, 2**63 - 1),
        TEXT,
        TEXT,
    )
)
def test_odd_texts_and_evidence_come_back_as_they_were_written(shared: Lake, new: Draft) -> None:
    ledger = Ledger(shared)
    [added] = append(ledger, new, commit=Commit("odd", "it's", '"; DROP'))
    entry = ledger.entries("odd")[-1]
    assert entry == added
    assert entry.facts == new.evidence
    for name in ("kind", "reason", "partition", "version", "action", "standing"):
        assert getattr(entry, name) == getattr(new, name)
    assert is_intact(all_entries(shared))


# ---- what follows from the entries

PARTITIONS = [f"2024-{month:02}" for month in range(1, 7)]


def entry_of(kind: str, version: int, partition: str = "") -> Entry:
    blank: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    return Entry(**blank | {"id": 1, "kind": kind, "version": version, "partition": partition})


LIVES = st.lists(
    st.builds(entry_of, st.sampled_from(get_args(Kind)), st.integers(1, 4), st.sampled_from(PARTITIONS)), max_size=10
)


@settings(max_examples=200, deadline=None)
@given(LIVES)
def test_a_partition_is_served_by_the_last_champion_that_had_not_learnt_from_it(entries: list[Entry]) -> None:
    # Each promotion takes over its first partition and all later ones; the first of all also serves what was before.
    serving: dict[str, int] = {}
    for entry in entries:
        if entry.kind == "promoted":
            taken = PARTITIONS if not serving else [key for key in PARTITIONS if key >= entry.partition]
            serving |= dict.fromkeys(taken, entry.version)
    assert {key: champion_at(entries, key) for key in PARTITIONS} == {key: serving.get(key) for key in PARTITIONS}


def test_before_the_first_promotion_there_is_no_champion() -> None:
    assert champion_at([], "2024-01") is None
    assert champion_at([entry_of("registered", 1), entry_of("rejected", 1, "2024-01")], "2024-01") is None


@settings(max_examples=200, deadline=None)
@given(LIVES)
def test_a_stage_is_what_last_happened_to_a_version_and_only_the_last_promoted_is_champion(
    entries: list[Entry],
) -> None:
    # Neither a decision nor rows that re-entered change what a version is.
    names = {"registered": "candidate", "awaiting": "awaiting", "rejected": "rejected", "promoted": "retired"}
    last = {entry.version: (number, entry.kind) for number, entry in enumerate(entries) if entry.kind in names}
    newest_promotion = max((number for number, entry in enumerate(entries) if entry.kind == "promoted"), default=-1)
    expected = {
        version: "champion" if number == newest_promotion else names[kind] for version, (number, kind) in last.items()
    }
    assert stages(entries) == expected
    assert list(stages(entries).values()).count("champion") <= 1


@settings(max_examples=200, deadline=None)
@given(LIVES)
def test_going_back_again_and_again_ends_at_the_first_champion(entries: list[Entry]) -> None:
    gone = list(entries)
    for _ in range(10):
        before = before_champion(gone)
        if before is None:
            break
        assert before != current_champion(gone)
        gone.append(entry_of("promoted", before))
    promoted = [entry.version for entry in entries if entry.kind == "promoted"]
    assert current_champion(gone) == (promoted[0] if promoted else None)


def test_who_was_champion_is_told_by_the_clock() -> None:
    first, second = (
        replace(entry_of("promoted", version), at=f"2024-05-0{day}T12:00:00.000+00:00")
        for version, day in ((1, 2), (2, 4))
    )
    answers = [champion_on([first, second], datetime(2024, 5, day, 12, tzinfo=UTC)) for day in (1, 2, 3, 4, 5)]
    assert answers == [None, 1, 1, 2, 2]


def test_no_project_can_take_the_ledgers_place() -> None:
    assert LEDGER.project.startswith("_")
