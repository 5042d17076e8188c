"""The quarantine as tables in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ml_assets.core.showing import WIDTH, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ml_assets.quarantine import Quarantine


def tables(found: Quarantine) -> list[Table]:
    """The quarantine as tables for a terminal. Cells are text: nothing in them is taken for markup."""
    return [
        _table(
            "Checks",
            ("check", "column", "rows", "share", "since", "quarantined (UTC)", "newest"),
            (
                (
                    one.name, one.column or "", f"{one.rows:,}", f"{one.share:.2%}", one.first,
                    f"{one.since:%Y-%m-%d %H:%M}" if one.since else "", one.newest,
                )
                for one in found.checks
            ),
        ),
        _table(
            "Values",
            ("check", "value", "rows", "source", "row", "belongs to"),
            (
                (one.name, each.shown, f"{each.rows:,}", each.source, str(each.row), each.belongs)
                for one in found.checks
                for each in one.examples
            ),
        ),
        _table(
            "Partitions",
            ("partition", "raw", "quarantined", "share", "why"),
            (
                (one.key, f"{one.raw:,}", f"{one.rows:,}", f"{one.share:.2%}", one.why)
                for one in found.partitions
            ),
        ),
        *(
            [_table("Re-entered", ("partition", "when (UTC)", "what"), _replays(found))] if found.replayed else []
        ),
    ]  # fmt: skip


def _replays(found: Quarantine) -> Iterable[tuple[str, ...]]:
    return ((one.partition, f"{one.at[:16].replace('T', ' ')}", one.reason) for one in found.replayed)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in {"rows", "share", "raw", "row", "quarantined"} else "left",
                         overflow="fold")  # fmt: skip
    for row in rows:
        # A file may be named by whoever delivers it.
        table.add_row(*(Text(visible(cell, 10 * WIDTH)) for cell in row))
    return table
