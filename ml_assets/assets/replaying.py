"""From a project's recorded features to what every version that could have been trained would have lost.

Fits are the cost of a replay. Each is learnt once, whichever policy would have wanted it, and what it lost is kept on
disk under a hash of all that decides it: a replay that was interrupted goes on where it was. To judge each fit on every
later row would cost half as much again: partitions that it would hardly have served are judged on an even sample.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ml_assets.assets.features import current_kinds
from ml_assets.assets.model import recipe_of
from ml_assets.assets.replayed_alarms import alarms_of
from ml_assets.assets.rows import content_hash, sides
from ml_assets.assets.training_set import lots_of, split_of
from ml_assets.core.evaluation import row_losses
from ml_assets.core.replay import History
from ml_assets.core.tasks import as_actual, classes_of, has_label
from ml_assets.core.training import (
    Recipe,
    are_worth_all_cores,
    as_inputs,
    learnable,
    packages,
    pinned,
    predict_inputs,
    threads_worth,
)
from ml_assets.lake.connection import table_exists
from ml_assets.lake.tables import LINEAGE, PARTITION, read
from ml_assets.project import digest
from ml_assets.registry.models import TrainingSet
from ml_assets.registry.searches import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project

    Values = NDArray[np.float64]
    Places = NDArray[np.intp]

# Fewer say nothing about a policy.
FEWEST_SERVED = 6
# Where history is short, the first champion learns from this share of it and later ones from more, up to the window.
SHARE_OF_FIRST = 3
# Lines on progress, at most.
LINES = 20
# A fit is judged on all rows of this share of a window after it, and on as many again of all that is later.
SHARE = 0.125
FEWEST_NEAR, FEWEST_SAMPLED = 3, 200
# Of its test rows, on so many times as many as of a partition that is sampled.
TESTED = 2


class ReplayError(ValueError):
    """There is nothing to replay; the message says what is missing."""


@dataclass(frozen=True)
class Loss:
    """What one fit lost: mean losses of rows.

    Attributes:
        key: hash of all that decides what it has learnt.
        reference: on its test rows; None where it has none.
        first: on the sample of the first partition that it could serve.
        partitions: content of a partition → on its rows, or on a sample of them.
    """

    key: str
    reference: float | None
    first: float
    partitions: dict[str, float]


def history_of(
    project: Project,
    lake: Lake,
    folder: Path,
    *,
    delay: int = 0,
    with_alarms: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> History:
    """Replay every fit that a project could have made; those that are on disk are not made again.

    Args:
        project: the project: its window, its split and its estimator with the declared parameters, unsearched.
        lake: holds its features.
        folder: where fits are kept.
        delay: by how many partitions labels come late.
        with_alarms: whether it is asked which alarms there would have been.
        say: hears of the progress.

    Raises:
        ReplayError: if there are too few partitions.
    """
    import numpy as np  # noqa: PLC0415

    recorded = read_recorded(project, lake)
    first = _first_served(project, len(recorded.starts), delay)
    served = range(first, len(recorded.starts))
    sample = recorded.sample_of(first)
    journal = Journal(folder / digest(recorded.digest, str(sample))[:16])
    losses = np.full((len(served), len(served)), math.nan)
    references = np.full(len(served), math.nan)
    off = np.zeros(len(served))
    for number, loss in enumerate(_losses(recorded, sample, journal, served, delay=delay, say=say)):
        losses[number, number:] = [loss.partitions[recorded.contents[one]] for one in served[number:]]
        references[number] = math.nan if loss.reference is None else loss.reference
        off[number] = losses[number, number] - loss.first
    # How far off a sample is, the fit tells that was judged on all rows and on the sample: hard rows are hard for all.
    for number in range(1, len(served)):
        far = slice(number + sample.near, None)
        losses[number, far] = np.maximum(losses[number, far] + off[far], 0)
    alarms = None
    if with_alarms:
        sets = [recorded.training_set(recorded.starts[: start - delay]) for start in served]
        windows = [[project.start_of(key) for key in one.train] for one in sets]
        alarms = alarms_of(project, lake, windows, [recorded.starts[one] for one in served], delay=delay)
    return History(
        alarms=alarms,
        partitions=tuple(project.key_of(recorded.starts[one]) for one in served),
        rows=np.diff(recorded.edges)[first:].astype(float),
        losses=losses,
        references=references,
        metric=project.watched,
        delay=delay,
    )


def _losses(
    recorded: Recorded, sample: Sample, journal: Journal, served: range, *, delay: int, say: Callable[[str], None]
) -> list[Loss]:
    """What each fit lost, in order: one is judged while the next is learnt."""
    known = {line["key"]: Loss(**line) for line in journal.lines()}
    chosen = [recorded.training_set(recorded.starts[: start - delay]) for start in served]
    keys = [recorded.key_of(one) for one in chosen]
    left = [(key, one, start) for key, one, start in zip(keys, chosen, served, strict=True)
            if key not in known or not {*recorded.contents[start:]} <= {*known[key].partitions}]  # fmt: skip
    most = max((recorded.rows_of(one) for _, one, _ in left), default=0)
    say(f"{len(keys)} fits, {len(keys) - len(left)} of them made before")

    def keep(key: str, fitted: Fitted, training_set: TrainingSet, asked: Judged) -> None:
        known[key] = recorded.judge(key, fitted, training_set, asked)
        journal.append(asdict(known[key]))

    began = time.monotonic()
    judging: Callable[[], None] | None = None
    for done, (key, training_set, start) in enumerate(left, 1):
        with _beside(judging) if judging else nullcontext():
            fitted = recorded.fit(training_set)
        # The first champion is judged on all rows: it is what never retraining comes to.
        asked = recorded.judged(start, replace(sample, near=sample.near if start > served[0] else len(served)))
        judging = partial(keep, key, fitted, training_set, asked)
        # What is worth more threads than one is done alone: it takes all cores.
        if are_worth_all_cores(max(most, asked.rows)):
            judging()
            judging = None
        if done % max(1, len(left) // LINES) == 0 and done < len(left):
            seconds = (time.monotonic() - began) / done * (len(left) - done)
            say(f"{done} of {len(left)} fits, {seconds:.0f} s to go")
    if judging:
        judging()
    if left:
        say(f"{len(left)} of {len(left)} fits")
    return [known[key] for key in keys]


@contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """Do some work in a second thread while the block runs; the block ends with both, and raises what the work raises.

    Each is to pin one thread at most. Limits of linear algebra and filters of warnings are the whole process's: two
    that set them and put them back in turn would leave what neither found, so they are put back around both.
    scikit-learn's settings are a thread's own: the second takes over those of the first.
    """
    from sklearn import config_context, get_config

    with pinned(1), warnings.catch_warnings(), ThreadPoolExecutor(max_workers=1) as other:
        done = other.submit(config_context(**get_config())(work))
        yield  # what ends the block, an interrupt say, waits for the work and is what is raised
        done.result()


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline, with the classes that it knows."""

    pipeline: Pipeline
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """How much of later partitions judges a fit: all rows of so many that are near, so many `rows` of each other."""

    near: int
    rows: int


@dataclass(frozen=True)
class Judged:
    """The places of the rows that judge a fit, partition by partition, and the sample of the first of them."""

    first: int
    places: tuple[Places, ...]
    sampled: Places

    @property
    def rows(self) -> int:
        """How many they are with the test rows, at most."""
        return sum(map(len, self.places)) + TESTED * len(self.sampled)


@dataclass(frozen=True)
class Recorded:
    """The labelled rows of a project's features, read once.

    Attributes:
        project: the project.
        recipe: without classes, which follow from the rows that are learnt from.
        rows: in the order of their lineage.
        starts: of the partitions that hold any.
        edges: where each begins in `rows`, and the end.
    """

    project: Project
    recipe: Recipe
    rows: pl.DataFrame
    starts: tuple[datetime, ...]
    edges: Places

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """All rows as pipelines take them, made once."""
        return as_inputs(self.rows, self.recipe.kinds)

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """A hash of the rows of each partition."""
        return tuple(
            content_hash(self.rows[start:end])[:16] for start, end in zip(self.edges, self.edges[1:], strict=False)
        )

    @cached_property
    def digest(self) -> str:
        """A hash of what fits have in common."""
        project = self.project
        what = [asdict(self.recipe), packages(self.recipe.estimator), lots_of(project), project.watched, project.target]
        return digest(json.dumps(what, sort_keys=True, default=str))

    def training_set(self, starts: Sequence[datetime]) -> TrainingSet:
        """The training set that would have been chosen of these partitions."""
        project = self.project
        parts: dict[str, Any] = {
            name: tuple(map(project.key_of, part)) for name, part in asdict(split_of(project, starts)).items()
        }
        return TrainingSet(
            snapshot=0, rows=0, content_hash="", run_id="", decision=0, through=project.key_of(starts[-1]),
            seed=project.training.seed, **parts, **lots_of(project),
        )  # fmt: skip

    def key_of(self, training_set: TrainingSet) -> str:
        """A hash of the rows that a fit learns from and is tested on."""
        content = dict(zip(map(self.project.key_of, self.starts), self.contents, strict=True))
        parts = {part: [content[key] for key in getattr(training_set, part)] for part in ("train", "test", "holdout")}
        return digest(json.dumps(parts))

    def fit(self, training_set: TrainingSet) -> Fitted:
        """Learn from a training set, by the functions that a live version learns by."""
        project, rows = self.project, self.rows[self._window(training_set)]
        learnt = rows.filter(sides(project, rows, training_set).is_in(["train", "validation"]))
        classes = classes_of(learnt[project.target], project.task, project.positive)
        inputs, wanted = learnable(learnt, self.recipe.kinds, project.target, task=project.task, classes=classes)
        with pinned(threads_worth(learnt.height)):
            return Fitted(replace(self.recipe, classes=classes).pipeline().fit(inputs, wanted), classes)

    def rows_of(self, training_set: TrainingSet) -> int:
        """How many rows a training set has."""
        window = self._window(training_set)
        return int(window.stop - window.start)

    def sample_of(self, first: int) -> Sample:
        """How fits are judged, the first of which serves a partition from its first row on."""
        learnt = SHARE * self.project.training.window
        later = (len(self.starts) - first) / 2
        rows = learnt * len(self.rows) / len(self.starts) / later
        # By powers of two: a month more is no other sample.
        return Sample(max(FEWEST_NEAR, round(learnt)), max(FEWEST_SAMPLED, 2 ** int(math.log2(max(rows, 1)))))

    def judged(self, first: int, sample: Sample) -> Judged:
        """The rows that judge a fit that serves from a partition on."""
        import numpy as np  # noqa: PLC0415

        parts = [np.arange(*self.edges[one : one + 2]) for one in range(first, len(self.starts))]
        sampled = [_evenly(one, sample.rows) for one in parts]
        return Judged(first, (*parts[: sample.near], *sampled[sample.near :]), sampled[0])

    def judge(self, key: str, fitted: Fitted, training_set: TrainingSet, asked: Judged) -> Loss:
        """What a fit lost on its test rows and on those asked: predicted in one call."""
        import numpy as np  # noqa: PLC0415

        project, window = self.project, self._window(training_set)
        tested = (sides(project, self.rows[window], training_set) == "test").to_numpy().nonzero()[0] + window.start
        tested = _evenly(tested, TESTED * len(asked.sampled))
        places = np.concatenate([tested, *asked.places])
        predicted = predict_inputs(fitted.pipeline, self.inputs.take(places), project.task)
        actual = as_actual(self.rows[project.target][places], project.task, fitted.classes)
        losses = row_losses(project.watched, actual, predicted)
        reference = float(losses[: len(tested)].mean()) if len(tested) else None
        parts = np.split(losses[len(tested) :], np.cumsum([len(one) for one in asked.places[:-1]]))
        first = float(parts[0][asked.sampled - self.edges[asked.first]].mean())
        means = [float(part.mean()) for part in parts]
        return Loss(key, reference, first, dict(zip(self.contents[asked.first :], means, strict=True)))

    def _window(self, training_set: TrainingSet) -> slice:
        """The places of the rows of a training set's partitions, which are neighbours."""
        used = [self.starts.index(self.project.start_of(key)) for key in training_set.keys]
        return slice(int(self.edges[min(used)]), int(self.edges[max(used) + 1]))


def _evenly(places: Places, most: int) -> Places:
    """So many of some places at most, evenly apart: rows that are neighbours resemble each other."""
    import numpy as np  # noqa: PLC0415

    chosen: Places = places[np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).astype(int))]
    return chosen


def read_recorded(project: Project, lake: Lake) -> Recorded:
    """Read a project's features once, those rows that have a label.

    Raises:
        ReplayError: if nothing has been materialized.
    """
    import numpy as np  # noqa: PLC0415

    with lake.reader() as cursor:
        if not table_exists(cursor, project.table("features")):
            raise ReplayError(
                f"{project.name}: nothing has been materialized, so there is no history to replay. "
                f"Remedy: `ml-assets backfill {project.name}`"
            )
        kinds = current_kinds(cursor, project)
        rows = read(cursor, project.table("features"))
    missing = [name for name in kinds if name not in rows.columns]
    if missing:
        raise ReplayError(
            f"{project.name}: {project.features_path} returns {missing[0]!r}, which no row in the lake has. "
            f"Remedy: `ml-assets backfill {project.name}`"
        )
    lots_by = lots_of(project).get("by") or None
    rows = rows.select(list(dict.fromkeys([*LINEAGE, *kinds, project.target, *([lots_by] if lots_by else [])])))
    rows = rows.filter(has_label(rows[project.target], project.task))
    counted = rows.group_by(PARTITION, maintain_order=True).len()
    edges = np.cumsum([0, *counted["len"]])
    return Recorded(project, recipe_of(project, kinds, ()), rows, tuple(counted[PARTITION]), edges)


def _first_served(project: Project, partitions: int, delay: int) -> int:
    """The number of the first partition that the first champion serves."""
    training = project.training
    kept = 0 if training.by_chance else training.test + int(training.split.validation)
    kept += training.held_back
    first = min(training.window, max(kept + 1, partitions // SHARE_OF_FIRST)) + delay
    if partitions - first < FEWEST_SERVED:
        raise ReplayError(
            f"{project.name}: {partitions} partitions of features have labelled rows. The first champion would serve "
            f"the {first + 1}th at the earliest, and a replay needs {FEWEST_SERVED} that are served. "
            f"Remedy: materialize more history, with `ml-assets backfill {project.name}`"
        )
    return first
