"""Making a model file the same bytes for the same model.

skops writes a zip archive whose schema and members are named after where objects happened to lie in memory, and when:
two fits that agree in every bit are never the same file. Here the names are given again, in the order in which they
occur, and everything else that tells of the moment is set to a constant. skops reads the result as it reads its own.
"""

from __future__ import annotations

import json
import sys
import zipfile
from io import BytesIO
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SCHEMA = "schema.json"
# The least that a zip archive can say.
MOMENT = (1980, 1, 1, 0, 0, 0)
# Attributes in which scikit-learn keeps an address of memory, to see whether an object is still the same.
ADDRESSES = ("_stop_words_id",)


class _Names:
    """Numbers in place of addresses, and names in place of names, in the order of their first occurrence."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._ids: dict[int, int] = {}
        self._next = 0

    def settle(self, node: Any) -> None:
        """Rename within a node of the schema, in place."""
        if isinstance(node, list):
            for one in node:
                self.settle(one)
        if not isinstance(node, dict):
            return
        if "__id__" in node:
            node["__id__"] = self._number(node)
        if "__loader__" in node and isinstance(node.get("file"), str):
            old = node["file"]
            node["file"] = self.files.setdefault(old, f"{len(self.files)}{PurePath(old).suffix}")
        for name, value in node.items():
            if name in ADDRESSES and isinstance(value, dict):
                value["content"] = "0"
            self.settle(value)

    def _number(self, node: dict[str, Any]) -> int:
        # Texts and numbers cannot change: whether two equal ones are one object is Python's own affair, and differs
        # between a process that read them from YAML and one that read them from a record.
        old = None if node.get("__loader__") == "JsonNode" else node["__id__"]
        if old in self._ids:
            return self._ids[old]
        self._next += 1
        if old is not None:
            self._ids[old] = self._next
        return self._next


def settled(content: bytes) -> bytes:
    """A skops file as it would have been written at any other time and place.

    Args:
        content: of the file, as skops wrote it or settled before: then it comes back unchanged.

    Returns:
        An uncompressed zip archive: the schema first, then the arrays in the order in which the schema names them.
    """
    names = _Names()
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        schema = json.loads(old.read(SCHEMA))
        names.settle(schema)
        _add(new, SCHEMA, json.dumps(schema, separators=(",", ":")).encode())
        for before, after in names.files.items():
            _add(new, after, old.read(before))
    return made.getvalue()


def skops_io() -> Any:
    """The module `skops.io`, imported in a quarter of the time.

    It trusts scipy's functions by the names of their modules, which these do not know: it looks for each of them in all
    modules of the process, and beside Dagster there are thousands. So they are told before, what it would find.
    """
    if "skops.io" not in sys.modules:
        import numpy as np  # noqa: PLC0415
        import scipy.special  # noqa: F401, PLC0415

        for name in [name for name in sys.modules if name.startswith("scipy.special.")]:
            for each in vars(sys.modules[name]).values():
                if isinstance(each, np.ufunc) and hasattr(each, "__dict__") and not hasattr(each, "__module__"):
                    each.__module__ = name
    import skops.io

    return skops.io


def as_bytes(model: Pipeline) -> bytes:
    """What `Registry.register` writes of a fitted pipeline."""
    return settled(skops_io().dumps(model))


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, MOMENT)
    info.create_system = 3  # otherwise it tells the system on which it was written
    info.external_attr = 0o600 << 16
    archive.writestr(info, content)
