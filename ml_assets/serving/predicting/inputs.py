"""What a version's statement needs of a request, read off the statement itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.checking import trace_project
from ml_assets.core.lineage import column_lineage, required_columns
from ml_assets.core.statement import check_select, is_row_wise, is_star, read_statement
from ml_assets.lake.sql import quoted
from ml_assets.lake.tables import LINEAGE, PARTITION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ml_assets.project import Project

# What has another value the next time.
VOLATILE = re.compile(
    r"\b(now|today|random|uuid\w*|gen_random_uuid|get_current_\w+|current_\w+|localtime\w*|transaction_timestamp)\b",
    re.IGNORECASE,
)


class CannotServeError(Exception):
    """A project's predictions cannot be served; the message says why, and the way out."""


@dataclass(frozen=True)
class Inputs:
    """What a statement needs of a request.

    Attributes:
        asked: columns of the schema that a request may give, in order.
        needed: those that it must give, for the statement reads them.
        hidden: columns that are not known when a prediction is asked for.
        filled: those of them that the statement mentions, in a filter as a rule: they get the values of a real row.
        row_wise: whether a row's features hang on no other row.
        sources: feature → the columns of `validated` that it tells of: it is made of them, or they decide in a join or
            a filter what it is.
    """

    asked: tuple[str, ...]
    needed: frozenset[str]
    hidden: frozenset[str]
    filled: frozenset[str]
    row_wise: bool
    sources: Mapping[str, frozenset[str]]


def inputs_of(
    project: Project, features: Sequence[str], schema: Sequence[str], references: Mapping[str, Any]
) -> Inputs:
    """What a project's features.sql needs of a request.

    Args:
        project: the project, with the statement.
        features: what the version needs of it.
        schema: the schema's columns.
        references: reference table → its columns.

    Raises:
        CannotServeError: if a feature is computed from what is not known when a prediction is asked for, or a filter
            holds that against what is.
    """
    where = project.features_path
    validated = [*schema, *(name for name in LINEAGE if name not in schema)]
    known = {"validated": validated, **references}
    check_select(project.features_sql, where=where, allowed=list(known))
    traced = trace_project(project, schema)
    # What an earlier row's value was is known by now.
    own = column_lineage(project.features_sql, known, where=where, without={"earlier"})
    hidden = set(traced.hidden)
    for feature in features:
        secret = sorted(ref.column for ref in own.get(feature, ()) if ref.table == "validated" and ref.column in hidden)
        if secret and traced.accused.get(feature) not in project.leakage.reasons:
            raise CannotServeError(
                f"{where}: the feature {feature} is computed from {', '.join(secret)}, not known when a prediction is "
                "asked for. Remedy: compute it from what is known, or waive the finding with a reason (docs/leakage.md)"
            )
        # The reason says that it is known.
        hidden -= set(secret)
    made, told = (column_lineage(project.features_sql, known, where=where, deciding=one) for one in (False, True))
    sources = {
        feature: frozenset(ref.column for ref in told.get(feature, ()) if ref.table == "validated")
        for feature in features
    }
    read_by = {ref.column for feature in features for ref in made.get(feature, ()) if ref.table == "validated"}
    others = {name: list(columns) for name, columns in references.items()}
    used = only(project.features_sql, features, where)
    read_by |= required_columns(used, "validated", validated, others=others, where=where)
    row_wise = is_row_wise(project.features_sql, table="validated", where=where, kept=LINEAGE)
    if PARTITION in read_by or not row_wise:
        # The time tells which partition a row stands in.
        read_by |= {project.partitions.time}
    asked = tuple(name for name in schema if name not in hidden)
    if both := relating(project.features_sql, hidden & set(schema), asked, where):
        raise CannotServeError(
            f"{where}: the filter {both} holds what a request gives against what is not known of it, so it would let "
            "through or drop requests by the value of some other row. Remedy: filter by each alone, or in clean.sql"
        )
    return Inputs(
        asked=asked,
        needed=frozenset(read_by & set(asked)),
        hidden=frozenset(hidden & set(schema)),
        filled=frozenset(hidden & read_by),
        row_wise=row_wise,
        sources=sources,
    )


def relating(sql: str, hidden: Collection[str], asked: Collection[str], where: str) -> str:
    """The first condition of a filter that mentions hidden columns and asked ones; "" where there is none.

    Columns are told by their names alone: of a value that is computed from both first, nothing is seen here.
    """
    from sqlglot import exp

    secret, open_ = ({name.lower() for name in names} for names in (hidden, asked))
    for clause in read_statement(sql, where).tree.find_all(exp.Where, exp.Having, exp.Qualify):
        whole = clause.this.unnest()
        for condition in whole.flatten() if isinstance(whole, exp.And) else [whole]:
            names = {column.name.lower() for column in condition.find_all(exp.Column)}
            if names & secret and names & open_:
                return str(condition.sql("duckdb", comments=False))
    return ""


def only(sql: str, wanted: Collection[str], where: str) -> str:
    """A SELECT without the columns that it only passes on under their own name, and that are not wanted.

    So a target or a time that no feature is made of need not be asked for.
    """
    from sqlglot import exp

    tree = read_statement(sql, where).tree.copy()
    if isinstance(tree, exp.Select) and not any(tree.args.get(name) for name in ("distinct", "group", "order")):
        kept = [one for one in tree.expressions if one.key != "column" or is_star(one) or one.name in wanted]
        tree.set("expressions", kept or tree.expressions)
    return tree.sql("duckdb")


def settled(sql: str, where: str) -> tuple[list[tuple[str, str]], str]:
    """What of a statement hangs on no row of `validated`, to be computed once: such of its common table expressions.

    Args:
        sql: one SELECT, DuckDB dialect.
        where: the file's name, for messages.

    Returns:
        Name of a table → the SELECT that makes it, in order; and the statement, reading these tables.
    """
    from sqlglot import exp

    tree = read_statement(sql, where).tree.copy()
    clause = tree.args.get("with_")
    if clause is None or clause.args.get("recursive"):
        return [], sql
    made: list[tuple[str, str]] = []
    known: list[str] = []
    moving = {"validated"}
    for cte in clause.expressions:
        body = cte.this.sql("duckdb", comments=False)
        reads = {table.name.lower() for table in cte.this.find_all(exp.Table)}
        if reads & moving or cte.alias_column_names or VOLATILE.search(body):
            moving.add(cte.alias.lower())
            continue
        name = f"settled {len(made)}"
        before = f"WITH {', '.join(known)} " if known else ""
        made.append((name, f"{before}FROM (\n{body}\n)"))
        known.append(f"{quoted(cte.alias)} AS (FROM {quoted(name)})")
        cte.set("this", exp.select("*").from_(exp.table_(name, quoted=True)))
    return made, tree.sql("duckdb", comments=False) if made else sql
