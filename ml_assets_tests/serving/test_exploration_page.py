"""The page of an exploration."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from small_site import HOSTILE, HOSTILE_COLUMN, PROJECT, Browser, feature_rows

from ml_assets.core.exploration import Exploration, explore
from ml_assets.core.pictures import pictures
from ml_assets.registry.explorations import write_exploration

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "/projects/houses/exploration"


@pytest.fixture(scope="module")
def found() -> Exploration:
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.register("t", feature_rows())
        columns = {name: kind for name, kind, *_ in connection.execute("DESCRIBE t").fetchall()}
        return explore(
            lambda sql: connection.execute(sql).pl(), "t", columns, target="price",
            hidden=("_partition", "_source", "_row"), partition="_partition", label=PROJECT.key_of,
        )  # fmt: skip


@pytest.fixture
def page(found: Exploration, empty: Browser) -> str:
    numbers = asdict(found) | {"others": [], "snapshot": 7, "validated_rows": found.rows}
    write_exploration("houses", numbers, pictures(found))
    answer = empty.get(PAGE)
    assert answer.status_code == 200
    return answer.text


def test_without_an_exploration_the_page_says_what_to_do(empty: Browser) -> None:
    answer = empty.get(PAGE)

    assert answer.status_code == 200
    assert "Run <code>ml-assets explore houses</code>, or materialize <code>houses/exploration</code>" in answer.text


def test_every_picture_is_served_described_and_has_its_figures(page: str, empty: Browser) -> None:
    images = re.findall(r'<img class="picture" src="([^"]+)" alt="([^"]+)">', page)

    assert len(images) == 6
    for source, described in images:
        answer = empty.get(source)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert described.endswith("The figures are in the table below.")
    for table in ("Distribution of price", "Rows and target over time", "Associations", "Pearson&#39;s correlations"):
        assert f"<summary>{table} in figures</summary>" in page
    assert "price against area in figures" in page


def test_what_stands_in_the_rows_is_no_html(page: str) -> None:
    assert HOSTILE not in page
    assert HOSTILE_COLUMN not in page
    assert "&lt;/script&gt;" in page
    assert "&lt;img src=x" in page


def test_what_is_suspicious_is_said(page: str) -> None:
    assert "area alone tells price almost exactly" in page


def test_a_picture_that_is_not_there_is_not_found(page: str, empty: Browser) -> None:
    assert page
    assert empty.get(f"{PAGE}/exploration.json").status_code == 404
    assert empty.get(f"{PAGE}/..%2f..%2fexploration.json").status_code == 404


def test_the_project_page_links_to_it(client: Browser) -> None:
    assert f'href="{PAGE}"' in client.get("/projects/houses").text


def test_the_page_needs_nothing_but_what_is_kept(page: str, tmp_path: Path) -> None:
    assert page
    assert not (tmp_path / "home" / "lake").exists()
