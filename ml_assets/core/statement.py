"""What a project's SQL may be: exactly one SELECT that reads named inputs, refused with the place of what is wrong.

A declared statement runs with the platform's rights, so one that reads files or settings, or changes anything, is
refused before it runs. sqlglot parses; nothing is run here.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlglot import exp

# Scalar functions that read the environment or the settings (secrets among them), or leave something changed.
_UNSAFE_FUNCTIONS = frozenset({"getenv", "current_setting", "nextval", "setseed", "write_log"})
# Where there is no such table DuckDB opens the file: `FROM 'a.csv'`, and `FROM a.csv` without quotes just the same.
_FILE_NAME = re.compile(r"[./\\:*?]")
_FILE_ENDINGS = frozenset(
    {"avro", "csv", "db", "ddb", "duckdb", "json", "jsonl", "ndjson", "parquet", "shp", "tsv", "xlsx"}
)
_WITHOUT_GROUPS = frozenset({"expressions", "from_", "where", "joins", "with_"})
_SHOWN = 60  # characters of the offending text in a message


class SqlError(ValueError):
    """A statement that the platform does not take: where, the offending text, and what was expected."""

    def __init__(self, where: str, line: int, column: int, text: str, expected: str) -> None:
        shown = " ".join(text.split())
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        super().__init__(f"{where}, line {line}, column {column}: `{shown}`: {expected}")
        self.line = line
        self.column = column


def check_select(sql: str, *, where: str = "SQL", allowed: Collection[str] | None = None) -> None:
    """Accept exactly one SELECT that reads named inputs only.

    Args:
        sql: One statement, DuckDB dialect.
        where: The file's name, for the message.
        allowed: The names that may be read (`validated`, `other_project.features`); None for any.

    Raises:
        SqlError: It does not parse, is no SELECT or more than one, or reads files, settings or tables not allowed.
    """
    read_statement(sql, where, allowed)


def is_row_wise(sql: str, *, table: str, where: str = "SQL", kept: Collection[str]) -> bool:
    """Whether every output row of a SELECT depends on one row of an input alone, as far as its form shows.

    Such a statement has the same result over many partitions of the input at once and over one after another. Rows may
    be joined to other inputs, in which every partition sees all rows.

    Args:
        sql: One SELECT, DuckDB dialect.
        table: The named input.
        where: The file's name, for the message.
        kept: Columns that must be selected as they are: beside a plain column, and without GROUP BY, DuckDB takes no
            aggregate, whatever its name.

    Raises:
        SqlError: As `check_select`.
    """
    return _is_row_wise(read_statement(sql, where).tree, table.lower(), frozenset(kept))


def passed_on(sql: str, *, table: str, columns: Collection[str], where: str = "SQL") -> list[str | None]:
    """Which output columns of a SELECT are columns of its one input as they stand.

    Args:
        sql: One SELECT, DuckDB dialect.
        table: The named input.
        columns: The input's columns.
        where: The file's name, for the message.

    Returns:
        For each output column the input's that it is, or None where it is computed. Nothing where the statement has
        more than a list and a FROM, or where its list does not tell how many columns there are.

    Raises:
        SqlError: As `check_select`.
    """
    from sqlglot import exp

    query = read_statement(sql, where).tree
    source = query.args["from_"].this if query.args.get("from_") else None
    if {name for name, value in query.args.items() if value} != {"expressions", "from_"}:
        return []
    if not isinstance(source, exp.Table) or {name for name, value in source.args.items() if value} - {"this", "alias"}:
        return []
    if source.name.lower() != table.lower() or source.alias_column_names:
        return []
    if any(each.find(exp.Star, exp.Columns) for each in query.expressions):
        return []
    values = [each.this if isinstance(each, exp.Alias) else each for each in query.expressions]
    plain = [isinstance(value, exp.Column) and value.table in {"", source.alias_or_name} for value in values]
    return [value.name if is_ and value.name in columns else None for value, is_ in zip(values, plain, strict=True)]


def same_select(one: str, other: str) -> bool:
    """Whether two SELECTs say the same, but for comments, spaces and how keywords are written."""
    if one == other:
        return True
    trees = _trees(one, other)
    return trees is not None and trees[0] == trees[1]


def gives_all_of(older: str, newer: str) -> bool:
    """Whether rows that an older SELECT made hold all that a newer one would make: only columns were struck."""
    from sqlglot import exp

    if same_select(older, newer):
        return True
    trees = _trees(older, newer)
    if trees is None or not all(isinstance(tree, exp.Select) for tree in trees):
        return False
    # DISTINCT, GROUP BY ALL and the like hang on which columns there are.
    if any({name for name, value in tree.args.items() if value} - _WITHOUT_GROUPS for tree in trees):
        return False
    struck = [each for each in trees[0].expressions if each not in trees[1].expressions]
    names = {each.alias.lower() for each in struck}
    if len(trees[0].expressions) != len(struck) + len(trees[1].expressions):
        return False
    # A name that was struck may stand for another column now.
    if any(not column.table and column.name.lower() in names for column in trees[1].find_all(exp.Column)):
        return False
    bare = [tree.copy() for tree in trees]
    for tree in bare:
        tree.set("expressions", [])
    return bare[0] == bare[1]


def _trees(one: str, other: str) -> tuple[exp.Expr, exp.Expr] | None:
    try:
        return read_statement(one, "SQL").tree, read_statement(other, "SQL").tree
    except SqlError:
        return None


def _is_row_wise(query: exp.Expr, table: str, kept: frozenset[str]) -> bool:
    from sqlglot import exp

    parts = {name: value for name, value in query.args.items() if value}
    known = parts.keys() <= _WITHOUT_GROUPS
    if not isinstance(query, exp.Select) or not known or "from_" not in parts:
        return False
    if "with_" in parts and parts["with_"].args.get("recursive"):
        return False
    source = parts["from_"].this
    if not isinstance(source, exp.Table) or {name for name, value in source.args.items() if value} - {"this", "alias"}:
        return False
    cte = cte_of(source)
    begins = _is_row_wise(cte.this, table, kept) if cte is not None else source.name.lower() == table
    if not begins or not all(_adds_columns(join, table) for join in parts.get("joins", ())):
        return False
    values = [*parts["expressions"], *([parts["where"]] if "where" in parts else [])]
    if any(isinstance(node, exp.Query | exp.Window) for value in values for node in value.walk()):
        return False
    plain = {each.name for each in query.expressions if each.key == "column"}
    return any(is_star(each) for each in query.expressions) or plain.issuperset(kept)


def _adds_columns(join: exp.Expr, table: str) -> bool:
    """Whether a join looks each row of an input up elsewhere.

    A RIGHT or FULL join does more: it returns what no row matches, and that hangs on all of them.
    """
    ways = {str(join.args.get(name) or "").upper() for name in ("method", "side", "kind")}
    return ways <= {"", "ASOF", "LEFT", "INNER", "OUTER", "CROSS", "SEMI", "ANTI"} and not _reads(join, table)


def _reads(part: exp.Expr, table: str) -> bool:
    """Whether a part of a statement reads an input, itself or through a CTE."""
    for node in part.walk():
        if node.key == "table":
            cte = cte_of(node)
            if _reads(cte.this, table) if cte is not None else node.name.lower() == table:
                return True
    return False


@dataclass(frozen=True)
class Statement:
    """A parsed SELECT, with its text and the name of its file."""

    sql: str
    where: str
    tree: exp.Expr

    def error(self, node: exp.Expr, expected: str, *, text: str | None = None) -> SqlError:
        """What is wrong with a part of the statement, with its place."""
        start, end = self._reach(node)
        return _error_at(self.sql, self.where, start, text or self.sql[start:end], expected)

    def place(self, node: exp.Expr) -> tuple[int, int]:
        """Line and column, from 1, where a part of the statement begins."""
        start, _ = self._reach(node)
        return _line_and_column(self.sql, start)

    def text(self, node: exp.Expr) -> str:
        """A part of the statement as it was written, in one line."""
        start, end = self._reach(node)
        return " ".join(self.sql[start:end].split())

    def _reach(self, node: exp.Expr) -> tuple[int, int]:
        # sqlglot gives a place to leaves only: a node reaches from its first leaf to its last.
        leaves = [node] if "start" in node.meta else [leaf for leaf in node.walk() if "start" in leaf.meta]
        start = min((leaf.meta["start"] for leaf in leaves), default=0)
        end = max((leaf.meta["end"] for leaf in leaves), default=len(self.sql) - 1)
        return start, end + 1


def _error_at(sql: str, where: str, offset: int, text: str, expected: str) -> SqlError:
    return SqlError(where, *_line_and_column(sql, offset), text, expected)


def _line_and_column(sql: str, offset: int) -> tuple[int, int]:
    before = sql[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def read_statement(sql: str, where: str, allowed: Collection[str] | None = None) -> Statement:
    """Parse exactly one SELECT that reads nothing but named inputs. See `check_select`.

    Its tree is shared by all who read the same text: nobody changes it.
    """
    return _read_statement(sql, where, None if allowed is None else tuple(allowed))


# A run asks several things of a project's two statements, and each question parses.
@lru_cache(maxsize=64)
def _read_statement(sql: str, where: str, allowed: tuple[str, ...] | None) -> Statement:
    from sqlglot import exp, parse, tokenize
    from sqlglot.errors import ParseError, TokenError

    try:
        tokens = tokenize(sql, dialect="duckdb")
        trees = [tree for tree in parse(sql, dialect="duckdb") if tree and not isinstance(tree, exp.Semicolon)]
    except TokenError as error:
        unclosed = re.search(r"Missing (\S+) from \d+:(\d+)", f"{error} {error.__cause__}")
        offset = int(unclosed[2]) if unclosed else error.start or 0
        expected = f"never ends: expected a closing {unclosed[1]}" if unclosed else "expected DuckDB SQL"
        raise _error_at(sql, where, offset, sql[offset:], expected) from error
    except ParseError as error:
        problem = error.errors[0]
        text = problem["highlight"] or ""
        reason = re.split(r" but got |\.", problem["description"] or "")[0]
        reason = "something is missing after it" if reason.startswith("Required keyword") else reason
        expected = f"expected one SELECT in DuckDB's SQL, this does not parse here ({reason})"
        raise SqlError(where, problem["line"], max(problem["col"] - len(text) + 1, 1), text, expected) from error
    trees = [each for tree in trees for each in (tree.expressions if isinstance(tree, exp.Block) else [tree])]
    expected = "expected exactly one SELECT"
    if len(trees) == 1 and isinstance(trees[0], exp.Query):
        statement = Statement(sql, where, trees[0])
        _refuse_unsafe(statement, allowed)
        return statement
    offset = tokens[0].start if tokens else 0
    if len(trees) > 1:
        expected += f", found {len(trees)} statements"
        starts = [after.start for token, after in pairwise(tokens) if token.text == ";"]
        offset = starts[0] if starts else offset
    raise _error_at(sql, where, offset, sql[offset:], expected)


def _refuse_unsafe(statement: Statement, allowed: Collection[str] | None) -> None:
    from sqlglot import exp

    for node in statement.tree.walk():
        if isinstance(node, exp.Subquery | exp.CTE):
            if not isinstance(node.this, exp.Query | exp.Table | exp.Values | exp.Pivot):
                raise statement.error(node, "expected a SELECT here: a project's SQL only reads")
        elif isinstance(node, exp.Table | exp.Lateral) and isinstance(node.this, exp.Func):
            if not isinstance(node.this, exp.GenerateSeries | exp.Unnest):
                only = "expected a named input (of table functions only unnest, range and generate_series are taken)"
                raise statement.error(node.this, only)
        elif isinstance(node, exp.Table):
            _refuse_table(statement, node, allowed)
        elif isinstance(node, exp.Into):
            raise statement.error(node, "expected no INTO: a project's SQL only reads")
        elif isinstance(node, exp.Anonymous) and node.name.lower() in _UNSAFE_FUNCTIONS:
            raise statement.error(node, "reads or changes something besides the named inputs: leave it out")


def _refuse_table(statement: Statement, table: exp.Table, allowed: Collection[str] | None) -> None:
    if table.this.key != "identifier":
        raise statement.error(table, "expected a named input")
    name = ".".join(name_parts(table))
    if cte_of(table) is not None or (allowed is not None and name.lower() in {each.lower() for each in allowed}):
        return
    parts = name_parts(table)
    if any(map(_FILE_NAME.search, parts)) or _FILE_ENDINGS & {part.lower() for part in parts[1:]}:
        raise statement.error(table, "expected a named input, not a file: files come in through the project's source")
    if allowed is not None:
        raise statement.error(table, f"no such input: {nearest(name, allowed)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known name nearest to a wrong one, or all known ones."""
    spelled = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), spelled, n=1)
    return f"did you mean {spelled[close[0]]}?" if close else f"expected one of {', '.join(spelled.values()) or 'none'}"


def name_parts(node: exp.Expr) -> list[str]:
    """The dotted name of a table or column, outermost part first."""
    return [node.args[part].name for part in ("catalog", "db", "table", "this") if node.args.get(part)]


def is_star(node: exp.Expr) -> bool:
    """Whether a node is `*` or `t.*`."""
    return node.key == "star" or (node.key == "column" and node.this.key == "star")


def cte_of(table: exp.Expr) -> exp.Expr | None:
    """The CTE that a table's name stands for where it is written, or None for a named input."""
    if table.args.get("db"):
        return None
    inner, cte, node = table, table, table.parent
    while node is not None:
        if node.key == "cte":
            cte = node
        elif with_ := node.args.get("with_"):
            visible: list[exp.Expr] = with_.expressions
            if inner is with_:  # a CTE sees those before it, and itself only when the WITH is recursive
                before = next(i for i, each in enumerate(visible) if each is cte)
                visible = visible[: before + bool(with_.args.get("recursive"))]
            if found := [each for each in visible if each.alias.lower() == table.name.lower()]:
                return found[0]
        inner, node = node, node.parent
    return None
