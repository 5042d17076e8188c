"""Which input columns each column of a project's SQL comes from, read off the statement itself.

The lineage in Dagster's UI, the leakage check and the prediction API need it, and a list kept by hand would go stale.
sqlglot parses; names are resolved here and not by its optimizer, which lower-cases identifiers, reports errors without
a place, and does not know DuckDB's `COLUMNS(…)`, struct fields or the use of an alias later in the same SELECT.

Nothing is run, so types are unknown: a struct cannot be unpacked (`s.*`), `unnest` is taken for that of a list, and the
columns of PIVOT and UNPIVOT cannot be told. Such statements may run, but have no lineage; the error says what to write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from ml_assets.core.statement import SqlError, Statement, cte_of, is_star, name_parts, nearest, read_statement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlglot import exp

# The nodes of a statement are told apart by sqlglot's `key`, the lower-case name of their class.
_SET_OPERATIONS = frozenset({"union", "except", "intersect"})
_QUERIES = _SET_OPERATIONS | {"select", "subquery", "values"}
# `f(x -> …)` is a lambda in these (sqlglot's and DuckDB's names), and access to JSON in every other function.
_LAMBDA_FUNCTIONS = frozenset({"transform", "arrayfilter", "reduce", "apply", "filter"}) | {
    f"{kind}_{verb}" for kind in ("list", "array") for verb in ("transform", "apply", "filter", "reduce")
}
_T = TypeVar("_T")

OtherRows = Literal["earlier", "later"]
"""Rows that a window reads without the current one: those before it in the window's order, or those after."""


class ColumnRef(NamedTuple):
    """A column of a named input, both spelled as the input's own."""

    table: str
    column: str


def required_columns(
    sql: str,
    table: str,
    known: Sequence[str] | None = None,
    *,
    others: Mapping[str, Sequence[str]] | None = None,
    where: str = "SQL",
) -> frozenset[str]:
    """The columns of a named input that a SELECT mentions anywhere: without them it would not run.

    Filters, joins, groups, orders and EXCLUDE lists count. What only a star or a `COLUMNS` pattern brings does not.

    Args:
        sql: One SELECT, DuckDB dialect.
        table: The named input.
        known: Its columns. Without them an unqualified column belongs to the only table that is read, and a name that
            could also be an alias is taken for the alias.
        others: The columns of other named inputs, by the input's name: an unqualified one of theirs is not the table's.
        where: The file's name, for the message.

    Raises:
        SqlError: As `check_select`; or a column is not in `known`, or could belong to more than one table.
    """
    resolver = _Resolver(read_statement(sql, where), {**(others or {}), table: known}, target=table)
    resolver.query(resolver.statement.tree)
    return frozenset(ref.column for ref in resolver.mentions if ref.table == table)


def column_lineage(
    sql: str,
    inputs: Mapping[str, Sequence[str] | None],
    *,
    where: str = "SQL",
    without: Collection[OtherRows] = (),
    deciding: bool = False,
) -> dict[str, frozenset[ColumnRef]]:
    """The input columns that each output column of a SELECT is computed from.

    What only decides which rows there are (WHERE, QUALIFY, ON, GROUP BY, the right side of EXCEPT) is no input of a
    value. What shapes the value is: CASE conditions, PARTITION BY and ORDER BY of a window, FILTER of an aggregate,
    and everything that an EXISTS mentions.

    Args:
        sql: One SELECT, DuckDB dialect.
        inputs: The columns of every table it may read, by the table's name; None where they are not known: then those
            that only a star or a `COLUMNS` pattern brings are left out of the result.
        where: The file's name, for the message.
        without: What a window takes from such rows only, never from the current one, is left out: `earlier` leaves
            out `lag(x)` and frames that end before the current row, `later` `lead(x)` and frames that begin after it.
        deciding: Whether what decides which rows there are counts too: as an input of all that its SELECT returns. Of
            a LEFT JOIN in the outermost SELECT, without groups and windows, only of what comes from the right: the
            other values are the same whatever is found.

    Returns:
        Output column → inputs, in the statement's order, spelled as DuckDB spells it.

    Raises:
        SqlError: As `check_select`; or a name is unknown or ambiguous, an output column has no name or one that is
            taken, or the columns cannot be told without running the statement.
    """
    statement = read_statement(sql, where, inputs)
    lineage: dict[str, frozenset[ColumnRef]] = {}
    taken: set[str] = set()
    for column in _Resolver(statement, inputs, without=without, deciding=deciding).query(statement.tree).columns:
        if column.unnamed is not None:
            nameless = "an output column without a name: add AS and one"
            raise statement.error(column.unnamed, nameless, text=column.name)
        if column.name.lower() in taken:
            twice = "two output columns have this name: rename one with AS, or EXCLUDE it"
            raise statement.error(statement.tree, twice, text=column.name)
        taken.add(column.name.lower())
        lineage[column.name] = column.refs
    return lineage


_Refs = frozenset[ColumnRef]


@dataclass(frozen=True)
class _Column:
    name: str
    refs: _Refs = frozenset()
    unnamed: exp.Expr | None = field(default=None, compare=False)  # the expression, where its text is the name


@dataclass(frozen=True)
class _Relation:
    columns: tuple[_Column, ...] = ()
    path: tuple[str, ...] = ()  # lower case: (alias,) or (catalog, schema, table)
    decided: _Refs = frozenset()  # what decides which rows it has, where that is asked for
    open: frozenset[str] = frozenset()  # inputs of unknown columns, which show through under their own names

    def find(self, name: str) -> _Column | None:
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)

    def answers_to(self, qualifier: Sequence[str]) -> bool:
        return bool(qualifier) and self.path[-len(qualifier) :] == tuple(part.lower() for part in qualifier)


@dataclass
class _Scope:
    """The names that an expression can use: one SELECT's, and through `parent` those around it."""

    parent: _Scope | None = None
    relations: list[_Relation] = field(default_factory=list)
    merged: dict[str, _Column] = field(default_factory=dict)  # by USING or NATURAL
    aliases: dict[str, _Column] = field(default_factory=dict)
    windows: dict[str, exp.Expr] = field(default_factory=dict)
    decides: _Refs = frozenset()  # on which rows the SELECT has, beyond its own clauses: the conditions of its joins
    matched: _Column | None = None  # what COLUMNS stands for at the moment
    overlay: bool = False  # adds names to the parent's FROM clause, has none of its own

    def chain(self) -> Iterator[_Scope]:
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def frame(self) -> _Scope:
        return next(scope for scope in self.chain() if not scope.overlay)

    def over(self, columns: Iterable[_Column]) -> _Scope:
        return _Scope(self, [_Relation(tuple(columns))], overlay=True)


class _Resolver:
    """One walk over a statement: what each name stands for, and which input columns were mentioned on the way."""

    def __init__(
        self,
        statement: Statement,
        inputs: Mapping[str, Sequence[str] | None],
        target: str | None = None,
        without: Collection[OtherRows] = (),
        *,
        deciding: bool = False,
    ) -> None:
        self.statement = statement
        self.mentions: set[ColumnRef] = set()
        self._inputs = {name.lower(): (name, columns) for name, columns in inputs.items()}
        self._target = target
        self._without = without
        self._deciding = deciding
        self._ctes: dict[int, _Relation] = {}
        self._spelled: dict[tuple[str, str], ColumnRef] = {}

    # Queries

    def query(self, node: exp.Expr, parent: _Scope | None = None) -> _Relation:
        if with_ := node.args.get("with_"):
            for cte in with_.expressions:
                self._cte(cte, parent)
        if node.key == "select":
            return self._select(node, parent)
        if node.key in _SET_OPERATIONS:
            return self._set_operation(node, parent)
        if node.key == "subquery" and not node.args.get("pivots"):
            relation = self.query(node.this, parent)
            decides = self._mention(node, _Scope(parent, [relation]), but=("this", "with_", "alias", "joins"))
            return self._decided(relation, decides)
        if node.key == "values":
            rows = [[self._refs(value, _Scope(parent)) for value in row.expressions] for row in node.expressions]
            columns = [_union(refs) for refs in zip(*rows, strict=False)]
            return _Relation(tuple(_Column(f"col{i}", refs) for i, refs in enumerate(columns)))
        raise self._untraceable(node)

    def _untraceable(self, node: exp.Expr) -> SqlError:
        return self.statement.error(
            node,
            "its columns cannot be told without running it: in place of PIVOT write one aggregate with FILTER for each "
            "column, in place of UNPIVOT one SELECT for each and UNION ALL",
        )

    def _cte(self, cte: exp.Expr, parent: _Scope | None) -> None:
        recursive = cte.parent is not None and cte.parent.args.get("recursive")
        seed = cte.this
        while recursive and seed.key == "union":
            seed = seed.this
        self._ctes[id(cte)] = relation = self._named(self.query(seed, parent), cte)
        # A recursive CTE reads itself: begin with its first branch, and go on until nothing is added.
        previous = None
        while cte.this is not seed and relation != previous:
            previous, relation = relation, self._named(self.query(cte.this, parent), cte)
            self._ctes[id(cte)] = relation

    def _set_operation(self, node: exp.Expr, parent: _Scope | None) -> _Relation:
        left, right = self.query(node.this, parent), self.query(node.args["expression"], parent)
        columns = left.columns
        if node.args.get("by_name"):
            found = [(column, right.find(column.name)) for column in columns]
            columns = tuple(replace(one, refs=one.refs | other.refs) if other else one for one, other in found)
            columns += tuple(column for column in right.columns if left.find(column.name) is None)
        elif len(columns) != len(right.columns) and not left.open | right.open:
            counts = f"{len(columns)} and {len(right.columns)}"
            raise self.statement.error(node.args["expression"], f"expected as many columns as above, not {counts}")
        elif node.key == "union":
            pairs = zip(columns, right.columns, strict=False)
            columns = tuple(replace(one, refs=one.refs | other.refs) for one, other in pairs)
        both = left.open | right.open if node.key == "union" else left.open
        relation = _Relation(columns, decided=left.decided | right.decided, open=both)
        # DuckDB orders by the names of either side, the first one's first.
        decides = self._mention(node, _Scope(_Scope(parent, [right]), [relation]), but=("this", "expression", "with_"))
        if node.key != "union":
            decides |= _union(column.refs for column in (*left.columns, *right.columns))
        return self._decided(relation, decides)

    def _select(self, node: exp.Expr, parent: _Scope | None) -> _Relation:
        scope = _Scope(parent)
        if from_ := node.args.get("from_"):
            self._source(from_.this, scope)
        scope.decides |= _union(relation.decided for relation in scope.relations)
        for join in node.args.get("joins") or ():
            self._join(join, scope)
        scope.windows = {window.name.lower(): window for window in node.args.get("windows") or ()}
        items = [self._item(item, scope) for item in node.expressions]
        decides = scope.decides | self._mention(node, scope, but=("with_", "from_", "joins", "expressions", "order"))
        if order := node.args.get("order"):
            decides |= self._refs(order, scope.over(scope.aliases.values()))
        columns = tuple(column for item in items for column in item.columns)
        every = _union(column.refs for column in columns)
        if node.args.get("group"):
            decides |= every  # also of GROUP BY ALL, or by position
        relation = self._decided(_Relation(columns, open=_union(item.open for item in items)), decides)
        # DISTINCT leaves each value as it is: only how many rows there are hangs on all of them.
        distinct = self._deciding and node.args.get("distinct")
        return replace(relation, decided=relation.decided | every) if distinct else relation

    def _mention(self, node: exp.Expr, scope: _Scope, but: Collection[str]) -> _Refs:
        parts = (part for name, part in node.args.items() if name not in but)
        listed = chain.from_iterable(part if isinstance(part, list) else [part] for part in parts)
        # Not a flag or a word.
        return _union([self._refs(each, scope) for each in listed if hasattr(each, "key")])

    def _decided(self, relation: _Relation, refs: _Refs) -> _Relation:
        """The relation, its columns made of what decides which rows it has too, if that is asked for."""
        if not self._deciding or not refs:
            return relation
        columns = tuple(replace(one, refs=one.refs | refs) for one in relation.columns)
        return replace(relation, columns=columns, decided=relation.decided | refs)

    def _is_plain(self, node: exp.Expr | None) -> bool:
        """Whether a SELECT is the outermost one, and no value of it hangs on how many rows there are."""
        return (
            node is self.statement.tree
            and not node.args.get("group")
            and not any(
                part.key == "window" for part in node.walk(prune=lambda part: part is not node and part.key in _QUERIES)
            )
        )

    # FROM

    def _source(self, node: exp.Expr, scope: _Scope) -> None:
        if node.args.get("pivots"):
            raise self._untraceable(node)
        core = node
        while core.key == "subquery":
            core = core.this
        if node.key == "subquery" and core.key == "table":
            self._source(node.this, scope)  # `(a JOIN b …)`: its tables keep their names
        else:
            scope.relations.append(self._named(self._from_item(node, scope), node))
        for join in node.args.get("joins") or ():
            self._join(join, scope)

    def _from_item(self, node: exp.Expr, scope: _Scope) -> _Relation:
        if node.key == "lateral":
            return self._from_item(node.this, scope)
        if node.key != "table":
            return self._unnest(node, scope) if node.key == "unnest" else self.query(node, scope)
        if node.this.key == "generateseries":
            name = "range" if node.this.args.get("is_end_exclusive") else "generate_series"
            return _Relation((_Column(name, self._refs(node.this, scope)),), (name,))
        if (cte := cte_of(node)) is not None:
            return replace(self._ctes[id(cte)], path=(node.name.lower(),))
        written = ".".join(name_parts(node))
        name, known = self._inputs.get(written.lower(), (written, None))
        columns = tuple(_Column(column, frozenset({self._ref(name, column)})) for column in known or ())
        path = tuple(part.lower() for part in name_parts(node))
        return _Relation(columns, path, open=frozenset({name}) if known is None else frozenset())

    def _unnest(self, node: exp.Expr, scope: _Scope) -> _Relation:
        refs = _union(self._refs(each, scope) for each in node.expressions)
        ordinality = node.args.get("offset")
        columns = [_Column("unnest", refs)] + ([_Column(ordinality.name or "ordinality")] if ordinality else [])
        return _Relation(tuple(columns), ("unnest",))

    def _named(self, relation: _Relation, node: exp.Expr) -> _Relation:
        """The relation under its alias and column aliases, equal names told apart as DuckDB does (`k`, `k_1`)."""
        alias = node.args.get("alias")
        names = [column.name for column in alias.args.get("columns") or ()] if alias else []
        if names and self._target in relation.open:
            raise self.statement.error(node, f"the columns of {self._target} must be known to rename them by position")
        # Of an input of unknown columns that nobody asks about, the new names are enough.
        unknown = [_Column(name) for name in names[len(relation.columns) :]] if relation.open else []
        columns: dict[str, _Column] = {}
        for i, column in enumerate((*relation.columns, *unknown)):
            wanted = replace(column, name=names[i], unnamed=None) if i < len(names) else column
            name, copies = wanted.name, 0
            while name.lower() in columns:
                copies += 1
                name = f"{wanted.name}_{copies}"
            columns[name.lower()] = replace(wanted, name=name)
        path = (alias.name.lower(),) if alias and alias.name else relation.path
        return _Relation(tuple(columns.values()), path, relation.decided, relation.open)

    def _join(self, node: exp.Expr, scope: _Scope) -> None:
        before = len(scope.relations)
        self._source(node.this, scope)
        left, right = scope.relations[:before], scope.relations[before:]
        using = {name.name.lower(): name for name in node.args.get("using") or ()}
        decides = _union(relation.decided for relation in right)
        if node.args.get("method") == "NATURAL":
            names = [column.name.lower() for relation in left for column in relation.columns]
            using = {name: node for name in names if any(relation.find(name) for relation in right)}
        for name, place in using.items():
            one = scope.merged.get(name) or self._in_side(place, place.name or name, left)
            other = self._in_side(place, place.name or name, right)
            both = one.refs | other.refs
            refs = {"FULL": both, "RIGHT": other.refs}.get(node.args.get("side") or "", one.refs)
            scope.merged[name] = replace(one, refs=refs)
            self.mentions |= both
            decides |= both
        if on := node.args.get("on"):
            decides |= self._refs(on, scope)
        scope.relations[before:] = [self._decided(relation, decides) for relation in right]
        if not (node.args.get("side") == "LEFT" and not node.args.get("kind") and self._is_plain(node.parent)):
            scope.decides |= decides
        if node.args.get("kind") in {"SEMI", "ANTI"}:
            del scope.relations[before:]

    def _in_side(self, node: exp.Expr, name: str, relations: Sequence[_Relation]) -> _Column:
        if found := [column for relation in relations if (column := relation.find(name))]:
            return found[0]
        if unknown := _open(relations):
            return _Column(name, self._guess(node, name, unknown))
        raise self._no_column(node, name, relations)

    # The SELECT list

    def _item(self, node: exp.Expr, scope: _Scope) -> _Relation:
        alias = node.alias if node.key == "alias" else ""
        value = node.this if alias else node
        while value.key == "paren":
            value = value.this
        if is_star(value):
            return self._star(value, scope)
        inside = value.walk(prune=lambda part: part.key in _QUERIES)
        pattern = next((part for part in inside if part.key == "columns" and not part.args.get("unpack")), None)
        if pattern is not None:
            return self._expanded(value, pattern, alias, scope)
        if value.key == "column":
            column = self._resolve(value, name_parts(value), scope)
        else:
            column = _Column(value.sql("duckdb"), self._refs(value, scope), unnamed=value)
        if alias:
            column = _Column(alias, column.refs)
            scope.aliases.setdefault(alias.lower(), column)
        return _Relation((column,))

    def _star(self, node: exp.Expr, scope: _Scope) -> _Relation:
        star, path = (node.this, name_parts(node)[:-1]) if node.key == "column" else (node, [])
        relations, merged = scope.frame().relations, scope.frame().merged
        if path:
            relations = [each for layer in scope.chain() for each in layer.relations if each.answers_to(path)][:1]
            merged = {}
        if path and not relations:
            raise self.statement.error(node, "expected a table of the FROM clause (take a struct's fields one by one)")
        if star.args.get("ilike"):
            raise self._unpicked(star)
        excluded, renames, replaces = (star.args.get(part) or () for part in ("except_", "rename", "replace"))
        for each in excluded:
            self._listed(each, name_parts(each), relations)
        for each in replaces:
            self._listed(each.args["alias"], [each.alias], relations)
        new = {each.alias.lower(): _Column(each.alias, self._refs(each.this, scope)) for each in replaces}
        named = [_Column(each.alias, self._listed(each.this, name_parts(each.this), relations)) for each in renames]

        columns: dict[tuple[str, int], _Column] = {}
        for i, relation in enumerate(relations):
            for original in relation.columns:
                name = original.name.lower()
                key = (name, 0 if name in merged else i)
                if key not in columns and not any(_means(each, relation, name) for each in excluded):
                    column = new.get(name) or merged.get(name) or original
                    alias = next((each.alias for each in renames if _means(each.this, relation, name)), column.name)
                    columns[key] = replace(column, name=alias)
        unknown = _open(relations)
        explicit = (*new.values(), *named) if unknown else ()
        return _Relation((*columns.values(), *explicit), open=unknown)

    def _listed(self, node: exp.Expr, path: Sequence[str], relations: Sequence[_Relation]) -> _Refs:
        """The inputs of a column that EXCLUDE, REPLACE or RENAME names."""
        among = [relation for relation in relations if len(path) == 1 or relation.answers_to(path[:-1])]
        found = [column.refs for relation in among if (column := relation.find(path[-1]))]
        refs = _union(found or [self._in_side(node, path[-1], among).refs])
        self.mentions |= refs
        return refs

    def _expanded(self, value: exp.Expr, pattern: exp.Expr, alias: str, scope: _Scope) -> _Relation:
        """`COLUMNS(…)` in an expression: the expression once per column, groups of the pattern put into its alias."""
        matches, unknown = self._matching(pattern, scope)
        if not matches and not unknown:
            raise self.statement.error(pattern, "expected a pattern that some column matches")
        columns = []
        for column, groups in matches:
            refs = self._refs(value, _Scope(scope, matched=column, overlay=True))
            parts = re.split(r"\\(\d)", alias)  # text, digit, text, …
            parts[1::2] = [groups[int(digit)] if int(digit) < len(groups) else "" for digit in parts[1::2]]
            columns.append(_Column("".join(parts) or column.name, refs))
        return _Relation(tuple(columns), open=unknown)

    def _matching(self, pattern: exp.Expr, scope: _Scope) -> tuple[list[tuple[_Column, list[str]]], frozenset[str]]:
        """The columns that a `COLUMNS(…)` takes, each with its name and the groups of the regular expression."""
        from sqlglot import exp

        what = pattern.this
        if is_star(what):
            relation = self._star(what, scope)
            return [(column, [column.name]) for column in relation.columns], relation.open
        relation = self._star(exp.Star(), scope)
        if what.key == "literal":
            try:
                found = [(column, re.search(what.name, column.name)) for column in relation.columns]
            except re.error as error:
                raise self.statement.error(what, f"expected a regular expression: {error}") from error
            groups = [(column, [column.name, *(hit.groups(""))]) for column, hit in found if hit]
            return groups, relation.open
        if what.key != "array" or any(each.key != "literal" for each in what.expressions):
            raise self._unpicked(pattern)
        for each in what.expressions:
            self._listed(each, [each.name], scope.frame().relations)
        names = {each.name.lower() for each in what.expressions}
        return [(column, [column.name]) for column in relation.columns if column.name.lower() in names], relation.open

    def _unpicked(self, node: exp.Expr) -> SqlError:
        ways = "expected the columns as EXCLUDE (…), COLUMNS(['a', 'b']) or COLUMNS('a regular expression')"
        return self.statement.error(node, ways)

    # Expressions

    def _refs(self, node: exp.Expr, scope: _Scope) -> _Refs:
        found: list[_Refs] = []
        parts = [node]  # not by recursion: a chain of a thousand ORs is a thousand levels deep
        while parts:
            part = parts.pop()
            own = self._refs_query if part.key in _QUERIES else getattr(self, f"_refs_{part.key}", None)
            if own is None:
                parts.extend(part.iter_expressions())
            else:
                found.append(own(part, scope))
        return _union(found)

    def _refs_inside(self, node: exp.Expr, scope: _Scope) -> _Refs:
        return _union(self._refs(part, scope) for part in node.iter_expressions())

    def _refs_query(self, node: exp.Expr, scope: _Scope) -> _Refs:
        return _union(column.refs for column in self.query(node, scope).columns)

    def _refs_exists(self, node: exp.Expr, scope: _Scope) -> _Refs:
        before, self.mentions = self.mentions, set()  # its value is its filter
        self._refs_inside(node, scope)
        inside = frozenset(self.mentions)
        self.mentions |= before
        return inside

    def _refs_column(self, node: exp.Expr, scope: _Scope) -> _Refs:
        if is_star(node):
            return _union(column.refs for column in self._star(node, scope).columns)
        return self._resolve(node, name_parts(node), scope).refs

    def _refs_star(self, node: exp.Expr, scope: _Scope) -> _Refs:
        del scope
        if node.parent is not None and node.parent.key == "count":
            return frozenset()
        raise self._unpicked(node.parent or node)

    def _refs_columns(self, node: exp.Expr, scope: _Scope) -> _Refs:
        matched = next((layer.matched for layer in scope.chain() if layer.matched), None)
        if matched is not None and not node.args.get("unpack"):
            return matched.refs
        return _union(column.refs for column, _ in self._matching(node, scope)[0])

    def _refs_positionalcolumn(self, node: exp.Expr, scope: _Scope) -> _Refs:
        del scope
        raise self.statement.error(node, "expected a column by its name, not by its position")

    def _refs_window(self, node: exp.Expr, scope: _Scope) -> _Refs:
        refs = self._refs_inside(node, scope)
        base = node.args.get("alias")
        name = base.name.lower() if base else ""
        named = [layer.windows[name] for layer in scope.chain() if name in layer.windows]
        frame = node.args.get("spec") or (named[0].args.get("spec") if named else None)
        if _other_rows(node.this, frame) in self._without:
            function = _function(node.this)
            own = [part for part in node.iter_expressions() if part is not node.this]
            # What lag and lead fall back on is the current row's.
            own += [function.args[part] for part in ("offset", "default") if function.args.get(part)]
            refs = _union(self._refs(part, scope) for part in own)
        return refs | self._refs(named[0], scope) if named and named[0] is not node else refs

    def _refs_lambda(self, node: exp.Expr, scope: _Scope) -> _Refs:
        function = node.parent
        name = "" if function is None else function.name.lower() if function.key == "anonymous" else function.key
        if name in _LAMBDA_FUNCTIONS:
            return self._refs(node.this, scope.over(_Column(each.name) for each in node.expressions))
        columns = [self._resolve(each, [each.name], scope).refs for each in node.expressions]
        return self._refs(node.this, scope).union(*columns)

    def _refs_comprehension(self, node: exp.Expr, scope: _Scope) -> _Refs:
        names = [node.args[part].name for part in ("expression", "position") if node.args.get(part)]
        inner = scope.over(_Column(name) for name in names)
        parts = [self._refs(node.args[part], inner) for part in ("this", "condition") if node.args.get(part)]
        return self._refs(node.args["iterator"], scope).union(*parts)

    def _refs_dot(self, node: exp.Expr, scope: _Scope) -> _Refs:
        base = node
        steps: list[exp.Expr] = []
        while base.key == "dot":
            base, steps = base.this, [base.args["expression"], *steps]
        refs = _union(self._refs(step, scope) for step in steps)
        if base.key != "identifier":
            return refs | self._refs(base, scope)
        path = [base.name]
        for step in steps:
            if step.key != "identifier":
                break
            path.append(step.name)
        if path == ["main"]:  # the schema of DuckDB's own functions and macros
            return refs
        return refs | self._resolve(base, path, scope).refs

    # Names

    def _resolve(self, node: exp.Expr, path: Sequence[str], scope: _Scope) -> _Column:
        """What `a`, `t.a`, `s.t.a` or, with fields of a struct behind it, `t.a.field` stands for."""
        column = self._known(node, path, scope) or self._whole_row(path, scope) or self._unknown(node, path, scope)
        self.mentions |= column.refs
        return column

    def _known(self, node: exp.Expr, path: Sequence[str], scope: _Scope) -> _Column | None:
        for layer in scope.chain():
            for depth in range(len(path) - 1, -1, -1):
                column = self._in_layer(node, path[:depth], path[depth], layer)
                if column is not None:
                    return column if depth == len(path) - 1 else _Column(path[-1], column.refs)
        return None

    def _in_layer(self, node: exp.Expr, qualifier: Sequence[str], name: str, layer: _Scope) -> _Column | None:
        if qualifier:
            found = [relation.find(name) for relation in layer.relations if relation.answers_to(qualifier)]
            return found[0] if found else None
        if name.lower() in layer.merged:
            return layer.merged[name.lower()]
        having = [relation for relation in layer.relations if relation.find(name)]
        if len(having) > 1:
            tables = " or ".join(".".join((*relation.path, name)) for relation in having)
            raise self.statement.error(node, f"ambiguous: expected {tables}")
        return having[0].find(name) if having else layer.aliases.get(name.lower())

    def _whole_row(self, path: Sequence[str], scope: _Scope) -> _Column | None:
        rows = [each for layer in scope.chain() for each in layer.relations if each.answers_to(path)]
        if not rows or len(path) > 1:
            return None
        return _Column(path[0], _union(column.refs for column in rows[0].columns))

    def _unknown(self, node: exp.Expr, path: Sequence[str], scope: _Scope) -> _Column:
        relations = [relation for layer in scope.chain() for relation in layer.relations]
        for depth in range(len(path) - 1, 0, -1):
            if named := [relation for relation in relations if relation.answers_to(path[:depth])]:
                return replace(self._in_side(node, path[depth], named[:1]), name=path[-1])
        for layer in scope.chain():
            if unknown := _open(layer.relations):
                return _Column(path[-1], self._guess(node, path[0], unknown))
        aliases = _Relation(tuple(column for layer in scope.chain() for column in layer.aliases.values()))
        raise self._no_column(node, path[0], [*relations, aliases])

    def _guess(self, node: exp.Expr, name: str, tables: frozenset[str]) -> _Refs:
        if self._target in tables and len(tables) > 1:
            raise self.statement.error(node, f"expected {' or '.join(f'{table}.{name}' for table in sorted(tables))}")
        return frozenset(self._ref(table, name) for table in tables)

    def _ref(self, table: str, column: str) -> ColumnRef:
        return self._spelled.setdefault((table.lower(), column.lower()), ColumnRef(table, column))

    def _no_column(self, node: exp.Expr, name: str, relations: Sequence[_Relation]) -> SqlError:
        known = [column.name for relation in relations for column in relation.columns]
        return self.statement.error(node, f"no column {name} here: {nearest(name, known)}")


def _function(value: exp.Expr) -> exp.Expr:
    """The function of a window, without IGNORE NULLS and FILTER around it."""
    while value.key in {"ignorenulls", "respectnulls", "filter"}:
        value = value.this
    return value


def _other_rows(value: exp.Expr, frame: exp.Expr | None) -> OtherRows | None:
    """Whether a window's function reads rows on one side of the current one only; None where it may read it too."""
    function = _function(value)
    if function.key in {"lag", "lead"}:  # of no frame
        offset = function.args.get("offset")
        if offset is not None and not _is_positive(offset):
            return None
        return "earlier" if function.key == "lag" else "later"
    if frame is None:
        return None
    before, after = frame.args.get("end"), frame.args.get("start")
    if str(frame.args.get("end_side") or "").lower() == "preceding" and _is_positive(before):
        return "earlier"
    if str(frame.args.get("start_side") or "").lower() == "following" and _is_positive(after):
        return "later"
    return None


def _is_positive(bound: exp.Expr | str | None) -> bool:
    """Whether an offset is written as a number, or an interval, above zero."""
    if bound is None or isinstance(bound, str):
        return False
    literal = bound.this if bound.key == "interval" else bound
    return literal is not None and literal.key == "literal" and re.fullmatch(r"0*[1-9]\d*", literal.name) is not None


def _union(sets: Iterable[frozenset[_T]]) -> frozenset[_T]:
    return frozenset(chain.from_iterable(sets))


def _open(relations: Sequence[_Relation]) -> frozenset[str]:
    return _union(relation.open for relation in relations)


def _means(entry: exp.Expr, relation: _Relation, name: str) -> bool:
    """Whether an entry of EXCLUDE or RENAME, `a` or `t.a`, is this column of the relation."""
    *qualifier, column = name_parts(entry)
    return column.lower() == name and (not qualifier or relation.answers_to(qualifier))
