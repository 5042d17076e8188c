"""The card of a version, put together from its record, its evaluation and the ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ml_assets.core.card import Subject, as_markdown, card_of
from ml_assets.core.files import replace_file
from ml_assets.lake.origin import origin_warning
from ml_assets.registry.export import parity
from ml_assets.registry.ledger import VERDICTS, read_entries, stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry, Version

CARD = "card.md"


def subject_of(
    cursor: duckdb.DuckDBPyConnection, registry: Registry, version: Version, *, description: str, owners: Sequence[str]
) -> Subject:
    """What a version's card is about, as a cursor's transaction sees it."""
    entries = read_entries(cursor, version.project)
    evaluation = registry.evaluation(version.project, version.number)
    if evaluation is not None:
        evaluation = evaluation | {"gates": gates_of(entries, version.number, evaluation)}
    return Subject(
        description=description,
        owners=owners,
        record=asdict(version),
        evaluation=evaluation,
        history=[asdict(entry) for entry in entries if entry.version == version.number and entry.kind != "decision"],
        stage=stages(entries).get(version.number, "candidate"),
        warning=origin_warning(cursor, version.project),
        export=parity(registry, version),
    )


def gates_of(entries: Sequence[Entry], number: int, evaluation: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The gates that a version was held against: with the limits of time and size once it is judged.

    Args:
        entries: of its project, oldest first.
        number: the version's.
        evaluation: the version's; its gates stand for a version that is not judged yet.
    """
    judged = [one.facts for one in entries if one.version == number and one.kind in VERDICTS]
    known = [facts["gates"] for facts in judged if "gates" in facts]
    return list(known[-1] if known else (evaluation or {}).get("gates", ()))


def write_card(registry: Registry, version: Version, subject: Subject) -> str:
    """Write a version's card beside it, as Markdown, and return it."""
    text = as_markdown(subject.name, card_of(subject))
    replace_file(registry.path(version, CARD), text)
    return text
