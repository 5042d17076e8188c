"""Requests drawn from the OpenAPI document: whatever it allows is answered, and nothing ever fails inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

if TYPE_CHECKING:
    from small_service import Service

EXAMPLES = settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)


HEADERS = {"Host": "127.0.0.1"}


def here(app: Any) -> Any:
    """The application as somebody on this machine asks it."""

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        ends = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 3001)}
        await app(scope | ends if scope["type"] == "http" else scope, receive, send)

    return asked


@pytest.mark.parametrize("name", ["service", "every_kind"])
def test_what_is_drawn_from_the_document_is_answered_or_refused_as_it_says(
    request: pytest.FixtureRequest, name: str
) -> None:
    service: Service = request.getfixturevalue(name)
    # It calls under a name of its own.
    document = schemathesis.openapi.from_asgi("/predict/flats/openapi.json", here(service.app), headers=HEADERS)
    (operation,) = [found.ok() for found in document.get_all_operations()]
    answered = set()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            response = case.call(headers=HEADERS)
            # What JSON Schema cannot say, an even number or the first day, it draws and is refused.
            excluded = [positive_data_acceptance] if name == "every_kind" else []
            case.validate_response(response, excluded_checks=excluded)
            answered.add(response.status_code)

        ask()
    assert 200 in answered
    assert 422 in answered
