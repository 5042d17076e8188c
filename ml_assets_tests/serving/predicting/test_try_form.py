"""The form to try a model: what stands in it, what it says, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import polars as pl
from small_service import ROW, Service
from test_classification import MULTICLASS
from test_predicted_classes import trained

from ml_assets.declared.serving import Serving
from ml_assets.serving.words import figure

if TYPE_CHECKING:
    from pathlib import Path

    from small_market import Market


def page(service: Service, query: str = "") -> str:
    response = service.get(f"/try/{service.name}{query}")
    assert response.status_code == 200
    return unescape(response.text)


def asked(**fields: object) -> str:
    return "?" + "&".join(f"{name}={value}" for name, value in fields.items())


def test_the_form_asks_for_the_fields_of_the_schema_within_its_limits_and_holds_a_real_row(service: Service) -> None:
    text = page(service)

    (area,) = re.findall(r"<input [^>]*name=\"area\"[^>]*>", text)
    assert 'type="number"' in area
    assert re.search(r'value="\d', area)
    assert 'name="town"' in text
    assert 'name="price"' not in text, "the target is what is asked for"
    assert "What moved it" not in text


def test_a_row_gets_the_prediction_of_the_api_with_an_interval_and_what_moved_it(service: Service) -> None:
    said = service.predict(ROW, params={"explain": "true"}).json()["predictions"][0]
    text = page(service, asked(**ROW))

    (shown,) = re.findall(r"<strong>([\d,.]+)</strong>\s*</p>", text)
    assert shown == figure(said["prediction"])
    for one in said["explanation"]["contributions"]:
        assert one["feature"] in text
    assert "With a chance of 90 % between" in text


def test_a_field_is_moved_over_what_it_usually_is_while_all_others_stay(service: Service) -> None:
    text = page(service, asked(**ROW))
    moved = text[text.index("What if one field were another") :]
    (towns,) = re.findall(r"<figcaption>town .*?</figure>", moved, re.DOTALL)
    said = service.predict({**ROW, "town": "WEST"}).json()["predictions"][0]["prediction"]

    assert "WEST" in towns
    told = {float(one.replace(",", "")) for one in re.findall(r'<td class="n">([\d,.]+)</td>', towns)}
    assert min(abs(one - said) for one in told) <= abs(said) * 1e-3
    assert "<svg" in moved


def test_what_the_schema_forbids_is_said_at_its_field_and_nothing_is_predicted(service: Service) -> None:
    text = page(service, asked(**{**ROW, "area": -5}))

    assert "That cannot be predicted" in text
    assert re.search(r"<input [^>]*name=\"area\"[^>]*aria-invalid=\"true\"", text)
    assert "area: -5" in text
    assert "What moved it" not in text


def test_what_somebody_writes_into_a_field_is_text_on_the_page(service: Service) -> None:
    response = service.get(f"/try/{service.name}?month=2024-03-01&area=100&town=%3Cscript%3Ealert(1)%3C/script%3E")

    assert "<script" not in response.text


def test_a_version_may_be_chosen_and_one_that_is_not_there_is_named(service: Service) -> None:
    assert "Version 1" in page(service, "?_version=1")
    for number in ("77", "x", "0" * 8 + "1" * 9_000):
        response = service.get(f"/try/{service.name}?_version={number}")
        assert response.status_code == 404
        assert "has no version" in response.text


def test_an_unknown_project_has_no_form(service: Service) -> None:
    assert service.get("/try/nothing").status_code == 404


def test_of_personal_columns_neither_the_form_nor_the_document_tells_a_value(town: Market) -> None:
    (contract,) = town.table("validated", "2024-03").head(1)["contract"]
    with town.settings():
        told = Service(town.project).get("/try/flats").text
        served = Service(replace(town.project, serving=Serving(personal={"contract": "drop"})))
        form, document = served.get("/try/flats").text, served.get("/predict/flats/openapi.json").text

    month = contract.partition("/")[0] + "/"
    assert month in told
    assert 'name="contract"' in form
    assert month not in form
    assert month not in document
    assert '"area"' in document


def test_of_many_classes_the_probability_of_the_rows_own_label_is_followed(tmp_path: Path) -> None:
    market = trained(tmp_path, MULTICLASS, ["ham", "spam", "alert"])
    with market.settings():
        service = Service(market.project)
        row = market.table("features", "2024-02").head(1).drop("label", "_partition", "_source", "_row")
        (asked_for,) = row.with_columns(pl.col(pl.Date, pl.Datetime).dt.to_string("iso:strict")).to_dicts()
        said = service.predict(asked_for).json()["predictions"][0]
        written = {name: "" if value is None else json.dumps(value).strip('"') for name, value in asked_for.items()}
        text = unescape(service.get(f"/try/{service.name}?{urlencode(written)}").text)

    assert "That cannot be predicted" not in text, text[text.index("That cannot be predicted") :][:600]
    own = f"{said['probabilities'][said['label']]:.4g}"
    assert f"probability of {said['label']}" in text
    figures = [
        re.findall(r'<td class="n">([\d.e-]+)</td>', one) for one in re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    ]
    # A number that is missing has no place among those that it is moved to.
    assert any(own in points for points in figures), "the row itself is among the points"
    near = [abs(float(point) - float(own)) for points in figures for point in points]
    assert min(near) < 0.01
