"""Leakage by lineage: which features the SQL itself shows to be computed from what is not known at prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.core.leakage import BOTH_SIDES, LINEAGE, OF_A_FEATURE, Finding
from ml_assets.core.lineage import ColumnRef, column_lineage, required_columns
from ml_assets.core.statement import Statement, nearest, read_statement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlglot import exp

# What the platform writes beside the source's columns.
BOOKKEEPING = {*LINEAGE, "_ingested_at"}


@dataclass(frozen=True)
class Script:
    """A statement and its file."""

    sql: str
    path: str


@dataclass(frozen=True)
class Traced:
    """What the SQL shows.

    Attributes:
        findings: features, or columns of `validated`, computed from what is not known at prediction.
        accused: feature → the finding that is about it.
        hidden: the columns of `validated` that are not known at prediction.
        older: features that hold such columns, but of earlier rows only: the clock judges them.
    """

    findings: tuple[Finding, ...]
    accused: Mapping[str, str]
    hidden: frozenset[str]
    older: frozenset[str]


def trace(
    clean: Script,
    features: Script,
    *,
    target: str,
    time: str | None,
    unknown: Sequence[str],
    columns: Sequence[str],
    references: Collection[str] = (),
) -> Traced:
    """Which features are computed from the target, from what it is computed from, or from what was declared unknown.

    Through every CTE, subquery, join and window of both statements. A value of an earlier row (`lag`, a frame that ends
    before the current row) is not the row's own: the clock judges it. Two columns of `validated` that clean.sql
    computes from the same raw column are one: where one is not known, the other is not.

    Args:
        clean: makes `validated` of `raw`.
        features: makes features and target of `validated`.
        target: the column of features.sql that is predicted.
        time: the column that holds a row's time: it is known by its nature.
        unknown: columns of `validated`, or of a reference as `weather.temp`.
        columns: of `validated`.
        references: names of the tables that features.sql reads beside it.

    Raises:
        SqlError: as `column_lineage`.
    """
    inputs: dict[str, Sequence[str]] = {"validated": [*columns, *(one for one in LINEAGE if one not in columns)]}
    asked = {
        name: sorted(required_columns(features.sql, name, others=inputs, where=features.path)) for name in references
    }
    known = inputs | asked
    every = column_lineage(features.sql, known, where=features.path)
    own = column_lineage(features.sql, known, where=features.path, without={"earlier"})
    present = column_lineage(features.sql, known, where=features.path, without={"earlier", "later"})

    spelled = {name.lower(): ref for name, ref in _references(inputs | asked).items()}
    declared = frozenset(spelled[name.lower()] for name in unknown if name.lower() in spelled)
    told_by = {ref for ref in present[target] if ref.column not in {*LINEAGE, time}}
    of_target = (told_by & declared) or told_by
    secret = frozenset(of_target | declared)
    # In clean.sql: what else is made of the raw columns behind them.
    made_of = _raw_columns(clean, columns)
    raw = {name for ref in secret if ref.table == "validated" for name in _behind(ref.column, made_of)}
    kin = {
        name: made_of[name.lower()] & raw
        for name in columns
        if ColumnRef("validated", name) not in secret and name != time and made_of[name.lower()] & raw
    }

    judged = [name for name in own if name not in {target, time, *LINEAGE}]
    statement = read_statement(features.sql, features.path)
    findings: list[Finding] = []
    accused: dict[str, str] = {}
    for name in judged:
        if found := own[name] & secret:
            accused[name] = f"lineage:{name}"
            why = _why(found, of_target, declared, target)
            remedy = f"compute it from what is known when a prediction is made, or leave it out of {features.path}"
            if found & of_target and not declared & of_target and len(of_target) > 1:
                remedy += "; if only some columns of the target are unknown then, name those in unknown_at_prediction"
            node = _origin(statement, name)
            words = f"the feature {name} (`{_shown(statement, node)}`) is computed from {why}"
            findings.append(Finding(f"lineage:{name}", words, remedy, features.path, *statement.place(node)))
    cleaning = read_statement(clean.sql, clean.path)
    for name, sources in kin.items():
        users = [each for each in judged if ColumnRef("validated", name) in own[each] and each not in accused]
        if users:
            accused |= dict.fromkeys(users, f"lineage:{name}")
            node = _origin(cleaning, name)
            same = {ref for ref in secret if ref.table == "validated" and _behind(ref.column, made_of) & sources}
            words = (
                f"{name} (`{_shown(cleaning, node)}`), from which {', '.join(users)} comes, is made of the raw column "
                f"{', '.join(sorted(sources))}, like {_why(same, of_target, declared, target)}"
            )
            remedy = f"compute it from what is known, or leave {', '.join(users)} out of {features.path}"
            findings.append(Finding(f"lineage:{name}", words, remedy, clean.path, *cleaning.place(node)))
    hidden = frozenset(ref.column for ref in secret if ref.table == "validated")
    older = frozenset(name for name in judged if name not in accused and every[name] & secret)
    return Traced(tuple(findings), accused, hidden, older)


def unknown_column(name: str, columns: Sequence[str], references: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with a name that was declared unknown at prediction; "" where it is a column.

    Args:
        name: as declared.
        columns: of `validated`.
        references: the columns that features.sql asks of each reference.
    """
    known = [*columns, *(f"{table}.{column}" for table, names in references.items() for column in names)]
    if name.lower() in {each.lower() for each in known}:
        return ""
    return f"{name!r} is no column of the schema or of a reference; {nearest(name, known)}"


def unmatched_waiver(name: str, traced: Traced, features: Sequence[str]) -> str:
    """What is wrong with a waiver that can match nothing; "" where it can.

    What lineage finds is known without data: of that, a waiver must name a finding. Of the other ways it must name a
    feature, for what they find hangs on the rows.
    """
    possible = [finding.name for finding in traced.findings] + [BOTH_SIDES]
    possible += [f"{way}:{feature}" for way in OF_A_FEATURE for feature in features]
    return "" if name in possible else f"{name!r} waives nothing: there is no such finding; {nearest(name, possible)}"


def _references(inputs: Mapping[str, Sequence[str]]) -> dict[str, ColumnRef]:
    """How a column is written in a declaration: plain if it is of `validated`, else with its table."""
    return {
        column if table == "validated" else f"{table}.{column}": ColumnRef(table, column)
        for table, columns in inputs.items()
        for column in columns
    }


def _raw_columns(clean: Script, columns: Sequence[str]) -> dict[str, set[str]]:
    """Column of `validated`, lower case → the raw columns behind its value."""
    found = column_lineage(clean.sql, {"raw": None}, where=clean.path, without={"earlier"})
    made_of = {name.lower(): {ref.column for ref in refs} - BOOKKEEPING for name, refs in found.items()}
    # What a star brings is not known without rows: then a column has the name it has in raw.
    return {name.lower(): {name} for name in columns} | made_of


def _behind(column: str, made_of: Mapping[str, set[str]]) -> set[str]:
    """The raw columns that a secret one comes from: the one of its name where there is one, else all."""
    sources = made_of.get(column.lower(), set())
    return {name for name in sources if name.lower() == column.lower()} or sources


def _written(ref: ColumnRef) -> str:
    return ref.column if ref.table == "validated" else f"{ref.table}.{ref.column}"


def _why(
    found: Collection[ColumnRef], of_target: Collection[ColumnRef], declared: Collection[ColumnRef], target: str
) -> str:
    """The columns that are not known, and why each is not."""
    reasons = []
    if told := sorted(_written(ref) for ref in found if ref in of_target and ref not in declared):
        made = "which is the target" if told == [target] else f"from which the target {target} is computed"
        reasons.append(f"{', '.join(told)}, {made}")
    if told := sorted(_written(ref) for ref in found if ref in declared):
        reasons.append(f"{', '.join(told)}, declared unknown at prediction")
    return "; and ".join(reasons)


def _origin(statement: Statement, name: str) -> exp.Expr:
    """The expression that makes an output column: followed through CTEs and subqueries that only pass it on."""
    from sqlglot import exp

    item: exp.Expr = statement.tree
    selects = list(statement.tree.find_all(exp.Select, bfs=True))
    for _ in selects:
        made = [
            each
            for select in selects
            for each in select.expressions
            if each.alias_or_name.lower() == name.lower() and each is not item
        ]
        if not made:
            break
        item = next((each for each in made if each.unalias().key != "column"), made[0])
        passed_on = item.unalias()
        if passed_on.key != "column" or passed_on.name.lower() == name.lower():
            break
        name = passed_on.name
    return item


def _shown(statement: Statement, node: exp.Expr) -> str:
    text = node.unalias().sql("duckdb", comments=False) if node is not statement.tree else statement.text(node)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - what fits in a message
