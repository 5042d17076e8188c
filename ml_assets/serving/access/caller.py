"""Who asks, and what they may: the one question that the door, the pages and the templates put."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Scope = Literal["look", "predict", "decide"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# Who decides must see what about. Who predicts need not: a program's key reads no table and no people's reasons.
IMPLIED: dict[Scope, AbstractSet[Scope]] = {"look": {"look", "decide"}, "predict": {"predict"}, "decide": {"decide"}}


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: who it is, for people and for the record; "" where nobody has said.
        key: the id of the key that they showed; "" where they showed none.
        scopes: what they may.
        projects: where they may; None for everywhere.
        form_token: what a form of theirs must carry; "" outside of a session.
    """

    name: str = ""
    key: str = ""
    scopes: frozenset[Scope] = frozenset()
    projects: frozenset[str] | None = frozenset()
    form_token: str = ""

    def may(self, scope: Scope, project: str | None = None) -> bool:
        """Whether they may, in a project; in any of them where none is named."""
        if self.scopes.isdisjoint(IMPLIED[scope]):
            return False
        return self.projects is None or (bool(self.projects) if project is None else project in self.projects)

    def may_everywhere(self, scope: Scope) -> bool:
        """Whether they may in every project, also in those to come: Dagster's UI shows all of them."""
        return self.projects is None and self.may(scope)


NOBODY = Caller()
ANYBODY_HERE = Caller("anybody on this machine", scopes=frozenset({"look", "predict"}), projects=None)
"""Who asks from the machine itself, as long as no key has ever been made: they may not decide."""

CURRENT: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""Who asks the request that is being answered: for templates, which show nobody a project that they may not look at."""
