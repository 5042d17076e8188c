"""What the schema demands of each column, and which columns are no features."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ml_assets.core.quoting import quoted
from ml_assets.scaffold.guesses import ENOUGH, Column, Guess, rows_of

if TYPE_CHECKING:
    from ml_assets.scaffold.looking import Table


CATEGORIES = 20
WORDS = 4
_KEY = re.compile(r"(^|_)(id|key|nr|no|number|code|uuid|guid|index|identifier|pk|rowid)$|^unnamed|^column_1$")
# Names of what has rows of its own, such as a customer. A number or a code may as well be a measure or a place.
_ENTITY = re.compile(r"(^|_)(id|key|uuid|guid|identifier|pk)$")
# Rows of such a one, below which it is learnt by heart.
FEWEST_OF_AN_ENTITY = 50
# Share of the rows that may repeat the time of another where times are all different but for mistakes.
REPEATED_TIMES = 0.2
FEWEST_STRETCHES, FEWEST_OF_A_STRETCH = 4, 20
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


def look_for_names(table: Table, found: Guess) -> None:
    """Take out of the features what later rows cannot have again: names of the ones seen, and names of a time."""
    for column in found.features:
        facts = column.facts
        if len(found.features) == 1 or facts.distinct <= 1:
            continue
        rows = facts.present / facts.distinct
        named = column.form.type in {"str", "int"} and bool(_ENTITY.search(column.name)) and facts.distinct > CATEGORIES
        if named and rows < FEWEST_OF_AN_ENTITY:
            found.leave_out(column, f"it names what a row is of: {facts.distinct:,} of them, {rows:.0f} rows each")
            found.questions.append(f"Do rows to come have a {column.name} seen before? Then it may be a feature")
        elif named:
            found.questions.append(f"Does {column.name} name what a row is of? Then leave it out, or cast it to text")
        elif column.form.type == "str" and not column.text and found.time and _names_a_time(table, column, found.time):
            found.leave_out(
                column, f"its {facts.distinct:,} values follow each other in time: rows to come have new ones"
            )


def _names_a_time(table: Table, column: Column, time: Column) -> bool:
    """Whether each value has a stretch of time of its own, as 2024Q1 has: their lengths add up to little more than all.

    The first and the last hundredth of each stretch may be mistaken.
    """
    if not FEWEST_STRETCHES <= column.facts.distinct <= ENOUGH:
        return False
    moment = f"epoch(CAST({quoted(time.name)} AS TIMESTAMP))"
    stretch = f"quantile_disc({moment}, 0.99) - quantile_disc({moment}, 0.01) AS length, count(*) AS n"
    lengths = f"SELECT {stretch} FROM typed WHERE {quoted(column.name)} IS NOT NULL GROUP BY {quoted(column.name)}"
    longest, all_of_them, rare = table.one(
        f"SELECT (SELECT max({moment}) - min({moment}) FROM typed), sum(length), min(n) FROM ({lengths})"
    )
    # A few rows make a short stretch of anything.
    return bool(longest) and rare >= FEWEST_OF_A_STRETCH and all_of_them <= 1.2 * longest


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


def look_for_repeated_times(table: Table, found: Guess) -> None:
    """Ask about rows that have the time of another, of the same one where rows are of several, and differ otherwise."""
    if found.time is None or not _is_regular(table, found.time):
        return
    time = quoted(found.time.name)
    values = ", ".join(quoted(one.name) for one in found.columns)
    (rows,) = table.one(f"SELECT count(*) FROM (SELECT DISTINCT {values} FROM typed)")
    # Several ones are read at the same times, nearly all of them at each.
    most = 2 * rows / found.time.facts.distinct
    others = [one for one in found.columns if one is not found.target]
    several = [one for one in others if one.form.type in {"str", "int"} and 1 < one.facts.distinct <= most]
    ways = []
    for key, of_one in [(time, ""), *((f"{time}, {quoted(one.name)}", f" and {one.name}") for one in several)]:
        (different,) = table.one(f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM typed)")
        ways.append((rows - different, of_one))
    repeated, of_one = min(ways)
    if 0 < repeated <= REPEATED_TIMES * rows:
        found.questions.append(
            f"{rows_of(repeated)} have the same {found.time.name}{of_one} as another, and differ otherwise: is one a "
            "correction of the other? All are kept"
        )


def _is_regular(table: Table, time: Column) -> bool:
    """Whether most times follow each other by the same step, as those of a meter do."""
    name = quoted(time.name)
    times = f"SELECT DISTINCT CAST({name} AS TIMESTAMP) AS t FROM typed WHERE {name} IS NOT NULL"
    steps = f"SELECT t - lag(t) OVER (ORDER BY t) AS step FROM ({times})"
    (share,) = table.one(
        f"SELECT max(n) / sum(n) FROM (SELECT count(*) AS n FROM ({steps}) WHERE step IS NOT NULL GROUP BY step)"
    )
    return float(share or 0) >= 0.5  # noqa: PLR2004 - most
