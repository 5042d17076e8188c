"""What the processes of the tests of acts do; they import this module only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from small_market import NAME, open_market

from ml_assets.assets.acts import ActError, Person, roll_back
from ml_assets.registry.ledger import current_champion

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path


def go_back_and_forth(folder: Path, told: Connection | None, turns: int) -> None:
    """Let versions 1 and 2 serve in turn, until killed or so often; say before each act that it begins."""
    os.environ["ML_ASSETS_HOME"] = str(folder / "home")
    market = open_market(folder)
    for turn in range(turns):
        other = 3 - (current_champion(market.ledger()) or 0)
        if told is not None:
            told.send(other)
        try:
            roll_back(market.project, market.lake, other, Person(f"{NAME} {turn}", "to see what a kill does"))
        except ActError:
            continue  # another process has just done the same
