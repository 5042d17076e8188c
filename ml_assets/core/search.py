"""Searching for parameters: trials on folds of the training rows, in all cores, that survive being killed.

Whatever is finished is told to the caller at once, who keeps it; given back, it is not tried again. What is tried next
hangs on the seed and on the results of whole batches, never on who was quicker: any number of processes, killed or not,
comes to the same trials and the same best.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
import threading
import time
import warnings
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.core.evaluation import measure
from ml_assets.core.files import replacing
from ml_assets.core.tasks import BY_NAME, align
from ml_assets.core.training import as_inputs, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

    from ml_assets.core.splitting import Places
    from ml_assets.core.tasks import Values
    from ml_assets.core.training import Recipe

    # Parameters, and the share of rows to learn from.
    Choice = tuple[Mapping[str, Any], float]
    Strategy = Generator[list[Choice], list["Trial"], None]

Kind = Literal["grid", "random", "halving", "bayesian"]
DRAWS = 20
# Rungs of a halving: the best third goes on to three times the rows.
FACTOR = 3
FEWEST_ROWS = 100
# Trials that are chosen together, knowing those before: few, so that it learns; fixed, so that cores do not matter.
BATCH = 4
MANY = 64
TARGET, FOLD = "_target", "_fold_"
LEARN, JUDGE = 1, 2


class SearchError(Exception):
    """A search comes to nothing; the message says why."""


@dataclass(frozen=True)
class Plan:
    """A search.

    Attributes:
        kind: how parameters are chosen.
        space: parameter → list of values, or a mapping with `low`, `high` and `log`.
        metric: what decides: see `tasks.METRICS`.
        trials: how many at most; of a halving, on its first rung. None: all of a grid, else 20, or any in `seconds`.
        seconds: after which no further trial is started, or None.
        workers: processes, None for all cores.
        seed: of the draws.
    """

    kind: Kind
    space: Mapping[str, Any]
    metric: str
    trials: int | None = None
    seconds: float | None = None
    workers: int | None = None
    seed: int = 0

    @property
    def larger_is_better(self) -> bool:
        """The metric's direction."""
        return BY_NAME[self.metric].larger_is_better

    @property
    def draws(self) -> int | None:
        """How many trials are drawn; None for as many as there is time for."""
        return DRAWS if self.trials is None and self.seconds is None else self.trials


@dataclass(frozen=True)
class Attempt:
    """One trial on one fold: what is kept as soon as it is finished.

    Attributes:
        trial: its number, from 1 in the order in which trials were chosen.
        fold: from 0.
        value: the metric on the rows it was judged on; None where it failed.
        seconds: of fitting and judging.
        at: seconds of the search when it was finished, those before a kill included.
        failed: why, "" where it did not.
    """

    trial: int
    fold: int
    value: float | None
    seconds: float
    at: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Trial:
    """One choice of parameters.

    Attributes:
        number: from 1, in the order in which they were chosen.
        parameters: what was chosen.
        share: share of each fold's rows that it learns from.
        values: the metric in each fold, in order; empty as long as one is missing or failed.
        seconds: of all folds.
        failed: why, "" where it did not.
    """

    number: int
    parameters: Mapping[str, Any]
    share: float = 1.0
    values: tuple[float, ...] = ()
    seconds: float = 0.0
    failed: str = ""

    @property
    def value(self) -> float | None:
        """The mean over the folds."""
        return statistics.fmean(self.values) if self.values else None


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        best: see `best_of`.
        trials: all that were finished, in the order in which they were chosen.
        folds: how many.
        seconds: how long it took, kills not counted.
        resumed: how many attempts were there from before.
    """

    best: Trial
    trials: tuple[Trial, ...]
    folds: int
    seconds: float
    resumed: int = 0

    def ranked(self, plan: Plan) -> list[Trial]:
        """The trials, the best first: those on more rows before others, failed ones last."""
        failed = [trial for trial in self.trials if trial.value is None]
        by_rank = _ranked(plan, (trial for trial in self.trials if trial.value is not None))
        return [*sorted(by_rank, key=lambda trial: -trial.share), *failed]

    def as_record(self, plan: Plan) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        trials = [{**asdict(trial), "value": trial.value} for trial in self.trials]
        return {
            "kind": plan.kind, "metric": plan.metric, "larger_is_better": plan.larger_is_better,
            "best": self.best.number, "value": self.best.value, "folds": self.folds,
            "seconds": round(self.seconds, 3), "trials": trials,
        }  # fmt: skip


@dataclass
class Progress:
    """What is known so far: attempts by trial and fold, and whom to tell of a new one."""

    finished: dict[tuple[int, int], Attempt] = field(default_factory=dict)
    tell: Callable[[Attempt, Trial], None] = lambda _attempt, _trial: None

    @property
    def seconds(self) -> float:
        """How long the search has taken."""
        return max((attempt.at for attempt in self.finished.values()), default=0.0)


def search(
    plan: Plan,
    recipe: Recipe,
    rows: pl.DataFrame,
    wanted: Any,
    *,
    folds: Sequence[tuple[Places, Places]],
    file: Path,
    progress: Progress | None = None,
) -> Outcome:
    """Try parameters on folds.

    Args:
        plan: what is tried.
        recipe: what a pipeline is made from.
        rows: the rows to learn from, with the features.
        wanted: what they are to be predicted as, shape (n,): values, or positions of labels.
        folds: for each, the places of the rows it learns from and of those it is judged on. No other row is looked at.
        file: where the rows are laid down for the processes, and removed at the end.
        progress: what was finished before, and who is told of what is finished now.

    Raises:
        SearchError: if no trial was finished, or all failed.
    """
    known = progress or Progress()
    resumed, began = len(known.finished), time.monotonic() - known.seconds
    until = None if plan.seconds is None else time.time() + plan.seconds - known.seconds
    lay_down(rows.select(list(recipe.kinds)), wanted, folds, file)
    fewest = min(len(learn) for learn, _ in folds)
    strategy = _strategy(plan, fewest)
    trials: list[Trial] = []
    try:
        chosen = next(strategy)
        while chosen:
            batch = [Trial(len(trials) + place, *each) for place, each in enumerate(chosen, start=1)]
            todo = [
                (trial, fold) for trial in batch for fold in range(len(folds))
                if (trial.number, fold) not in known.finished
            ]  # fmt: skip
            by_number = {trial.number: trial for trial in batch}
            with closing(_attempts(plan, recipe, todo, file, until)) as attempts:
                for each in attempts:
                    one = replace(each, at=round(time.monotonic() - began, 3))
                    known.finished[one.trial, one.fold] = one
                    known.tell(one, _with_results(by_number[one.trial], known.finished, len(folds)))
            results = [_with_results(trial, known.finished, len(folds)) for trial in batch]
            trials += results
            if any(trial.value is None and not trial.failed for trial in results):
                break  # the time is up
            chosen = strategy.send(results)
    except StopIteration:
        pass
    finally:
        file.unlink(missing_ok=True)
    done = tuple(trial for trial in trials if trial.value is not None or trial.failed)
    return Outcome(best_of(plan, done), done, len(folds), time.monotonic() - began, resumed)


def best_of(plan: Plan, trials: Iterable[Trial]) -> Trial:
    """The best of the trials on the greatest share of rows, which is all of them unless time ran out; else the first.

    Raises:
        SearchError: if there is none.
    """
    trials = tuple(trials)
    finished = [trial for trial in trials if trial.value is not None]
    if finished:
        most = max(trial.share for trial in finished)
        return _ranked(plan, (trial for trial in finished if trial.share == most))[0]
    failed = next((trial for trial in trials if trial.failed), None)
    if failed is not None:
        raise SearchError(
            f"training.search: all of {len(trials)} trials failed; the first with {dict(failed.parameters)}: "
            f"{failed.failed}. Remedy: correct training.search.space"
        )
    raise SearchError("training.search: no trial was finished in time. Remedy: more minutes, or a quicker estimator")


def lay_down(rows: pl.DataFrame, wanted: Any, folds: Sequence[tuple[Places, Places]], file: Path) -> None:
    """Write what every process needs, once: a process maps it rather than being sent it with every trial."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    columns = [pl.Series(TARGET, wanted)]
    for number, (learn, judge) in enumerate(folds):
        role = np.zeros(rows.height, dtype=np.uint8)
        role[learn], role[judge] = LEARN, JUDGE
        columns.append(pl.Series(f"{FOLD}{number}", role))
    with replacing(file) as draft:
        rows.with_columns(columns).write_ipc(draft)


# ------------------------------------------------------------------------------------------------- what is tried


def _strategy(plan: Plan, rows: int) -> Strategy:
    """Batches of choices; each is sent back with its results before the next is chosen."""
    if plan.kind == "bayesian":
        return _bayesian(plan)
    return _halving(plan, rows) if plan.kind == "halving" else _drawn(plan)


def _drawn(plan: Plan) -> Strategy:
    """All combinations in their order, or draws."""
    choices: Iterator[Mapping[str, Any]] = _combinations(plan.space) if plan.kind == "grid" else _draws(plan)
    while batch := [(choice, 1.0) for choice in itertools.islice(choices, MANY)]:
        yield batch


def _halving(plan: Plan, rows: int) -> Strategy:
    """Successive halving: Jamieson and Talwalkar (2016), Non-stochastic best arm identification."""
    candidates: list[Mapping[str, Any]] = list(itertools.islice(_draws(plan), plan.draws or DRAWS))
    rungs = min(math.floor(math.log(len(candidates), FACTOR)), math.floor(math.log(max(rows / FEWEST_ROWS, 1), FACTOR)))
    for rung in range(rungs, -1, -1):
        results = yield [(candidate, FACTOR**-rung) for candidate in candidates]
        finished = [trial for trial in results if trial.value is not None]
        candidates = [trial.parameters for trial in _ranked(plan, finished)[: math.ceil(len(candidates) / FACTOR)]]
        if not candidates:
            return


def _bayesian(plan: Plan) -> Strategy:
    """Tree-structured Parzen estimators, of Optuna: Bergstra et al. (2011).

    The study is in memory: it is asked and told in the same order again after a kill, and so says the same again.
    """
    try:
        import optuna  # noqa: PLC0415
    except ImportError as error:
        raise SearchError(
            "training.search.kind: bayesian needs Optuna. Remedy: install the extra, as in "
            "`pip install 'ml-assets[search]'`, or kind: random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=plan.seed),
        direction="maximize" if plan.larger_is_better else "minimize",
    )
    distributions: dict[str, Any] = {}
    for name, values in plan.space.items():
        if isinstance(values, list):
            # By place: Optuna takes text and numbers only.
            distributions[name] = optuna.distributions.CategoricalDistribution(range(len(values)))
        elif _is_whole(values):
            distributions[name] = optuna.distributions.IntDistribution(values["low"], values["high"], log=_log(values))
        else:
            low, high = float(values["low"]), float(values["high"])
            distributions[name] = optuna.distributions.FloatDistribution(low, high, log=_log(values))
    left = plan.draws
    while left is None or left > 0:
        asked = [study.ask(distributions) for _ in range(BATCH if left is None else min(BATCH, left))]
        chosen = [
            {
                name: plan.space[name][value] if isinstance(plan.space[name], list) else value
                for name, value in one.params.items()
            }
            for one in asked
        ]
        results = yield [(choice, 1.0) for choice in chosen]
        for one, trial in zip(asked, results, strict=True):
            if trial.value is None:
                study.tell(one, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(one, trial.value)
        left = None if left is None else left - len(asked)


def _combinations(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*space.values()))


def _draws(plan: Plan) -> Iterator[dict[str, Any]]:
    """Draws of the space, each from the seed and its own number; where all are lists, none comes twice."""
    import numpy as np  # noqa: PLC0415

    numbers = itertools.count() if plan.draws is None else range(plan.draws)
    if all(isinstance(values, list) for values in plan.space.values()):
        return (choice for _, choice in zip(numbers, _shuffled(plan), strict=False))
    return (
        {name: _draw(values, generator) for name, values in plan.space.items()}
        for generator in (np.random.default_rng([plan.seed, number]) for number in numbers)
    )


def _shuffled(plan: Plan) -> Iterator[dict[str, Any]]:
    """All combinations of a space of lists in an order by chance, each made when it is asked for.

    Source:
        The shuffle of Fisher and Yates, of which only the places that were changed are kept: Knuth, TAOCP 2, 3.4.2.
    """
    every = math.prod(len(values) for values in plan.space.values())
    # Python's own: there may be more combinations than a number of numpy's can count.
    generator = random.Random(plan.seed)  # noqa: S311 - no secret
    moved: dict[int, int] = {}
    for first in range(every):
        drawn = generator.randrange(first, every)
        place = moved.get(drawn, drawn)
        moved[drawn] = moved.pop(first, first)
        choice = {}
        for name, values in plan.space.items():
            place, at = divmod(place, len(values))
            choice[name] = values[at]
        yield choice


def _draw(values: Any, generator: Any) -> Any:
    if isinstance(values, list):
        return values[generator.integers(len(values))]
    low, high = values["low"], values["high"] + _is_whole(values)
    drawn = math.exp(generator.uniform(math.log(low), math.log(high))) if _log(values) else generator.uniform(low, high)
    return min(math.floor(drawn), values["high"]) if _is_whole(values) else min(max(drawn, low), high)


def _is_whole(values: Mapping[str, Any]) -> bool:
    return isinstance(values["low"], int) and isinstance(values["high"], int)


def _log(values: Mapping[str, Any]) -> bool:
    return bool(values.get("log", False))


def _ranked(plan: Plan, trials: Iterable[Trial]) -> list[Trial]:
    """Finished trials, the best first."""
    sign = -1 if plan.larger_is_better else 1
    return sorted(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


# ------------------------------------------------------------------------------------------------- trying it


def _attempts(
    plan: Plan, recipe: Recipe, todo: Sequence[tuple[Trial, int]], file: Path, until: float | None
) -> Generator[Attempt]:
    """Each trial on each fold, as they are finished."""
    from joblib import Parallel, cpu_count, delayed  # noqa: PLC0415

    workers = min(plan.workers or cpu_count(), max(len(todo), 1))
    # One by one: what is finished must be told, and be kept, before anything else can happen to it.
    run = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
    calls = (
        delayed(_attempt_of)(os.getpid(), str(file), recipe, plan.metric, trial=trial, fold=fold, until=until)
        for trial, fold in todo
    )
    found = run(calls)
    try:
        yield from (one for one in found if one is not None)
    finally:
        with warnings.catch_warnings():
            # Whoever stops a search knows that the fits under way are lost.
            warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed", UserWarning)
            found.close()


def attempt(
    file: str, recipe: Recipe, metric: str, *, trial: Trial, fold: int, until: float | None = None
) -> Attempt | None:
    """One trial on one fold, in one thread; None where the time was up before it began.

    Args:
        file: what `lay_down` wrote.
        recipe: what the pipeline is made from.
        metric: what is measured.
        trial: its parameters.
        fold: which.
        until: seconds since 1970.
    """
    import numpy as np  # noqa: PLC0415

    if until is not None and time.time() > until:
        return None
    inputs, wanted, roles = _laid_down(file, tuple(recipe.kinds.items()))
    began = time.perf_counter()
    learn, judge = np.flatnonzero(roles[fold] == LEARN), np.flatnonzero(roles[fold] == JUDGE)
    if trial.share < 1:
        some = np.random.default_rng([recipe.seed, fold]).permutation(learn)[: math.ceil(len(learn) * trial.share)]
        learn = np.sort(some)
    value, failed = None, ""
    try:
        with pinned(1):
            pipeline = recipe.pipeline(**trial.parameters).fit(inputs.iloc[learn], wanted[learn])
            predicted = _predicted(pipeline, inputs.iloc[judge], recipe)
        value = measure(recipe.task, wanted[judge].astype(float), predicted).get(metric)
        failed = "" if value is not None else f"{metric} is undefined on the rows of fold {fold}"
    except Exception as error:  # noqa: BLE001 - whatever an estimator raises ends this trial, is told and kept
        failed = f"{type(error).__name__}: {error}"
    return Attempt(trial.number, fold, value, round(time.perf_counter() - began, 3), failed=failed)


def _attempt_of(process: int, *arguments: Any, **named: Any) -> Attempt | None:
    """`attempt`, for another process."""
    if os.getpid() != process:
        _end_with(process)
    return attempt(*arguments, **named)


@cache
def _end_with(process: int) -> None:
    """End this process soon after its parent was killed: joblib's own would wait for work for five minutes more."""

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _predicted(pipeline: Any, inputs: pd.DataFrame, recipe: Recipe) -> Values:
    """Predictions as metrics take them; a class that the fold never saw has probability 0."""
    if recipe.task == "regression":
        values: Values = pipeline.predict(inputs).astype(float)
        return values
    have = [str(one) for one in pipeline.classes_]
    every = [str(place) for place in range(len(recipe.classes))]
    chances = align(pipeline.predict_proba(inputs).astype(float), have, every)
    return chances[:, 1] if recipe.task == "binary" else chances


@lru_cache(maxsize=1)
def _laid_down(file: str, kinds: tuple[tuple[str, str], ...]) -> tuple[pd.DataFrame, NDArray[Any], list[NDArray[Any]]]:
    import polars as pl

    rows = pl.read_ipc(file)
    roles = [rows[name].to_numpy() for name in rows.columns if name.startswith(FOLD)]
    return as_inputs(rows, dict(kinds)), rows[TARGET].to_numpy(), roles


def _with_results(trial: Trial, finished: Mapping[tuple[int, int], Attempt], folds: int) -> Trial:
    """A trial with what is known of it."""
    attempts = [finished[trial.number, fold] for fold in range(folds) if (trial.number, fold) in finished]
    failed = next((one.failed for one in attempts if one.failed), "")
    values = [one.value for one in attempts if one.value is not None]
    return Trial(
        trial.number, trial.parameters, trial.share,
        tuple(values) if len(values) == folds else (), round(sum(one.seconds for one in attempts), 3), failed,
    )  # fmt: skip
