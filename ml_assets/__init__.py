"""ml-assets: declare a machine-learning project once, get its whole Dagster asset graph.

Importing this package costs nothing: the component is resolved on first use, so that the command line, the guard
processes and the lake do not pay for Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_assets.component import ModelProject

__all__ = ["ModelProject"]


def __getattr__(name: str) -> Any:
    if name == "ModelProject":
        from ml_assets.component import ModelProject  # noqa: PLC0415 - the point of this function

        return ModelProject
    raise AttributeError(f"module 'ml_assets' has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster's registry lists a module's components through dir().
    return [*globals(), *__all__]
