"""Moments with a zone, in a project whose clocks are not UTC: served as training had them, whichever way they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from pydantic_core import to_json

from ml_assets.assets.skew import replay_requests
from ml_assets.lake.connection import Commit
from ml_assets.serving.predicting.champions import Champions
from ml_assets.serving.predicting.log import RequestLog
from ml_assets.serving.predicting.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from small_market import Market

    from ml_assets.serving.predicting.served import Served

ROW = {
    "whole": 1, "small": 3, "share": 0.5, "town": "EAST", "other": "abc", "code": "A1", "known": True,
    "day": "2024-02-01", "at": "2024-02-01T05:00:00", "moment": "2024-02-01T05:00:00.5", "even": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def served(kinds: Market) -> Iterator[Served]:
    with kinds.settings():
        champions = Champions({"flats": kinds.project}, kinds.lake, kinds.registry, Metrics())
        champions.look()
        found = champions.current("flats")
        assert found is not None, champions.state()
        yield found


def test_json_frames_and_training_agree_on_the_moment(kinds: Market, served: Served) -> None:
    wanted = {"o_clock": [21], "shown": [5]}
    assert {name: kinds.table("features")[name].unique().to_list() for name in wanted} == wanted

    rows = served.contract.read(to_json(ROW), 1)
    served.refuse(rows)  # by the schema itself
    assert {name: served.features.of(rows)[0][name] for name in wanted} == wanted

    for frame in (pl.DataFrame([ROW]), pl.DataFrame([ROW]).with_columns(pl.col("at", "moment").str.to_datetime())):
        made = served.features.of_frame(served.judge.refuse(frame))
        assert made.select(list(wanted)).to_dict(as_series=False) == wanted


def test_the_replay_reads_kept_moments_as_training_does(kinds: Market, served: Served) -> None:
    with kinds.lake.transaction(Commit("flats", "test")) as one:
        one.cursor.execute(f"DROP TABLE IF EXISTS {kinds.project.table('requests').path}")
    log = RequestLog(kinds.lake, kinds.folder / "home", Metrics())
    log.start()
    for moment in ("2024-02-01T05:00:00.5", "2024-02-01T05:00:00", "2024-01-31T21:00:00Z"):
        rows = served.contract.read(to_json(ROW | {"moment": moment}), 1)
        log.note(served, rows, served.answer(rows))
    log.stop()
    found = replay_requests(kinds.project, kinds.lake)
    assert found.words == "3 requests compared: no feature differs, and no prediction"
    assert found.columns["o_clock"].rows == 3
