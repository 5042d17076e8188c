"""`ml-assets new` and `dg scaffold defs ml_assets.ModelProject`: look, guess, write, and say what was guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field

from ml_assets.core.partitioning import Grain
from ml_assets.core.tasks import Task

if TYPE_CHECKING:
    from pathlib import Path

    from ml_assets.scaffold.guesses import Guess
    from ml_assets.scaffold.looking import Table
    from ml_assets.scaffold.packages import Place
    from ml_assets.scaffold.trial import Trial


class Wanted(BaseModel):
    """What a user says of a new project; the rest is guessed."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    source: str = Field(
        alias="from",
        description="Path or pattern of files, s3://…, sqlite:PATH#TABLE, or env:VARIABLE#TABLE for PostgreSQL.",
    )
    target: str = Field(description="The column to predict.")
    time: str | None = Field(default=None, description="The column that says when a row happened.")
    grain: Grain | None = Field(default=None, description="Length of a partition.")
    task: Task | None = Field(default=None, description="What the target is predicted as.")
    columns: str | None = Field(default=None, description="Names of the columns of a file without a header: a,b,c.")


@dataclass
class Made:
    """A new project.

    Attributes:
        name: its name.
        files: what was written.
        guesses: what was guessed, in sentences.
        warnings: what to look at.
        questions: what is unsure.
        lines: lines of YAML and SQL without comments.
    """

    name: str
    files: list[Path]
    guesses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    lines: int = 0

    def report(self) -> list[str]:
        """What to tell the user, line by line."""
        said = [f"wrote {file}" for file in self.files]
        said += ["", *(f"  {one}" for one in self.guesses)]
        said += [f"  warning: {one}" for one in self.warnings]
        if self.questions:
            said += ["", "Unsure of:", *(f"  {number}. {one}" for number, one in enumerate(self.questions, 1))]
        return [
            *said, "", "Next:", f"  ml-assets check {self.name}",
            f"  ml-assets backfill {self.name}    # all that the source holds, and a first version",
        ]  # fmt: skip


def new_project(name: str, wanted: Wanted, place: Place | None = None) -> Made:
    """Write a project from its source.

    Args:
        name: of the project, and of its folders.
        wanted: what the user says of it.
        place: where to write; as seen from the present folder where it is None.

    Raises:
        ValueError: if the name cannot be one, a file is there already, or what the user says does not fit the source.
        SourceError: if the source cannot be read.
    """
    from ml_assets.project import NAME  # noqa: PLC0415
    from ml_assets.scaffold.guessing import guess  # noqa: PLC0415 - the component imports this module, not its work
    from ml_assets.scaffold.looking import look  # noqa: PLC0415
    from ml_assets.scaffold.packages import find_place  # noqa: PLC0415
    from ml_assets.scaffold.trial import try_out  # noqa: PLC0415

    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a project: use lower-case letters, digits and _, a letter first")
    place = place or find_place(wanted.source)
    paths = _paths(name, place)
    there = [str(path) for path in paths.values() if path.exists()]
    if there:
        raise ValueError(f"{', '.join(there)}: is there already, and is not written over. Remedy: choose another name")
    columns = [one.strip() for one in (wanted.columns or "").split(",") if one.strip()]
    with look(wanted.source, columns=columns, data=place.data) as table:
        found = guess(table, target=wanted.target, time=wanted.time, grain=wanted.grain, task=wanted.task)
        trial = try_out(table, found)
        texts = _texts(name, wanted, place, table=table, found=found, trial=trial)
        rows = table.rows
        guesses = _told(table, found, trial)
        if table.malformed:
            worst, times = table.malformed.most_common(1)[0]
            found.warnings.append(
                f"{table.malformed.total():,} of {rows:,} rows are malformed, mostly: {worst} ({times:,})"
            )
    written = _write(place.missing) + _write({paths[key]: text for key, text in texts.items()})
    lines = sum(_counted(texts[key]) for key in ("defs.yaml", "clean.sql", "features.sql"))
    return Made(name, written, guesses, found.warnings, found.questions, lines)


def _paths(name: str, place: Place) -> dict[str, Path]:
    return {
        "defs.yaml": place.folder / name / "defs.yaml",
        "schema.py": place.folder / name / "schema.py",
        "__init__.py": place.folder / name / "__init__.py",
        "clean.sql": place.root / "sql" / name / "clean.sql",
        "features.sql": place.root / "sql" / name / "features.sql",
    }


def _texts(name: str, wanted: Wanted, place: Place, *, table: Table, found: Guess, trial: Trial) -> dict[str, str]:
    from ml_assets.scaffold import writing  # noqa: PLC0415

    names = writing.Names(name, f"{place.module}.{name}.schema", wanted.source)
    return {
        "defs.yaml": writing.declaration(names, table, found, trial),
        "schema.py": writing.schema_py(names, table, found),
        "__init__.py": f'"""{found.target.name}, from {name}."""\n',
        "clean.sql": writing.clean_sql(found),
        "features.sql": writing.features_sql(found),
    }


def _write(texts: dict[Path, str]) -> list[Path]:
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(texts)


def _counted(text: str) -> int:
    return sum(bool(line.strip()) and not line.strip().startswith(("#", "--")) for line in text.splitlines())


def _told(table: Table, found: Guess, trial: Trial) -> list[str]:
    grain = found.calendar.grain
    time = f" by {found.time.name}" if found.time else ""
    gates = " and ".join(f"{metric} {side.replace('_', ' ')} {limit:g}" for metric, side, limit, _ in trial.gates)
    blank = f", {table.origin.blank_lines:,} blank lines skipped" if table.origin.blank_lines else ""
    return [
        f"{table.rows:,} rows, {len(table.columns)} columns{blank}",
        f"partitions: {grain}{time}. {found.reasons['grain']}",
        f"target: {found.target.name}, {found.task}. {found.reasons['task']}",
        f"features: {', '.join([*found.derived, *(one.name for one in found.features)])}",
        f"gates: {gates}. {trial.gates[0][3]}",
        *(f"to the quarantine: {words}" for words in found.quarantine),
    ]


class ModelProjectScaffolder(dg.Scaffolder[Wanted]):
    """What `dg scaffold defs ml_assets.ModelProject NAME` does."""

    @classmethod
    def get_scaffold_params(cls) -> type[Wanted]:
        """The options of the command."""
        return Wanted

    def scaffold(self, request: dg.ScaffoldRequest[Wanted]) -> None:
        """Write the project, and print what was guessed."""
        from dataclasses import replace  # noqa: PLC0415

        import click  # noqa: PLC0415

        from ml_assets.scaffold.packages import find_place  # noqa: PLC0415

        place = find_place()
        if place.missing or request.scaffold_format != "yaml":
            raise ValueError("a project is scaffolded as YAML, in a package whose pyproject.toml names its projects")
        if request.target_path.parent.resolve() != place.folder.resolve():
            raise ValueError(f"a project lies in {place.folder} itself, not in {request.target_path.parent}")
        place = replace(place, folder=request.target_path.parent)
        for line in new_project(request.target_path.name, request.params, place).report():
            click.echo(line)
