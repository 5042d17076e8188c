"""A code location that holds the small market of the tests in one folder: it loads in a second."""

from __future__ import annotations

import os
from pathlib import Path

from small_market import open_market

defs = open_market(Path(os.environ["FLATS"])).defs
