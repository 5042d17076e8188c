"""Which input columns each column of a project's SQL comes from, read off the statement itself.

The lineage in Dagster's UI, the leakage check and the prediction API need it, and a list kept by hand would go stale.
sqlglot parses; names are resolved here and not by its optimizer, which lower-cases identifiers, reports errors without
a place, and does not know DuckDB's `COLUMNS(…)`, struct fields or the use of an alias later in the same SELECT.

Nothing is run, so types are unknown: a struct cannot be unpacked (`s.*`), `unnest` is taken for that of a list, and the
columns of PIVOT and UNPIVOT cannot be told. Such statements may run, but have no lineage; the error says what to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.core.resolving import Resolver
from ml_assets.core.scopes import ColumnRef
from ml_assets.core.statement import read_statement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ml_assets.core.window_rows import OtherRows

__all__ = ["ColumnRef", "column_lineage", "required_columns"]


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
    resolver = Resolver(read_statement(sql, where), {**(others or {}), table: known}, target=table)
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
    for column in Resolver(statement, inputs, without=without, deciding=deciding).query(statement.tree).columns:
        if column.unnamed is not None:
            nameless = "an output column without a name: add AS and one"
            raise statement.error(column.unnamed, nameless, text=column.name)
        if column.name.lower() in taken:
            twice = "two output columns have this name: rename one with AS, or EXCLUDE it"
            raise statement.error(statement.tree, twice, text=column.name)
        taken.add(column.name.lower())
        lineage[column.name] = column.refs
    return lineage
