from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.core.maturity import FEWEST_ENDED, Look, Maturity, Reading, latest_shares, learn_maturity, usable

MAY, JUNE = datetime(2024, 5, 1), datetime(2024, 6, 1)  # noqa: DTZ001 - naive UTC


def lived(shares: list[float], partitions: int, rows: int = 100) -> list[Look]:
    """Partitions that were looked at each time when another came, whose labels come by the same shares."""
    return [
        Look(position, age, rows, round(rows * shares[min(age, len(shares) - 1)]))
        for position in range(partitions)
        for age in range(partitions - position)
    ]


def filled(shares: list[float], partitions: int, rows: int = 100) -> list[Look]:
    """A history that is filled at once: each partition is looked at one time, at the age that it has by then."""
    return [look for look in lived(shares, partitions, rows) if look.position + look.age == partitions - 1]


@pytest.mark.parametrize("history", [lived, filled])
@pytest.mark.parametrize(
    ("shares", "delay", "end"),
    [
        ([1.0], 0, 1.0),
        ([0.0, 0.0, 1.0], 2, 1.0),
        ([0.02, 0.02, 0.5, 0.97, 1.0], 3, 1.0),
        ([0.1, 0.3, 0.5, 0.7, 0.9, 1.0], 5, 1.0),
        ([0.3, 0.8], 1, 0.8),  # a fifth of the rows never gets a label
    ],
)
def test_the_delay_and_what_is_reached_in_the_end_are_learnt(
    history: object, shares: list[float], delay: int, end: float
) -> None:
    looks = history(shares, 24)  # type: ignore[operator]
    found = learn_maturity(looks, 23, share=0.95)

    assert (found.delay, found.end) == (delay, pytest.approx(end, abs=0.01))
    assert found.shares[: len(shares)] == pytest.approx(tuple(shares))


def test_little_history_says_nothing_of_the_end_so_all_labels_are_waited_for() -> None:
    # Six partitions in which two of a hundred labels have come look like a project in which no more ever come.
    young = learn_maturity(lived([0.02, 0.02, 0.02, 1.0], FEWEST_ENDED), FEWEST_ENDED - 1, share=0.95)

    assert (young.delay, young.end) == (None, 1.0)
    assert learn_maturity([], 0, share=0.95) == Maturity((), 1.0, None, 0.95)


def test_a_partition_is_matured_by_what_others_reached_and_else_by_how_much_can_be_measured() -> None:
    found = learn_maturity(lived([0.3, 0.8], 24), 23, share=0.95)

    def standing(labels: float, *, measurable: bool = True) -> str:
        return found.standing(labels, 5, measurable=measurable)

    assert [standing(0.8), standing(0.77), standing(0.75)] == ["matured", "matured", "provisional"]
    assert standing(0.8, measurable=False) == "matured", "a small partition with all its labels is no estimate"
    assert standing(0.3, measurable=False) == "estimated"


def test_a_declared_delay_is_waited_for_whatever_labels_there_are() -> None:
    # A target that says no until it is known to be yes looks as if all labels were there.
    found = learn_maturity(lived([1.0], 24), 23, share=0.95, delay=3)

    assert [found.standing(1.0, age, measurable=True) for age in (0, 2, 3)] == ["provisional"] * 2 + ["matured"]
    assert (found.delay, found.end) == (3, 1.0)


def test_no_labels_at_all_are_never_matured() -> None:
    found = learn_maturity(lived([0.0], 24), 23, share=0.95)

    assert found.end == 1.0
    assert found.standing(0.0, 20, measurable=False) == "estimated"


def test_what_a_look_saw_holds_until_the_next_one() -> None:
    # Looked at twice in ten partitions: labels come with rows, and no rows came between.
    looks = [look for position in range(8) for look in (Look(position, 0, 10, 0), Look(position, 2, 10, 10))]

    assert learn_maturity(looks, 9, share=0.95).shares[:4] == (0.0, 0.0, 1.0, 1.0)


looks = st.builds(
    lambda position, age, rows, share: Look(position, age, rows, int(rows * share)),
    st.integers(0, 30), st.integers(0, 30), st.integers(1, 1000), st.floats(0, 1),
)  # fmt: skip


@given(seen=st.lists(looks, max_size=40), share=st.floats(0.1, 1), delay=st.one_of(st.none(), st.integers(0, 10)))
def test_shares_are_shares_and_an_order_of_looks_does_not_matter(
    seen: list[Look], share: float, delay: int | None
) -> None:
    told_apart = list({(look.position, look.age): look for look in seen}.values())
    found = learn_maturity(told_apart, 40, share=share, delay=delay)

    assert all(0 <= one <= 1 for one in (*found.shares, found.end))
    assert found.end > 0
    assert found == learn_maturity(told_apart[::-1], 40, share=share, delay=delay)
    assert latest_shares(told_apart) == latest_shares(told_apart[::-1])


# What a decision may use


def table(*rows: tuple[datetime, int, str, float | None, str, float, float | None, float | None]) -> pl.DataFrame:
    schema = {
        "_partition": pl.Datetime("us"), "version": pl.Int64, "metric": pl.String, "value": pl.Float64,
        "standing": pl.String, "labels": pl.Float64, "estimate": pl.Float64, "margin": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def of(
    start: datetime, standing: str, value: float | None, rows: int, margin: float | None = 0.01, version: int = 1
) -> list[tuple[datetime, int, str, float | None, str, float, float | None, float | None]]:
    labels = rows / 200
    return [
        (start, version, "rows", float(rows), standing, labels, None, None),
        (start, version, "scored", 200.0, standing, labels, None, None),
        (start, version, "mape", value, standing, labels, 0.09, margin),
        (start, version, "mae", 7.0, standing, labels, None, None),
    ]


def said(measured: pl.DataFrame, **more: object) -> str:
    found = usable(measured, "mape", JUNE, minimum_rows=20, **more)  # type: ignore[arg-type]
    return found.said() if found else "nothing"


def test_a_measurement_of_the_partition_itself_comes_first() -> None:
    before = of(MAY, "matured", 0.05, 199)

    assert said(table(*before, *of(JUNE, "matured", 0.08, 198))) == "MAPE 0.08 (matured, 99% of labels)"
    assert said(table(*before, *of(JUNE, "provisional", 0.081, 122))) == "MAPE 0.081 (provisional, 61% of labels)"


def test_else_the_newest_older_measurement_of_the_same_version() -> None:
    none = of(JUNE, "estimated", None, 0)
    found = usable(table(*of(MAY, "matured", 0.05, 199), *none), "mape", JUNE, minimum_rows=20)

    assert (found and found.partition, found and found.said("2024-05")) == (
        MAY,
        "MAPE 0.05 of 2024-05 (matured, 100% of labels)",
    )
    assert said(table(*of(MAY, "matured", 0.05, 199, version=2), *none)).startswith("MAPE 0.09 ± 0.01 (estimated")


def test_else_an_estimate_whose_error_is_known() -> None:
    assert said(table(*of(JUNE, "estimated", None, 4))) == "MAPE 0.09 ± 0.01 (estimated, 2% of labels)"
    assert said(table(*of(JUNE, "estimated", None, 4, margin=None))) == "nothing"
    assert said(table(*of(JUNE, "estimated", None, 4)), standings=("matured", "provisional")) == "nothing"
    assert said(table()) == "nothing"


def test_too_few_labels_are_no_measurement() -> None:
    assert said(table(*of(JUNE, "provisional", 0.5, 19))) == "MAPE 0.09 ± 0.01 (estimated, 10% of labels)"


def test_an_estimate_may_be_as_good_as_its_margin_says() -> None:
    estimate = Reading(JUNE, 1, "mape", "estimated", 0.09, 200, 0.0, 0.02)

    assert estimate.at_least == pytest.approx(0.07)
    assert Reading(JUNE, 1, "mape", "matured", 0.09, 200, 1.0).at_least == 0.09
