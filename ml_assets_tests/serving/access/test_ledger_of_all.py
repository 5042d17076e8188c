"""The ledger of all projects shows a key of some the entries of those."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ml_assets import settings
from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import Draft, Ledger

if TYPE_CHECKING:
    from keyed_site import Server


@pytest.mark.parametrize(
    ("projects", "seen"),
    [(("houses",), {"houses"}), (("boats",), {"boats"}), (("*",), {"houses", "boats", "gone"}), (("cars",), set())],
)
def test_it_shows_the_entries_of_the_projects_that_one_may_look_at(
    server: Server, projects: tuple[str, ...], seen: set[str]
) -> None:
    for name in ("houses", "boats", "gone"):
        draft = Draft(name, "decision", f"because of {name}", {}, "2024-01", 1, "hold", "live")
        Ledger(Lake(settings.home() / "lake")).append(Commit(name, "test"), lambda _, draft=draft: [draft])

    page = server.page("/ledger", key=server.key("look", projects=projects))

    assert page.status_code == 200
    assert set(re.findall(r"because of (\w+)", page.text)) == seen
