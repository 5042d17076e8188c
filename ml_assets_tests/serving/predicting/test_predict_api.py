"""`POST /predict/{project}`: what is answered, and what is refused in which words."""

from __future__ import annotations

import asyncio
import io
from datetime import date
from html import unescape
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_market import PREPARING, open_market, sales
from small_service import ROW, Service

from ml_assets.serving.predicting.bulk import ARROW, PARQUET

if TYPE_CHECKING:
    from pathlib import Path

    from small_market import Market


def pipelines_own(town: Market, rows: pl.DataFrame) -> Any:
    with town.settings():
        return town.registry.predict(town.registry.version("flats", 1), rows)


def test_every_row_of_the_lake_is_predicted_as_by_the_pipeline(town: Market, service: Service) -> None:
    features = town.table("features", "2024-03")
    rows = features.select(pl.col("month").cast(pl.String), "town", "area").to_dicts()

    answer = service.predict({"rows": rows}).json()

    assert (answer["project"], answer["version"], answer["engine"]) == ("flats", 1, "onnx")
    said = [one["prediction"] for one in answer["predictions"]]
    assert said == pytest.approx(pipelines_own(town, features).tolist(), rel=1e-6)
    assert len(set(said)) > 30


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["EAST", "WEST"]), st.floats(20, 400)), min_size=1, max_size=9))
def test_any_rows_are_predicted_as_by_the_pipeline(
    town: Market, service: Service, drawn: list[tuple[str, float]]
) -> None:
    rows = [{"town": place, "area": area} for place, area in drawn]

    answer = service.predict({"rows": rows}).json()

    own = pipelines_own(town, pl.DataFrame(rows, schema={"town": pl.String, "area": pl.Float64}))
    assert [one["prediction"] for one in answer["predictions"]] == pytest.approx(own.tolist(), rel=1e-5)


def test_one_row_is_an_object(service: Service) -> None:
    (one,) = service.predict(ROW).json()["predictions"]
    assert one["prediction"] == pytest.approx(500_000, rel=0.05)


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        (ROW | {"town": "NORTH"}, "town", 'town: "NORTH" is not one of EAST, WEST'),
        (ROW | {"area": 19.5}, "area", "area: 19.5 is not a number at least 20 and at most 400"),
        (ROW | {"area": "100"}, "area", 'area: "100" is not a number'),
        (ROW | {"area": True}, "area", "area: true is not a number"),
        (ROW | {"town": None}, "town", "town: null is not one of EAST, WEST"),
        (ROW | {"month": "2024-02-30"}, "month", 'month: "2024-02-30" is not a date as 2024-01-31'),
        (ROW | {"month": 20240101}, "month", "month: 20240101 is not a date"),
        ({"month": "2024-03-01", "town": "EAST"}, "area", "area is missing: expected a number at least 20"),
        (ROW | {"towm": "EAST"}, "towm", "towm: there is no such field; did you mean town?"),
        (ROW | {"price": 500_000}, "price", "price: there is no such field"),
        (ROW | {"town": "N" * 10_000}, "town", 'town: "NNN'),
    ],
)
def test_a_value_that_the_schema_does_not_take_is_named_with_its_limit(
    service: Service, row: dict[str, Any], field: str, words: str
) -> None:
    response = service.predict(row)
    told = response.json()
    assert response.status_code == 422
    assert [one["field"] for one in told["mistakes"]] == [field]
    assert told["mistakes"][0]["message"].startswith(words)
    assert told["error"] == told["mistakes"][0]["message"]
    assert len(response.content) < 1_000, "a huge value is cut short"
    assert "Traceback" not in response.text


def test_every_mistake_of_every_row_is_told(service: Service) -> None:
    told = service.predict({"rows": [ROW, {"town": "X", "area": 1, "month": "2024-03-01"}, 7]}).json()
    assert [(one["row"], one["field"]) for one in told["mistakes"]] == [(1, "town"), (1, "area"), (2, "")]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"content": b"{"}, 400, "the body is no JSON"),
        ({"content": b"\xff\xfe"}, 400, "the body is no JSON"),
        ({"content": b'{"area": NaN}'}, 400, "the body is no JSON"),
        ({"content": b"[" * 100_000}, 400, "the body is no JSON"),
        ({"content": b'{"area": ' + b"9" * 5_000 + b"}"}, 400, "the body is no JSON"),
        ({"json": [1]}, 400, "expected one row as an object"),
        ({"json": {"rows": []}}, 400, "rows: expected a list of at least one row"),
        ({"json": {"rows": [ROW] * 10_001}}, 400, "rows: 10001 are more than the 10000"),
        ({"json": ROW, "headers": {"content-type": "text/xml"}}, 415, "text/xml is not read here"),
        ({"json": ROW, "params": {"version": "7"}}, 404, "flats has no version 7. It has: 1"),
        ({"json": ROW, "params": {"version": "../1"}}, 422, "version: '../1' is no version"),
        ({"json": ROW, "params": {"explain": "maybe"}}, 422, "explain: 'maybe' is neither true nor false"),
        ({"json": ROW, "params": {"versoin": "1"}}, 422, "versoin: there is no such parameter; did you mean version?"),
        ({"json": ROW, "params": {"x": ""}}, 422, "x: there is no such parameter; expected one of version, explain"),
        ({"json": ROW, "params": {"version": ["1", "2"]}}, 422, "version stands there twice"),
        ({"content": b"ARROW1", "headers": {"content-type": ARROW}}, 400, "the body is no Arrow stream"),
        ({"content": b"PAR1", "headers": {"content-type": PARQUET}}, 400, "the body is no Parquet file"),
        ({"content": b"x", "headers": {"content-length": "99999999"}}, 413, "the body is larger than 16 MiB"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    service: Service, options: dict[str, Any], code: int, words: str
) -> None:
    response = service.predict(**options)
    assert response.status_code == code
    assert response.json()["error"].startswith(words)


def test_a_parameter_that_the_document_does_not_have_is_refused_there_too(service: Service) -> None:
    response = service.get(f"/predict/{service.name}/openapi.json?versoin=1")
    assert response.status_code == 422
    assert response.json()["error"] == "versoin: there is no such parameter; did you mean version?"


def test_a_body_that_breaks_off_is_no_failure_of_the_server(service: Service) -> None:
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": b'{"area"', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/predict/flats", "raw_path": b"",
        "query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 3001),
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }  # fmt: skip
    asyncio.run(service.app(scope, receive, send))
    assert 'code="499",project="flats"' in service.get("/metrics").text
    assert 'code="500"' not in service.get("/metrics").text


def test_a_project_that_is_not_there_is_named(service: Service) -> None:
    response = service.ask("POST", "/predict/flat", json=ROW)
    assert (response.status_code, response.json()["error"]) == (404, "there is no project 'flat'; did you mean flats?")


def test_another_method_is_told_which_one_is_meant(service: Service) -> None:
    response = service.get("/predict/flats")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_arrow_and_parquet_are_answered_in_kind_as_json_is(town: Market, service: Service, kind: str) -> None:
    features = town.table("features", "2024-02")
    rows, body = features.select("month", "town", "area"), io.BytesIO()
    if kind == ARROW:
        rows.write_ipc_stream(body)
    else:
        rows.write_parquet(body)

    response = service.predict(content=body.getvalue(), headers={"content-type": kind})

    assert response.headers["content-type"] == kind
    assert (response.headers["x-version"], response.headers["x-engine"]) == ("1", "onnx")
    read = pl.read_ipc_stream if kind == ARROW else pl.read_parquet
    said = read(response.content)["prediction"].to_list()
    assert said == pytest.approx(pipelines_own(town, features).tolist(), rel=1e-6)


def test_a_row_of_parquet_that_does_not_pass_is_named_as_one_of_json(service: Service) -> None:
    body = io.BytesIO()
    pl.DataFrame({"month": ["2024-03-01"] * 2, "town": ["EAST", "NORTH"], "area": [90, 10]}).write_parquet(body)
    told = service.predict(content=body.getvalue(), headers={"content-type": PARQUET}).json()
    assert [(one["row"], one["message"]) for one in told["mistakes"]] == [
        (1, "area: 10.0 is not a number at least 20 and at most 400"),
        (1, "town: NORTH is not one of EAST, WEST"),
    ]


def test_an_explanation_adds_up_to_the_prediction_and_its_interval_holds_it(service: Service) -> None:
    (one,) = service.predict(ROW, params={"explain": "true"}).json()["predictions"]
    told = one["explanation"]
    assert {each["feature"] for each in told["contributions"]} == {"town", "area"}
    assert told["base"] + sum(each["contribution"] for each in told["contributions"]) == pytest.approx(
        one["prediction"]
    )
    interval = told["interval"]
    assert interval["low"] < one["prediction"] < interval["high"]
    assert interval["share"] == 0.9


def test_it_says_that_it_is_ready_by_which_engine_and_counts_what_it_answers(service: Service) -> None:
    service.predict(ROW)
    ready = service.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "projects": {"flats": {"champion": 1, "serves": 1, "engine": "onnx"}}}
    page = service.get("/metrics").text
    assert 'ml_assets_predict_requests_total{code="200",project="flats"}' in page
    assert 'ml_assets_champion_version{project="flats"} 1.0' in page


def test_while_it_starts_it_says_that_it_is_not_ready_and_why(town: Market) -> None:
    with town.settings():
        starting = Service(town.project).get("/readyz")  # nothing has been loaded: that begins with the server
    assert starting.status_code == 503
    assert starting.json()["reason"] == (
        "starting: the ledger is being read and the champions are being loaded. Remedy: ask again in a moment"
    )


def test_to_strangers_it_says_only_whether_it_is_ready(service: Service) -> None:
    service.predict(ROW)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(service.app, client=("192.0.2.9", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001") as client:
            return await client.get("/readyz")

    response = asyncio.run(ask())
    assert (response.status_code, response.json()) == (200, {"ready": True})


def test_the_document_tells_types_limits_and_a_real_example(service: Service) -> None:
    told = service.get("/predict/flats/openapi.json").json()
    row = told["components"]["schemas"]["Row"]
    assert row["required"] == ["town", "area"]
    assert "price" not in row["properties"]
    assert row["properties"]["area"] == {
        "description": "Floor area in square metres.", "maximum": 400.0, "minimum": 20.0, "title": "Area",
        "type": "number",
    }  # fmt: skip
    assert row["properties"]["town"]["enum"] == ["EAST", "WEST"]
    codes = told["paths"]["/predict/flats"]["post"]["responses"].keys()
    assert {"200", "400", "401", "403", "404", "405", "408", "409", "413", "415", "422", "429", "503"} == codes
    example = told["paths"]["/predict/flats"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert service.predict(example).status_code == 200


def test_predictions_from_simulated_data_say_so_each_and_so_does_the_form(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    for month in ("2024-01", "2024-02"):
        market.write(month, sales(month))
    (market.file("2024-01").parent / "ORIGIN.json").write_text('{"origin": "simulated", "seed": 7, "files": {}}')
    market.materialize(PREPARING, "2024-01", "2024-02")
    market.retrain()
    stream = io.BytesIO()
    pl.DataFrame([ROW | {"month": date(2024, 2, 1), "area": 100.0}]).write_ipc_stream(stream)

    with market.settings():
        service = Service(market.project)
        told = service.predict(ROW).json()["warning"]
        bulk = service.predict(content=stream.getvalue(), headers={"content-type": ARROW})
        form = service.get("/try/flats").text

    assert "simulated" in told.lower()
    assert bulk.status_code == 200, bulk.text
    assert "simulated" in bulk.headers["x-warning"].lower()
    assert told in unescape(form)
