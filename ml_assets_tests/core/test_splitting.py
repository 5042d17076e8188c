from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.splitting import split_by_time

MONTHS = [datetime(2024, month, 1) for month in range(1, 13)]  # noqa: DTZ001 - naive UTC


@settings(max_examples=80, deadline=None)
@given(
    partitions=st.sets(st.sampled_from(MONTHS), max_size=12).flatmap(lambda some: st.permutations(sorted(some))),
    window=st.integers(1, 14),
    test=st.integers(1, 14),
)
def test_the_newest_partitions_are_held_out_and_those_before_are_learnt_from(
    partitions: list[datetime], window: int, test: int
) -> None:
    newest = sorted(partitions)[-window:]
    if len(newest) <= test:
        with pytest.raises(ValueError, match="none is left to learn from"):
            split_by_time(partitions, window=window, test=test)
        return
    split = split_by_time(partitions, window=window, test=test)

    assert [*split.train, *split.test] == newest
    assert len(split.test) == test
    assert split.train[-1] < split.test[0]


def test_fewer_partitions_than_the_window_are_all_used() -> None:
    split = split_by_time(MONTHS[:3], window=24, test=1)

    assert (list(split.train), list(split.test)) == (MONTHS[:2], MONTHS[2:3])


def test_months_without_rows_are_stepped_over() -> None:
    split = split_by_time([MONTHS[0], MONTHS[5], MONTHS[11]], window=3, test=2)

    assert (split.train, split.test) == ((MONTHS[0],), (MONTHS[5], MONTHS[11]))


def test_a_split_that_leaves_nothing_says_how_many_partitions_there_are() -> None:
    with pytest.raises(ValueError, match=r"^1 partition holds rows and 1 is held out"):
        split_by_time(MONTHS[:1], window=4, test=1)
    with pytest.raises(ValueError, match=r"^2 partitions hold rows and 2 are held out.*training\.test"):
        split_by_time(MONTHS[:2], window=24, test=2)
