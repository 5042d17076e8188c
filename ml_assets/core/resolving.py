"""One walk over a parsed SELECT: what each name in it stands for, by DuckDB's rules."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from ml_assets.core.scopes import Column, ColumnRef, Refs, Relation, Scope, means, union, unknown_in
from ml_assets.core.statement import SqlError, Statement, cte_of, is_star, name_parts, nearest
from ml_assets.core.window_rows import OtherRows, function_of, other_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlglot import exp

# The nodes of a statement are told apart by sqlglot's `key`, the lower-case name of their class.
_SET_OPERATIONS = frozenset({"union", "except", "intersect"})
_QUERIES = _SET_OPERATIONS | {"select", "subquery", "values"}
# `f(x -> …)` is a lambda in these (sqlglot's and DuckDB's names), and access to JSON in every other function.
_LAMBDA_FUNCTIONS = frozenset({"transform", "arrayfilter", "reduce", "apply", "filter"}) | {
    f"{kind}_{verb}" for kind in ("list", "array") for verb in ("transform", "apply", "filter", "reduce")
}


class Resolver:
    """One walk over a statement: what each name stands for, and which input columns were mentioned on the way.

    Args:
        statement: the parsed SELECT.
        inputs, without, deciding: as of `lineage.column_lineage`.
        target: the input whose columns are asked for, if it is one only.
    """

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
        self._ctes: dict[int, Relation] = {}
        self._spelled: dict[tuple[str, str], ColumnRef] = {}

    # Queries

    def query(self, node: exp.Expr, parent: Scope | None = None) -> Relation:
        """What a query returns; the names around it are those of `parent`.

        Raises:
            SqlError: at a name that is unknown or ambiguous, or columns that only running it would tell.
        """
        if with_ := node.args.get("with_"):
            for cte in with_.expressions:
                self._cte(cte, parent)
        if node.key == "select":
            return self._select(node, parent)
        if node.key in _SET_OPERATIONS:
            return self._set_operation(node, parent)
        if node.key == "subquery" and not node.args.get("pivots"):
            relation = self.query(node.this, parent)
            decides = self._mention(node, Scope(parent, [relation]), but=("this", "with_", "alias", "joins"))
            return self._decided(relation, decides)
        if node.key == "values":
            rows = [[self._refs(value, Scope(parent)) for value in row.expressions] for row in node.expressions]
            columns = [union(refs) for refs in zip(*rows, strict=False)]
            return Relation(tuple(Column(f"col{i}", refs) for i, refs in enumerate(columns)))
        raise self._untraceable(node)

    def _untraceable(self, node: exp.Expr) -> SqlError:
        return self.statement.error(
            node,
            "its columns cannot be told without running it: in place of PIVOT write one aggregate with FILTER for each "
            "column, in place of UNPIVOT one SELECT for each and UNION ALL",
        )

    def _cte(self, cte: exp.Expr, parent: Scope | None) -> None:
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

    def _set_operation(self, node: exp.Expr, parent: Scope | None) -> Relation:
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
        relation = Relation(columns, decided=left.decided | right.decided, open=both)
        # DuckDB orders by the names of either side, the first one's first.
        decides = self._mention(node, Scope(Scope(parent, [right]), [relation]), but=("this", "expression", "with_"))
        if node.key != "union":
            decides |= union(column.refs for column in (*left.columns, *right.columns))
        return self._decided(relation, decides)

    def _select(self, node: exp.Expr, parent: Scope | None) -> Relation:
        scope = Scope(parent)
        if from_ := node.args.get("from_"):
            self._source(from_.this, scope)
        scope.decides |= union(relation.decided for relation in scope.relations)
        for join in node.args.get("joins") or ():
            self._join(join, scope)
        scope.windows = {window.name.lower(): window for window in node.args.get("windows") or ()}
        items = [self._item(item, scope) for item in node.expressions]
        decides = scope.decides | self._mention(node, scope, but=("with_", "from_", "joins", "expressions", "order"))
        if order := node.args.get("order"):
            decides |= self._refs(order, scope.over(scope.aliases.values()))
        columns = tuple(column for item in items for column in item.columns)
        every = union(column.refs for column in columns)
        if node.args.get("group"):
            decides |= every  # also of GROUP BY ALL, or by position
        relation = self._decided(Relation(columns, open=union(item.open for item in items)), decides)
        # DISTINCT leaves each value as it is: only how many rows there are hangs on all of them.
        distinct = self._deciding and node.args.get("distinct")
        return replace(relation, decided=relation.decided | every) if distinct else relation

    def _mention(self, node: exp.Expr, scope: Scope, but: Collection[str]) -> Refs:
        parts = (part for name, part in node.args.items() if name not in but)
        listed = chain.from_iterable(part if isinstance(part, list) else [part] for part in parts)
        # Not a flag or a word.
        return union([self._refs(each, scope) for each in listed if hasattr(each, "key")])

    def _decided(self, relation: Relation, refs: Refs) -> Relation:
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

    def _source(self, node: exp.Expr, scope: Scope) -> None:
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

    def _from_item(self, node: exp.Expr, scope: Scope) -> Relation:
        if node.key == "lateral":
            return self._from_item(node.this, scope)
        if node.key != "table":
            return self._unnest(node, scope) if node.key == "unnest" else self.query(node, scope)
        if node.this.key == "generateseries":
            name = "range" if node.this.args.get("is_end_exclusive") else "generate_series"
            return Relation((Column(name, self._refs(node.this, scope)),), (name,))
        if (cte := cte_of(node)) is not None:
            return replace(self._ctes[id(cte)], path=(node.name.lower(),))
        written = ".".join(name_parts(node))
        name, known = self._inputs.get(written.lower(), (written, None))
        columns = tuple(Column(column, frozenset({self._ref(name, column)})) for column in known or ())
        path = tuple(part.lower() for part in name_parts(node))
        return Relation(columns, path, open=frozenset({name}) if known is None else frozenset())

    def _unnest(self, node: exp.Expr, scope: Scope) -> Relation:
        refs = union(self._refs(each, scope) for each in node.expressions)
        ordinality = node.args.get("offset")
        columns = [Column("unnest", refs)] + ([Column(ordinality.name or "ordinality")] if ordinality else [])
        return Relation(tuple(columns), ("unnest",))

    def _named(self, relation: Relation, node: exp.Expr) -> Relation:
        """The relation under its alias and column aliases, equal names told apart as DuckDB does (`k`, `k_1`)."""
        alias = node.args.get("alias")
        names = [column.name for column in alias.args.get("columns") or ()] if alias else []
        if names and self._target in relation.open:
            raise self.statement.error(node, f"the columns of {self._target} must be known to rename them by position")
        # Of an input of unknown columns that nobody asks about, the new names are enough.
        unknown = [Column(name) for name in names[len(relation.columns) :]] if relation.open else []
        columns: dict[str, Column] = {}
        for i, column in enumerate((*relation.columns, *unknown)):
            wanted = replace(column, name=names[i], unnamed=None) if i < len(names) else column
            name, copies = wanted.name, 0
            while name.lower() in columns:
                copies += 1
                name = f"{wanted.name}_{copies}"
            columns[name.lower()] = replace(wanted, name=name)
        path = (alias.name.lower(),) if alias and alias.name else relation.path
        return Relation(tuple(columns.values()), path, relation.decided, relation.open)

    def _join(self, node: exp.Expr, scope: Scope) -> None:
        before = len(scope.relations)
        self._source(node.this, scope)
        left, right = scope.relations[:before], scope.relations[before:]
        using = {name.name.lower(): name for name in node.args.get("using") or ()}
        decides = union(relation.decided for relation in right)
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

    def _in_side(self, node: exp.Expr, name: str, relations: Sequence[Relation]) -> Column:
        if found := [column for relation in relations if (column := relation.find(name))]:
            return found[0]
        if unknown := unknown_in(relations):
            return Column(name, self._guess(node, name, unknown))
        raise self._no_column(node, name, relations)

    # The SELECT list

    def _item(self, node: exp.Expr, scope: Scope) -> Relation:
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
            column = Column(value.sql("duckdb"), self._refs(value, scope), unnamed=value)
        if alias:
            column = Column(alias, column.refs)
            scope.aliases.setdefault(alias.lower(), column)
        return Relation((column,))

    def _star(self, node: exp.Expr, scope: Scope) -> Relation:
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
        new = {each.alias.lower(): Column(each.alias, self._refs(each.this, scope)) for each in replaces}
        named = [Column(each.alias, self._listed(each.this, name_parts(each.this), relations)) for each in renames]

        columns: dict[tuple[str, int], Column] = {}
        for i, relation in enumerate(relations):
            for original in relation.columns:
                name = original.name.lower()
                key = (name, 0 if name in merged else i)
                if key not in columns and not any(means(each, relation, name) for each in excluded):
                    column = new.get(name) or merged.get(name) or original
                    alias = next((each.alias for each in renames if means(each.this, relation, name)), column.name)
                    columns[key] = replace(column, name=alias)
        unknown = unknown_in(relations)
        explicit = (*new.values(), *named) if unknown else ()
        return Relation((*columns.values(), *explicit), open=unknown)

    def _listed(self, node: exp.Expr, path: Sequence[str], relations: Sequence[Relation]) -> Refs:
        """The inputs of a column that EXCLUDE, REPLACE or RENAME names."""
        among = [relation for relation in relations if len(path) == 1 or relation.answers_to(path[:-1])]
        found = [column.refs for relation in among if (column := relation.find(path[-1]))]
        refs = union(found or [self._in_side(node, path[-1], among).refs])
        self.mentions |= refs
        return refs

    def _expanded(self, value: exp.Expr, pattern: exp.Expr, alias: str, scope: Scope) -> Relation:
        """`COLUMNS(…)` in an expression: the expression once per column, groups of the pattern put into its alias."""
        matches, unknown = self._matching(pattern, scope)
        if not matches and not unknown:
            raise self.statement.error(pattern, "expected a pattern that some column matches")
        columns = []
        for column, groups in matches:
            refs = self._refs(value, Scope(scope, matched=column, overlay=True))
            parts = re.split(r"\\(\d)", alias)  # text, digit, text, …
            parts[1::2] = [groups[int(digit)] if int(digit) < len(groups) else "" for digit in parts[1::2]]
            columns.append(Column("".join(parts) or column.name, refs))
        return Relation(tuple(columns), open=unknown)

    def _matching(self, pattern: exp.Expr, scope: Scope) -> tuple[list[tuple[Column, list[str]]], frozenset[str]]:
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

    def _refs(self, node: exp.Expr, scope: Scope) -> Refs:
        found: list[Refs] = []
        parts = [node]  # not by recursion: a chain of a thousand ORs is a thousand levels deep
        while parts:
            part = parts.pop()
            own = self._refs_query if part.key in _QUERIES else getattr(self, f"_refs_{part.key}", None)
            if own is None:
                parts.extend(part.iter_expressions())
            else:
                found.append(own(part, scope))
        return union(found)

    def _refs_inside(self, node: exp.Expr, scope: Scope) -> Refs:
        return union(self._refs(part, scope) for part in node.iter_expressions())

    def _refs_query(self, node: exp.Expr, scope: Scope) -> Refs:
        return union(column.refs for column in self.query(node, scope).columns)

    def _refs_exists(self, node: exp.Expr, scope: Scope) -> Refs:
        before, self.mentions = self.mentions, set()  # its value is its filter
        self._refs_inside(node, scope)
        inside = frozenset(self.mentions)
        self.mentions |= before
        return inside

    def _refs_column(self, node: exp.Expr, scope: Scope) -> Refs:
        if is_star(node):
            return union(column.refs for column in self._star(node, scope).columns)
        return self._resolve(node, name_parts(node), scope).refs

    def _refs_star(self, node: exp.Expr, scope: Scope) -> Refs:
        del scope
        if node.parent is not None and node.parent.key == "count":
            return frozenset()
        raise self._unpicked(node.parent or node)

    def _refs_columns(self, node: exp.Expr, scope: Scope) -> Refs:
        matched = next((layer.matched for layer in scope.chain() if layer.matched), None)
        if matched is not None and not node.args.get("unpack"):
            return matched.refs
        return union(column.refs for column, _ in self._matching(node, scope)[0])

    def _refs_positionalcolumn(self, node: exp.Expr, scope: Scope) -> Refs:
        del scope
        raise self.statement.error(node, "expected a column by its name, not by its position")

    def _refs_window(self, node: exp.Expr, scope: Scope) -> Refs:
        refs = self._refs_inside(node, scope)
        base = node.args.get("alias")
        name = base.name.lower() if base else ""
        named = [layer.windows[name] for layer in scope.chain() if name in layer.windows]
        frame = node.args.get("spec") or (named[0].args.get("spec") if named else None)
        if other_rows(node.this, frame) in self._without:
            function = function_of(node.this)
            own = [part for part in node.iter_expressions() if part is not node.this]
            # What lag and lead fall back on is the current row's.
            own += [function.args[part] for part in ("offset", "default") if function.args.get(part)]
            refs = union(self._refs(part, scope) for part in own)
        return refs | self._refs(named[0], scope) if named and named[0] is not node else refs

    def _refs_lambda(self, node: exp.Expr, scope: Scope) -> Refs:
        function = node.parent
        name = "" if function is None else function.name.lower() if function.key == "anonymous" else function.key
        if name in _LAMBDA_FUNCTIONS:
            return self._refs(node.this, scope.over(Column(each.name) for each in node.expressions))
        columns = [self._resolve(each, [each.name], scope).refs for each in node.expressions]
        return self._refs(node.this, scope).union(*columns)

    def _refs_comprehension(self, node: exp.Expr, scope: Scope) -> Refs:
        names = [node.args[part].name for part in ("expression", "position") if node.args.get(part)]
        inner = scope.over(Column(name) for name in names)
        parts = [self._refs(node.args[part], inner) for part in ("this", "condition") if node.args.get(part)]
        return self._refs(node.args["iterator"], scope).union(*parts)

    def _refs_dot(self, node: exp.Expr, scope: Scope) -> Refs:
        base = node
        steps: list[exp.Expr] = []
        while base.key == "dot":
            base, steps = base.this, [base.args["expression"], *steps]
        refs = union(self._refs(step, scope) for step in steps)
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

    def _resolve(self, node: exp.Expr, path: Sequence[str], scope: Scope) -> Column:
        """What `a`, `t.a`, `s.t.a` or, with fields of a struct behind it, `t.a.field` stands for."""
        column = self._known(node, path, scope) or self._whole_row(path, scope) or self._unknown(node, path, scope)
        self.mentions |= column.refs
        return column

    def _known(self, node: exp.Expr, path: Sequence[str], scope: Scope) -> Column | None:
        for layer in scope.chain():
            for depth in range(len(path) - 1, -1, -1):
                column = self._in_layer(node, path[:depth], path[depth], layer)
                if column is not None:
                    return column if depth == len(path) - 1 else Column(path[-1], column.refs)
        return None

    def _in_layer(self, node: exp.Expr, qualifier: Sequence[str], name: str, layer: Scope) -> Column | None:
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

    def _whole_row(self, path: Sequence[str], scope: Scope) -> Column | None:
        rows = [each for layer in scope.chain() for each in layer.relations if each.answers_to(path)]
        if not rows or len(path) > 1:
            return None
        return Column(path[0], union(column.refs for column in rows[0].columns))

    def _unknown(self, node: exp.Expr, path: Sequence[str], scope: Scope) -> Column:
        relations = [relation for layer in scope.chain() for relation in layer.relations]
        for depth in range(len(path) - 1, 0, -1):
            if named := [relation for relation in relations if relation.answers_to(path[:depth])]:
                return replace(self._in_side(node, path[depth], named[:1]), name=path[-1])
        for layer in scope.chain():
            if unknown := unknown_in(layer.relations):
                return Column(path[-1], self._guess(node, path[0], unknown))
        aliases = Relation(tuple(column for layer in scope.chain() for column in layer.aliases.values()))
        raise self._no_column(node, path[0], [*relations, aliases])

    def _guess(self, node: exp.Expr, name: str, tables: frozenset[str]) -> Refs:
        if self._target in tables and len(tables) > 1:
            raise self.statement.error(node, f"expected {' or '.join(f'{table}.{name}' for table in sorted(tables))}")
        return frozenset(self._ref(table, name) for table in tables)

    def _ref(self, table: str, column: str) -> ColumnRef:
        return self._spelled.setdefault((table.lower(), column.lower()), ColumnRef(table, column))

    def _no_column(self, node: exp.Expr, name: str, relations: Sequence[Relation]) -> SqlError:
        known = [column.name for relation in relations for column in relation.columns]
        return self.statement.error(node, f"no column {name} here: {nearest(name, known)}")
