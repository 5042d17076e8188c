"""The page of a version's card."""

from __future__ import annotations

from small_site import HOSTILE, HOSTILE_COLUMN, Browser

PAGE = "/projects/houses/versions/1/card"


def test_it_is_linked_from_the_project_and_tells_what_is_on_record(client: Browser) -> None:
    assert f'href="{PAGE}"' in client.get("/projects/houses").text
    page = client.get(PAGE)

    assert page.status_code == 200
    for words in (
        "Model card of houses@1",
        "2024-01 … 2024-02",
        "ml-assets rebuild houses@1",
        "the first version that",
    ):
        assert words in page.text
    assert page.text.count("SIMULATED DATA") >= 2


def test_what_stands_in_the_data_is_no_html(client: Browser) -> None:
    page = client.get(PAGE).text

    assert HOSTILE not in page
    assert HOSTILE_COLUMN not in page
    assert "&lt;img src=x" in page
    assert "Prices of &lt;b&gt;houses&lt;/b&gt;." in page


def test_the_same_as_markdown(client: Browser) -> None:
    answer = client.get(f"{PAGE}.md")

    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("# Model card of houses@1\n")
    assert HOSTILE_COLUMN not in answer.text


def test_a_version_that_is_not_there_is_not_found(client: Browser, empty: Browser) -> None:
    assert client.get("/projects/houses/versions/9/card").status_code == 404
    assert "houses has no version 9. It has: 1" in client.get("/projects/houses/versions/9/card").text
    assert client.get("/projects/houses/versions/x/card").status_code == 404
    assert empty.get(PAGE).status_code == 404
