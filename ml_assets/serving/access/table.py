"""Which scope opens which address. Every route stands under a row of this one table; what does not is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ml_assets.serving.access.caller import Caller, Scope

# Whoever asks; whoever has signed in or shown a key.
OPEN: Literal["open"] = "open"
KNOWN: Literal["known"] = "known"
READING = frozenset({"GET", "HEAD"})
# Bytes that a request may carry: a form; and, to be predicted, rows in bulk (`ML_ASSETS_MAX_BODY_MB`).
FORM: Literal["form"] = "form"
ROWS: Literal["rows"] = "rows"


@dataclass(frozen=True)
class Row:
    """What an address and all below it demand.

    Attributes:
        address: without a slash at its end.
        read: the scope for GET and HEAD, or `open` or `known`.
        write: the same for every other method; None where there is none.
        where: the projects in which the scope is needed: `named` by the part after the address, `any`, or `every` one.
        body: what a request may carry.
    """

    address: str
    read: Scope | Literal["open", "known"]
    write: Scope | Literal["open", "known"] | None = None
    where: Literal["any", "named", "every"] = "any"
    body: Literal["form", "rows"] = FORM


TABLE = (
    Row("/healthz", OPEN),
    Row("/readyz", OPEN),
    Row("/static", OPEN),
    Row("/sign-in", OPEN, OPEN),
    Row("/sign-out", KNOWN, KNOWN),
    # It names every project.
    Row("/metrics", "look", where="every"),
    Row("/ledger", "look"),
    Row("/projects", "look", "decide", "named"),
    Row("/predict", "predict", "predict", "named", ROWS),
    Row("/try", "predict", "predict", "named"),
    # What a proxy asks before it lets somebody at Dagster's own UI: docs/access.md.
    Row("/auth/dagster/decide", "decide", where="every"),
    Row("/auth/dagster", "look", where="every"),
    # Where the proxy then sends somebody who has not signed in.
    Row("/auth/sign-in", OPEN),
    # The start page alone: a row also covers what is below it, and nothing is below "//".
    Row("", "look"),
)


@dataclass(frozen=True)
class Demand:
    """What a request demands of whoever asks.

    Attributes:
        scope: the scope, or `open` or `known`.
        where: as in `Row`.
        project: the project that the address names; None where it names none.
        body: as in `Row`.
    """

    scope: Scope | Literal["open", "known"]
    where: Literal["any", "named", "every"]
    project: str | None
    body: Literal["form", "rows"]

    def is_met(self, caller: Caller) -> bool:
        """Whether somebody may."""
        if self.scope == "open":
            return True
        if self.scope == "known":
            return bool(caller.name)
        return caller.may_everywhere(self.scope) if self.where == "every" else caller.may(self.scope, self.project)


def demand_of(method: str, path: str) -> Demand | None:
    """What a request demands; None where nothing stands under its address, or nothing that it could write.

    Args:
        method: in capitals.
        path: decoded once, as the router reads it: both read the same, so nothing gets past by another spelling.
    """
    for row in TABLE:
        if path == row.address or path.startswith(f"{row.address}/"):
            below = path[len(row.address) + 1 :]
            scope = row.read if method in READING else row.write
            if scope is None or (not row.address and below):
                return None
            project = below.partition("/")[0] if row.where == "named" else None
            if project == "" and method not in READING:
                return None
            return Demand(scope, row.where, project or None, row.body)
    return None
