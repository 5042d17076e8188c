"""The page of a replay: what each policy would have cost, and which to take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ml_assets.registry.replays import write_replay

if TYPE_CHECKING:
    from pathlib import Path

    from small_site import Browser

REPLAY = {
    "metric": "mape",
    "partitions": ["2024-01", "2024-02"],
    "price": 1.0,
    "delay": 0,
    "young": 0.05,
    "policies": [
        {
            "policy": name, "error": error, "cost": 2.5, "retrainings": 1, "reinstatements": 0, "oracle": 0.05,
            "periodic": 0.06, "share": share, "retrained": ["2024-02"] if share else [], "reinstated": [],
            "errors": [0.0512, 0.0634],
        }
        for name, error, share in (("never", 0.08123, None), ("performance", 0.0612, 0.75))
    ],
    "frontier": {"oracle": [[0, 0.08], [1, 0.05]], "periodic": [[0, 0.08], [1, 0.06]], "worth_it": [[1, 0.055]]},
    "recommended": "never",
    "words": "never costs least over 2 partitions",
}  # fmt: skip


def test_it_tells_numbers_pictures_and_recommendation(empty: Browser) -> None:
    write_replay("houses", REPLAY, {"over_time": b"\x89PNG one", "frontier": b"\x89PNG two"})
    page = empty.get("/projects/houses/replay").text
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())

    assert "Another policy would have cost less: never costs least over 2 partitions." in text
    assert "never costs least never retrain 1 0 8.12% 6.00% 5.00% \N{EN DASH} 2.5" in text
    assert "performance declared when the error has grown 1 0 6.12% 6.00% 5.00% 75 % 2.5" in text
    assert "2024-02 6.34% 6.34% \N{BLACK DIAMOND}" in text, "the numbers of the picture, with what was retrained"
    assert "oracle 1 5.00%" in text
    for name in ("over_time", "frontier"):
        answer = empty.get(f"/projects/houses/replay/{name}.png")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert f'src="/projects/houses/replay/{name}.png"' in page


def test_a_picture_that_is_not_there_is_neither_shown_nor_found(empty: Browser, tmp_path: Path) -> None:
    write_replay("houses", REPLAY | {"recommended": "performance"}, {})
    assert "<img" not in empty.get("/projects/houses/replay").text
    assert "Keep the policy" in empty.get("/projects/houses/replay").text
    (tmp_path / "secret.png").write_bytes(b"x")
    for name in ("over_time", "..%2F..%2F..%2F..%2Fsecret", "replay", "%2e%2e"):
        assert empty.get(f"/projects/houses/replay/{name}.png").status_code == 404
