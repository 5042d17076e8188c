from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from ml_assets.sources import fill as filling
from ml_assets.sources.fill import DataFolderError, Origin, SourceMissingError, fill, read_origin
from ml_assets.sources.month_files import write_months, write_origin
from ml_assets.sources.publisher import PublisherError, PublisherUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_assets_tests.sources.conftest import FakePublisher

DATASET = "d_test"


def small_market(folder: Path) -> None:
    files = write_months(folder, {"2017-01": [["1"]], "2017-02": [["2"]]})
    write_origin(folder, "simulated", facts={"seed": 7, "shock": {"first": "2021-01"}}, files=files)


def tree(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


class Data:
    """A data folder to fill, and what was said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "data" / "hdb_resale"
        self.said: list[str] = []

    def fill(self, url: str, simulate: Callable[[Path], object] | None = small_market) -> Origin:
        return fill(
            self.folder, dataset=DATASET, base_url=url, simulate=simulate, say=self.said.append, project="homes"
        )

    def names(self) -> set[str]:
        return {path.name for path in self.folder.parent.iterdir()} - {".hdb_resale.lock"}


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


def test_files_that_are_there_are_used_and_nothing_is_written(data: Data, closed_port: str) -> None:
    data.folder.mkdir(parents=True)
    (data.folder / "2017-01.csv").write_text("mine")
    data.folder.chmod(0o555)
    data.folder.parent.chmod(0o555)
    before = tree(data.root)

    origin = data.fill(closed_port)

    assert (origin.kind, origin.files, origin.warning) == ("present", 1, None)
    assert tree(data.root) == before
    assert data.said == [f"1 file in {data.folder}: they were there already."]


def test_an_absent_folder_is_filled_by_the_publisher(publisher: FakePublisher, data: Data) -> None:
    origin = data.fill(publisher.url)

    assert (origin.kind, origin.files, origin.warning) == ("publisher", 2, None)
    assert f"dataset {DATASET}" in origin.detail
    assert "rows 25" in origin.detail
    assert "10 of 25 rows downloaded." in data.said
    assert data.names() == {"hdb_resale"}
    assert read_origin(data.folder) == origin


def test_an_empty_folder_is_filled_in_its_place(publisher: FakePublisher, data: Data) -> None:
    data.folder.mkdir(parents=True)

    assert data.fill(publisher.url).kind == "publisher"


def test_a_folder_behind_a_link_is_filled_where_it_lies(publisher: FakePublisher, data: Data) -> None:
    disk = data.root / "disk"
    disk.mkdir()
    data.folder.parent.mkdir()
    data.folder.symlink_to(disk)

    data.fill(publisher.url)

    assert data.folder.is_symlink()
    assert (disk / "ORIGIN.json").exists()


def test_without_a_network_the_data_is_simulated_and_that_is_said_loudly(
    data: Data, closed_port: str, waits: list[float]
) -> None:
    origin = data.fill(closed_port)

    assert waits
    assert (origin.kind, origin.files) == ("simulated", 2)
    assert origin.warning is not None
    assert origin.warning.startswith("SIMULATED DATA: ")
    assert "seed 7, shock (first 2021-01)" in origin.warning
    assert "cannot be reached" in data.said[0]
    assert f"remove {data.folder.resolve()} and run `ml-assets data homes` again" in data.said[1]
    assert data.said[2:] == [f"\n*** {origin.warning} ***\n"]


def test_simulated_data_is_announced_again_at_every_later_fill(
    data: Data, publisher: FakePublisher, closed_port: str, waits: list[float]
) -> None:
    first = data.fill(closed_port)
    data.said.clear()
    waits.clear()

    assert data.fill(publisher.url) == first
    assert data.said == [f"\n*** {first.warning} ***\n"]
    assert publisher.offsets == []


def test_without_a_network_and_a_simulation_the_error_is_the_publishers(
    data: Data, closed_port: str, waits: list[float]
) -> None:
    with pytest.raises(PublisherUnreachableError):
        data.fill(closed_port, simulate=None)

    assert waits
    assert not data.folder.exists()


def test_pages_of_a_failed_download_are_kept_for_the_next_attempt(publisher: FakePublisher, data: Data) -> None:
    publisher.faults = [None, None, publisher.fault(404)]
    with pytest.raises(PublisherError):
        data.fill(publisher.url, simulate=None)
    assert data.names() == {".hdb_resale.download"}
    publisher.offsets.clear()

    assert data.fill(publisher.url).kind == "publisher"
    assert publisher.offsets == [0, 10, 20]


def test_an_interrupted_simulation_leaves_nothing_that_looks_like_data(
    data: Data, closed_port: str, waits: list[float]
) -> None:
    def interrupted(folder: Path) -> None:
        write_months(folder, {"2017-01": [["1"]]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.fill(closed_port, simulate=interrupted)

    assert waits
    assert data.names() == set()
    with pytest.raises(SourceMissingError):
        read_origin(data.folder)


def test_an_interrupted_split_leaves_nothing_that_looks_like_data(
    publisher: FakePublisher, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ml_assets.sources.publisher.write_origin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data.fill(publisher.url)
    assert data.names() == {".hdb_resale.download"}

    assert data.fill(publisher.url).kind == "publisher"


def test_what_a_killed_process_left_is_not_taken_for_data(publisher: FakePublisher, data: Data) -> None:
    left = data.folder.with_name(".hdb_resale.filling")
    left.mkdir(parents=True)
    (left / "1999-01.csv").write_text("half a fi")

    data.fill(publisher.url)

    assert data.names() == {"hdb_resale"}
    assert not (data.folder / "1999-01.csv").exists()


def test_a_simulation_that_does_not_say_so_is_refused(data: Data, closed_port: str, waits: list[float]) -> None:
    with pytest.raises(DataFolderError, match=r"did not write ORIGIN\.json"):
        data.fill(closed_port, simulate=lambda folder: write_months(folder, {"2017-01": [["1"]]}))

    assert waits
    assert data.names() == set()


def test_a_folder_with_something_else_in_it_is_refused_before_the_download(
    publisher: FakePublisher, data: Data
) -> None:
    data.folder.mkdir(parents=True)
    (data.folder / "notes.txt").write_text("mine")

    with pytest.raises(DataFolderError, match=r"holds \['notes.txt'\] but no CSV file: move them away"):
        data.fill(publisher.url)

    assert publisher.offsets == []
    assert (data.folder / "notes.txt").read_text() == "mine"


def test_a_second_process_waits_and_finds_the_folder_filled(data: Data, closed_port: str, waits: list[float]) -> None:
    started, waiting = threading.Event(), threading.Event()
    simulations = []

    def slow_market(folder: Path) -> None:
        simulations.append(folder)
        started.set()
        assert waiting.wait(timeout=10)
        small_market(folder)

    def second_say(sentence: str) -> None:
        data.said.append(sentence)
        if "waiting for it" in sentence:
            waiting.set()

    def second() -> None:
        assert started.wait(timeout=10)
        fill(data.folder, dataset=DATASET, base_url=closed_port, simulate=slow_market, say=second_say)

    first = threading.Thread(target=data.fill, args=(closed_port, slow_market))
    other = threading.Thread(target=second)
    for thread in (first, other):
        thread.start()
    for thread in (first, other):
        thread.join(timeout=20)

    assert waits
    assert len(simulations) == 1
    assert waiting.is_set()
    assert read_origin(data.folder).kind == "simulated"


def test_an_absent_source_names_the_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError) as caught:
        read_origin(tmp_path / "hdb_resale", "homes")

    assert str(tmp_path / "hdb_resale") in str(caught.value)
    assert "`ml-assets data homes`" in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"origin": "publisher"}', json.dumps({"origin": "made up", "files": {}})]
)
def test_an_origin_that_cannot_be_understood_is_an_error_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "2017-01.csv").write_text("")
    (tmp_path / "ORIGIN.json").write_text(content)

    with pytest.raises(DataFolderError, match=r"ORIGIN\.json.*remove"):
        read_origin(tmp_path)


def test_only_simulated_data_carries_a_warning() -> None:
    assert Origin("present", "", 1).warning is None
    assert Origin("publisher", "", 1).warning is None
    assert "SIMULATED DATA" in str(Origin("simulated", "", 1).warning)


def test_the_publisher_is_asked_at_its_own_address_unless_told_otherwise(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*_: object, base_url: str, **__: object) -> None:
        asked.append(base_url)
        raise PublisherError("no")

    monkeypatch.setattr(filling, "download", refuse)

    fill(data.folder, dataset=DATASET, simulate=small_market, say=data.said.append)

    assert asked == ["https://data.gov.sg"]
