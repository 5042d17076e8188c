"""Asking an exported model: its inputs, and what it says in the shape of the version's own predictions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.core.training import DAY, as_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from ml_assets.core.tasks import Values
    from ml_assets.registry.models import Version

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def open_session(content: bytes | Path, threads: int = 0) -> Any:
    """An exported model, ready to be asked.

    Args:
        content: of the file, or where it stands.
        threads: in how many it works; as many as there are cores where it is 0.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    source = content if isinstance(content, bytes) else str(content)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_session(session: Any, version: Version, inputs: Mapping[str, Any]) -> Values:
    """What a session says of the inputs of an exported model, in the shape of `Registry.predict`."""
    found: Values = session.run(["prediction"], inputs)[0].astype(float)
    if version.task == "multiclass":
        return found
    return found[:, 1] if version.task == "binary" else found.reshape(-1)


def fed(rows: pl.DataFrame, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of an exported model."""
    inputs = as_inputs(rows, kinds)

    def value(name: str, kind: str) -> Any:
        if kind in {"number", "date"}:
            return inputs[name].to_numpy().reshape(-1, 1)
        texts = inputs[name].fillna("")
        return (texts.str.lower() if kind == "text" else texts).to_numpy(dtype=object).reshape(-1, 1)

    return {name: value(name, kind) for name, kind in kinds.items()}


def fed_values(columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str]) -> dict[str, Any]:
    """The same of a few rows as Python values: a frame of one row costs several times what its prediction costs."""
    import numpy as np  # noqa: PLC0415

    def value(values: Sequence[Any], kind: str) -> Any:
        if kind == "date":
            values = [None if one is None else _microseconds(one) / DAY for one in values]
        if kind in {"number", "date"}:
            numbers = np.array(values, dtype=float)
            return np.where(np.isinf(numbers), np.nan, numbers).reshape(-1, 1)
        texts = ["" if one is None else str(one) for one in values]
        return np.array([one.lower() if kind == "text" else one for one in texts], dtype=object).reshape(-1, 1)

    return {name: value(columns[name], kind) for name, kind in kinds.items()}


def _microseconds(moment: date) -> int:
    """Microseconds since 1970; of a time without a zone as if it were UTC's."""
    if not isinstance(moment, datetime):
        return (moment - EPOCH.date()) // MICROSECOND
    since = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (since - EPOCH) // MICROSECOND
