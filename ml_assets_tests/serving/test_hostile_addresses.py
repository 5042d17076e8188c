"""Whatever stands in an address, the answer is one: a page, or what is wrong with the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from small_site import Browser

LONG = "9" * 5000
# The ends of the calendar, where a day more or less is none.
KEYS = ("9999-12", "0001-01", "1000-01", "9999-11", "9999-13", "2024-1", LONG, "\N{ARABIC-INDIC DIGIT TWO}024-01")
PAGES = (
    "partitions/{}", "partitions?before={}", "drift/{}", "drift?before={}", "predictions/{}?source=a&row=1",
    "predictions?partition={}", "drift/report?from={}&against=version:1", "drift/report?from=2024-01&against={}",
    "drift/report?from=1000-01&to={}&against=1000-01..{}", "drift/{}/evidently",
)  # fmt: skip
NUMBERS = ("0", "999999999", "1000000000", "9" * 20, "9" * 300, LONG, "-1", "1.0", "\N{SUPERSCRIPT TWO}")
OF_NUMBERS = (
    "versions/{}", "versions/{}/card", "versions/{}/card.md", "versions/{}/diff/1", "versions/1/diff/{}",
    "versions/diff?one={}&other=1", "versions/{}/coverage.png", "versions/{}/promote", "versions/{}/approve",
    "rollback?version={}", "decisions/{}/answer", "drift/report?from=2024-01&against=version:{}", "ledger?before={}",
    "predictions/2024-01?source=a&row={}",
)  # fmt: skip
DAYS = (
    "9999-12-31", "0001-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "9999-12-31T23:59", "2024-02-30",
    LONG,
)  # fmt: skip
OF_DAYS = ("ledger?until={}", "ledger?since={}", "ledger?on={}")


@pytest.mark.parametrize(
    ("addresses", "values"), [(PAGES, KEYS), (OF_NUMBERS, NUMBERS), (OF_DAYS, DAYS)], ids=["keys", "numbers", "days"]
)
def test_no_address_is_too_much(client: Browser, addresses: tuple[str, ...], values: tuple[str, ...]) -> None:
    paths = [f"/projects/houses/{one.replace('{}', value)}" for one in addresses for value in values]
    answers = [(client.get(path).status_code, path[:100]) for path in [*paths, "/ledger?until=9999-12-31"]]
    assert [one for one in answers if one[0] not in {200, 303, 403, 404, 422}] == []
