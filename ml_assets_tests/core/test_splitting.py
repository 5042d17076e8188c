from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.splitting import split_by_time, split_rows

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


# By chance


ids = st.lists(st.tuples(st.text(max_size=3), st.integers(1, 10**6)), max_size=30)


@given(rows=ids, more=ids, seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_lot_of_a_row_hangs_on_the_row_and_the_seed_alone(
    rows: list[tuple[str, int]], more: list[tuple[str, int]], seed: int
) -> None:
    alone, among = split_rows(rows, 0.3, seed), split_rows([*more, *rows], 0.3, seed)

    assert alone == among[len(more) :]


def test_about_the_share_is_held_out_and_another_seed_holds_out_others() -> None:
    rows = [("f.csv", number) for number in range(10_000)]
    first, other = split_rows(rows, 0.2, 1), split_rows(rows, 0.2, 2)

    assert sum(first) == pytest.approx(2_000, abs=150)
    both = sum(a and b for a, b in zip(first, other, strict=True))
    assert both == pytest.approx(400, abs=80)


def test_more_is_held_out_when_the_share_grows_and_what_was_held_out_stays_so() -> None:
    rows = [("f.csv", number) for number in range(1_000)]

    assert all(b or not a for a, b in zip(split_rows(rows, 0.2, 1), split_rows(rows, 0.4, 1), strict=True))


def test_a_split_is_the_same_in_every_process_and_version() -> None:
    held_out = split_rows([("f.csv", number) for number in range(1, 31)], 0.2, 1)

    assert [number for number, out in enumerate(held_out, 1) if out] == [2, 6, 7, 17, 26]
