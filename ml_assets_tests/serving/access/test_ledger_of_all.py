"""The ledger of all projects shows a key of some the entries of those."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest

from ml_assets import settings
from ml_assets.lake.connection import Commit, Lake
from ml_assets.registry.ledger import LEDGER, Draft, Ledger, heads_file

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


@pytest.mark.parametrize("page", ["/ledger", "/projects/houses/ledger"])
def test_where_a_chain_is_broken_is_told_to_who_may_look_at_all_projects(server: Server, page: str) -> None:
    lake = Lake(settings.home() / "lake")
    Ledger(lake).append(Commit("boats", "test"), lambda _: [Draft("boats", "decision", "hold", {}, "2024-01", 7)])
    with lake.transaction(Commit("boats", "forger")) as transaction:
        transaction.cursor.execute(f"UPDATE {LEDGER.path} SET reason = 'another'")
    with heads_file(lake).open("a") as file:
        file.write(f"9:{'a' * 64}\n")
    lake.close()

    every, some = (
        unescape(server.page(page, key=server.key("look", projects=projects)).text)
        for projects in (("*",), ("houses",))
    )
    assert "The chain is broken." in every
    assert "The chain is broken." in some
    assert "entry 1 (decision of boats version 7" in every
    assert str(heads_file(lake)) in every
    assert "in 2 places of the ledger of all projects" in some
    assert "boats" not in some
    assert str(settings.home()) not in some
