from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core.splitting import Shares, SplitError, deal, folds, split_by_time, split_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

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


# Train, validation, test and holdout


def test_train_validation_test_and_holdout_follow_each_other_in_time() -> None:
    split = split_by_time(MONTHS, window=8, test=2, validation=1, holdout=2)

    assert (split.train, split.validation, split.test, split.holdout) == (
        tuple(MONTHS[4:7]), tuple(MONTHS[7:8]), tuple(MONTHS[8:10]), tuple(MONTHS[10:]),
    )  # fmt: skip
    with pytest.raises(
        SplitError, match=r"^4 partitions hold rows and 5 are held out for validation, test and holdout"
    ):
        split_by_time(MONTHS[:4], window=8, test=2, validation=1, holdout=2)


SHARES = Shares(test=0.2, validation=0.15, holdout=0.1)
ROWS = [(f"{number % 3}.csv", number) for number in range(4_000)]


def counted(sides: Sequence[str]) -> dict[str, float]:
    return {side: sides.count(side) / len(sides) for side in ("train", "validation", "test", "holdout")}


def test_rows_are_dealt_to_all_sides_in_about_their_shares() -> None:
    expected = {"train": 0.55, "validation": 0.15, "test": 0.2, "holdout": 0.1}

    assert counted(deal(ROWS, SHARES, 1)) == pytest.approx(expected, abs=0.03)


@given(rows=ids, more=ids, seed=st.integers(0, 99), groups=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_late_rows_change_no_others_side_and_no_group_is_on_two_sides(
    rows: list[tuple[str, int]], more: list[tuple[str, int]], seed: int, groups: int
) -> None:
    both = [*more, *rows]
    group_of = [row % groups for _, row in both]

    assert deal(both, SHARES, seed)[len(more) :] == deal(rows, SHARES, seed)
    together = deal(both, SHARES, seed, groups=group_of)
    assert together[len(more) :] == deal(rows, SHARES, seed, groups=group_of[len(more) :])
    assert len(set(zip(group_of, together, strict=True))) == len(set(group_of))


def test_about_the_share_of_groups_is_held_out_and_a_row_without_a_group_is_refused() -> None:
    sides = deal(ROWS, SHARES, 1, groups=[row // 4 for _, row in ROWS])

    assert counted(sides)["test"] == pytest.approx(0.2, abs=0.05)
    with pytest.raises(SplitError, match=r"1 of 2 rows have no group\. Remedy: fill the column of training\.split\.by"):
        deal(ROWS[:2], SHARES, 1, groups=["a", None])


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_each_stratum_is_dealt_in_the_shares_to_the_row(sizes: list[int], seed: int) -> None:
    strata = [stratum for stratum, size in enumerate(sizes) for _ in range(size)]
    sides = deal(ROWS[: len(strata)], SHARES, seed, strata=strata)

    for stratum, size in enumerate(sizes):
        own = [side for side, each in zip(sides, strata, strict=True) if each == stratum]
        assert counted(own)["test"] * size == pytest.approx(0.2 * size, abs=0.51)
        assert counted(own)["holdout"] * size == pytest.approx(0.1 * size, abs=1)


@given(size=st.integers(1, 60), late=st.integers(0, 60), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_late_row_moves_at_most_one_other_of_its_stratum_across_each_border(size: int, late: int, seed: int) -> None:
    strata = [0] * size + [1] * 20
    before = deal(ROWS[: size + 20], SHARES, seed, strata=strata)
    place = min(late, size)
    rows = [*ROWS[:place], ("late.csv", 1), *ROWS[place : size + 20]]
    after = deal(rows, SHARES, seed, strata=[*strata[:place], 0, *strata[place:]])
    del after[place]

    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 3
    assert before[size:] == after[size:]


# Folds

TWELVE = [month for month in MONTHS for _ in range(3)]


def test_folds_in_time_learn_from_all_that_is_older_and_are_judged_on_blocks_of_one_length() -> None:
    found = [
        ({TWELVE[place].month for place in old}, {TWELVE[place].month for place in new})
        for old, new in folds("time", 3, partitions=TWELVE, seed=0)
    ]

    assert found == [({1, 2, 3}, {4, 5, 6}), (set(range(1, 7)), {7, 8, 9}), (set(range(1, 10)), {10, 11, 12})]


def test_folds_in_time_are_as_many_as_there_are_partitions_for() -> None:
    two = MONTHS[:2] * 2

    ((old, new),) = folds("time", 5, partitions=two, seed=0)
    assert (old.tolist(), new.tolist()) == ([0, 2], [1, 3])
    with pytest.raises(SplitError, match=r"1 partition to learn from cannot be cut.*longer training\.window"):
        folds("time", 5, partitions=MONTHS[:1] * 4, seed=0)


@given(
    kind=st.sampled_from(["random", "stratified", "grouped"]), rows=st.integers(2, 60), wanted=st.integers(2, 6),
    seed=st.integers(0, 50),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_row_judges_in_one_fold_and_teaches_in_the_others(kind: Any, rows: int, wanted: int, seed: int) -> None:
    groups = [row // 2 for row in range(rows)] if rows > 2 else [0, 1]
    labels = np.array([row % 3 == 0 for row in range(rows)]).astype(int)
    cut = folds(kind, wanted, partitions=[MONTHS[0]] * rows, seed=seed, labels=labels, groups=groups)

    assert sorted(place for _, judge in cut for place in judge) == list(range(rows))
    for learn, judge in cut:
        assert sorted([*learn, *judge]) == list(range(rows))
        if kind == "grouped":
            assert not {groups[place] for place in learn} & {groups[place] for place in judge}
        else:
            assert labels[judge].sum() == pytest.approx(labels.sum() / len(cut), abs=1)


def test_rows_of_one_group_or_a_single_row_have_no_folds() -> None:
    with pytest.raises(SplitError, match="are one group"):
        folds("grouped", 3, partitions=MONTHS[:3], seed=0, groups=["a"] * 3)
    with pytest.raises(SplitError, match="1 row to learn from"):
        folds("random", 3, partitions=MONTHS[:1], seed=0)
