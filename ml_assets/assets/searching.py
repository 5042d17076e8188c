"""The search of a project: its folds, its journal, and what the `model` asset tells of it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import registry
from ml_assets.assets.provenance import code_hash, modules_hash
from ml_assets.assets.rows import sides
from ml_assets.assets.showing import as_pictures
from ml_assets.core.evaluation import compared_by
from ml_assets.core.pictures import search_picture
from ml_assets.core.search import Attempt, Outcome, Plan, Progress, Trial, search
from ml_assets.core.splitting import folds
from ml_assets.core.tasks import title_of
from ml_assets.core.training import learnable, packages
from ml_assets.project import digest
from ml_assets.registry.searches import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import polars as pl

    from ml_assets.core.splitting import Places
    from ml_assets.core.training import Recipe
    from ml_assets.project import Project
    from ml_assets.registry.models import TrainingSet

SHOWN = 20


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        outcome: its trials.
        plan: what was declared.
    """

    outcome: Outcome
    plan: Plan

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The best."""
        return self.outcome.best.parameters

    @property
    def record(self) -> dict[str, Any]:
        """What a version keeps of it."""
        return self.outcome.as_record(self.plan)

    def as_metadata(self) -> dict[str, Any]:
        """What Dagster's UI shows of it: the best trials as a table, and all as a picture."""
        names = list(self.plan.space)
        rows = [
            f"| {trial.number} | "
            + " | ".join(f"`{trial.parameters[name]}`" for name in names)
            + f" | {_value(trial)} | {trial.share:.3g} | {trial.seconds:.1f} |"
            for trial in self.outcome.ranked(self.plan)[:SHOWN]
        ]
        head = f"| trial | {' | '.join(names)} | {title_of(self.plan.metric)} | share of rows | seconds |"
        table = "\n".join([head, "|---" * (len(names) + 4) + "|", *rows])
        found: dict[str, Any] = {
            f"validation_{self.plan.metric}": self.outcome.best.value,
            "search_trials": len(self.outcome.trials),
            "search_seconds": round(self.outcome.seconds, 1),
        }
        if not names:
            return {f"validation_{self.plan.metric}": self.outcome.best.value}
        picture = search_picture(self.record)
        return (
            found
            | {"search": dg.MetadataValue.md(table)}
            | as_pictures({"search": picture}, {"search": "The trials of the search"})
        )


@contextmanager
def found_parameters(
    project: Project, recipe: Recipe, rows: pl.DataFrame, training_set: TrainingSet, say: Callable[[str], object]
) -> Iterator[Searched | None]:
    """Search as declared, going on where an earlier run was killed; without a search, measure what is declared.

    The block keeps what was found: once it ends without an error, the journal of the search is removed.

    Args:
        project: the project.
        recipe: what a pipeline is made from.
        rows: all rows of the training set: those of test and holdout are left out here.
        training_set: how they were parted.
        say: is told of every trial that is finished.

    Yields:
        What was found, or None where neither a search nor a validation is declared.
    """
    plan = plan_of(project, training_set)
    if plan is None:
        yield None
        return
    side = sides(project, rows, training_set)
    rows, side = rows.filter(side.is_in(["train", "validation"])), side.filter(side.is_in(["train", "validation"]))
    _, wanted = learnable(rows, recipe.kinds, project.target, task=project.task, classes=recipe.classes)
    if recipe.task == "regression":
        plan = replace(plan, metric=compared_by(plan.metric, wanted))
    parts = _folds(project, rows, side, training_set, wanted)
    journal = Journal(registry().folder / project.name / "searches" / _key(plan, recipe, training_set, parts))
    with journal.alone(say):
        yield Searched(_search(plan, recipe, rows, wanted, parts=parts, journal=journal, say=say), plan)
        journal.remove()


def _search(
    plan: Plan, recipe: Recipe, rows: pl.DataFrame, wanted: Any, *,
    parts: Sequence[tuple[Places, Places]], journal: Journal, say: Callable[[str], object],
) -> Outcome:  # fmt: skip
    """The search, from where its journal ends."""
    # What failed is tried again: memory or a disk that was full may not be any more.
    known = {(one["trial"], one["fold"]): Attempt(**one) for one in journal.lines() if not one["failed"]}
    if known:
        say(f"going on with a search of which {len(known)} fits are done")

    def tell(attempt: Attempt, trial: Trial) -> None:
        journal.append(asdict(attempt))
        if trial.failed or trial.value is not None:
            result = trial.failed or f"{plan.metric} {_value(trial)}"
            say(f"trial {trial.number}, {_written(trial.parameters)}: {result}, {trial.seconds:.1f} s")

    outcome = search(
        plan, recipe, rows, wanted, folds=parts, file=journal.folder / "rows.arrow", progress=Progress(known, tell)
    )
    best = outcome.best
    found = f"{_written(best.parameters)}: {plan.metric} {_value(best)}"
    say(f"best of {len(outcome.trials)}: trial {best.number}, {found}")
    return outcome


def plan_of(project: Project, training_set: TrainingSet) -> Plan | None:
    """The declared search; one trial of what is declared where the training set has a validation alone."""
    training = project.training
    search = training.search
    if search is None:
        return Plan("grid", {}, project.watched, workers=1) if _has_validation(training_set) else None
    return Plan(
        search.kind,
        search.model_dump()["space"],
        search.metric or project.watched,
        trials=search.trials,
        seconds=None if search.minutes is None else 60 * search.minutes,
        workers=search.workers,
        seed=training.seed,
    )


def _has_validation(training_set: TrainingSet) -> bool:
    """Whether rows were set apart for it when the training set was chosen, whatever is declared by now."""
    return bool(training_set.validation or training_set.validation_share)


def _folds(
    project: Project, rows: pl.DataFrame, side: pl.Series, training_set: TrainingSet, wanted: Any
) -> list[tuple[Places, Places]]:
    """The validation of the training set, or folds of its rows that fit its split."""
    if _has_validation(training_set):
        return [((side == "train").to_numpy().nonzero()[0], (side == "validation").to_numpy().nonzero()[0])]
    search = project.training.search
    kind = training_set.lots if training_set.test_share else "time"
    column = rows[training_set.by] if training_set.by else None
    labels = None if project.task == "regression" else wanted
    if kind == "stratified" and column is not None:
        labels = column.rank("dense").fill_null(0).cast(int).to_numpy()
    return folds(
        kind,
        search.folds if search else 1,
        partitions=rows["_partition"].to_list(),
        seed=training_set.seed,
        labels=labels,
        groups=column.to_list() if column is not None else None,
    )


def _key(plan: Plan, recipe: Recipe, training_set: TrainingSet, parts: Sequence[tuple[Places, Places]]) -> str:
    """A name for all that decides what an attempt comes to: the same attempt is never mistaken for another."""
    declared = asdict(plan)
    # More time or other processes find the same attempts.
    for free in ("workers", "seconds", "trials"):
        del declared[free]
    if plan.kind == "halving":
        declared["trials"] = plan.draws
    cut = digest(*(",".join(map(str, places)) for part in parts for places in part))
    own = modules_hash([*recipe.allowed, (recipe.preprocessing or "").partition(":")[0]])
    code = [packages(recipe.estimator), code_hash(), own]
    content = [declared, asdict(recipe), training_set.content_hash, cut, code]
    # Not sorted: trials are numbered in the order in which the space is written.
    return digest(json.dumps(content, default=str), _proposer(plan))[:32]


def _proposer(plan: Plan) -> str:
    """What chooses the parameters of a trial by its number, where that is not ours."""
    return version("optuna") if plan.kind == "bayesian" and find_spec("optuna") else ""


def _value(trial: Trial) -> str:
    return "failed" if trial.value is None else f"{trial.value:.5g}"


def _written(parameters: Mapping[str, Any]) -> str:
    return (
        ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in parameters.items()
        )
        or "as declared"
    )
