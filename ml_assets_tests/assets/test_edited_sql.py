"""SQL that is edited without a backfill: nothing is learnt from rows that the record would say a wrong thing of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from small_market import CLEAN, FEATURES, NAME, PREPARING, Market, RunFailed, open_market, sales

from ml_assets.lake.connection import Commit

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = ("2024-01", "2024-02", "2024-03")
TWICE = FEATURES.replace("area, price", "2 * area AS area, price")
WIDER = FEATURES.replace("area, price", "area, area // 10 AS rooms, price")


@pytest.fixture
def filled(tmp_path: Path) -> Market:
    return fill(open_market(tmp_path))


def fill(market: Market) -> Market:
    for month in MONTHS:
        market.write(month, sales(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    return market


def edited(market: Market, *, clean: str = CLEAN, features: str = FEATURES) -> Market:
    return replace(open_market(market.folder, clean=clean, features=features), instance=market.instance)


@pytest.mark.parametrize(
    ("file", "texts"),
    [
        ("features.sql", {"features": TWICE}),
        ("features.sql", {"features": FEATURES + " WHERE area > 50"}),
        ("clean.sql", {"clean": CLEAN.replace("trim(town)", "upper(town)")}),
    ],
    ids=["a feature", "which rows", "how rows are cleaned"],
)
def test_nothing_is_learnt_from_rows_that_another_text_made_until_they_are_made_anew(
    filled: Market, file: str, texts: dict[str, str]
) -> None:
    changed = edited(filled, **texts)
    with pytest.raises(RunFailed) as failure:
        changed.rerun("training_set")
    told = str(failure.value)
    assert f"{file} is another than the one that made the rows of 2024-02, 2024-03" in told
    assert f"`ml-assets backfill {NAME}`" in told

    changed.materialize(PREPARING, MONTHS[0], "2024-02")
    with pytest.raises(RunFailed, match="the rows of 2024-03: "):
        changed.rerun("training_set")
    changed.materialize(PREPARING, "2024-03")
    changed.rerun("training_set")


def test_features_made_anew_of_rows_that_the_old_clean_sql_made_are_still_old(filled: Market) -> None:
    changed = edited(filled, clean=CLEAN.replace("trim(town)", "upper(town)"))
    changed.materialize(("features", "profile"), MONTHS[0], MONTHS[-1])
    with pytest.raises(RunFailed, match=r"clean\.sql is another"):
        changed.rerun("training_set")


def test_a_feature_that_no_row_has_is_told_before_anything_is_read(filled: Market) -> None:
    changed = edited(filled, features=WIDER)
    with changed.lake.transaction(Commit(NAME, "test")) as transaction:
        transaction.cursor.execute(f"DROP TABLE {changed.project.table('features_code').path}")
    with pytest.raises(RunFailed, match=r"returns 'rooms', which no row in the lake has.*ml-assets backfill"):
        changed.rerun("training_set")
    with pytest.raises(RunFailed, match=r"returns 'rooms', which no row in the lake has.*ml-assets backfill"):
        changed.rerun("replay")


def test_comments_spaces_and_a_struck_column_need_no_backfill(tmp_path: Path) -> None:
    wide = fill(open_market(tmp_path, features=WIDER))
    edited(wide, features=f"-- {WIDER}\n{WIDER.replace(', ', ',  ')}").rerun("training_set")
    edited(wide).rerun("training_set")


def test_rows_from_before_the_text_was_kept_are_taken(filled: Market) -> None:
    with filled.lake.transaction(Commit(NAME, "test")) as transaction:
        for name in ("features_code", "validated_code"):
            transaction.cursor.execute(f"DROP TABLE {filled.project.table(name).path}")
    edited(filled, features=TWICE).rerun("training_set")
