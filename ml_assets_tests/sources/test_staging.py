from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

import ml_assets
from ml_assets.sources.reading import Part, Reading, SourceError
from ml_assets.sources.staging import Spool, Staged
from ml_assets.sources.texts import with_lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

FIRST = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC


def days(first: int, last: int) -> list[Part]:
    starts = [FIRST + timedelta(days=number - 1) for number in range(first, last + 1)]
    return [Part(f"{start:%Y-%m-%d}", start, start + timedelta(days=1)) for start in starts]


@dataclass
class Remote:
    """A source of two rows a day, none on the third; `breaks` after the first row of that day."""

    asked: list[str] = field(default_factory=list)
    breaks: str = ""
    placed: bool = True

    def there(self, parts: Sequence[Part]) -> list[Part]:
        return list(parts)

    def frames(self, parts: Sequence[Part], required: Collection[str], reading: Reading) -> Iterator[pl.DataFrame]:
        del required
        for part in parts:
            self.asked.append(part.key[-2:])
            reading.facts[part.key] = {"source": f"remote {part.key}"}
            for number in range(0 if part.key.endswith("03") else 2):
                if number and part.key == self.breaks:
                    raise SourceError("the network is gone")
                reading.unexpected[f"remote {part.key}"] = ("extra",)
                frame = pl.DataFrame({"id": [f"{part.key} {number}"], **({"extra": ["x"]} if number else {})})
                start = part.start if self.placed else None
                yield with_lineage(frame, source=f"remote {part.key}", before=number, start=start)


def read(reader: Staged | Remote, parts: list[Part], reading: Reading | None = None) -> pl.DataFrame:
    return pl.concat(list(reader.frames(parts, ("id",), reading or Reading())), how="diagonal")


def test_a_retry_fetches_only_the_partitions_that_are_missing_and_gives_all(tmp_path: Path) -> None:
    remote = Remote(breaks="2024-01-05")
    staged = Staged(remote, tmp_path / "staging", "declared")
    with pytest.raises(SourceError, match="the network is gone"):
        read(staged, days(1, 6))
    remote.breaks, remote.asked = "", []
    reading, untouched = Reading(), Reading()
    rows = read(staged, days(1, 6), reading)
    assert remote.asked == ["05", "06"]
    assert rows.equals(read(Remote(), days(1, 6), untouched))
    assert reading.unexpected == untouched.unexpected
    kept = {key for key, facts in reading.facts.items() if facts.pop("kept_since", None)}
    assert kept == {f"2024-01-0{number}" for number in range(1, 5)}
    assert reading.facts == untouched.facts
    # A partition without rows is as whole as any other.
    remote.asked = []
    read(staged, days(1, 6))
    assert remote.asked == []


def test_partitions_in_between_are_fetched_in_their_place(tmp_path: Path) -> None:
    remote = Remote()
    staged = Staged(remote, tmp_path, "declared")
    read(staged, days(2, 2))
    read(staged, days(4, 4))
    remote.asked = []
    assert read(staged, days(1, 6)).equals(read(Remote(), days(1, 6)))
    assert remote.asked == ["01", "03", "05", "06"]


def test_what_another_declaration_has_fetched_is_not_used(tmp_path: Path) -> None:
    remote = Remote()
    read(Staged(remote, tmp_path, "declared"), days(1, 1))
    read(Staged(remote, tmp_path, "declared otherwise"), days(1, 1))
    assert remote.asked == ["01", "01"]
    list(Staged(remote, tmp_path, "declared").frames(days(1, 1), ("id", "extra"), Reading()))
    assert remote.asked == ["01", "01", "01"]


def test_what_is_too_old_is_fetched_again_and_removed(tmp_path: Path) -> None:
    remote = Remote()
    staged = Staged(remote, tmp_path, "declared", timedelta(minutes=5))
    read(staged, days(1, 2))
    old = time.time() - 301
    for folder in tmp_path.glob("*/2024-01-01_*"):
        os.utime(folder, (old, old))
    read(staged, days(1, 2))
    assert remote.asked == ["01", "02", "01"]
    read(Staged(remote, tmp_path, "another"), days(1, 1))
    for folder in tmp_path.glob("*/*"):
        os.utime(folder, (old, old))
    read(staged, days(3, 4))
    assert sorted(path.name[:10] for path in tmp_path.glob("*/*")) == ["2024-01-03", "2024-01-04"]


def test_clear_forgets_what_was_committed_and_nothing_else(tmp_path: Path) -> None:
    remote = Remote()
    staged = Staged(remote, tmp_path, "declared")
    read(staged, days(1, 3))
    staged.clear(days(1, 2))
    assert [path.name for path in tmp_path.glob("*/*")] == ["2024-01-03_20240103T000000_20240104T000000"]
    Staged(remote, tmp_path / "never made", "declared").clear(days(1, 1))


@pytest.mark.parametrize("damage", ["cut", "removed", "note"])
def test_a_damaged_partition_is_fetched_again(tmp_path: Path, damage: str) -> None:
    remote = Remote()
    staged = Staged(remote, tmp_path, "declared")
    read(staged, days(1, 1))
    file = next(tmp_path.glob("*/2024-01-01_*/*1.parquet"))
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "removed":
        file.unlink()
    else:
        (file.parent / "note.json").write_bytes(b"")
    assert read(staged, days(1, 1)).height == 2
    assert remote.asked == ["01", "01"]


def test_a_reading_that_is_given_up_keeps_the_whole_partitions_only(tmp_path: Path) -> None:
    staged = Staged(Remote(), tmp_path, "declared")
    frames = staged.frames(days(1, 3), ("id",), Reading())
    for _ in range(3):
        next(frames)
    frames.close()
    assert [path.name[:10] for path in tmp_path.glob("*/*")] == ["2024-01-01"]


def test_rows_that_the_source_does_not_place_are_kept_as_one(tmp_path: Path) -> None:
    remote = Remote(placed=False)
    staged = Staged(remote, tmp_path, "declared")
    reading, again = Reading(), Reading()
    rows = read(staged, days(1, 2), reading)
    assert read(staged, days(1, 2), again).equals(rows)
    assert remote.asked == ["01", "02"]
    assert all(facts.pop("kept_since") for facts in again.facts.values())
    assert again == reading
    staged.clear(days(1, 2))
    assert not list(tmp_path.glob("*/*"))


def test_a_partition_of_the_same_key_and_another_length_is_fetched(tmp_path: Path) -> None:
    remote = Remote()
    staged = Staged(remote, tmp_path, "declared")
    read(staged, days(1, 1))
    read(staged, [Part("2024-01-01", FIRST, FIRST + timedelta(days=7))])
    assert remote.asked == ["01", "01"]


def test_what_another_run_reads_is_not_taken_from_under_it(tmp_path: Path) -> None:
    remote = Remote()
    staged = Staged(remote, tmp_path, "declared", timedelta(minutes=5))
    whole = read(staged, days(1, 2))
    reading = staged.frames(days(1, 2), ("id",), Reading())
    first = next(reading)
    # The first partition is under way: another run has written it, and a third has come to sweep.
    staged.clear(days(1, 1))
    old = time.time() - 301
    for folder in tmp_path.glob("*/*"):
        os.utime(folder, (old, old))
    remote.asked = []
    read(staged, days(1, 1))
    assert remote.asked == ["01"], "what was cleared is not used again"
    assert pl.concat([first, *reading], how="diagonal").equals(whole)
    # Once it is read, the next sweep takes it.
    read(staged, days(1, 1))
    assert not list(tmp_path.glob("*/.*"))


def test_a_partition_that_is_being_filled_is_not_swept(tmp_path: Path) -> None:
    staged = Staged(Remote(), tmp_path, "declared", timedelta(minutes=5))
    filling = staged.frames(days(1, 1), ("id",), Reading())
    first = next(filling)
    (folder,) = tmp_path.glob("*/.*")
    os.utime(folder, (time.time() - 301,) * 2)
    read(staged, days(2, 2))
    assert pl.concat([first, *filling], how="diagonal").height == 2


def test_kept_rows_that_somebody_removed_by_hand_are_an_error_of_the_source(tmp_path: Path) -> None:
    staged = Staged(Remote(), tmp_path, "declared")
    read(staged, days(1, 1))
    reading = staged.frames(days(1, 1), ("id",), Reading())
    next(reading)
    for file in tmp_path.glob("*/*/*.parquet"):
        file.unlink()
    with pytest.raises(SourceError, match=r"rows that were kept are gone.*Remedy: run again"):
        next(reading)


def test_a_source_that_goes_back_in_time_is_an_error(tmp_path: Path) -> None:
    staged = Staged(Remote(), tmp_path, "declared")
    with pytest.raises(SourceError, match="out of turn"):
        list(staged.frames([*days(2, 2), *days(1, 1)], ("id",), Reading()))


def test_a_key_of_any_characters_is_one_folder(tmp_path: Path) -> None:
    parts = [Part("2024-01-01T10:00/../é", FIRST, FIRST + timedelta(hours=1))]
    staged = Staged(Remote(), tmp_path, "declared")
    assert read(staged, parts).equals(read(staged, parts))
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_a_run_that_is_killed_leaves_what_was_whole(tmp_path: Path) -> None:
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from ml_assets.sources.reading import Reading
        from ml_assets.sources.staging import Staged
        from ml_assets_tests.sources.test_staging import Remote, days

        for frame in Staged(Remote(), Path({str(tmp_path)!r}), "declared").frames(days(1, 9), ("id",), Reading()):
            if frame["id"][0] == "2024-01-07 0":
                os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(ml_assets.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == -9
    remote = Remote()
    rows = read(Staged(remote, tmp_path, "declared"), days(1, 9))
    assert remote.asked == ["07", "08", "09"]
    assert rows.equals(read(Remote(), days(1, 9)))


def test_a_digest_tells_rows_apart_and_nothing_else() -> None:
    def digest(*frames: pl.DataFrame) -> str:
        with Spool() as spool:
            for frame in frames:
                spool.add(frame)
            return spool.sha256

    one = pl.DataFrame({"a": ["1", None], "b": ["x", ""], "_row": [1, 2]})
    assert digest(one) == digest(one.select("_row", "b", "a").with_columns(_row=pl.col("_row") + 1))
    others = [one.with_columns(a=pl.lit("1")), one.with_columns(b=pl.Series(["x", None])), one.reverse(), one[:1]]
    assert len({digest(each) for each in (one, *others)}) == 5
    # A source may cut the same rows into other frames, of which some lack a column that has no value there.
    last = one[1:].drop("a")
    assert digest(one) == digest(one[:1], last)
