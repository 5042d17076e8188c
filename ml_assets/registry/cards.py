"""The card of a version, put together from its record, its evaluation and the ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ml_assets.core.card import Subject, as_markdown, card_of
from ml_assets.core.files import replace_file
from ml_assets.lake.origin import origin_warning
from ml_assets.registry.export import parity
from ml_assets.registry.ledger import read_entries, stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from ml_assets.registry.models import Registry, Version

CARD = "card.md"


def subject_of(
    cursor: duckdb.DuckDBPyConnection, registry: Registry, version: Version, *, description: str, owners: Sequence[str]
) -> Subject:
    """What a version's card is about, as a cursor's transaction sees it."""
    entries = read_entries(cursor, version.project)
    return Subject(
        description=description,
        owners=owners,
        record=asdict(version),
        evaluation=registry.evaluation(version.project, version.number),
        history=[asdict(entry) for entry in entries if entry.version == version.number and entry.kind != "decision"],
        stage=stages(entries).get(version.number, "candidate"),
        warning=origin_warning(cursor, version.project),
        export=parity(registry, version),
    )


def write_card(registry: Registry, version: Version, subject: Subject) -> str:
    """Write a version's card beside it, as Markdown, and return it."""
    text = as_markdown(subject.name, card_of(subject))
    replace_file(registry.path(version, CARD), text)
    return text
