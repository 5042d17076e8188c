"""From what was counted to what is declared: each guess with its reason. Pure but for the questions to the table."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ml_assets.core.quoting import literal, quoted
from ml_assets.core.tasks import YES
from ml_assets.scaffold.formats import Format, decimal_sign, guess_format, may_be_thousands
from ml_assets.scaffold.guesses import ENOUGH, Column, Guess, facts_of, find, lost, make_typed, rows_of
from ml_assets.scaffold.judging import (
    judge,
    look_for_duplicates,
    look_for_names,
    look_for_repeated_times,
    order_database,
)
from ml_assets.scaffold.names import identifier, identifiers
from ml_assets.scaffold.times import choose_partitions, choose_time

if TYPE_CHECKING:
    from ml_assets.core.partitioning import Grain
    from ml_assets.core.tasks import Task
    from ml_assets.scaffold.looking import Table

# Share of rows that may go to the quarantine before a column is rather left as text.
LOST = 0.08
CLASSES = 20
# Values of a column that are named where they go to the quarantine, and letters of each.
NAMED, SHORT = 3, 24
WINDOWS = {"hour": 24 * 60, "day": 180, "week": 52, "month": 24}
COOLDOWNS = {"hour": 24, "day": 7, "week": 3, "month": 3, "block": 3, "none": 0}


def guess(
    table: Table, *, target: str, time: str | None = None, grain: Grain | None = None, task: Task | None = None
) -> Guess:
    """Guess a project from the rows of its source; gates and suspicions of leakage are added by `trial`.

    Args:
        table: all rows. Receives the table `typed`, in which every column has its guessed type.
        target: a column, by its name in the source or in lower case with underscores.
        time: a column; guessed where it is None.
        grain: of the partitions; guessed where it is None.
        task: guessed where it is None.

    Raises:
        ValueError: if a named column is not there, or cannot be what it is named for.
    """
    columns, skipped, asked = _columns(table)
    wanted = find(columns, target, "--target")
    found = Guess(columns, wanted, questions=[*table.origin.questions, *asked], skipped=skipped)
    _type(table, found)
    if wanted.facts.present == 0:
        raise ValueError(f"--target {target}: the column holds no value")
    if grain not in {"none", "block"}:
        choose_time(table, found, time)
    choose_partitions(table, found, grain)
    _choose_task(table, found, task)
    for column in found.columns:
        judge(column, found, table)
    look_for_names(table, found)
    look_for_duplicates(table, found)
    look_for_repeated_times(table, found)
    if "database" in table.origin.declared:
        order_database(table, found)
    return found


def _columns(table: Table) -> tuple[list[Column], dict[str, str], list[str]]:
    skipped = {raw: f"{lacking} of {table.origin.files} files lack it" for raw, lacking in table.lacking.items()}
    found: list[Column] = []
    questions: list[str] = []
    names = dict(zip(table.columns, identifiers(table.columns), strict=True))
    values, forms, blanks = {}, {}, {}
    for raw in (raw for raw in table.columns if raw not in skipped):
        values[raw], padded, blank = table.values(raw)
        blanks[raw] = {"padded": padded, "blank": blank}
        forms[raw] = guess_format(names[raw], values[raw])
    # A file has one decimal sign: what is 46.774 by itself is told by its neighbours.
    decimal = decimal_sign((form, values[raw]) for raw, form in forms.items())
    for raw, first in forms.items():
        unsure = bool(decimal) and may_be_thousands(first, values[raw])
        form = guess_format(names[raw], values[raw], decimal) if unsure else first
        if form.other and _runs_better(table, raw, form.other, form.sql):
            part = "day" if "month first" in form.reason else "month"
            reason = re.sub(r"(day|month) first", f"{part} first", form.reason)
            form = replace(
                form,
                sql=form.other,
                reason=reason,
                question=form.question.replace(
                    "the month first" if part == "day" else "the day first", f"the {part} first"
                ),
            )
        column = Column(raw, names[raw], form, "")
        _clean(column, **blanks[raw])
        if form.question:
            questions.append(f"{raw}: {form.question}")
        found.append(column)
    return found, skipped, questions


def _runs_better(table: Table, raw: str, sql: str, other: str) -> bool:
    """Whether dates run forward in the order of the rows more often if they are read one way."""

    def forward(form: str) -> float:
        read = form.replace("{0}", f"trim({quoted(raw)})")
        steps = f"SELECT {read} AS t, lag({read}) OVER (ORDER BY _source, _row) AS before FROM raw"
        (share,) = table.one(f"SELECT avg((t >= before)::INT) FROM ({steps})")
        return float(share or 0)

    return forward(sql) > forward(other)


def _clean(column: Column, *, padded: bool, blank: bool) -> None:
    """The SQL of a column's text, and what it does."""
    sql = quoted(column.raw) if column.raw != identifier(column.raw) else column.raw
    if padded:
        sql = f"trim({sql})"
        column.notes.append("Padded with blanks.")
    nulls = (*column.form.nulls, *([""] if blank else []))
    if len(nulls) == 1:
        sql = f"nullif({sql}, {literal(nulls[0])})"
    elif nulls:
        sql = f"CASE WHEN {sql} IN ({', '.join(map(literal, nulls))}) THEN NULL ELSE {sql} END"
    if column.form.why_nulls:
        column.notes.append(f"{column.form.why_nulls}.")
    if column.form.reason:
        column.notes.append(column.form.reason)
    column.base = sql


def _type(table: Table, found: Guess) -> None:
    """Read every column in its type, over all rows; what would send too many to the quarantine stays text."""
    for column in list(found.columns):
        column.facts = facts_of(table, column)
        if not column.facts.present and not column.facts.lost and column is not found.target:
            found.columns.remove(column)
            found.skipped[column.raw] = "it holds nothing"
        if column.form.type == "int" and column.facts.not_whole:
            column.form = replace(column.form, type="float")
        if column.facts.lost > LOST * table.rows:
            _as_text(table, found, column)
        if (
            column.form.type == "str"
            and column.facts.folded < column.facts.distinct <= ENOUGH
            and not column.form.clock
        ):
            column.form = replace(column.form, sql="lower({})")
            column.notes.append(f"In lower case: {column.facts.distinct} spellings are {column.facts.folded} values.")
            column.facts = facts_of(table, column)
        _tell_lost(table, found, column)
    make_typed(table, found.columns)


def _as_text(table: Table, found: Guess, column: Column) -> None:
    share = column.facts.lost / table.rows
    found.questions.append(
        f"{column.raw}: is it {column.form.type}? {share:.0%} of its values do not read so, and it stays text"
    )
    column.form = Format(nulls=column.form.nulls, why_nulls=column.form.why_nulls)
    column.facts = facts_of(table, column)


def _tell_lost(table: Table, found: Guess, column: Column) -> None:
    """Name the values that will not read, in the comment of their column and for the screen."""
    if not column.facts.lost:
        return
    worst = table.all(
        f"SELECT {column.base} AS x, count(*) FROM raw WHERE {lost(column)} GROUP BY 1 ORDER BY 2 DESC, 1 "
        f"LIMIT {NAMED + 1}"
    )
    told = ", ".join(f"'{_short(text)}'" + (f" ({times:,})" if len(worst) > 1 else "") for text, times in worst[:NAMED])
    told += " and others" if len(worst) > NAMED else ""
    rows = rows_of(column.facts.lost)
    column.notes.append(
        f"{rows} will not read, and {'goes' if column.facts.lost == 1 else 'go'} to the quarantine: {told}"
    )
    found.quarantine.append(f"{rows}: {column.name} does not read: {told}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


# ----------------------------------------------------------------------------------------------------------- task


def choose_task(column: Column) -> tuple[Task, str, str]:
    """The task of a target, why, and a question where it is unsure.

    Raises:
        ValueError: if it is nothing that can be predicted.
    """
    facts, kind = column.facts, column.form.type
    if facts.distinct < 2:  # noqa: PLR2004
        raise ValueError(f"--target {column.name}: all rows have the same value: there is nothing to predict")
    if column.is_time:
        raise ValueError(f"--target {column.name}: it is a date; a target is a number, a word or yes and no")
    if facts.distinct == 2 and kind != "float":  # noqa: PLR2004
        return "binary", "The target has two values.", ""
    if kind == "str":
        if facts.distinct > max(CLASSES, facts.present // 50):
            raise ValueError(
                f"--target {column.name}: it is text with {facts.distinct:,} different values. A target is a number, "
                "or one of a few words. Remedy: name another column"
            )
        return "multiclass", f"The target is one of {facts.distinct} words.", ""
    if kind == "int" and facts.distinct <= 10 and facts.most - facts.least < CLASSES:  # noqa: PLR2004
        question = f"Is {column.name} a class, or a quantity (--task regression)? It has {facts.distinct} values"
        return "multiclass", f"The target has {facts.distinct} values.", question
    return "regression", f"The target is a number with {facts.distinct:,} values.", ""


def _choose_task(table: Table, found: Guess, wanted: Task | None) -> None:
    target = found.target
    if wanted:
        found.task, found.reasons["task"] = wanted, "Said by you."
        if wanted == "regression" and not target.is_number:
            raise ValueError(f"--task regression: {target.name} is {target.form.type}, and a regression needs a number")
        if wanted != "regression" and target.form.type == "float":
            raise ValueError(
                f"--task {wanted}: {target.name} has fractions. Remedy: make classes of it in features.sql"
            )
    else:
        found.task, found.reasons["task"], question = choose_task(target)
        if question:
            found.questions.append(question)
    if found.task == "binary":
        name = quoted(target.name)
        counted = table.all(
            f"SELECT CAST({name} AS VARCHAR), count(*) FROM typed WHERE {name} IS NOT NULL GROUP BY 1 ORDER BY 2, 1"
        )
        labels = [label for label, _ in counted]
        if len(labels) > 2:  # noqa: PLR2004
            raise ValueError(f"--task binary: {target.name} has {len(labels)} values: {', '.join(labels[:6])}")
        says_yes = [label for label in labels if label.lower() in YES]
        found.positive = says_yes[0] if len(says_yes) == 1 else labels[0]
        if len(says_yes) == 1:
            found.reasons["positive"] = f"Of {' and '.join(sorted(labels))} it says yes."
        else:
            found.reasons["positive"] = f"The rarer of {' and '.join(sorted(labels))}."
            found.questions.append(f"Is {found.positive} what is to be found? It is the rarer label")
    missing = target.facts.rows - target.facts.present
    if missing:
        found.filter = f"{missing:,} rows have no {target.name}: nothing can be learnt from them."
