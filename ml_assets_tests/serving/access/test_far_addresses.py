"""Addresses that nobody has written by accident: each is told to be wrong, and none is an error of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_site import PROJECT

from ml_assets.core.partitioning import Calendar
from ml_assets.lives import parse_moment

if TYPE_CHECKING:
    from small_site import Browser

MANY, FAR = "9" * 5000, "9" * 300
HERE = "/projects/houses"


@pytest.mark.parametrize(
    "path",
    [
        "/ledger?until=9999-12-31", "/ledger?since=0001-01-01", f"{HERE}/ledger?on=9999-12-31",
        f"{HERE}/ledger?on=9999-12-30", f"{HERE}/ledger?on=0001-01-01T00:00%2B05:00", f"{HERE}/ledger?before={MANY}",
        f"{HERE}/partitions/9999-12", f"{HERE}/partitions/0001-01", f"{HERE}/partitions?before=0001-01",
        f"{HERE}/partitions?before=9999-12", f"{HERE}/predictions/9999-12?row=1", f"{HERE}/drift/9999-12",
        f"{HERE}/drift/9999-12/evidently", f"{HERE}/drift?before=0001-01", f"{HERE}/replay/%00.png",
        *(
            f"{HERE}/versions/{number}{below}"
            for number in (MANY, FAR)
            for below in ("", "/card", "/card.md", "/a.png", "/promote", "/approve", "/diff/1")
        ),
        f"{HERE}/versions/1/diff/{MANY}", f"{HERE}/versions/diff?one=1&other={MANY}",
        f"{HERE}/versions/diff?one=1&other={FAR}", f"{HERE}/versions/1/{'a' * 300}.png", f"{HERE}/versions/1/a%00b.png",
        f"{HERE}/rollback?version={MANY}", f"{HERE}/rollback?version={FAR}", f"{HERE}/rollback?version=-1",
        f"{HERE}/decisions/{MANY}/answer", f"{HERE}/acts/{MANY}", f"/static/{MANY}", "/static/%00.css",
        f"/try/houses?_version={FAR}", f"/try/houses?_version={MANY}",
    ],
    ids=lambda path: path[:60],
)  # fmt: skip
def test_no_address_makes_an_error_of_ours(client: Browser, path: str) -> None:
    assert client.get(path).status_code < 500


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati"])
@pytest.mark.parametrize(
    ("grain", "key"),
    [
        ("month", "9999-12"), ("month", "0001-01"), ("day", "9999-12-31"), ("day", "0001-01-01"),
        ("hour", "9999-12-31-23:00"), ("hour", "0001-01-01-00:00+1400"), ("week", "9999-12-27"),
        ("block", "block-99999999999"), ("block", f"block-{MANY}"), ("block", "block-\N{SUPERSCRIPT TWO}"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_key_beyond_all_partitions_is_none(grain: str, key: str, zone: str) -> None:
    calendar = Calendar(grain, "2024-01", zone, 1000)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is no key of a"):
        calendar.start_of(key)


def test_a_key_within_reach_has_neighbours() -> None:
    for key in ("1000-02", "8999-12"):
        start = replace(PROJECT, name="far").start_of(key)
        assert PROJECT.step(start, -120) < start < PROJECT.step(start, 120)


@pytest.mark.parametrize("text", ["9999-12-31", "0001-01-01", "9999-12-31T23:59+00:00", "0001-01-01T00:00+05:00"])
def test_a_moment_beyond_all_partitions_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a day or a moment"):
        parse_moment(text)
