"""The form to try a model: what stands in it, what it says, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

from small_service import ROW, Service

from ml_assets.declared.serving import Serving
from ml_assets.serving.words import figure

if TYPE_CHECKING:
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
    with town.settings():
        served = Service(replace(town.project, serving=Serving(personal={"town": "drop"})))
        form, document = served.get("/try/flats").text, served.get("/predict/flats/openapi.json").text

    assert 'name="town"' in form
    assert "EAST" not in form
    assert "EAST" not in document
    assert '"area"' in document
