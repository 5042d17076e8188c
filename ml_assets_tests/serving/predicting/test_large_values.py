"""Values that a schema allows and a model cannot bear: refused in words, and nobody else's concern."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from conftest import MONTHS
from small_market import Market, open_market
from small_service import ROW, Service

from ml_assets.registry.ledger import read_entries
from ml_assets.serving.predicting.bulk import PARQUET
from ml_assets.serving.predicting.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


VERSION = {"version": "1"}


def boundless(folder: Path, **changes: Any) -> Market:
    market = open_market(folder, schema="boundless_schema:Flat", **changes)
    market.found(MONTHS)
    return market


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A line: its predictions grow with the area for ever."""
    market = boundless(tmp_path_factory.mktemp("straight"))
    with market.settings():
        yield market


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Trees that take no number beyond 32 bits."""
    estimator = {"estimator": "sklearn.ensemble.ExtraTreesRegressor", "parameters": {"n_estimators": 5}}
    market = boundless(tmp_path_factory.mktemp("trees"), training=estimator)
    with market.settings():
        yield market


def served_of(market: Market) -> Served:
    with market.lake.reader() as cursor:
        return Served(market.project, market.lake, market.registry, 1, read_entries(cursor, "flats"))


def in_parquet(service: Service, areas: list[float]) -> Any:
    rows, body = [ROW | {"area": area} for area in areas], io.BytesIO()
    pl.DataFrame(rows).write_parquet(body)
    return service.predict(content=body.getvalue(), headers={"content-type": PARQUET}, params=VERSION)


def test_a_row_that_a_model_cannot_bear_fails_no_other_clients_request(trees: Market) -> None:
    service = Service(trees.project)

    async def together() -> list[tuple[int, Any]]:
        async with service.client() as client:
            address = "/predict/flats?version=1"  # nobody has promoted it
            await client.post(address, json=ROW)
            areas = [100, 110, 1e308, 120, 130]
            asked = [client.post(address, json=ROW | {"area": area}) for area in areas]
            return [(one.status_code, one.json()) for one in await asyncio.gather(*asked)]

    answers = asyncio.run(together())
    assert [code for code, _ in answers] == [200, 200, 422, 200, 200]
    assert answers[2][1]["error"].startswith("version 1 predicts nothing for it: ")


def test_of_many_rows_those_that_the_model_cannot_bear_are_named(trees: Market) -> None:
    service = Service(trees.project)
    rows = [ROW | {"area": 1e308 if place in {3, 77} else 100} for place in range(100)]
    told = service.predict({"rows": rows}, params=VERSION).json()
    assert [one["row"] for one in told["mistakes"]] == [3, 77]
    told = service.predict({"rows": [ROW | {"area": 1e308}] * 50}, params=VERSION).json()
    assert [one["row"] for one in told["mistakes"]] == list(range(20))
    assert told["more"] > 0
    assert in_parquet(service, [100, 1e308]).status_code == 422


def test_a_file_has_its_other_rows_predicted_by_a_pipeline_too(trees: Market) -> None:
    served = served_of(trees)
    rows = pl.DataFrame([ROW | {"area": area} for area in (100.0, 1e308, 110.0)]).with_columns(
        pl.col("month").str.to_date()
    )
    for engine in (served.scorer.engine, "scikit-learn"):
        served.scorer.engine = engine
        answers, wrong = served.answer_each(rows)
        assert answers["_row"].to_list() == [0, 2]
        assert list(wrong) == [1]


@pytest.mark.parametrize("area", [3.5e38, 1e39, -1e200, 4e302])
def test_what_32_bits_do_not_hold_is_predicted_as_by_the_pipeline(straight: Market, area: float) -> None:
    service = Service(straight.project)
    row = pl.DataFrame([{"town": "EAST", "area": area}])
    own = straight.registry.predict(straight.registry.version("flats", 1), row)

    answer = service.predict({"rows": [ROW, ROW | {"area": area}]}).json()

    assert answer["engine"] == "onnx"
    near, far = (one["prediction"] for one in answer["predictions"])
    assert near == pytest.approx(500_000, rel=0.05)
    assert far == own[0]
    assert in_parquet(service, [area]).status_code == 200


def test_a_prediction_that_is_no_finite_number_is_refused_and_its_row_named(straight: Market) -> None:
    service = Service(straight.project)
    response = service.predict({"rows": [ROW, ROW | {"area": 1e307}]})
    assert response.status_code == 422
    (told,) = response.json()["mistakes"]
    assert (told["row"], told["message"][:45]) == (1, "version 1 predicts no finite number for this ")
    bulk = in_parquet(service, [100, 1e307])
    assert [one["row"] for one in bulk.json()["mistakes"]] == [1]
    rows = pl.DataFrame([ROW | {"area": area} for area in (1e307, 100.0)]).with_columns(pl.col("month").str.to_date())
    answers, wrong = served_of(straight).answer_each(rows)
    assert (answers["_row"].to_list(), list(wrong)) == ([1], [0])
