"""What the schema demands of each column, and which columns are no features."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ml_assets.core.quoting import quoted
from ml_assets.scaffold.guesses import ENOUGH, Column, Guess

if TYPE_CHECKING:
    from ml_assets.scaffold.looking import Table


CATEGORIES = 20
WORDS = 4
_KEY = re.compile(r"(^|_)(id|key|nr|no|number|code|uuid|guid|index|identifier|pk|rowid)$|^unnamed|^column_1$")
_LATER = re.compile(
    r"(^|_)(after|outcome|outcomes|result|results|predicted|prediction|actual|closed|resolved|resolution|final)(_|$)"
)
_SIGNED = re.compile(r"temp|celsius|lat|lon|lng|change|delta|diff|profit|balance|delay|net|margin|return|score|dew")
_BOUNDS = {"latitude": (-90, 90), "lat": (-90, 90), "longitude": (-180, 180), "lon": (-180, 180), "lng": (-180, 180)}


def judge(column: Column, found: Guess, table: Table) -> None:  # noqa: C901 - one case after the other
    """The checks of a column, and whether it is a feature."""
    facts = column.facts
    if facts.present == facts.rows and (facts.rows >= ENOUGH or column is found.target or column is found.time):
        column.why.append(f"never missing in {facts.rows:,} rows")
    elif column is not found.time:
        column.checks.append("nullable=True")
        missing = facts.rows - facts.present
        if missing:
            column.why.append(f"missing in {missing:,} of {facts.rows:,} rows")
    if column.is_number:
        _bound(column)
    if column.form.type == "str":
        _judge_text(column, found, table)
    if column is found.target or column is found.time or column.left_out:
        return
    if not facts.present:
        column.left_out = "it is empty"
    elif facts.distinct == 1:
        column.left_out = "it is the same in every row"
    elif _is_identifier(column):
        _judge_key(column, found)
    elif _LATER.search(column.name):
        found.leave_out(column, "its name speaks of what is known only afterwards")
        found.questions.append(f"Is {column.name} known when a prediction is made? Then add it to features.sql")


def _is_identifier(column: Column) -> bool:
    facts = column.facts
    if column.is_number and column.form.type == "float":
        return False
    if column.is_time or column.text or column.form.type == "bool":
        return False
    share = facts.distinct / max(1, facts.present)
    named = bool(_KEY.search(column.name))
    if column.form.type == "str":
        return facts.distinct > CATEGORIES and (share > 0.9 or (named and share > 0.5))  # noqa: PLR2004
    running = facts.most - facts.least + 1 == facts.distinct and share == 1 and facts.distinct > CATEGORIES
    return running or (named and share > 0.9 and facts.distinct > CATEGORIES)  # noqa: PLR2004


def _judge_key(column: Column, found: Guess) -> None:
    facts = column.facts
    found.leave_out(column, f"it names rows: {facts.distinct:,} values in {facts.present:,} rows")
    key = _KEY.search(column.name) or found.columns.index(column) <= 1
    if not key:
        return
    if facts.distinct == facts.present == facts.rows:
        column.checks.append("unique=True")
        column.why.append("no value comes twice: it looks like a key")
        if column.form.type == "int" and facts.most - facts.least + 1 == facts.distinct:
            found.questions.append(
                f"Is {column.name} a running number only? Then name it in source.ignore_in_duplicates: rows that "
                "differ in nothing else are one"
            )
    else:
        column.why.append(
            f"it looks like a key, but {facts.present - facts.distinct:,} values come again: not demanded"
        )


def _bound(column: Column) -> None:
    facts = column.facts
    if facts.least is None:
        return
    for name, (low, high) in _BOUNDS.items():
        if re.search(rf"(^|_){name}($|_)", column.name) and low <= facts.least and facts.most <= high:
            column.checks += [f"ge={low}", f"le={high}"]
            column.why.append("degrees")
            return
    if facts.least >= 0 and not _SIGNED.search(column.name) and facts.rows >= ENOUGH:
        column.checks.append("ge=0")
        column.why.append("never negative")


def _judge_text(column: Column, found: Guess, table: Table) -> None:
    facts = column.facts
    if column is not found.target and facts.words >= WORDS and facts.distinct > max(CATEGORIES, 0.2 * facts.present):
        column.text = True
        column.why.append(f"{facts.words:.0f} words on average: text")
        return
    few = facts.distinct <= CATEGORIES and facts.present >= max(ENOUGH, 10 * facts.distinct)
    if few and facts.distinct > 1 and (column is found.target or _is_stable(table, column)):
        name = quoted(column.name)
        values = [
            value for (value,) in table.all(f"SELECT DISTINCT {name} FROM typed WHERE {name} IS NOT NULL ORDER BY 1")
        ]
        column.checks.append(f"isin={values!r}")
        column.why.append("the labels" if column is found.target else "the same few values early and late")
    elif facts.distinct > 1:
        column.why.append(f"{facts.distinct:,} values; new ones may appear")


def _is_stable(table: Table, column: Column) -> bool:
    """Whether every value is there in the first and in the second half of the rows, and none is rare."""
    name = quoted(column.name)
    halves = f"SELECT {name} AS v, ntile(2) OVER (ORDER BY _source, _row) AS half FROM typed WHERE {name} IS NOT NULL"
    (least,) = table.one(
        "SELECT min(n) FROM (SELECT least(count(*) FILTER (half = 1), count(*) FILTER (half = 2)) AS n "
        f"FROM ({halves}) GROUP BY v)"
    )
    return bool(least and least >= 5)  # noqa: PLR2004


def order_database(table: Table, found: Guess) -> None:
    """What cuts the rows of a database, or fixes their order."""
    declared = table.origin.declared["database"]
    if found.time is not None:
        declared["cursor"], found.source_time = found.time.raw, ""
        return
    keys = [one.raw for one in found.columns if "unique=True" in one.checks]
    declared["order_by"] = keys[:1] or table.columns


def look_for_duplicates(table: Table, found: Guess) -> None:
    """Ask whether rows that repeat another in every column are one."""
    listed = ", ".join(map(quoted, table.columns))
    (different,) = table.one(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM raw)")
    if table.rows > different:
        found.questions.append(
            f"{table.rows - different:,} rows repeat another in every column, and are dropped as duplicates: are they "
            "one, or events of their own? Then give rows a column that tells them apart"
        )
