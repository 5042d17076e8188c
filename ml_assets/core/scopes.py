"""What names mean inside a SELECT: columns with the inputs they come from, relations, and the scopes around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ml_assets.core.statement import name_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlglot import exp

_T = TypeVar("_T")


class ColumnRef(NamedTuple):
    """A column of a named input, both spelled as the input's own."""

    table: str
    column: str


Refs = frozenset[ColumnRef]


@dataclass(frozen=True)
class Column:
    """A column, and the input columns that its values come from."""

    name: str
    refs: Refs = frozenset()
    unnamed: exp.Expr | None = field(default=None, compare=False)  # the expression, where its text is the name


@dataclass(frozen=True)
class Relation:
    """What stands in a FROM clause, or what a SELECT returns."""

    columns: tuple[Column, ...] = ()
    path: tuple[str, ...] = ()  # lower case: (alias,) or (catalog, schema, table)
    decided: Refs = frozenset()  # what decides which rows it has, where that is asked for
    open: frozenset[str] = frozenset()  # inputs of unknown columns, which show through under their own names

    def find(self, name: str) -> Column | None:
        """The column of a name, in whatever case."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)

    def answers_to(self, qualifier: Sequence[str]) -> bool:
        """Whether `qualifier.column` means a column of this one."""
        return bool(qualifier) and self.path[-len(qualifier) :] == tuple(part.lower() for part in qualifier)


@dataclass
class Scope:
    """The names that an expression can use: one SELECT's, and through `parent` those around it."""

    parent: Scope | None = None
    relations: list[Relation] = field(default_factory=list)
    merged: dict[str, Column] = field(default_factory=dict)  # by USING or NATURAL
    aliases: dict[str, Column] = field(default_factory=dict)
    windows: dict[str, exp.Expr] = field(default_factory=dict)
    decides: Refs = frozenset()  # on which rows the SELECT has, beyond its own clauses: the conditions of its joins
    matched: Column | None = None  # what COLUMNS stands for at the moment
    overlay: bool = False  # adds names to the parent's FROM clause, has none of its own

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it, from the inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def frame(self) -> Scope:
        """The nearest one with a FROM clause of its own."""
        return next(scope for scope in self.chain() if not scope.overlay)

    def over(self, columns: Iterable[Column]) -> Scope:
        """This scope with some names more, which hide its own."""
        return Scope(self, [Relation(tuple(columns))], overlay=True)


def union(sets: Iterable[frozenset[_T]]) -> frozenset[_T]:
    """All that is in any of the sets."""
    return frozenset(chain.from_iterable(sets))


def unknown_in(relations: Sequence[Relation]) -> frozenset[str]:
    """The inputs of unknown columns that show through."""
    return union(relation.open for relation in relations)


def means(entry: exp.Expr, relation: Relation, name: str) -> bool:
    """Whether an entry of EXCLUDE or RENAME, `a` or `t.a`, is this column of the relation."""
    *qualifier, column = name_parts(entry)
    return column.lower() == name and (not qualifier or relation.answers_to(qualifier))
