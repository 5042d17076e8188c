"""A file is there whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ml_assets.core.files import replace_file, replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_its_folder_is_made_and_text_is_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "new" / "card.md"
    for content in ("größer", b"\x00\xff"):
        replace_file(file, content)
        assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(file.parent.iterdir()) == [file]


def test_of_two_who_write_at_once_each_writes_its_own_and_the_last_to_end_stays(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    with replacing(file) as one, replacing(file) as other:
        one.write_text("one")
        other.write_text("other")
        assert one.read_text() == "one"
        assert not file.exists()
    assert file.read_text() == "one"
    assert list(tmp_path.iterdir()) == [file]


def test_a_reader_never_sees_a_part_whoever_writes(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    contents = [bytes([number]) * 200_000 for number in range(4)]
    replace_file(file, contents[0])
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(replace_file, file, content) for content in contents * 5]
        while not all(one.done() for one in writing):
            assert file.read_bytes() in contents
        for one in writing:
            one.result()


def test_who_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    replace_file(file, "whole")

    def fail() -> None:
        with replacing(file) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file]
