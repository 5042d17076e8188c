"""Tampering with the real tables and files: whatever is changed, removed, added or cut off is found, and named."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.audit import Audit, verify, verify_newest
from ml_assets.registry.ledger import COLUMNS, LEDGER, Draft, Entry, Ledger, heads_file, read_all, seal
from ml_assets.registry.models import Registry, TrainingSet, Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sklearn.pipeline import Pipeline

COMMIT = Commit("houses", "test", "run")


def register(registry: Registry, model: Pipeline) -> Version:
    chosen = TrainingSet(1, ("2024-01",), ("2024-02",), 60, "hash", "run", 0, "2024-02")
    fields: dict[str, Any] = {
        "project": "houses", "created_at": "2024-03-01T00:00:00.000+00:00", "run_id": "run", "parent": 0,
        "estimator": "sklearn.linear_model.Ridge", "parameters": {}, "seed": 0,
        "features": {"town": "category", "area": "number"}, "target": "price", "training_set": chosen,
        "hashes": {}, "packages": {},
    }  # fmt: skip
    return registry.register(model, fields)


def registered(registry: Registry, version: Version) -> Draft:
    facts = {"artefact": version.artefact, "record": registry.record_hash("houses", version.number)}
    return Draft("houses", "registered", "trained", facts, version=version.number)


def fill(lake: Lake, registry: Registry, model: Pipeline) -> None:
    """Two versions, of which the second serves, and decisions of two projects in between."""
    ledger = Ledger(lake)
    for _ in range(2):
        version = register(registry, model)
        ledger.append(COMMIT, lambda _, version=version: [registered(registry, version)])
        drafts = [
            Draft("houses", "promoted", "better", {"by": "Anna"}, "2024-03", version.number),
            Draft("houses", "decision", "within", {"error": 0.1}, "2024-03", version.number, "hold", "live"),
        ]
        ledger.append(COMMIT, lambda _, drafts=drafts: drafts)
        ledger.append(Commit("rents", "test"), lambda _: [Draft("rents", "decision", "none", {}, "2024-03")])


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, model: Pipeline) -> Path:
    home = tmp_path_factory.mktemp("audited")
    lake = Lake(home / "lake")
    fill(lake, Registry(home / "registry"), model)
    lake.close()
    return home


@pytest.fixture
def home(written: Path, tmp_path: Path) -> Iterator[tuple[Lake, Registry]]:
    """A copy to tamper with."""
    shutil.copytree(written, tmp_path / "home")
    lake = Lake(tmp_path / "home" / "lake")
    yield lake, Registry(tmp_path / "home" / "registry")
    lake.close()


def entries_of(lake: Lake) -> list[Entry]:
    with lake.reader() as cursor:
        return read_all(cursor)


def tamper(lake: Lake, sql: str, parameters: Sequence[Any] = ()) -> None:
    """As somebody would who has the catalogue and DuckDB."""
    with lake.transaction(COMMIT) as transaction:
        transaction.cursor.execute(sql, parameters)


def rewrite(lake: Lake, entries: Sequence[Entry]) -> None:
    """The whole table anew."""
    with lake.transaction(COMMIT) as transaction:
        transaction.cursor.execute(f"DELETE FROM {LEDGER.path}")
        marks = ", ".join("?" for _ in COLUMNS)
        rows = [[getattr(entry, name) for name in COLUMNS] for entry in entries]
        transaction.cursor.executemany(f"INSERT INTO {LEDGER.path} VALUES ({marks})", rows)


def resealed(entries: Sequence[Entry]) -> list[Entry]:
    """The same contents with numbers and hashes that fit: what a careful forger writes."""
    found: list[Entry] = []
    for number, entry in enumerate(entries, 1):
        linked = replace(entry, id=number, previous=found[-1].hash if found else "")
        found.append(replace(linked, hash=seal(asdict(linked))))
    return found


def test_what_was_written_is_found_as_it_was_written(home: tuple[Lake, Registry]) -> None:
    entries = entries_of(home[0])

    assert verify(*home) == Audit(8, 2, f"8:{entries[-1].hash}", ())
    assert verify(*home, head=f"3:{entries[2].hash}").findings == ()


def test_an_empty_home_has_nothing_to_find(lake: Lake, registry: Registry) -> None:
    assert verify(lake, registry) == Audit(0, 0, "", ())


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "id"])
def test_an_edited_value_is_found_and_its_entry_named(home: tuple[Lake, Registry], column: str) -> None:
    value = "version + 1" if column == "version" else f"\"{column}\" || 'x'"
    tamper(home[0], f'UPDATE {LEDGER.path} SET "{column}" = {value} WHERE id = 2')

    assert any(finding.startswith("entry 2 (") for finding in verify(*home).findings)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (f"DELETE FROM {LEDGER.path} WHERE id = 3", "entry 4 stands where entry 3 should"),
        (f"DELETE FROM {LEDGER.path} WHERE id = 1", "entry 2 stands where entry 1 should"),
        (f"DELETE FROM {LEDGER.path} WHERE id > 6", "entry 8 is gone: the ledger ends at entry 6"),
        (f"DELETE FROM {LEDGER.path}", "entry 8 is gone: the ledger ends at entry 0"),
        (f"DROP TABLE {LEDGER.path}", "entry 8 is gone"),
        (f"INSERT INTO {LEDGER.path} FROM {LEDGER.path} WHERE id = 5", "entry 5 stands where entry 6 should"),
        (f"UPDATE {LEDGER.path} SET id = 11 - id WHERE id IN (5, 6)", "entry 5 ("),
        (f"UPDATE {LEDGER.path} SET id = id + 1 WHERE id > 4", "entry 6 stands where entry 5 should"),
    ],
)
def test_a_removal_an_insertion_and_another_order_are_found(
    home: tuple[Lake, Registry], sql: str, message: str
) -> None:
    tamper(home[0], sql)

    assert any(message in finding for finding in verify(*home).findings)


def test_an_entry_added_with_a_hash_that_fits_is_no_edit_of_the_chain_and_says_so(home: tuple[Lake, Registry]) -> None:
    """Whoever can append as the platform does can append: the chain is of what was written, not of who may write."""
    entries = entries_of(home[0])
    rewrite(home[0], resealed([*entries, replace(entries[-1], reason="forged")]))

    assert verify(*home).findings == ()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_history_written_anew_with_fitting_hashes_is_found_by_its_heads(
    home: tuple[Lake, Registry], data: st.DataObject
) -> None:
    lake, registry = home
    genuine = entries_of(lake)
    forged = list(genuine)
    place = data.draw(st.integers(0, len(forged) - 1), label="place")
    how = data.draw(st.sampled_from(["edit", "remove", "insert", "swap"]), label="how")
    if how == "edit":
        forged[place] = replace(forged[place], reason="all was well")
    elif how == "remove":
        del forged[place]
    elif how == "insert":
        forged.insert(place, replace(forged[place], reason="approved by everybody"))
    else:
        forged[place], forged[place - 1] = forged[place - 1], forged[place]
    rewrite(lake, resealed(forged))
    findings = verify(lake, registry).findings
    rewrite(lake, genuine)

    assert findings
    assert verify(lake, registry).findings == ()


def test_what_was_cut_off_is_found_though_the_ledger_has_grown_again(home: tuple[Lake, Registry]) -> None:
    lake, registry = home
    tamper(lake, f"DELETE FROM {LEDGER.path} WHERE id > 6")
    for _ in range(4):
        Ledger(lake).append(COMMIT, lambda _: [Draft("houses", "decision", "within", {}, "2024-04")])

    assert any("entry 7 is another than" in finding for finding in verify(lake, registry).findings) or any(
        "entry 8 is another than" in finding for finding in verify(lake, registry).findings
    )


def test_heads_that_were_removed_or_edited_are_found(home: tuple[Lake, Registry]) -> None:
    file = heads_file(home[0])
    genuine = file.read_text()
    file.write_text(genuine.replace(genuine[5:9], "0000", 1))
    assert "the ledger was written anew from there or before" in verify(*home).findings[0]
    file.write_text(genuine + "8:ab")
    assert "line 7: this is no head" in verify(*home).findings[0]
    file.unlink()
    assert "is missing: without the heads kept there" in verify(*home).findings[0]


def test_a_head_noted_elsewhere_finds_what_was_forged_everywhere_here(home: tuple[Lake, Registry]) -> None:
    lake, registry = home
    noted = verify(lake, registry).head
    forged = resealed([replace(entry, reason="all was well") for entry in entries_of(lake)])
    rewrite(lake, forged)
    heads_file(lake).write_text("".join(f"{entry.id}:{entry.hash}\n" for entry in forged))

    assert verify(lake, registry).findings == ()
    assert "entry 8 is another than the head that was noted" in verify(lake, registry, noted).findings[0]
    with pytest.raises(ValueError, match="expected what an audit has printed"):
        verify(lake, registry, "8")


def test_an_edited_or_missing_file_of_a_version_is_found(home: tuple[Lake, Registry]) -> None:
    folder = home[1].folder / "houses"
    (folder / "1" / "version.json").write_text((folder / "1" / "version.json").read_text() + " ")
    with (folder / "2" / "model.skops").open("ab") as file:
        file.write(b"x")
    found = verify(*home).findings
    assert found == (
        f"{folder / '1'}: its record is not the one that was registered",
        f"{folder / '2'}: its artefact is not the one that was registered",
    )
    (folder / "2" / "model.skops").unlink()
    shutil.rmtree(folder / "1")
    assert verify(*home).findings == (
        "houses version 1 is registered, and its folder is gone",
        f"{folder / '2'}: its artefact is not the one that was registered",
    )


def test_an_exported_model_that_was_changed_is_found_and_its_remedy_told(home: tuple[Lake, Registry]) -> None:
    folder = home[1].folder / "houses" / "2"
    (folder / "model.onnx").write_bytes(b"a model")
    sha256 = hashlib.sha256(b"a model").hexdigest()
    (folder / "model.onnx.json").write_text(json.dumps({"sha256": sha256, "rows": 9, "greatest": 0.0}))
    assert verify(*home).findings == ()

    (folder / "model.onnx").write_bytes(b"another")
    (finding,) = verify(*home).findings
    assert finding.startswith(f"{folder}: its model.onnx is gone, or not the one that was exported")
    assert "`ml-assets models export houses@2 --onnx FILE`" in finding


def test_a_champion_that_was_never_registered_and_a_second_registration_are_found(home: tuple[Lake, Registry]) -> None:
    lake, registry = home
    folder = registry.folder / "houses" / "1"
    (folder / "version.json").write_text((folder / "version.json").read_text() + " ")
    again = registered(registry, registry.version("houses", 1))
    Ledger(lake).append(COMMIT, lambda _: [Draft("houses", "promoted", "trust me", {}, "2024-05", 7), again])
    found = verify(lake, registry).findings

    assert "promoted of houses version 7" in found[0]
    assert found[0].endswith("it was judged, and had not been registered")
    assert found[1].endswith("it was registered in entry 1 already")
    assert found[2] == f"{folder}: its record is not the one that was registered"


@pytest.mark.parametrize("most", [1, 3, 8, 100])
def test_the_newest_entries_are_found_as_they_were_written(home: tuple[Lake, Registry], most: int) -> None:
    lake, _ = home
    found = verify_newest(lake, most)
    assert (found.entries, found.checked, found.findings) == (8, min(most, 8), ())


def test_what_was_done_to_the_newest_entries_is_found_at_a_glance(home: tuple[Lake, Registry]) -> None:
    lake, _ = home
    tamper(lake, f"UPDATE {LEDGER.path} SET reason = 'other' WHERE id = 6")
    assert "entry 6" in "".join(verify_newest(lake, 3).findings)
    assert verify_newest(lake, 2).findings == (), "what is older is left to the audit"
    tamper(lake, f"DELETE FROM {LEDGER.path} WHERE id = 8")
    assert "entry 8 is gone" in "".join(verify_newest(lake, 2).findings)


def test_of_long_heads_the_end_alone_is_read_and_tells_the_same(home: tuple[Lake, Registry]) -> None:
    file = heads_file(home[0])
    written = 10 * file.read_text()
    file.write_text("no head\n" * 1000 + written)
    assert verify_newest(home[0], 4).findings == ()
    assert len(verify(*home).findings) == 1000

    file.write_text("no head\n" * 1000 + written + f"9:{'a' * 64}\n")
    (finding,) = verify_newest(home[0], 4).findings
    assert finding == f"entry 9 is gone: the ledger ends at entry 8, and {file}, near its end names entry 9"


def test_an_entry_that_is_written_while_the_chain_is_looked_at_is_no_finding(
    home: tuple[Lake, Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, _ = home
    read = Lake.reader

    def meanwhile(self: Lake) -> Any:
        monkeypatch.setattr(Lake, "reader", read)
        Ledger(Lake(lake.folder)).append(COMMIT, lambda _: [Draft("houses", "decision", "late", {}, "2024-04")])
        return read(self)

    monkeypatch.setattr(Lake, "reader", meanwhile)
    assert verify_newest(lake, 100).findings == ()
