"""Keys: what is kept of them, what opens, and what ends them."""

from __future__ import annotations

import hmac
import re
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ml_assets import cli
from ml_assets.serving.access import keys, record
from ml_assets.serving.access.caller import SCOPES, Caller
from ml_assets.serving.access.keys import AccessError, find_key, list_keys, make_key, parse_end, revoke_key
from ml_assets.serving.access.store import Store, home_store

if TYPE_CHECKING:
    from pathlib import Path

    from ml_assets.serving.access.keys import Key

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "access.sqlite")


def find(store: Store, token: str, now: float | None = None) -> Key | None:
    with store.reading() as database:
        assert database is not None
        return find_key(database, token, time.time() if now is None else now)


def make(store: Store, *, expires: float | None = None, name: str = "Ann") -> tuple[Key, str]:
    return make_key(store, name, projects=["houses"], scopes=["look", "predict"], expires=expires)


def test_a_key_is_found_by_its_text_alone(store: Store) -> None:
    key, token = make(store)
    assert re.fullmatch(r"mla_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", token)
    assert find(store, token) == key
    for wrong in ("", token[:-1], f"{token}x", f" {token}", token.upper(), f"mla_{'0' * 8}_{token[13:]}", "mla__", "é"):
        assert find(store, wrong) is None


def test_nothing_that_is_kept_holds_the_secret(store: Store) -> None:
    _, token = make(store)
    secret = token[13:].encode()
    for file in store.file.parent.iterdir():
        assert secret not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_a_key_ends_when_it_expires_and_when_it_is_revoked(store: Store) -> None:
    end = time.time() + 100
    key, token = make(store, expires=end)
    assert find(store, token, end - 1)
    assert find(store, token, end) is None
    revoke_key(store, key.id)
    assert find(store, token, end - 1) is None
    assert list_keys(store)[0].revoked is not None
    with pytest.raises(AccessError, match="was revoked already"):
        revoke_key(store, key.id)
    with pytest.raises(AccessError, match=r"there is no key 'nope'. Remedy: `ml-assets keys list`"):
        revoke_key(store, "nope")


@pytest.mark.parametrize("shown", ["wrong secret", "unknown id", "right"])
def test_every_key_is_compared_once_and_in_constant_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    _, right = make(store)
    others = {"wrong secret": right[:13] + "A" * 43, "unknown id": f"mla_{'0' * 8}_{right[13:]}"}
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: str, two: str) -> bool:
        compared.append((len(one), len(two)))
        return real(one, two)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    assert (find(store, others.get(shown, right)) is not None) == (shown == "right")
    assert compared == [(64, 64)]


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ({"look"}, {"look"}),
        ({"predict"}, {"predict"}),
        ({"decide"}, {"look", "decide"}),
        ({"look", "predict", "decide"}, {"look", "predict", "decide"}),
        (set(), set()),
    ],
)
def test_who_decides_may_look_and_who_predicts_need_not(scopes: set[str], may: set[str]) -> None:
    caller = Caller("Ann", "k", frozenset(scopes), frozenset({"houses"}))  # type: ignore[arg-type]
    assert {scope for scope in SCOPES if caller.may(scope, "houses")} == may
    assert {scope for scope in SCOPES if caller.may(scope)} == may
    assert not any(caller.may(scope, "boats") for scope in SCOPES)
    assert not any(caller.may_everywhere(scope) for scope in SCOPES)


@given(
    scopes=st.sets(st.sampled_from(SCOPES)),
    projects=st.none() | st.sets(st.sampled_from(["a", "b", "c"])),
    project=st.sampled_from(["a", "b", "c", "d"]),
)
def test_nobody_may_in_a_project_what_they_may_nowhere(
    scopes: set[str], projects: set[str] | None, project: str
) -> None:
    caller = Caller("Ann", "k", frozenset(scopes), None if projects is None else frozenset(projects))  # type: ignore[arg-type]
    for scope in SCOPES:
        if caller.may_everywhere(scope):
            assert caller.may(scope, project)
        if caller.may(scope, project):
            assert caller.may(scope)
            assert projects is None or project in projects


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("30m", NOW + timedelta(minutes=30)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T10:00+05:00", datetime(2027, 1, 31, 5, tzinfo=UTC)),
    ],
)
def test_ends_are_written_as_people_write_them(text: str, end: datetime) -> None:
    assert parse_end(text, NOW) == end.timestamp()
    assert parse_end("never", NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "0d",
        "0m",
        "90",
        "30M",
        "30min",
        "1h30m",
        "2020-01-01",
        "99999d",
        "-3d",
        "2027-13-01",
        "2027-01-01T00:00+02:00x",
    ],
)
def test_an_end_that_is_none_or_over_is_refused(text: str) -> None:
    with pytest.raises(AccessError, match=rf"--expires {re.escape(text)}: .*30m, 12h, 90d.*never"):
        parse_end(text, NOW)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "  "}, "names nobody"),
        ({"name": "x\x1b[31m"}, "names nobody"),
        ({"name": "x" * 81}, "names nobody"),
        ({"projects": []}, "opens nothing. Remedy: --project"),
        ({"scopes": []}, "opens nothing"),
        ({"scopes": ["own"]}, "there is no scope 'own'. Remedy: one of look, predict, decide"),
    ],
)
def test_a_key_that_says_nothing_is_not_made(store: Store, changes: dict[str, list[str]], said: str) -> None:
    options = {"name": "Ann", "projects": ["houses"], "scopes": ["look"], **changes}
    with pytest.raises(AccessError, match=said):
        make_key(store, str(options.pop("name")), **options, expires=None)  # type: ignore[arg-type]
    assert not store.file.exists()


def test_making_and_revoking_stand_in_the_record_and_edits_of_it_show(store: Store) -> None:
    key, token = make(store)
    revoke_key(store, key.id)
    entries = record.read(store)
    assert [(one.what, one.key) for one in entries] == [("key made", key.id), ("key revoked", key.id)]
    assert token[13:] not in repr(entries)
    assert record.verify(entries) == []
    with closing(sqlite3.connect(store.file)) as database:
        for change in ("UPDATE record SET who = 'Eve'", "DELETE FROM record"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(change)
        database.executescript("DROP TRIGGER no_update; UPDATE record SET detail = '' WHERE id = 1")
    assert record.verify(record.read(store))[0].startswith("entry 1 (key made, ")
    assert record.verify(entries[1:])[0].startswith("entry 2 stands where entry 1 should")


def test_two_who_make_the_first_key_at_once_both_have_one(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: make(store, name=f"Ann {number}")[1], range(8)))
    assert all(find(store, token) for token in made)
    assert record.verify(record.read(store)) == []
    assert [
        one.name for one in store.file.parent.iterdir() if one.suffix not in {".sqlite", ".sqlite-wal", ".sqlite-shm"}
    ] == []


def test_the_commands_make_list_revoke_and_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    monkeypatch.setattr("ml_assets.projects.load_projects", lambda: {"house_prices": None})
    run = CliRunner().invoke
    made = run(cli.app, ["keys", "add", "Ann", "--project", "house_prices", "--scope", "look", "--expires", "1d"])
    token = made.stdout.strip()
    assert find(home_store(), token)
    assert "it is shown this once" in made.stderr

    listed = run(cli.app, ["keys", "list"]).stdout
    assert re.search(rf"^{token[4:12]}  until .* UTC  Ann: look in house_prices; never used$", listed, re.MULTILINE)
    assert token[13:] not in listed

    assert "opens nothing any more" in run(cli.app, ["keys", "revoke", token[4:12]]).stdout
    assert "revoked 20" in run(cli.app, ["keys", "list"]).stdout
    told = run(cli.app, ["keys", "log"]).stdout
    assert "key made" in told
    assert "2 entries: all as it was written" in told

    slip = run(cli.app, ["keys", "add", "Ann", "--project", "house_price", "--scope", "look"])
    assert str(slip.exception).startswith("there is no project 'house_price'. Remedy: one of ")
