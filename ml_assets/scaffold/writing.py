"""The four files of a guessed project, each guess with its reason where it stands."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.scaffold.guesses import Column, Guess
    from ml_assets.scaffold.looking import Table
    from ml_assets.scaffold.trial import Trial

WIDTH = 116
_LINEAGE = ["_partition", "_source", "_row"]
# Under a name that no column has: one is often called `date`.
_PYTHON = {
    "str": "str", "int": "int", "float": "float", "bool": "bool",
    "date": "_datetime.date", "datetime": "_datetime.datetime",
}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """How a project's parts are called.

    Attributes:
        project: its name.
        module: of its schema.
        origin: where its rows come from, as the user wrote it.
    """

    project: str
    module: str
    origin: str

    @property
    def schema(self) -> str:
        """The class of the schema."""
        return "".join(part.title() for part in self.project.split("_")) + "Row"


def declaration(names: Names, table: Table, found: Guess, trial: Trial) -> str:
    """The text of defs.yaml."""
    grain, calendar = found.calendar.grain, found.calendar
    lines = _comment(f"Guessed by `ml-assets new` from {table.rows:,} rows: read the reasons, mend what is wrong.", "")
    lines += ["type: ml_assets.ModelProject", "", "attributes:"]
    lines += [_line(2, "description", f"Predicts {found.target.name}, from {names.origin}."), ""]
    lines += ["  source:", *_source(table, found), ""]
    lines += ["  partitions:", *_comment(found.reasons["grain"], "    "), f"    grain: {grain}"]
    if calendar.has_time and found.time:
        lines += [*_comment(found.reasons["start"], "    "), f'    start: "{calendar.start}"']
        lines += [*_comment(found.reasons["time"], "    "), f"    time: {found.time.name}"]
    if grain == "block":
        lines.append(f"    rows: {calendar.rows}")
    root = "{{ context.project_root }}/sql/" + names.project
    lines += ["", f"  schema: {names.module}:{names.schema}"]
    lines += [f'  clean: "{root}/clean.sql"', f'  features: "{root}/features.sql"', f"  target: {found.target.name}"]
    if found.task != "regression" or found.reasons["task"] == "Said by you.":
        lines += [*_comment(found.reasons["task"], "  "), f"  task: {found.task}"]
    else:
        lines += [*_comment(f"{found.reasons['task']} The task is regression.", "  ")]
    if found.positive:
        lines += [*_comment(found.reasons["positive"], "  "), f"  positive: {_value(found.positive)}"]
    lines += ["", "  training:", *_comment(trial.why, "    "), f"    estimator: {trial.estimator}"]
    if trial.parameters:
        lines.append(_line(4, "parameters", trial.parameters))
    lines += _window(found, trial)
    if texts := [one.name for one in found.features if one.text]:
        lines.append(_line(4, "text", texts))
    lines += ["    seed: 7", "", "  gates:"]
    for metric, side, limit, why in trial.gates:
        lines += [*_comment(why, "    "), f"    - {{metric: {metric}, {side}: {limit:g}}}"]
    # A project without time has one partition, and nothing to add up over several.
    policy = "performance" if found.calendar.grain == "none" else "worth_it"
    lines += ["", "  retraining:", f"    policy: {policy}", *_comment(trial.watched[1], "    ")]
    lines += [f"    metric: {trial.watched[0]}"]
    if trial.cooldown != 3:  # noqa: PLR2004 - the default
        lines.append(f"    cooldown: {trial.cooldown}")
    if trial.minimum_rows < 200:  # noqa: PLR2004 - the default
        lines += [*_comment("A partition has few rows.", "    "), f"    minimum_rows: {trial.minimum_rows}"]
    return "\n".join([*lines, *_open(found), ""])


def _window(found: Guess, trial: Trial) -> list[str]:
    if trial.window == 1:
        return [*_comment("One partition: a fifth of its rows is held out by chance.", "    "), "    window: 1"]
    return [
        *_comment(f"{found.partitions:,} partitions hold rows; the newest {trial.test} judge.", "    "),
        f"    window: {trial.window}",
        *([f"    test: {trial.test}"] if trial.test != 1 else []),
    ]


def _source(table: Table, found: Guess) -> list[str]:
    origin = table.origin
    lines: list[str] = []
    for name, value in origin.declared.items():
        if name in origin.reasons:
            lines += _comment(origin.reasons[name], "    ")
        if name != "dialect":
            lines.append(_line(4, name, value))
            continue
        lines.append("    dialect:")
        for setting, choice in value.items():
            lines += [*_comment(origin.reasons.get(setting, ""), "      "), _line(6, setting, choice)]
    if found.source_time:
        note = "A row's time, as in clean.sql: the file holds all partitions."
        lines += [*_comment(note, "    "), _line(4, "time", found.source_time)]
    return lines


def _open(found: Guess) -> list[str]:
    if not found.questions:
        return []
    return ["", "# Unsure of:", *(line for one in found.questions for line in _comment(f"- {one}", ""))]


def clean_sql(found: Guess) -> str:
    """The text of clean.sql."""
    lines = ["-- Rows of the source made readable: one row out for every row in."]
    lines += ["-- Nothing is cast and nothing filtered: what does not read goes to the quarantine, with its reason."]
    lines += [line for raw, why in found.skipped.items() for line in _comment(f"{raw} is not read: {why}.", "", "--")]
    lines.append("SELECT")
    plain: list[str] = []
    for column in found.columns:
        sql = column.sql
        shown = column.name if sql == column.name else f"{sql} AS {column.name}"
        if not column.notes:
            plain.append(shown)
    lines += _wrapped(plain, 4)
    for notes, columns in _grouped(found.columns).items():
        lines += _comment(notes, "    ", "--")
        lines += _wrapped([f"{one.sql} AS {one.name}" for one in columns], 4)
    lines += [f"    {', '.join(_LINEAGE)}", "FROM raw", ""]
    return "\n".join(lines)


def _grouped(columns: Sequence[Column]) -> Mapping[str, list[Column]]:
    """Columns by what is done to them and why, so that it is said once."""
    found: dict[str, list[Column]] = {}
    for column in columns:
        if column.notes:
            found.setdefault(" ".join(_sentence(note) for note in column.notes), []).append(column)
    return found


def features_sql(found: Guess) -> str:
    """The text of features.sql."""
    lines = ["-- What is known of a row when it is to be predicted, and the target."]
    left: dict[str, list[str]] = {}
    for column in found.columns:
        if column.left_out:
            left.setdefault(column.left_out, []).append(column.name)
    lines += [line for why, out in left.items() for line in _comment(f"Left out: {', '.join(out)}: {why}.", "", "--")]
    lines += ["SELECT", f"    {', '.join(_LINEAGE)},"]
    if found.time:
        lines.append(f"    {found.time.name},")
    for number, (name, (sql, why)) in enumerate(found.derived.items()):
        lines += [*(_comment(why, "    ", "--") if not number else []), f"    {sql.replace(chr(34), '')} AS {name},"]
    lines += _wrapped([one.name for one in found.features], 4)
    lines += [f"    {found.target.name}", "FROM validated"]
    if found.filter:
        lines += [*_comment(found.filter, "", "--"), f"WHERE {found.target.name} IS NOT NULL"]
    return "\n".join([*lines, ""])


def schema_py(names: Names, table: Table, found: Guess) -> str:
    """The text of schema.py."""
    imports = ["import datetime as _datetime", ""] if any(one.is_time for one in found.columns) else []
    lines = [
        f'"""What a row of {names.project} must be: guessed by `ml-assets new` from {table.rows:,} rows, widely."""',
        "",
        *imports,
        "import pandera.polars as pa  # noqa: TID253 - imported when rows are judged, never when the graph is loaded",
        "",
        "",
        f"class {names.schema}(pa.DataFrameModel):",
        f'    """One row of {_docstring(names.origin)}."""',
        "",
    ]
    for column in found.columns:
        if column.why:
            lines += _comment(_sentence("; ".join(column.why)), "    ")
        arguments = [*column.checks, f"description={_description(column)!r}"]
        line = f"    {column.name}: {_PYTHON[column.form.type]} = pa.Field({', '.join(arguments)})"
        if len(line) > WIDTH:
            inner = [part for one in arguments for part in _argument(one)]
            line = "\n".join([line.partition("(")[0] + "(", *inner, "    )  # fmt: skip"])
        lines.append(line)
    return "\n".join([*lines, ""])


def _argument(text: str) -> list[str]:
    """The lines of one argument; only a list is ever long."""
    name, _, value = text.partition("=[")
    if len(text) < WIDTH - 8 or not value:
        return [f"        {text},"]
    return [f"        {name}=[", *_wrapped([repr(one) for one in ast.literal_eval(f"[{value}")], 12), "        ],"]


def _docstring(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _description(column: Column) -> str:
    called = column.raw.strip() or column.name
    facts = column.facts
    if column.form.type in {"int", "float"} and facts.least is not None:
        return f"{called}; {facts.least:g} to {facts.most:g} when guessed."
    return f"{called}."


def _sentence(text: str) -> str:
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".") + "."


def _comment(text: str, indent: str, sign: str = "#") -> list[str]:
    if not text:
        return []
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=f"{indent}{sign} ", subsequent_indent=f"{indent}{sign} ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _wrapped(items: Sequence[str], indent: int) -> list[str]:
    """Items, each with a comma, as many on a line as fit."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= WIDTH:
            lines[-1] += f" {item},"
        else:
            lines.append(" " * indent + f"{item},")
    return lines


def _line(indent: int, name: str, value: Any) -> str:
    return " " * indent + f"{name}: {_value(value)}"


def _value(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()
