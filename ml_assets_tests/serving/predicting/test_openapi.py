"""Requests drawn from the OpenAPI document: whatever it allows is answered, and nothing ever fails inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode

if TYPE_CHECKING:
    from small_service import Service

EXAMPLES = settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)


def test_what_is_drawn_from_the_document_is_answered_or_refused_as_it_says(service: Service) -> None:
    # It calls under a name of its own.
    document = schemathesis.openapi.from_asgi("/predict/flats/openapi.json", service.app, headers={"Host": "127.0.0.1"})
    (operation,) = [found.ok() for found in document.get_all_operations()]
    answered = set()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            response = case.call(headers={"Host": "127.0.0.1"})
            case.validate_response(response)
            answered.add(response.status_code)

        ask()
    assert 200 in answered
    assert 422 in answered
