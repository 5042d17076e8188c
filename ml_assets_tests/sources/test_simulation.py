from __future__ import annotations

import csv
import hashlib
import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ml_assets.sources.fill import read_origin
from ml_assets.sources.month_files import COLUMNS
from ml_assets.sources.simulation import (
    KINDS,
    MALFORMED_VALUES,
    MONTHS,
    SHOCK,
    TOWNS,
    market_level,
    resale_market,
    simulate_resale_market,
)

if TYPE_CHECKING:
    from pathlib import Path

Rows = list[dict[str, str]]

FORMS = {
    "_id": r"\d+",
    "month": r"20\d\d-(0[1-9]|1[0-2])",
    "block": r"\d{1,3}",
    "street_name": r"[A-Z ]+ (AVE|ST|RD|DR) \d+",
    "storey_range": r"\d\d TO \d\d",
    "floor_area_sqm": r"\d{2,3}\.0",
    "lease_commence_date": r"(19|20)\d\d",
    "remaining_lease": r"\d\d years( (01 month|(0[2-9]|1[01]) months))?",
    "resale_price": r"\d{3}000\.0|1\d{3}000\.0",
}


@pytest.fixture(scope="module")
def market() -> dict[str, list[list[str]]]:
    return resale_market()


@pytest.fixture(scope="module")
def rows(market: dict[str, list[list[str]]]) -> Rows:
    return [dict(zip(COLUMNS, row, strict=True)) for month in market.values() for row in month]


@pytest.fixture(scope="module")
def features(rows: Rows) -> Any:
    """The well-formed rows as a frame of numbers and categories, with the log price."""
    import pandas as pd

    frame = pd.DataFrame([row for row in rows if not set(row.values()) & set(MALFORMED_VALUES.values())])
    lease = frame["remaining_lease"].str.extract(r"(\d+) years(?: (\d+))?").astype(float).fillna(0)
    return pd.DataFrame(
        {
            "month": frame["month"],
            "log_price": np.log(frame["resale_price"].astype(float)),
            "town": frame["town"].astype("category"),
            "flat_type": frame["flat_type"].astype("category"),
            "flat_model": frame["flat_model"].astype("category"),
            "area": frame["floor_area_sqm"].astype(float),
            "storey": frame["storey_range"].str[:2].astype(float),
            "lease": lease[0] + lease[1] / 12,
        }
    )


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(market: dict[str, list[list[str]]]) -> None:
    assert resale_market(seed=7) == market
    assert resale_market(seed=8) != market


def test_every_month_from_2017_to_october_2024_has_between_700_and_2000_sales(
    market: dict[str, list[list[str]]],
) -> None:
    assert list(market) == list(MONTHS)
    assert (MONTHS[0], MONTHS[-1], len(MONTHS)) == ("2017-01", "2024-10", 94)
    assert all(700 <= len(month) <= 2_000 for month in market.values())
    assert all(row[1] == month for month, month_rows in market.items() for row in month_rows)


def test_ids_count_through_all_months(rows: Rows) -> None:
    assert [int(row["_id"]) for row in rows] == list(range(1, len(rows) + 1))


def test_values_have_the_published_forms_but_for_a_few_malformed_ones(rows: Rows) -> None:
    malformed = [
        (column, row[column]) for row in rows for column, form in FORMS.items() if not re.fullmatch(form, row[column])
    ]

    assert set(malformed) == set(MALFORMED_VALUES.items())
    assert 10 < len(malformed) < len(rows) / 1_000


def test_every_town_flat_type_and_model_of_the_published_table_is_sold(rows: Rows) -> None:
    assert {row["town"] for row in rows} == set(TOWNS)
    assert {row["flat_type"] for row in rows} == {kind[0] for kind in KINDS}
    assert {row["flat_model"] for row in rows} == {kind[1] for kind in KINDS}
    assert (len(TOWNS), len({kind[0] for kind in KINDS}), len({kind[1] for kind in KINDS})) == (26, 7, 21)


def test_a_lease_runs_for_99_years_from_the_year_it_commenced(rows: Rows) -> None:
    for row in rows[:2_000]:
        if match := re.match(r"(\d+) years(?: (\d+))?", row["remaining_lease"]):
            end = float(row["month"][:4]) + int(row["month"][5:]) / 12 + int(match[1]) + int(match[2] or 0) / 12
            assert 0 <= end - 99 - int(row["lease_commence_date"]) <= 1.1


def test_a_few_rows_appear_twice_with_another_id(rows: Rows) -> None:
    twice = sum(list(one.values())[1:] == list(next_one.values())[1:] for one, next_one in pairwise(rows))

    assert len(rows) / 2_000 < twice < len(rows) / 250


def test_the_market_stands_still_but_for_the_shock() -> None:
    levels = [market_level(number) for number in range(len(MONTHS))]

    assert SHOCK.first == "2021-01"
    assert levels[MONTHS.index("2020-12")] == 0
    assert levels[MONTHS.index("2021-01")] == pytest.approx(0.0129, abs=1e-4)
    assert levels[-1] == levels[MONTHS.index("2022-06")] == pytest.approx(18 * levels[MONTHS.index("2021-01")])


def test_a_model_trained_before_the_shock_decays_from_about_7_to_about_15_percent(features: Any) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    inputs = features.drop(columns=["month", "log_price"])
    trained, judged = features["month"] < "2020-01", features["month"].between("2020-01", "2021-12")
    model = HistGradientBoostingRegressor(categorical_features="from_dtype", max_iter=50, random_state=0)
    model.fit(inputs[trained], features["log_price"][trained])
    error = np.abs(np.expm1(model.predict(inputs[judged]) - features["log_price"][judged]))
    monthly = error.groupby(features["month"]).mean()

    assert monthly["2020-01":"2020-12"].between(0.055, 0.075).all()
    assert monthly["2021-06"] > monthly["2021-03"] > monthly["2020-12"]
    assert 0.13 < monthly["2021-12"] < 0.16


def test_features_hardly_drift_while_prices_do(features: Any) -> None:
    calm, shocked = features[features["month"] < "2021-01"], features[features["month"] > SHOCK.last]

    assert shocked["log_price"].mean() - calm["log_price"].mean() > 0.2
    for name, much in {"area": 1.0, "storey": 1.0, "lease": 4.0}.items():
        assert abs(shocked[name].mean() - calm[name].mean()) < much
    for name in ("town", "flat_type"):
        shares = [part[name].value_counts(normalize=True) for part in (calm, shocked)]
        assert (shares[0] - shares[1]).abs().max() < 0.02


def test_the_files_are_those_rows_and_the_origin_says_simulated_with_seed_and_shock(
    tmp_path: Path, market: dict[str, list[list[str]]]
) -> None:
    simulate_resale_market(tmp_path / "hdb_resale")

    folder = tmp_path / "hdb_resale"
    origin = json.loads((folder / "ORIGIN.json").read_text())
    assert (origin["origin"], origin["seed"]) == ("simulated", 7)
    assert origin["shock"] == {"first": "2021-01", "last": "2022-06", "monthly_growth": 0.013}
    assert origin["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.csv"))
    }
    with (folder / "2020-04.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(COLUMNS), *market["2020-04"]]
    assert read_origin(folder).files == len(MONTHS)
    assert "monthly_growth 0.013" in str(read_origin(folder).warning)
