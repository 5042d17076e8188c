"""What the leakage gate has to know, and what it was told to let pass."""

from __future__ import annotations

import dagster as dg
from pydantic import Field, field_validator


class Waiver(dg.Model, dg.Resolvable):
    """A finding of the leakage gate that does not block, with its reason."""

    finding: str = Field(description="Name of the finding, as the gate tells it: `lineage:price_per_room`.")
    reason: str = Field(description="Why it is no leakage. It stays in the record of every version and in the ledger.")

    @field_validator("reason")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if len(value.split()) < 3:  # noqa: PLR2004 - "ok" and "not relevant" are no reasons
            raise ValueError("reason: write a sentence that says why this is no leakage: it stays in the record")
        return value


class Leakage(dg.Model, dg.Resolvable):
    """What is not known when a prediction is made, and which findings of the leakage gate are let pass."""

    unknown_at_prediction: list[str] = Field(
        default=[],
        description="Columns of the schema, or of a reference as `weather.temp`, that are not known when a prediction "
        "is made. What the target is computed from counts as unknown by itself; where the target is computed from "
        "several columns and some of them stand here, the others count as known.",
    )
    waivers: list[Waiver] = Field(default=[], description="Findings that do not block, each with a reason.")

    @field_validator("waivers")
    @classmethod
    def _name_each_finding_once(cls, value: list[Waiver]) -> list[Waiver]:
        named = [waiver.finding for waiver in value]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice:
            raise ValueError(f"waivers: {twice!r} stands there twice. Remedy: one waiver with one reason")
        return value

    @property
    def reasons(self) -> dict[str, str]:
        """Finding → why it is let pass."""
        return {waiver.finding: waiver.reason for waiver in self.waivers}
