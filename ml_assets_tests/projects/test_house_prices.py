"""The shipped project house_prices before the leakage gate: as it is, and with a leak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shipped import data_or_skip, open_shipped

from ml_assets.checking import check_leakage
from ml_assets.runs import PREPARING, run_job

if TYPE_CHECKING:
    from pathlib import Path

# Dagster's own reading of a defs.yaml.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")


def test_the_leakage_gate_accuses_nothing_and_a_price_per_square_metre_by_its_place(tmp_path: Path) -> None:
    made = open_shipped("house_prices", tmp_path / "home", data_or_skip("hdb_resale"))
    made.materialize(PREPARING, "2017-01", "2017-03")
    with made.settings():
        run_job(made.instance, made.defs, "house_prices_retrain")
        assert made.registry.version("house_prices", 1).training_set.leakage == ()
        assert check_leakage(made.project) == []

        sql = made.project.features_sql.replace("flat_model,", "flat_model, resale_price / floor_area_sqm AS per_sqm,")
        object.__setattr__(made.project, "features_sql", sql)
        (mistake,) = check_leakage(made.project)
    line = next(number for number, text in enumerate(sql.splitlines(), 1) if "per_sqm" in text)
    assert (mistake.file, mistake.line) == ("sql/house_prices/features.sql", line)
    assert "the feature per_sqm (`resale_price / floor_area_sqm`) is computed from resale_price" in mistake.message
