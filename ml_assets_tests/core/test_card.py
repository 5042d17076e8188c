"""A card tells what is on record, and nothing in it is markup."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ml_assets.core.card import CONTROL, Section, Subject, _escaped, as_markdown, card_of

RECORD: dict[str, Any] = {
    "project": "houses", "number": 3, "created_at": "2024-04-01T12:30:00.000+00:00", "parent": 2, "seed": 5,
    "estimator": "sklearn.linear_model.Ridge", "parameters": {"alpha": 1.0}, "target": "price", "task": "regression",
    "features": {"town": "category", "area": "number", "words": "text"}, "artefact": "a" * 64, "threads": 2,
    "packages": {"scikit-learn": "1.9.1"}, "hashes": {"sql": "s" * 64, "git": "c0ffee"}, "environment": {"blas": "x"},
    "training_set": {
        "snapshot": 17, "train": ("2024-01", "2024-02"), "test": ("2024-03",), "rows": 12_345, "content_hash": "c" * 64,
        "seed": 5, "leakage": ({"name": "price_per_room", "words": "from the target", "waived": "known beforehand"},),
    },
}  # fmt: skip
EVALUATION: dict[str, Any] = {
    "metrics": {"train": {"mae": 90.0}, "test": {"mae": 123.4}},
    "intervals": {"mae": [100.0, 150.0]},
    "gates": [{"demand": "mae <= 100", "value": 123.4, "passed": False}],
    "watched": "mae",
    "slices": [{"title": "town = EAST", "rows": 40, "metrics": {"mae": 99.5}, "intervals": {"mae": (90.0, 110.0)}}],
    "baselines": [
        {"title": "always the mean", "metrics": {"mae": 500.0}, "beaten": True, "p_value": 0.001},
        {"title": "the last value", "left_out": "no time"},
    ],
    "fit": [{"said": "It fits its training rows better than others."}],
}
HISTORY = [{"at": "2024-04-02T08:00:00.000+00:00", "kind": "rejected", "reason": "gate mae <= 100: it reached 123.4"}]


def markdown(**changes: Any) -> str:
    told: dict[str, Any] = {
        "description": "What a house sells for.", "owners": ["team:housing"], "record": RECORD, "stage": "rejected",
        "evaluation": EVALUATION, "history": HISTORY,
    }  # fmt: skip
    subject = Subject(**{**told, **changes})
    return as_markdown(subject.name, card_of(subject))


def test_a_card_tells_purpose_data_metrics_limits_and_how_to_rebuild() -> None:
    card = markdown(warning="SIMULATED", export={"rows": 700, "greatest": 0.0123, "sha256": "e" * 64})

    for words in (
        "# Model card of houses@3", "What a house sells for.", "| Owned by | team:housing |", "| Stage | rejected |",
        "| Snapshot of the lake | 17 |", "| Learnt from | 2024-01 … 2024-02 |", "| Rows | 12,345 |",
        "| mae | 90 | 123.4 | 100 … 150 |", "| mae \\<= 100 | 123.4 | not passed |",
        "| slice | rows | mae | interval |", "| town = EAST | 40 | 99.5 | 90 … 110 |",
        "| always the mean | 500 | yes | 0.001 |",
        "| the last value | no time |", "## Fit\n\nIt fits its training rows better",
        "| 2024-04-02 08:00 UTC | rejected |",
        "| price_per_room | from the target | known beforehand |",
        "It has learnt nothing later than 2024-02, and was judged on 2024-03 only.", "It does not serve",
        "It has not reached what was demanded: mae \\<= 100.", "    ml-assets rebuild houses@3", "| Commit | c0ffee |",
        "| Threads | 2 |", "agrees on 700 rows, by 0.0123 at most",
    ):  # fmt: skip
        assert words in card
    assert card.count("SIMULATED") == 2, "beside the data and among the limits"


def test_a_version_without_evaluation_or_history_says_so() -> None:
    card = markdown(evaluation=None, history=[])

    assert "It has not been evaluated." in card
    assert "The ledger does not name it." in card


def test_what_people_and_data_wrote_is_no_markup() -> None:
    hostile = "<img src=x onerror=alert(1)> ![x](http://e.x/p.png) [a](javascript:1) `c` | cell\n\n# heading"
    card = markdown(description=hostile, history=[{"at": "2024", "kind": "rejected", "reason": hostile}])

    assert not re.search(r"(?<!\\)<", card)
    assert not re.search(r"(?<!\\)!\\?\[|(?<!\\)\]\(", card)
    assert "\n# heading" not in card


@given(st.text())
def test_escaped_text_has_no_bare_markup(text: str) -> None:
    escaped = _escaped(text)

    assert re.sub(r"\\.", "", escaped) == re.sub(r"[\\`*\[\]<>|&#!~$\x00-\x1f]", "", re.sub(r"\\.", "", escaped))
    assert re.sub(r"\\(.)", r"\1", escaped) == re.sub(CONTROL, " ", text).strip()


@given(st.lists(st.text(), min_size=2, max_size=2))
def test_a_table_keeps_its_cells(cells: list[str]) -> None:
    text = as_markdown("x", [Section("t", (), ("a", "b"), (tuple(cells),))])

    row = text.splitlines()[-1]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
