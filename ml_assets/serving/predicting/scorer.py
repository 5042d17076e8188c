"""One loaded version: from its ONNX file where that was shown to say the same, else from its scikit-learn pipeline."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.registry.export import ONNX, PARITY, is_installed, parity
from ml_assets.registry.models import RegistryError
from ml_assets.registry.sessions import fed, fed_values, open_session, run_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from ml_assets.core.tasks import Values
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry, Version

# The greatest number that 32 bits hold.
GREATEST = (2 - 2**-23) * 2.0**127


class Scorer:
    """A version that can be asked.

    Attributes:
        version: its record.
        engine: what answers.
        why: why it is not ONNX; "" where it is.
        noted: when the note beside its ONNX file was written, as far as that can be told; None without one.

    Args:
        registry: loads it.
        version: the version.
        entries: the project's ledger: what the version's folder must hold.

    Raises:
        RegistryError: if its files are not those that were registered, or cannot be trusted.
    """

    def __init__(self, registry: Registry, version: Version, entries: Sequence[Entry]) -> None:
        refuse_changed(registry, version, entries)
        self.version, self._registry = version, registry
        self.engine: Literal["onnx", "scikit-learn"] = "scikit-learn"
        self.noted = noted(registry, version)
        self.why, content = exported(registry, version)
        if content is not None:
            self._session = open_session(content, threads=1)
            self.engine = "onnx"
        else:
            registry.load(version)

    def predict(self, columns: Mapping[str, Sequence[Any]], schema: Mapping[str, pl.DataType]) -> Values:
        """Predictions for a few rows, in the shape of `Registry.predict`.

        Args:
            columns: feature → values, shape (n,).
            schema: feature → its type.
        """
        import polars as pl

        def rows() -> pl.DataFrame:
            return pl.DataFrame(dict(columns), schema={name: schema[name] for name in columns}, strict=False)

        if self.engine == "onnx":
            return self._by_onnx(fed_values(columns, self.version.features), rows)
        return self._by_pipeline(rows())

    def predict_frame(self, rows: pl.DataFrame) -> Values:
        """Predictions for many rows of features, in the shape of `Registry.predict`."""
        if self.engine == "onnx":
            return self._by_onnx(fed(rows, self.version.features), lambda: rows)
        return self._by_pipeline(rows)

    def _by_onnx(self, inputs: Mapping[str, Any], rows: Callable[[], pl.DataFrame]) -> Values:
        """What the ONNX file says; of rows beyond the 32 bits that it computes with, what the pipeline says."""
        import numpy as np  # noqa: PLC0415

        said = run_session(self._session, self.version, inputs)
        if not len(said):
            return said
        beyond: Any = ~np.isfinite(said).reshape(len(said), -1).all(axis=1)
        for name, kind in self.version.features.items():
            if kind == "number":
                beyond |= np.abs(inputs[name][:, 0]) > GREATEST
        if beyond.any():
            said[beyond] = self._by_pipeline(rows().filter(beyond))
        return said

    def _by_pipeline(self, rows: pl.DataFrame) -> Values:
        import numpy as np  # noqa: PLC0415

        version = self.version
        if not rows.height:  # no estimator takes none
            return np.empty((0, len(version.classes)) if version.task == "multiclass" else 0)
        # What is too large for it is no finite number, and refused by whoever asks.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._registry.predict(version, rows)


def noted(registry: Registry, version: Version) -> int | None:
    """When the note beside a version's ONNX file was written; None where there is none."""
    try:
        return registry.path(version, PARITY).stat().st_mtime_ns
    except OSError:  # it is not there, or cannot be asked: then the pipeline serves
        return None


def exported(registry: Registry, version: Version) -> tuple[str, bytes | None]:
    """Why a version is not served from ONNX, or "" and the file that agrees with it."""
    if not is_installed():
        return "onnxruntime is not installed: pip install 'ml-assets[onnx]'", None
    try:
        told = parity(registry, version)
        if told is None:
            return f"it has no ONNX file: ml-assets models export {version.project}@{version.number} says why", None
        # Read once: what is hashed and loaded are the same bytes.
        content = registry.path(version, ONNX).read_bytes()
    except (OSError, ValueError) as error:
        return f"its ONNX file, or the note beside it, cannot be read: {error}", None
    if hashlib.sha256(content).hexdigest() != told.get("sha256"):
        return "its ONNX file is not the one that was exported: it was changed", None
    return "", content


def refuse_changed(registry: Registry, version: Version, entries: Sequence[Entry]) -> None:
    """Refuse a version that the ledger does not know, or whose files are not those that it has heard of.

    Raises:
        RegistryError: naming the file.
    """
    registry.check(version)
    told = next((one.facts for one in entries if (one.kind, one.version) == ("registered", version.number)), None)
    if told is None:
        raise RegistryError(
            f"{version.project} version {version.number}: the ledger does not know it: its folder was copied here. "
            "Remedy: remove the folder, and train a version"
        )
    found = {"artefact": version.artefact, "record": registry.record_hash(version.project, version.number)}
    if any(told.get(name, value) != value for name, value in found.items()):
        raise RegistryError(
            f"{version.project} version {version.number}: its version.json is not the one that the ledger names: it "
            "was changed. Remedy: restore the folder from a backup; `ml-assets audit verify` tells what else differs"
        )
